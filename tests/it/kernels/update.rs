use half::bf16;
use monosem::kernels::SumShape;
use monosem::reference::stochastic_bf16;
use monosem::rng::{Purpose, Rng};
use monosem::selftest::lists::{Batch, HostTerm, Lists};
use monosem::selftest::tensors::bits;
use monosem::selftest::trained::{Model, Settings, device_step};
use monosem::selftest::update::{Updated, bf16_differences, shrinking, three_steps};

use super::{assert_close, coarse, deterministic, gpu, rule_b};

#[test]
fn three_steps_match_the_reference() {
    for (rows, d, n, per_row, unit_norm) in [
        (1, 1, 1, [1, 0], false),
        (20, 2, 130, [3, 0], true),
        (257, 127, 60, [3, 2], false),
        (257, 128, 61, [3, 2], true),
        (600, 33, 1100, [4, 0], false),
        (600, 33, 1100, [4, 3], true),
        (12, 385, 70, [9, 1], true),
        (9, 800, 40, [2, 0], false),
        (9, 800, 40, [2, 3], true),
    ] {
        for coefficient in [1.0, 0.125] {
            let cuts = if n > 1024 { vec![1024, n] } else { vec![n] };
            let lists = shrinking(rows, n, per_row);
            let updated = three_steps(gpu(), lists, d, (coefficient, unit_norm), &cuts).unwrap();
            assert_eq!(updated.len(), 10);
            for Updated { what, actual, expected, tolerance } in updated {
                let name = format!("update {what} {rows} x {d} of {n}, unit norm {unit_norm}, {coefficient}");
                assert_close(&name, &actual, &expected, tolerance);
            }
        }
    }
}

#[test]
fn the_same_bits_every_time_in_any_shards_by_any_number_of_workgroups() {
    let (d, n) = (50, 1100);
    let batch = Batch::new(1, Lists::random(1, 600, n, [6, 2], true), d);
    let update = |groups: u32, cuts: &[usize]| {
        let mut model = Model::with_moments(d, n).narrow();
        model.update(gpu(), &batch, &Settings { groups, ..Settings::of_step(1) }, cuts).unwrap();
        model.bits()
    };
    let whole = deterministic(|| update(7, &[n]));
    for groups in [1, 550, 5000] {
        assert!(update(groups, &[n]) == whole, "{groups} workgroups");
    }
    assert!(update(7, &[1024, n]) == whole);
}

#[test]
fn both_shapes_have_the_same_bits() {
    // A row of one vector, and of as many as 32 threads take three, four and seven times.
    for (rows, d, n, per_row) in
        [(20, 2, 130, [3, 0]), (600, 385, 40, [9, 2]), (9, 500, 40, [2, 3]), (9, 800, 40, [2, 3])]
    {
        let batch = Batch::new(1, Lists::random(1, rows, n, per_row, true), d);
        for bf16 in [false, true] {
            let [wide, ahead] = SumShape::ALL.map(|shape| {
                let mut model = Model::with_moments(d, n).narrow();
                let settings = Settings { bf16, ..Settings::of_step(1) };
                model.update_of_shape(gpu(), shape, &batch, &settings, &[n]).unwrap();
                model.bits()
            });
            assert!(wide == ahead, "{rows} x {d} of {n}, bf16 {bf16}");
        }
    }
}

#[test]
fn a_batch_without_entries_moves_every_row() {
    let (d, n) = (20, 65);
    for rows in [0, 1] {
        let mut lists = Lists::random(1, rows, n, [1, 0], false);
        lists.entries.iter_mut().for_each(|entry| entry.flags = 0);
        let batch = Batch::new(1, lists, d);
        let mut expected = Model::with_moments(d, n);
        let mut actual = expected.narrow();
        actual.update(gpu(), &batch, &Settings::of_step(3), &[n]).unwrap();
        expected.update(&batch, &Settings::of_step(3));
        assert_close("update without entries", &actual.w_enc.values, &expected.w_enc.values, 2e-6);
        assert_close("update without entries", &actual.w_dec.values, &expected.w_dec.values, 2e-6);
        assert_close("update without entries", &actual.norms, &expected.norms, 2e-6);
    }
}

#[test]
fn a_raised_guard_keeps_every_bit() {
    let (d, n) = (20, 65);
    let batch = Batch::new(1, Lists::random(1, 30, n, [3, 1], true), d);
    for (unit_norm, bf16) in [(false, false), (true, false), (true, true)] {
        let before = Model::with_moments(d, n).narrow();
        let mut model = before.clone();
        let settings = Settings { unit_norm, bf16, ..Settings::of_step(1) };
        for status in [1, 2, 4] {
            model.update(gpu(), &batch, &Settings { guard: [status, 0], ..settings }, &[n]).unwrap();
            assert!(model == before, "unit norm {unit_norm}, bf16 {bf16}, guard {status}");
        }
        model.update(gpu(), &batch, &settings, &[n]).unwrap();
        assert!(model != before);
    }
}

