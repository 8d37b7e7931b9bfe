//! The reference against what SAELens and dictionary_learning computed, against finite differences and by hand.

use monosem::reference::{
    Codes, Parameters, Recipe, State, StepOutput, activity, center, clip, decode, encode, norms, select, step,
    transpose,
};
use serde_json::Value;

use crate::oracle::vectors::{self, Vectors, Worst, batches, dense, flag, number};

/// Largest difference from a golden tensor, of that tensor's largest magnitude.
const TOLERANCE: f64 = 1e-9;

#[test]
fn golden_saelens_topk_training() {
    let mut tested = 0;
    for vectors in vectors::cases(|class| class == "TopKTrainingSAE") {
        if vectors.f64s("dead_mask").contains(&1.0) {
            println!("{}: not tested, it has an auxiliary loss", vectors.name);
            continue;
        }
        let config = &vectors.case["config"];
        let recipe = Recipe {
            rescale: flag(config, "rescale_acts_by_decoder_norm"),
            input_centred: flag(config, "apply_b_dec_to_input"),
            clip: None,
            unit_norm_decoder: None,
            ..recipe(&vectors.case)
        };
        let lr = number(&vectors.case["adam"], "lr");
        let mut state = State::new(vectors.saelens_parameters("init"));
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let d = state.parameters.b_dec.len();
            let golden = |name: &str| vectors.f64s(&format!("step{s}.{name}"));
            let output = step(&mut state, x, d, &recipe, lr);
            worst.compare("loss", &[output.loss], &golden("loss"));
            let feature_acts = dense(&output.codes, state.parameters.b_enc.len());
            worst.compare("feature_acts", &feature_acts, &golden("feature_acts"));
            worst.compare("reconstruction", &output.reconstruction, &golden("reconstruction"));
            worst.compare_each("grad", &output.gradients, &vectors.saelens_parameters(&format!("step{s}.grad")));
            worst.compare_each("after", &state.parameters, &vectors.saelens_parameters(&format!("step{s}.after")));
        }
        worst.report(&vectors.name);
        tested += 1;
    }
    assert!(tested > 0, "every case has an auxiliary loss");
}

#[test]
fn golden_dictionary_learning_topk_training() {
    for vectors in vectors::cases(|class| class.starts_with("dictionary_learning TopKTrainer")) {
        let recipe = Recipe {
            rescale: false,
            input_centred: true,
            clip: vectors.case["config"]["clip"].as_f64(),
            // The machine epsilon of the vectors' precision.
            unit_norm_decoder: Some(f64::EPSILON),
            ..recipe(&vectors.case)
        };
        let mut state = State::new(vectors.dictionary_learning_parameters("init", "b_dec_initial"));
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let d = state.parameters.b_dec.len();
            let golden = |name: &str| vectors.scalar(&format!("step{s}.{name}"));
            let output = step(&mut state, x, d, &recipe, golden("lr"));
            worst.compare("loss", &[output.loss], &[golden("loss")]);
            worst.compare("norm", &[output.norm], &[golden("grad_norm_before_clip")]);
            let after = format!("step{s}.after");
            let expected = vectors.dictionary_learning_parameters(&after, &format!("{after}.b_dec"));
            worst.compare_each("after", &state.parameters, &expected);
        }
        worst.report(&vectors.name);
    }
}

#[test]
fn golden_saelens_topk_directory() {
    for directory in vectors::saelens_directories("topk") {
        let config = vectors::json(&directory.join("cfg.json"));
        let weights = Vectors::open(&directory.join("sae_weights.safetensors"));
        let expected = Vectors::open(&directory.join("expected.safetensors"));
        let (w_enc, b_enc) = (weights.feature_major("W_enc"), weights.f64s("b_enc"));
        let (w_dec, b_dec) = (weights.f64s("W_dec"), weights.f64s("b_dec"));
        let (n, d) = (b_enc.len(), b_dec.len());

        let mut input = expected.f64s("x");
        if flag(&config, "apply_b_dec_to_input") {
            input = center(&input, &b_dec);
        }
        let u = encode(&input, &w_enc, &b_enc, d);
        let mut keys = u.clone();
        if flag(&config, "rescale_acts_by_decoder_norm") {
            let norms = norms(&w_dec, d);
            for (i, key) in keys.iter_mut().enumerate() {
                *key *= norms[i % n];
            }
        }
        let codes = select(&keys, &u, n, number(&config, "k") as usize);

        let mut worst = Worst::new(TOLERANCE);
        let feature_acts = dense(&codes, n);
        worst.compare("feature_acts", &feature_acts, &expected.f64s("feature_acts"));
        let reconstruction = decode(&codes, &w_dec, &b_dec, d);
        worst.compare("reconstruction", &reconstruction, &expected.f64s("reconstruction"));
        worst.report(&directory.file_name().unwrap().to_string_lossy());
    }
}

