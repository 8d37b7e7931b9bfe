//! The reference against what SAELens and dictionary_learning computed, and by hand.

use monosem::reference::{
    Clock, Counters, Entry, Parameters, Settings, State, clip, forward, largest, select_row, step, variance,
};
use monosem::sae::description::{Counted, Keep};
use monosem::sae::{SaeConfig, TopK};
use serde_json::Value;

use crate::oracle::vectors::{
    self, DEAD_WINDOW, Vectors, Worst, batches, dense, flag, last_fired, number, top_k_config,
};

/// Largest difference from a golden tensor, of that tensor's largest magnitude.
const TOLERANCE: f64 = 1e-12;

#[test]
fn golden_saelens_topk_training() {
    for vectors in vectors::cases(|class| class == "TopKTrainingSAE") {
        let config = top_k_config(&vectors);
        let settings = settings(&vectors.case);
        let lr = number(&vectors.case["adam"], "lr");
        let dead_mask = vectors.f64s("dead_mask");
        let mut state = State::new(vectors.saelens_parameters("init"));
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.f64s(&format!("step{s}.{name}"));
            // SAELens was given the same dead features in every step, whichever fired meanwhile.
            state.counters.last_fired = last_fired(&dead_mask);
            let output = step(&mut state, &config, x, &settings, lr);
            let pass = &output.forward;
            worst.compare("loss", &[output.loss()], &golden("loss"));
            worst.compare("loss.mse", &[pass.fields[0].loss], &golden("loss.mse_loss"));
            if let Some(auxiliary) = pass.fields.get(1) {
                worst.compare("loss.auxk", &[auxiliary.loss], &golden("loss.auxiliary_reconstruction_loss"));
            }
            worst.compare("feature_acts", &dense(&pass.lists[0], config.features), &golden("feature_acts"));
            worst.compare("reconstruction", &pass.fields[0].values, &golden("reconstruction"));
            worst.compare_each("grad", &output.gradients, &vectors.saelens_parameters(&format!("step{s}.grad")));
            worst.compare_each("after", &state.parameters, &vectors.saelens_parameters(&format!("step{s}.after")));
        }
        worst.report(&vectors.name);
    }
}

#[test]
fn golden_dictionary_learning_topk_training() {
    for vectors in vectors::cases(|class| class.starts_with("dictionary_learning TopKTrainer")) {
        let settings = Settings {
            clip: vectors.case["config"]["clip"].as_f64(),
            // The machine epsilon of the vectors' precision.
            unit_norm_decoder: Some(f64::EPSILON),
            ..settings(&vectors.case)
        };
        let mut state = State::new(vectors.dictionary_learning_parameters("init", "b_dec_initial"));
        let [n, d] = [state.parameters.b_enc.len(), state.parameters.b_dec.len()];
        let config = SaeConfig::top_k(d, n, number(&vectors.case["config"], "k") as usize);
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.scalar(&format!("step{s}.{name}"));
            let output = step(&mut state, &config, x, &settings, golden("lr"));
            worst.compare("loss", &[output.loss()], &[golden("loss")]);
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
        let json = vectors::json(&directory.join("cfg.json"));
        let weights = Vectors::open(&directory.join("sae_weights.safetensors"));
        let expected = Vectors::open(&directory.join("expected.safetensors"));
        let parameters = Parameters {
            w_enc: weights.feature_major("W_enc"),
            b_enc: weights.f64s("b_enc"),
            w_dec: weights.f64s("W_dec"),
            b_dec: weights.f64s("b_dec"),
        };
        let rescale_acts_by_decoder_norm = flag(&json, "rescale_acts_by_decoder_norm");
        let config = SaeConfig {
            d_in: parameters.b_dec.len(),
            features: parameters.b_enc.len(),
            apply_b_dec_to_input: flag(&json, "apply_b_dec_to_input"),
            architecture: TopK { k: number(&json, "k") as usize, rescale_acts_by_decoder_norm, auxk: None }.into(),
        };
        let clock = Clock { last_fired: &vec![0; config.features], step: 1, window: DEAD_WINDOW };
        let pass = forward(&config, &parameters, &expected.f64s("x"), clock);

        let mut worst = Worst::new(TOLERANCE);
        worst.compare("feature_acts", &dense(&pass.lists[0], config.features), &expected.f64s("feature_acts"));
        worst.compare("reconstruction", &pass.fields[0].values, &expected.f64s("reconstruction"));
        worst.report(&directory.file_name().unwrap().to_string_lossy());
    }
}

#[test]
fn a_feature_dies_when_its_window_is_over() {
    let mut counters = Counters::new(3);
    let fires = |feature| Entry { feature, u: 1.0, key: 1.0, carries: true };
    let silent = Entry { carries: false, u: -1.0, ..fires(2) };
    counters.count(&vec![vec![fires(1), silent], vec![fires(1)]], 4);
    assert_eq!((&counters.last_fired[..], &counters.times_fired[..]), (&[0, 4, 0][..], &[0, 2, 0][..]));
    assert_eq!([counters.dead(4, 5), counters.dead(5, 5), counters.dead(8, 5), counters.dead(9, 5)], [0, 2, 2, 3]);
}

#[test]
fn the_largest_are_the_lower_features_among_equals() {
    assert_eq!(largest(&[1.0, 3.0, 2.0, 2.0, 2.0, 0.5], 0..6, 3), [1, 2, 3]);
    // Minus zero is zero.
    assert_eq!(largest(&[-0.0, 0.0, -1.0], 0..3, 1), [0]);
    assert_eq!(largest(&[0.0, -0.0, -1.0], 0..3, 1), [0]);
    // NaN is seen.
    assert_eq!(largest(&[f64::INFINITY, 1.0, f64::NAN, -f64::NAN], 0..4, 3), [0, 2, 3]);
    // Of some of the features.
    assert_eq!(largest(&[9.0, 1.0, 8.0, 2.0], [1, 2, 3], 2), [2, 3]);
}

#[test]
fn an_entry_that_is_not_positive_carries_nothing_unless_it_is_raw() {
    let (keys, u) = ([-1.0, -3.0, 8.0], [-0.5, -1.5, 4.0]);
    let kept = |keep| -> Vec<(usize, f64, f64)> {
        let entries = select_row(keep, &u, &keys, &[0, 1]);
        entries.iter().map(|entry| (entry.feature, entry.value(), entry.key)).collect()
    };
    assert_eq!(kept(Keep::PerRow { k: 2 }), [(0, 0.0, -1.0), (2, 4.0, 8.0)]);
    let dead = |raw| Keep::Dead { most: 1, raw, counted: Counted::Before };
    assert_eq!((kept(dead(false)), kept(dead(true))), (vec![(0, 0.0, -1.0)], vec![(0, -0.5, -1.0)]));
}

#[test]
fn variance_is_the_mean_squared_distance_from_the_mean_row() {
    assert_eq!(variance(&[1.0, 2.0, 3.0, 6.0], 2), 5.0);
    assert_eq!(variance(&[7.0, 8.0, 7.0, 8.0], 2), 0.0);
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

/// What all cases record in the same place; nothing is clipped, and decoder rows are free.
fn settings(case: &Value) -> Settings {
    Settings {
        clip: None,
        unit_norm_decoder: None,
        beta1: number(&case["adam"], "beta1"),
        beta2: number(&case["adam"], "beta2"),
        epsilon: number(&case["adam"], "eps"),
        dead_window: DEAD_WINDOW,
    }
}