#[test]
fn what_is_not_finite_is_marked() {
    let (d, n) = (40, 70);
    let batch = Batch::new(1, Lists::random(1, 30, n, [3, 0], true), d);
    let silent = (0..n as u32).find(|feature| !batch.runs.features.contains(feature)).unwrap() as usize;
    // Feature 0 is active.
    for feature in [0, silent] {
        let update = |poison: &dyn Fn(&mut Model<f32>)| {
            let mut model = Model::new(d, n, false).narrow();
            poison(&mut model);
            let settings = Settings { unit_norm: false, ..Settings::of_step(1) };
            model.update(gpu(), &batch, &settings, &[n]).unwrap();
            model
        };
        let marks = |model: &Model<f32>| (0..n).filter(|at| model.flawed[*at] != 0).collect::<Vec<_>>();
        assert_eq!(marks(&update(&|_| ())), [0_usize; 0]);
        for column in [0, d - 1] {
            assert_eq!(marks(&update(&|model| model.w_enc.values[feature * d + column] = f32::INFINITY)), [feature]);
            let model = update(&|model| model.w_dec.values[feature * d + column] = f32::NAN);
            // A norm that is not finite is its own mark.
            let norms: Vec<_> = (0..n).filter(|at| !model.norms[*at].is_finite()).collect();
            assert_eq!((marks(&model), norms), (vec![], vec![feature]));
        }
        assert_eq!(marks(&update(&|model| model.b_enc.values[feature] = f32::NAN)), [feature]);
    }
}

#[test]
fn gradients_are_folded_by_rule_b() {
    let (rows, d, n) = (1200, 20, 30);
    let mut batch = Batch::new(1, Lists::random(1, rows, n, [3, 2], true), d);
    let count = batch.runs.terms.len();
    for (term, (p, a)) in batch.runs.terms.iter_mut().zip(coarse(1, count).into_iter().zip(coarse(2, count))) {
        term.p = p;
        (term.a0, term.a1) = if term.list == 0 { (a, 0.0) } else { (0.0, a) };
    }
    batch.centred = coarse(3, rows * d);
    batch.gradients = [coarse(4, rows * d), coarse(5, rows * d)];
    let settings = Settings { unit_norm: false, coefficient: 1.0, ..Settings::of_step(1) };
    let runs = &batch.runs;
    // After the first step a first moment is a tenth of the gradient, rounded once.
    let moments = |value: &dyn Fn(&HostTerm, usize) -> f32| -> Vec<u32> {
        let mut moments = vec![0.0_f32; n * d];
        for (run, feature) in runs.features.iter().enumerate() {
            for column in 0..d {
                let terms = runs.of(run).iter();
                let sum = rule_b(terms.map(|term| (term.list, term.row as usize, value(term, column))));
                moments[*feature as usize * d + column] = device_step(1).one_minus_beta1 * sum;
            }
        }
        bits(&moments)
    };
    let at = |term: &HostTerm, column: usize| term.row as usize * d + column;
    let of_encoder = |term: &HostTerm, column: usize| term.p * batch.centred[at(term, column)];
    let of_decoder =
        |term: &HostTerm, column: usize| (term.a0 + term.a1) * batch.gradients[term.list as usize][at(term, column)];
    let expected = [moments(&of_encoder), moments(&of_decoder)];
    for shape in SumShape::ALL {
        let mut model = Model::new(d, n, false).narrow();
        model.update_of_shape(gpu(), shape, &batch, &settings, &[n]).unwrap();
        assert!([bits(&model.w_enc.m), bits(&model.w_dec.m)] == expected, "{shape:?}");
    }
}

#[test]
fn moments_in_bf16_are_those_in_f32_rounded_by_the_host_s_own_bits() {
    for (d, n, rows, k) in [(1, 1, 3, 1), (13, 70, 20, 5), (385, 40, 300, 3), (33, 1100, 50, 4)] {
        let model = Model::with_moments(d, n);
        for step in [1, 500_000] {
            let cuts: &[&[usize]] = if n > 1024 { &[&[n], &[1024, n]] } else { &[&[n]] };
            for cuts in cuts {
                let lists = Lists::random(step, rows, n, [k, 2.min(n)], true);
                let differences = bf16_differences(gpu(), &model, lists, step, cuts).unwrap();
                assert_eq!(differences, [0, 0], "{d} x {n}, step {step}, {cuts:?}");
            }
        }
    }
}

#[test]
fn rounding_at_random_is_right_on_average_and_never_infinite() {
    for value in [1.0, -1.0, 0.1, -3.3e-9, 1.5e-40, f32::MIN_POSITIVE, 7.77e30] {
        let sum: f64 = (0..=u16::MAX).map(|random| stochastic_bf16(value, random).to_f64()).sum();
        let mean = sum / 65_536.0;
        assert!((mean - f64::from(value)).abs() <= 1e-12 * f64::from(value).abs(), "{value}: {mean}");
    }
    for value in [f32::MAX, -f32::MAX, 0.0, -0.0, bf16::MAX.to_f32()] {
        for random in [0, 1, 0x8000, u16::MAX] {
            let rounded = stochastic_bf16(value, random);
            assert!(rounded.is_finite() && (rounded.to_f32() == value || value.abs() == f32::MAX), "{value}, {random}");
        }
    }
    // To the nearest, a second moment never moves by less than a 512th of itself; at random it does, on average.
    let (mut nearest, mut random) = (bf16::from_f32(1.0), bf16::from_f32(1.0));
    let rng = Rng::new(1, Purpose::Rounding);
    for step in 0..1000 {
        nearest = bf16::from_f32(nearest.to_f32() * 0.999);
        random = stochastic_bf16(random.to_f32() * 0.999, rng.block(step, 0)[0] as u16);
    }
    let expected = 0.999_f32.powi(1000);
    assert_eq!(nearest.to_f32(), 1.0);
    assert!((random.to_f32() / expected - 1.0).abs() < 0.1, "{random}, not {expected}");
}
