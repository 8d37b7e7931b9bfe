//! Both ways to select, as the encoder runs them, against a sort.

use std::cmp::Ordering;

use monosem::apply::{Encoder, HostCodes};
use monosem::data::Provenance;
use monosem::engine::select::{Screening, SelectionMethod, SelectionShape, Tuning};
use monosem::gpu::{AdapterDescription, Gpu};
use monosem::kernels::{EncodeVariant, ScreenVariant};
use monosem::rng::{Purpose, Rng};
use monosem::sae::{Architecture, Sae, SaeConfig, TopK};
use monosem::selftest::screen::variants;
use monosem::selftest::tensors::random;
use monosem::train::{Trainer, initialize};

use crate::engine::training::{BATCH, D, batches, config, hash, recipe, trained};
use crate::kernels::gpu;

/// Width of rows whose dot products are small integers, so that an f32 holds them and most of them are tied.
const WIDTH: usize = 6;

fn methods(gpu: &Gpu) -> Vec<SelectionMethod> {
    let group = EncodeVariant::best(gpu.description()).group();
    vec![SelectionMethod::Chunked, SelectionMethod::Grouped { group }]
}

/// Few groups, so that ties leave it uncertain.
fn screened(gpu: &Gpu, k: usize) -> Vec<SelectionMethod> {
    let groups = k as u32 + 3;
    let method = |variant| SelectionMethod::Screened { variant, groups };
    ScreenVariant::available(gpu.description()).into_iter().map(method).collect()
}

/// Integers in [-2, 2].
fn integers(seed: u64, count: usize) -> Vec<f32> {
    let rng = Rng::new(seed, Purpose::Weights);
    (0..count as u64).map(|at| (rng.block(at, 0)[0] % 5) as f32 - 2.0).collect()
}

fn scaled_by_norms(k: usize, scaled: bool) -> Architecture {
    TopK { rescale_acts_by_decoder_norm: scaled, ..TopK::new(k) }.into()
}

fn sae(features: usize, k: usize, scaled: bool) -> Sae {
    let config = SaeConfig { architecture: scaled_by_norms(k, scaled), ..SaeConfig::top_k(WIDTH, features, k) };
    // Decoder rows of norm 1 or 2, exactly.
    let norm = |feature: usize| if feature.is_multiple_of(3) { 2.0 } else { 1.0 };
    let w_dec = (0..features * WIDTH).map(|at| if at % WIDTH == 1 { norm(at / WIDTH) } else { 0.0 }).collect();
    Sae {
        config,
        tensors: vec![integers(1, features * WIDTH), integers(2, features), w_dec, vec![0.0; WIDTH]],
        provenance: Provenance::default(),
    }
}

/// The codes of a row by sorting all of its keys.
fn sorted(sae: &Sae, scaled: bool, row: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let ([w_enc, b_enc, w_dec], k) = (["W_enc", "b_enc", "W_dec"].map(|name| sae.tensor(name)), sae.config.usual_l0());
    let key = |feature: usize| {
        let weights = &w_enc[feature * WIDTH..(feature + 1) * WIDTH];
        let value = weights.iter().zip(row).map(|(w, x)| w * x).sum::<f32>() + b_enc[feature];
        if scaled { value * w_dec[feature * WIDTH + 1] } else { value }
    };
    let mut order: Vec<(usize, f32)> = (0..sae.config.features).map(|feature| (feature, key(feature))).collect();
    let before =
        |a: &(usize, f32), b: &(usize, f32)| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0));
    if k < order.len() {
        order.select_nth_unstable_by(k, before);
        order.truncate(k);
    }
    order.sort_unstable_by_key(|(feature, _)| *feature);
    order.into_iter().map(|(feature, key)| (feature as u32, key.max(0.0))).unzip()
}

