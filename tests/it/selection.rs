//! Both ways to select, as the encoder runs them, against a sort.

use std::cmp::Ordering;

use monosem::data::Provenance;
use monosem::gpu::Gpu;
use monosem::kernels::{EncodeVariant, SelectionMethod, SelectionShape};
use monosem::rng::{Purpose, Rng};
use monosem::sae::{Sae, SaeConfig};
use monosem::train::{Encoder, HostCodes, Trainer, initialize};

use crate::kernels::gpu;
use crate::training::{BATCH, D, batches, config, hash, recipe, trained};

/// Width of rows whose dot products are small integers, so that an f32 holds them and most of them are tied.
const WIDTH: usize = 6;

fn methods(gpu: &Gpu) -> [SelectionMethod; 2] {
    let group = EncodeVariant::best(gpu.description()).group();
    [SelectionMethod::Chunked, SelectionMethod::Grouped { group }]
}

/// Integers in [-2, 2].
fn integers(seed: u64, count: usize) -> Vec<f32> {
    let rng = Rng::new(seed, Purpose::Weights);
    (0..count as u64).map(|at| (rng.block(at, 0)[0] % 5) as f32 - 2.0).collect()
}

fn sae(features: usize, k: usize, scaled: bool) -> Sae {
    let config =
        SaeConfig { d_in: WIDTH, features, k, rescale_acts_by_decoder_norm: scaled, apply_b_dec_to_input: true };
    // Decoder rows of norm 1 or 2, exactly.
    let norm = |feature: usize| if feature.is_multiple_of(3) { 2.0 } else { 1.0 };
    let w_dec = (0..features * WIDTH).map(|at| if at % WIDTH == 1 { norm(at / WIDTH) } else { 0.0 }).collect();
    Sae {
        config,
        w_enc: integers(1, features * WIDTH),
        b_enc: integers(2, features),
        w_dec,
        b_dec: vec![0.0; WIDTH],
        provenance: Provenance::default(),
    }
}

/// The codes of a row by sorting all of its keys.
fn sorted(sae: &Sae, row: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let key = |feature: usize| {
        let weights = &sae.w_enc[feature * WIDTH..(feature + 1) * WIDTH];
        let value = weights.iter().zip(row).map(|(w, x)| w * x).sum::<f32>() + sae.b_enc[feature];
        if sae.config.rescale_acts_by_decoder_norm { value * sae.w_dec[feature * WIDTH + 1] } else { value }
    };
    let mut order: Vec<(usize, f32)> = (0..sae.config.features).map(|feature| (feature, key(feature))).collect();
    let before =
        |a: &(usize, f32), b: &(usize, f32)| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0));
    if sae.config.k < order.len() {
        order.select_nth_unstable_by(sae.config.k, before);
        order.truncate(sae.config.k);
    }
    order.sort_unstable_by_key(|(feature, _)| *feature);
    order.into_iter().map(|(feature, key)| (feature as u32, key.max(0.0))).unzip()
}

/// Rows in which the codes of any method differ from a sort's.
fn differences(gpu: &Gpu, features: usize, k: usize, scaled: bool, rows: usize) -> usize {
    let sae = sae(features, k, scaled);
    // A batch of codes, and of candidates, within a binding.
    let batch = (100_000_000 / (4 * 16 * k)).clamp(1, rows);
    let mut encoders = methods(gpu).map(|method| Encoder::with_method(gpu, &sae, batch, method).unwrap());
    let mut differing = 0;
    for first in (0..rows).step_by(batch) {
        let count = batch.min(rows - first);
        let x = integers(3 + first as u64, count * WIDTH);
        let codes: Vec<HostCodes> = encoders.iter_mut().map(|encoder| encoder.encode(&x).unwrap()).collect();
        for (at, row) in x.chunks_exact(WIDTH).enumerate() {
            let (features, values) = sorted(&sae, row);
            let slots = at * k..(at + 1) * k;
            let is_equal =
                |codes: &HostCodes| codes.features[slots.clone()] == features && codes.values[slots.clone()] == values;
            differing += usize::from(!codes.iter().all(is_equal));
        }
    }
    differing
}

/// Rows of each size, and of 300,000 features.
fn is_a_sort(rows: impl Fn(usize, usize) -> usize, rows_of_many: usize) {
    for n in [1, 33, 1000, 8000] {
        for k in [1, 7, 32, 256, n] {
            if k <= n {
                assert_eq!(differences(gpu(), n, k, false, rows(n, k)), 0, "n {n}, k {k}");
            }
        }
    }
    assert_eq!(differences(gpu(), 300_000, 32, false, rows_of_many), 0);
}

#[test]
fn both_methods_are_a_sort_under_heavy_ties() {
    // A tenth of the rows below, but where k is large: those take the longest.
    is_a_sort(|n, k| if n * k > 1_000_000 { 100 } else { 2000 }, 20);
    for k in [7, 256] {
        assert_eq!(differences(gpu(), 1000, k, true, 500), 0, "scaled, k {k}");
    }
}

#[test]
#[ignore = "many minutes: 20,000 rows of each size"]
fn both_methods_are_a_sort_under_heavy_ties_at_length() {
    is_a_sort(|_, _| 20_000, 200);
}

#[test]
fn shards_and_methods_give_the_same_bits() {
    // One shard, three, and 17 of 2,048 features.
    let features = 17 * 2048 - 5;
    let initial = initialize(&config(features), 3, &batches(3, 1)[0].rows).unwrap();
    let mut hashes = Vec::new();
    for shards in [1, 3, 17] {
        let rows = features.div_ceil(shards).next_multiple_of(1024);
        let gpu = gpu().with_max_binding_bytes((rows * 16 * 4) as u64);
        for method in methods(&gpu) {
            let mut trainer = Trainer::with_method(&gpu, &initial, recipe(features, 3), method).unwrap();
            for batch in batches(3, 3) {
                trainer.step(&batch).unwrap();
            }
            while trainer.next_finished().unwrap().is_some() {}
            assert_eq!(trainer.shards(), shards);
            hashes.push((shards, method, hash(&trained(&trainer))));
        }
    }
    let (_, _, first) = &hashes[0];
    assert!(hashes.iter().all(|(_, _, hash)| hash == first), "{hashes:?}");
}

#[test]
fn the_method_follows_the_size() {
    let description = gpu().description();
    let method = |features, k| {
        SelectionMethod::choose(description, SelectionShape { rows: BATCH as u64, d: D as u64, features, k })
    };
    assert_eq!(method(100, 32), SelectionMethod::Chunked);
    assert!(matches!(method(1 << 25, 32), SelectionMethod::Grouped { .. }));
    let huge = SelectionShape { rows: 1 << 20, d: 768, features: 1 << 25, k: 1024 };
    assert_eq!(SelectionMethod::choose(description, huge), SelectionMethod::Chunked);
}
