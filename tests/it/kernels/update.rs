use half::bf16;
use monosem::kernels::Update;
use monosem::reference::{Adam, adam, stochastic_bf16};
use monosem::rng::{Purpose, Rng};
use monosem::selftest::tensors::{AT_REST, f64s, random};
use monosem::selftest::update::{
    ADAM, Batch, DecoderBias, MOMENTS, Model, PARAMETERS, Shard, Updated, bf16_differences, model_with_moments,
    three_steps,
};

use super::{assert_close, deterministic, gpu};

#[test]
fn three_steps_match_the_reference() {
    let kernels = Update::new(gpu(), false).unwrap();
    for (rows, d, n, k, unit_norm) in [
        (1, 1, 1, 1, false),
        (20, 2, 130, 3, true),
        (257, 127, 60, 3, false),
        (257, 128, 61, 3, true),
        (600, 33, 1100, 4, false),
        (600, 33, 1100, 4, true),
        (12, 385, 70, 9, true),
        (9, 800, 40, 2, false),
        (9, 800, 40, 2, true),
    ] {
        for coefficient in [1.0, 0.125] {
            let cuts = if n > 1024 { vec![1024, n] } else { vec![n] };
            let updated = three_steps(gpu(), &kernels, (rows, d, n, k), (coefficient, unit_norm), &cuts).unwrap();
            assert_eq!(updated.len(), 10);
            for Updated { what, actual, expected, tolerance } in updated {
                let name = format!("update {what} {rows} x {d} of {n}, unit norm {unit_norm}, {coefficient}");
                assert_close(&name, &actual, &expected, tolerance);
            }
        }
    }
}

#[test]
fn the_same_bits_every_time_and_in_any_shards() {
    let kernels = Update::new(gpu(), false).unwrap();
    let (d, n) = (50, 1100);
    let batch = Batch::new(1, 600, d, n, 6);
    let update = |cuts: &[usize], which: usize| {
        let model = Model::new(d, n, true);
        let s = batch.code_gradients(&model.w_dec[0], d);
        let shards = cuts.windows(2).map(|cut| Shard::new(gpu(), &model, cut[0], cut[1]).unwrap());
        let tensors = shards.flat_map(|shard| {
            shard.update(&kernels, (d, n), &batch, &s, (1, 0.5, true, AT_REST)).unwrap();
            shard.tensors().nth(which).unwrap().read::<u32>().unwrap()
        });
        tensors.collect::<Vec<_>>()
    };
    for which in 0..9 {
        let whole = deterministic(|| update(&[0, n], which));
        assert!(update(&[0, 1024, n], which) == whole, "tensor {which}");
    }
}

#[test]
fn a_raised_guard_keeps_every_bit() {
    let kernels = Update::new(gpu(), false).unwrap();
    let (d, n) = (20, 65);
    let batch = Batch::new(1, 30, d, n, 3);
    for unit_norm in [false, true] {
        let model = Model::new(d, n, unit_norm);
        let shard = Shard::new(gpu(), &model, 0, n).unwrap();
        let all = || shard.tensors().map(|tensor| tensor.read::<u32>().unwrap()).collect::<Vec<_>>();
        let before = all();
        let s = batch.code_gradients(&model.w_dec[0], d);
        for status in [1, 2, 4] {
            shard.update(&kernels, (d, n), &batch, &s, (1, 1.0, unit_norm, [status, 0])).unwrap();
            assert!(all() == before, "unit norm {unit_norm}, guard {status}");
        }
        shard.update(&kernels, (d, n), &batch, &s, (1, 1.0, unit_norm, AT_REST)).unwrap();
        assert!(all() != before);
    }
}

#[test]
fn the_decoder_bias_matches_the_reference() {
    let kernels = Update::new(gpu(), false).unwrap();
    for d in [1, 17, 255, 256, 257, 800] {
        let mut model = [f64s(&random(1, d)), vec![0.0; d], vec![0.0; d]];
        let bias = DecoderBias::new(gpu(), &random(1, d)).unwrap();
        for step in 1..=3 {
            let gradient = random(20 + step, d);
            bias.update(&kernels, &gradient, (step, 0.5, AT_REST)).unwrap();
            let [parameter, m, v] = &mut model;
            adam(parameter, m, v, &f64s(&gradient), 0.5, &Adam { step, ..ADAM });
        }
        let after = bias.read().unwrap();
        for (which, tolerance) in [(0, PARAMETERS), (1, MOMENTS), (2, MOMENTS)] {
            assert_close(&format!("update b_dec {which}, d {d}"), &after[which], &model[which], tolerance);
        }
        bias.update(&kernels, &random(30, d), (4, 0.5, [2, 0])).unwrap();
        assert_eq!(bias.read().unwrap(), after, "the guard is raised");
    }
}

#[test]
fn moments_in_bf16_are_those_in_f32_rounded_by_the_host_s_own_bits() {
    for (d, n, rows, k) in [(1, 1, 3, 1), (13, 70, 20, 5), (385, 40, 300, 3), (33, 1100, 50, 4)] {
        let model = model_with_moments(d, n);
        for step in [1, 500_000] {
            let cuts: &[&[usize]] = if n > 1024 { &[&[n], &[1024, n]] } else { &[&[n]] };
            for cuts in cuts {
                let [parameters, moments, all] = bf16_differences(gpu(), &model, rows, k, step, cuts).unwrap();
                assert!(all >= 4 * d * n);
                assert_eq!((parameters, moments), (0, 0), "of {all} moments, {d} x {n}, step {step}, {cuts:?}");
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