/// Rows in which the codes of any of these methods differ from a sort's.
fn differences(
    gpu: &Gpu,
    methods: Vec<SelectionMethod>,
    (features, k): (usize, usize),
    scaled: bool,
    rows: usize,
) -> usize {
    let sae = sae(features, k, scaled);
    // A batch of codes, and of candidates, within a binding.
    let batch = (100_000_000 / (4 * 16 * k)).clamp(1, rows);
    let encoder = |method| Encoder::with_tuning(gpu, &sae, batch, Tuning::usual(gpu.description(), method)).unwrap();
    let mut encoders: Vec<_> = methods.into_iter().map(encoder).collect();
    let mut differing = 0;
    for first in (0..rows).step_by(batch) {
        let count = batch.min(rows - first);
        let x = integers(3 + first as u64, count * WIDTH);
        let codes: Vec<HostCodes> = encoders.iter_mut().map(|encoder| encoder.encode(&x).unwrap()).collect();
        for (at, row) in x.chunks_exact(WIDTH).enumerate() {
            let (features, values) = sorted(&sae, scaled, row);
            let slots = at * k..(at + 1) * k;
            let is_equal =
                |codes: &HostCodes| codes.features[slots.clone()] == features && codes.values[slots.clone()] == values;
            differing += usize::from(!codes.iter().all(is_equal));
        }
    }
    differing
}

/// Rows of each size, a tenth of them screened, and of 300,000 features.
fn is_a_sort(rows: impl Fn(usize, usize) -> usize, rows_of_many: usize) {
    for n in [1, 33, 1000, 8000] {
        for k in [1, 7, 32, 256, n] {
            if k <= n {
                let rows = rows(n, k);
                assert_eq!(differences(gpu(), methods(gpu()), (n, k), false, rows), 0, "n {n}, k {k}");
                let screened = differences(gpu(), screened(gpu(), k), (n, k), false, rows.div_ceil(10));
                assert_eq!(screened, 0, "n {n}, k {k}, screened");
            }
        }
    }
    assert_eq!(differences(gpu(), methods(gpu()), (300_000, 32), false, rows_of_many), 0);
}

#[test]
fn all_methods_are_a_sort_under_heavy_ties() {
    // A tenth of the rows below, but where k is large: those take the longest.
    is_a_sort(|n, k| if n * k > 1_000_000 { 100 } else { 2000 }, 20);
    for k in [7, 256] {
        let all = [methods(gpu()), screened(gpu(), k)].concat();
        assert_eq!(differences(gpu(), all, (1000, k), true, 300), 0, "scaled, k {k}");
    }
}

#[test]
#[ignore = "many minutes: 20,000 rows of each size"]
fn all_methods_are_a_sort_under_heavy_ties_at_length() {
    is_a_sort(|_, _| 20_000, 200);
}

