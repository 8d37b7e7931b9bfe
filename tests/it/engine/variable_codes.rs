//! Codes whose number per row the SAE decides, as the encoder and the evaluator find them, and lists of a whole batch.

use monosem::Error;
use monosem::apply::{Encoder, HostCodes, evaluate};
use monosem::data::{Batch, Provenance};
use monosem::gpu::Gpu;
use monosem::rng::{Purpose, Rng};
use monosem::sae::{Architecture, BatchTopK, JumpRelu, Relu, Sae, SaeConfig};
use monosem::train::{Trainer, initialize};

use crate::engine::training::{batches, config, hash, recipe, trained};
use crate::kernels::gpu;

/// Width of rows whose dot products are small integers, which f32 holds exactly.
const WIDTH: usize = 6;

/// Integers in [-2, 2].
fn integers(seed: u64, count: usize) -> Vec<f32> {
    let rng = Rng::new(seed, Purpose::Weights);
    (0..count as u64).map(|at| (rng.block(at, 0)[0] % 5) as f32 - 2.0).collect()
}

fn relu() -> Architecture {
    Relu { l1: 1.0, normed: true, capacity: None }.into()
}

fn sae(features: usize, architecture: Architecture) -> Sae {
    let config = SaeConfig { architecture, ..SaeConfig::top_k(WIDTH, features, 1) };
    let value = |name: &str| match name {
        "W_enc" => integers(1, features * WIDTH),
        "b_enc" => integers(2, features),
        "W_dec" => integers(3, features * WIDTH),
        "threshold" => integers(4, features).into_iter().map(|value| value.abs() + 3.0).collect(),
        _ => vec![0.0; WIDTH],
    };
    let tensors = config.tensors().iter().map(|tensor| value(tensor.name)).collect();
    Sae { config, tensors, provenance: Provenance::default() }
}

/// The codes by comparing every key.
fn expected(sae: &Sae, x: &[f32]) -> HostCodes {
    let (w_enc, b_enc) = (sae.tensor("W_enc"), sae.tensor("b_enc"));
    let threshold = match &sae.config.architecture {
        Architecture::JumpRelu(_) => sae.tensor("threshold").to_vec(),
        _ => vec![0.0; sae.config.features],
    };
    let mut codes = HostCodes { starts: vec![0], features: Vec::new(), values: Vec::new() };
    for row in x.chunks_exact(WIDTH) {
        for (feature, w) in w_enc.chunks_exact(WIDTH).enumerate() {
            let u = w.iter().zip(row).map(|(w, x)| w * x).sum::<f32>() + b_enc[feature];
            if u > threshold[feature] {
                codes.features.push(feature as u32);
                codes.values.push(u);
            }
        }
        codes.starts.push(codes.features.len());
    }
    codes
}

/// Codes of batches, as those of one.
fn joined(parts: impl IntoIterator<Item = HostCodes>) -> HostCodes {
    let mut all = HostCodes { starts: vec![0], features: Vec::new(), values: Vec::new() };
    for part in parts {
        let before = all.features.len();
        all.starts.extend(part.starts[1..].iter().map(|start| before + start));
        all.features.extend(part.features);
        all.values.extend(part.values);
    }
    all
}

fn streamed(gpu: &Gpu, sae: &Sae, x: &[f32], batch: usize) -> HostCodes {
    let mut encoder = Encoder::new(gpu, sae, batch).unwrap();
    let mut parts = Vec::new();
    for rows in x.chunks(batch * WIDTH) {
        parts.extend(encoder.submit(rows).unwrap());
    }
    while let Some(part) = encoder.next_finished().unwrap() {
        parts.push(part);
    }
    joined(parts)
}