#[test]
fn gradients_are_finite_differences_of_the_loss() {
    const H: f64 = 1e-5;
    let (rows, n, d) = (7, 10, 5);
    for (rescale, input_centred) in [(false, true), (true, true), (false, false), (true, false)] {
        let recipe = Recipe {
            // Large enough that some rows keep entries with u < 0, which the ReLU must silence.
            k: 6,
            rescale,
            input_centred,
            clip: None,
            unit_norm_decoder: None,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        };
        let mut random = Random(17);
        let parameters = Parameters {
            w_enc: random.numbers(n * d),
            b_enc: random.numbers(n),
            w_dec: random.numbers(n * d),
            b_dec: random.numbers(d),
        };
        let x = random.numbers(rows * d);
        let output =
            |parameters: &Parameters| -> StepOutput { step(&mut State::new(parameters.clone()), &x, d, &recipe, 0.0) };
        let base = output(&parameters);
        assert!(base.codes.values.contains(&0.0), "no entry is silenced");

        let mut differences = Parameters::zeros(&parameters);
        for group in 0..4 {
            for i in 0..parameters.each()[group].len() {
                let loss = |change: f64| {
                    let mut probed = parameters.clone();
                    probed.each_mut()[group][i] += change;
                    let output = output(&probed);
                    // The loss jumps where the selection changes: a probe that crosses such an edge measures the jump.
                    assert_eq!(support(&output.codes), support(&base.codes));
                    output.loss
                };
                differences.each_mut()[group][i] = (loss(H) - loss(-H)) / (2.0 * H);
            }
        }
        let mut worst = Worst::new(1e-7);
        worst.compare_each("grad", &base.gradients, &differences);
        worst.report(&format!("finite differences (rescale {rescale}, input centred {input_centred})"));
    }
}

#[test]
fn select_prefers_the_lower_feature_among_equals() {
    let keys = [1.0, 3.0, 2.0, 2.0, 2.0, 0.5];
    let codes = select(&keys, &keys, 6, 3);
    assert_eq!(codes.features, [1, 2, 3]);
    assert_eq!(codes.values, [3.0, 2.0, 2.0]);
}

#[test]
fn select_takes_negative_zero_for_zero() {
    for keys in [[-0.0, 0.0, -1.0], [0.0, -0.0, -1.0]] {
        let codes = select(&keys, &keys, 3, 1);
        assert_eq!(codes.features, [0]);
        assert_eq!(codes.values[0].to_bits(), 0.0f64.to_bits());
    }
}

#[test]
fn select_lets_nan_be_seen() {
    let keys = [f64::INFINITY, 1.0, f64::NAN, -f64::NAN];
    let codes = select(&keys, &keys, 4, 3);
    assert_eq!(codes.features, [0, 2, 3]);
    assert_eq!(codes.values[0], f64::INFINITY);
    assert!(codes.values[1].is_nan() && codes.values[2].is_nan());
    assert!(codes.keys[1].is_nan() && codes.keys[2].is_nan());
}

#[test]
fn select_rectifies_after_selecting_and_keeps_keys_apart_from_values() {
    let keys = [-1.0, -3.0, 8.0, /* row 2 */ 5.0, 6.0, 7.0];
    let values = [-0.5, -1.5, 4.0, /* row 2 */ 2.5, 3.0, 3.5];
    let codes = select(&keys, &values, 3, 2);
    assert_eq!(codes.features, [0, 2, 1, 2]);
    assert_eq!(codes.keys, [0.0, 8.0, 6.0, 7.0]);
    assert_eq!(codes.values, [0.0, 4.0, 3.0, 3.5]);
}

#[test]
fn transpose_lists_positive_entries_by_feature_then_row() {
    let codes = Codes {
        k: 2,
        features: vec![1, 4, 0, 4, 1, 2],
        values: vec![1.0, 2.0, 0.0, 3.0, 4.0, 5.0],
        keys: vec![0.0; 6],
    };
    let runs = transpose(&codes, 5);
    assert_eq!(runs.features, [1, 2, 4]);
    assert_eq!(runs.starts, [0, 2, 3, 5]);
    assert_eq!(runs.entries, [0, 4, 5, 1, 3]);

    let (mut last_fired, mut counts) = ([7; 5], [10; 5]);
    activity(&runs, 9, &mut last_fired, &mut counts);
    assert_eq!(last_fired, [7, 9, 9, 7, 9]);
    assert_eq!(counts, [10, 12, 11, 10, 12]);
}

// Adam all but undoes a common scale, so the golden vectors say little about the coefficient.
#[test]
fn clip_scales_the_global_norm_down_to_the_maximum() {
    let clipped = |max_norm| clip(&[4.0, 5.0], &[0.0, 4.0], max_norm);
    assert_eq!(clipped(None).norm, 5.0);
    assert_eq!(clipped(None).coefficient, 1.0);
    assert_eq!(clipped(Some(2.0)).coefficient, 2.0 / (5.0 + 1e-6));
    assert_eq!(clipped(Some(6.0)).coefficient, 1.0);
    assert!(clip(&[f64::NAN], &[], Some(1.0)).coefficient.is_nan());
}

/// What all cases record in the same place; the rest is nothing special.
fn recipe(case: &Value) -> Recipe {
    Recipe {
        k: number(&case["config"], "k") as usize,
        rescale: false,
        input_centred: true,
        clip: None,
        unit_norm_decoder: None,
        beta1: number(&case["adam"], "beta1"),
        beta2: number(&case["adam"], "beta2"),
        epsilon: number(&case["adam"], "eps"),
    }
}

/// The features of each entry, and whether it carries anything.
fn support(codes: &Codes) -> Vec<(u32, bool)> {
    let entries = codes.features.iter().zip(&codes.values);
    entries.map(|(&j, &a)| (j, a > 0.0)).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Uniform in [-1, 1).
    fn numbers(&mut self, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = self.0;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^= z >> 31;
                (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect()
    }
}