#[test]
fn shards_and_methods_give_the_same_bits() {
    // One shard, three, and 17 of 1,024 features.
    let features = 17 * 1024 - 5;
    let initial = initialize(&config(features), 3, &batches(3, 1)[0].rows.to_f32()).unwrap();
    let mut hashes = Vec::new();
    for shards in [1, 3, 17] {
        let rows = features.div_ceil(shards).next_multiple_of(1024);
        let gpu = gpu().with_max_binding_bytes((rows * 16 * 4) as u64);
        for method in [methods(&gpu), screened(&gpu, config(features).usual_l0())].concat() {
            let mut trainer =
                Trainer::with_tuning(&gpu, &initial, recipe(features, 3), Tuning::usual(gpu.description(), method))
                    .unwrap();
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

/// An SAE of random weights and rows of sizes that f16 alone could not hold.
fn random_case(features: usize, k: usize, rows: usize) -> (Sae, Vec<f32>) {
    let d = 200;
    let w_enc = random(1, features * d).into_iter().enumerate().map(|(at, w)| w * 10_f32.powi((at / d % 5) as i32 - 2));
    let config = SaeConfig { architecture: scaled_by_norms(k, true), ..SaeConfig::top_k(d, features, k) };
    let sae = Sae {
        config,
        tensors: vec![w_enc.collect(), random(2, features), random(3, features * d), random(4, d)],
        provenance: Provenance::default(),
    };
    let x = random(5, rows * d).iter().enumerate().map(|(at, x)| x * 30_f32.powi((at / d % 9) as i32 - 4)).collect();
    (sae, x)
}

#[test]
fn screened_codes_are_those_of_f32_to_the_bit_and_are_certain_on_random_rows() {
    for (features, k, rows) in [(5000, 16, 70), (2500, 64, 33), (1024, 1, 9)] {
        let (sae, x) = random_case(features, k, rows);
        // One shard and several.
        for gpu in [gpu().with_max_binding_bytes(u64::MAX), gpu().with_max_binding_bytes(1024 * 208 * 4)] {
            let encoded = |method| {
                let mut encoder =
                    Encoder::with_tuning(&gpu, &sae, rows, Tuning::usual(gpu.description(), method)).unwrap();
                (encoder.encode(&x).unwrap(), encoder.uncertain_rows())
            };
            let (expected, _) = encoded(SelectionMethod::Chunked);
            for variant in variants(&gpu) {
                for groups in [k as u32, k as u32 + k as u32 / 4 + 8] {
                    let (codes, uncertain) = encoded(SelectionMethod::Screened { variant, groups });
                    assert!(codes == expected, "{variant}, {features} features, k {k}, {groups} groups");
                    // As many groups as features are not enough for every row; a few more are.
                    let all_or_none = if groups == k as u32 { 1..=rows as u32 } else { 0..=0 };
                    assert!(
                        all_or_none.contains(&uncertain),
                        "{uncertain} of {rows} rows uncertain with {groups} groups"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_that_are_equal_but_for_less_than_f16_can_tell_are_selected_by_chunks() {
    // Features in pairs, whose weights differ by less than the margin.
    let (features, k, rows, d) = (600, 8, 5, 40);
    let (mut sae, _) = random_case(features, k, rows);
    sae.config.d_in = d;
    let weights = random(1, d);
    let w_enc = (0..features).flat_map(|feature| weights.iter().map(move |w| w * (1.0 + feature as f32 * 1e-6)));
    sae.tensors = vec![w_enc.collect(), vec![0.0; features], vec![1.0; features * d], vec![0.0; d]];
    let x = random(6, rows * d);
    let usual = |method| Tuning::usual(gpu().description(), method);
    let mut chunked = Encoder::with_tuning(gpu(), &sae, rows, usual(SelectionMethod::Chunked)).unwrap();
    let expected = chunked.encode(&x).unwrap();
    for variant in variants(gpu()) {
        let method = SelectionMethod::Screened { variant, groups: 24 };
        let mut encoder = Encoder::with_tuning(gpu(), &sae, rows, usual(method)).unwrap();
        assert!(encoder.encode(&x).unwrap() == expected, "{variant}");
        assert_eq!(encoder.uncertain_rows(), rows as u32);
        // What is left over from a batch that was uncertain does not make the next one so.
        let (sae, x) = random_case(5000, 16, 70);
        let method = SelectionMethod::Screened { variant, groups: 40 };
        let mut encoder = Encoder::with_tuning(gpu(), &sae, 70, usual(method)).unwrap();
        let first = encoder.encode(&x).unwrap();
        assert!(encoder.encode(&x).unwrap() == first && encoder.uncertain_rows() == 0);
    }
}

#[test]
fn blocks_of_rows_give_the_bits_of_one_block() {
    // The candidates of all rows exceed a binding that a shard of 1,024 features fits.
    let (features, k, rows) = (2500, 64, 600);
    let (sae, x) = random_case(features, k, rows);
    let group = EncodeVariant::best(gpu().description()).group();
    let narrow = gpu().with_max_binding_bytes(1024 * 208 * 4);
    let encoded = |gpu: &Gpu, method| {
        let mut encoder = Encoder::with_tuning(gpu, &sae, rows, Tuning::usual(gpu.description(), method)).unwrap();
        (encoder.encode(&x).unwrap(), encoder.uncertain_rows())
    };
    let (expected, _) = encoded(gpu(), SelectionMethod::Chunked);
    // With as many groups as features there are uncertain rows, with more there are none.
    let screened = variants(gpu()).into_iter().rev().take(2);
    let screened = screened.flat_map(|variant| [64, 120].map(|groups| SelectionMethod::Screened { variant, groups }));
    for method in [SelectionMethod::Grouped { group }].into_iter().chain(screened) {
        let (codes, uncertain) = encoded(&narrow, method);
        assert!(codes == expected, "{method}");
        let has_few = matches!(method, SelectionMethod::Screened { groups: 64, .. });
        assert_eq!(uncertain > 0, has_few, "{method}: {uncertain}");
    }
}

#[test]
fn the_method_follows_the_size() {
    let description = gpu().description();
    let method = |features, k| {
        SelectionMethod::choose(
            description,
            Screening::Auto,
            SelectionShape { rows: BATCH as u64, d: D as u64, features, k, is_per_row: true },
        )
    };
    assert_eq!(method(100, 32), SelectionMethod::Chunked);
    assert!(matches!(method(1 << 25, 32), SelectionMethod::Grouped { .. }));
    // However many rows: those whose candidates do not fit a binding are worked on by blocks.
    let shape = SelectionShape { rows: 1 << 20, d: 768, features: 1 << 25, k: 64, is_per_row: true };
    assert!(matches!(SelectionMethod::choose(description, Screening::Auto, shape), SelectionMethod::Grouped { .. }));
    // On GPUs rows of a batch share what is read of the weights, so it depends on their number.
    let discrete = AdapterDescription { kind: "discrete", max_binding_bytes: 1 << 31, ..AdapterDescription::default() };
    let grouped = |rows| {
        let shape = SelectionShape { rows, d: 768, features: 1 << 17, k: 32, is_per_row: true };
        matches!(SelectionMethod::choose(&discrete, Screening::F32, shape), SelectionMethod::Grouped { .. })
    };
    assert_eq!([grouped(512), grouped(4096)], [false, true]);
    let huge = SelectionShape { k: 1 << 16, ..shape };
    assert_eq!(SelectionMethod::choose(description, Screening::Auto, huge), SelectionMethod::Chunked);
}

#[test]
fn screening_follows_the_device_unless_it_is_told() {
    let shape = SelectionShape { rows: 4096, d: 768, features: 1 << 17, k: 32, is_per_row: true };
    let matrix_units = AdapterDescription {
        kind: "discrete",
        backend: "vulkan",
        max_binding_bytes: 1 << 31,
        workgroup_bytes: 48 << 10,
        subgroup_size: Some(32),
        matrix_tile: Some(16),
        ..AdapterDescription::default()
    };
    let plain = AdapterDescription { matrix_tile: None, ..matrix_units.clone() };
    let screens = |adapter: &AdapterDescription, screening, shape| {
        matches!(SelectionMethod::choose(adapter, screening, shape), SelectionMethod::Screened { groups: 54, .. })
    };
    assert!(screens(&matrix_units, Screening::Auto, shape) && screens(&plain, Screening::F16, shape));
    assert!(!screens(&matrix_units, Screening::F32, shape) && !screens(&plain, Screening::Auto, shape));
    assert!(!screens(&matrix_units, Screening::Auto, SelectionShape { features: 4096, ..shape }));
    let apple = AdapterDescription { backend: "metal", kind: "integrated", ..matrix_units.clone() };
    assert!(!screens(&apple, Screening::Auto, shape) && screens(&apple, Screening::F16, shape));
    let software = AdapterDescription { kind: "software", ..matrix_units.clone() };
    assert!(!screens(&software, Screening::Auto, shape));
    let little_memory = AdapterDescription { workgroup_bytes: 16 << 10, ..matrix_units };
    assert!(!screens(&little_memory, Screening::Auto, shape));
}