#[test]
fn codes_are_those_that_exceed_their_thresholds_in_any_batches_and_shards() {
    let x = integers(5, 150 * WIDTH);
    for architecture in [relu(), JumpRelu::inference().into()] {
        let sae = sae(5000, architecture);
        let expected = expected(&sae, &x);
        assert!(expected.features.len() > 10_000);
        for batch in [1, 33, 150, 200] {
            let rows = if batch == 1 { 5 } else { 150 };
            let actual = streamed(gpu(), &sae, &x[..rows * WIDTH], batch);
            let end = expected.starts[rows];
            assert_eq!(actual.starts, expected.starts[..=rows], "batches of {batch}");
            assert!(actual.features == expected.features[..end] && actual.values == expected.values[..end]);
        }
        let narrow = gpu().with_max_binding_bytes(1024 * 16 * 4);
        // A chunk, a shard and a list in several parts each.
        assert!(streamed(&narrow, &sae, &x, 13) == expected, "five shards");
    }
}

#[test]
fn rows_that_do_not_fit_the_list_together_are_taken_by_parts() {
    // About half of 20,000 features on 600 rows: more than the 2^22 entries that a list has.
    let (sae, x) = (sae(20_000, relu()), integers(6, 600 * WIDTH));
    let expected = expected(&sae, &x);
    assert!(expected.features.len() > 1 << 22);
    let mut encoder = Encoder::new(gpu(), &sae, 600).unwrap();
    assert!(encoder.encode(&x[..]).unwrap() == expected);
    // A single row, filled up with copies that do not fit.
    let one = encoder.encode(&x[..WIDTH]).unwrap();
    assert_eq!(one.features, expected.features[..expected.starts[1]]);
    // Nothing is left of it in the next batch.
    assert!(encoder.encode(&x[..]).unwrap() == expected);

    let evaluated = |batch: usize| {
        let batches = x.chunks(batch * WIDTH).map(|rows| Ok(Batch::new(rows.to_vec(), WIDTH)));
        evaluate(gpu(), &sae, batch, batches).unwrap()
    };
    let (whole, parts) = (evaluated(600), evaluated(100));
    assert_eq!((&whole.density, whole.all.l0), (&parts.density, parts.all.l0));
    assert_eq!(whole.all.l0, expected.features.len() as f64 / 600.0);
    assert!((whole.all.mse / parts.all.mse - 1.0).abs() < 1e-9, "{whole:?}, {parts:?}");
}

#[test]
fn a_row_that_is_not_finite_is_named_in_any_part() {
    let (sae, mut x) = (sae(20_000, relu()), integers(6, 600 * WIDTH));
    x[450 * WIDTH + 2] = f32::INFINITY;
    let mut encoder = Encoder::new(gpu(), &sae, 600).unwrap();
    let outcome = encoder.encode(&x[..]);
    assert!(matches!(outcome, Err(Error::Diverged { row: Some(450), .. })), "{outcome:?}");
}

#[test]
fn features_that_compete_within_a_batch_are_not_applied_without_their_threshold() {
    let sae = sae(100, BatchTopK::new(3).into());
    let outcome = Encoder::new(gpu(), &sae, 10).map(drop);
    assert!(matches!(&outcome, Err(Error::Config(problem)) if problem.contains("JumpReLU")), "{outcome:?}");
}

#[test]
fn any_number_of_shards_gives_the_same_batch_lists() {
    let features = 5 * 1024 - 7;
    let config = SaeConfig { architecture: BatchTopK::new(6).into(), ..config(features) };
    let initial = initialize(&config, 3, &batches(3, 1)[0].rows.to_f32()).unwrap();
    let mut hashes = Vec::new();
    for shards in [1, 2, 5] {
        // Room for 2 · 6 · 300 entries of 16 bytes, too.
        let rows = features.div_ceil(shards).next_multiple_of(1024);
        let gpu = gpu().with_max_binding_bytes((rows * 16 * 4) as u64);
        let mut trainer = Trainer::new(&gpu, &initial, recipe(features, 4)).unwrap();
        let mut active = Vec::new();
        for batch in batches(3, 4) {
            active.extend(trainer.step(&batch).unwrap());
        }
        while let Some(finished) = trainer.next_finished().unwrap() {
            active.push(finished);
        }
        assert_eq!(trainer.shards(), shards);
        assert!(active.iter().all(|progress| progress.l0 == 6.0), "K of the batch, on average k per row");
        hashes.push(hash(&trained(&trainer)));
    }
    assert!(hashes.iter().all(|other| *other == hashes[0]), "{hashes:?}");
}
