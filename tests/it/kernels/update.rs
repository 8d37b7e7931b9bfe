use monosem::kernels::Update;
use monosem::reference::{Adam, adam};
use monosem::selftest::tensors::{AT_REST, f64s, random};
use monosem::selftest::update::{ADAM, Batch, DecoderBias, MOMENTS, Model, PARAMETERS, Shard, Updated, three_steps};

use super::{assert_close, deterministic, gpu};

#[test]
fn three_steps_match_the_reference() {
    let kernels = Update::new(gpu()).unwrap();
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
    let kernels = Update::new(gpu()).unwrap();
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
    let kernels = Update::new(gpu()).unwrap();
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
    let kernels = Update::new(gpu()).unwrap();
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
