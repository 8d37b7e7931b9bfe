//! The reference against what SAELens and dictionary_learning computed, and by hand.

use monosem::reference::entry::Flags;
use monosem::reference::{
    Candidates, Counters, Entry, Forward, Parameters, Reconstruction, Settings, State, clip, largest, largest_of_batch,
    select, step, variance,
};
use monosem::sae::SaeConfig;
use monosem::sae::description::{Counted, EntryKind, Keep, ListSpec, TensorSpec};
use serde_json::Value;

use crate::oracle::vectors::{
    self, DEAD_WINDOW, Worst, batches, dense, dictionary_learning_config, last_fired, losses, number, saelens_config,
};

/// Largest difference from a golden tensor, of that tensor's largest magnitude.
const TOLERANCE: f64 = 1e-12;

#[test]
fn golden_saelens_topk_training() {
    saelens_training("TopKTrainingSAE");
}

#[test]
fn golden_saelens_batchtopk_training() {
    saelens_training("BatchTopKTrainingSAE");
}

#[test]
fn golden_saelens_matryoshka_training() {
    saelens_training("MatryoshkaBatchTopKTrainingSAE");
}

#[test]
fn golden_saelens_standard_training() {
    saelens_training("StandardTrainingSAE");
}

#[test]
fn golden_saelens_jumprelu_training() {
    saelens_training("JumpReLUTrainingSAE");
}

#[test]
fn golden_saelens_gated_training() {
    saelens_training("GatedTrainingSAE");
}

fn saelens_training(class: &str) {
    for vectors in vectors::cases(|of_case| of_case == class) {
        let config = saelens_config(&vectors);
        let settings = settings(&vectors.case);
        let lr = number(&vectors.case["adam"], "lr");
        let dead_mask = vectors.f64s("dead_mask");
        let mut state = State::new(&config, vectors.saelens_parameters(&config, "init."));
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.f64s(&format!("step{s}.{name}"));
            // SAELens was given the same dead features in every step, whichever fired meanwhile.
            state.counters.last_fired = last_fired(&dead_mask);
            let output = step(&mut state, &config, x, &settings, lr);
            let pass = &output.forward;
            worst.compare("loss", &[pass.loss()], &golden("loss"));
            let losses = losses(&config, pass);
            for golden in vectors.names(&format!("step{s}.loss.")) {
                let ours = losses.iter().find(|(name, _)| golden.ends_with(&format!(".{name}")));
                // SAELens reports an auxiliary loss of 0 where no feature is dead.
                worst.compare(&golden, &[ours.map_or(0.0, |(_, loss)| *loss)], &vectors.f64s(&golden));
            }
            worst.compare("feature_acts", &dense(&pass.lists[0], config.features), &golden("feature_acts"));
            worst.compare("reconstruction", &whole(&config, pass).values, &golden("reconstruction"));
            let parameters = |what| vectors.saelens_parameters(&config, &format!("step{s}.{what}."));
            compare_each(&mut worst, "grad", &output.gradients, &parameters("grad"));
            compare_each(&mut worst, "after", &state.parameters, &parameters("after"));
            take_thresholds(&mut state.parameters, &parameters("after"));
        }
        worst.report(&vectors.name);
    }
}

/// What SAELens keeps in f32 in whatever precision the rest is, its gradient and moments too.
fn is_single(tensor: &TensorSpec) -> bool {
    tensor.name == "threshold"
}

/// Rounds as SAELens did.
fn take_thresholds(parameters: &mut Parameters, from: &Parameters) {
    for ((tensor, values), (_, from)) in parameters.each_mut().zip(from.each()) {
        if is_single(tensor) {
            values.copy_from_slice(from);
        }
    }
}

fn compare_each(worst: &mut Worst, name: &str, actual: &Parameters, expected: &Parameters) {
    for ((tensor, actual), (_, expected)) in actual.each().zip(expected.each()) {
        let tolerance = if is_single(tensor) { 1e-6 } else { TOLERANCE };
        worst.compare_within(tolerance, &format!("{name}.{}", tensor.name), actual, expected);
    }
}

/// The reconstruction from all features of the main list.
fn whole<'a>(config: &SaeConfig, pass: &'a Forward) -> &'a Reconstruction {
    let fields = config.describe().fields;
    let at = fields.iter().position(|field| field.list == 0 && field.below.is_none());
    &pass.fields[at.expect("a field of all features")]
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
        let config = dictionary_learning_config(&vectors);
        let initial = vectors.dictionary_learning_parameters(&config, "init.", "b_dec_initial");
        let mut state = State::new(&config, initial);
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.scalar(&format!("step{s}.{name}"));
            let output = step(&mut state, &config, x, &settings, golden("lr"));
            worst.compare("loss", &[output.forward.loss()], &[golden("loss")]);
            worst.compare("norm", &[output.norm], &[golden("grad_norm_before_clip")]);
            let after = format!("step{s}.after.");
            let expected = vectors.dictionary_learning_parameters(&config, &after, &format!("{after}b_dec"));
            worst.compare_each("after", &state.parameters, &expected);
        }
        worst.report(&vectors.name);
    }
}

#[test]
fn a_feature_dies_when_its_window_is_over() {
    let mut counters = Counters::new(3);
    let fires = |feature| Entry { feature, u: 1.0, key: 1.0, flags: Flags::VALUE, decoded: 1.0, gate: 0.0 };
    let silent = Entry { u: -1.0, flags: Flags::default(), decoded: 0.0, ..fires(2) };
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
        let candidates = Candidates { u: &u, keys: &keys, own: &[[0.0; 3]; 3], dead: &[0, 1] };
        let list = select(&ListSpec { keep, entry: EntryKind::TopK }, candidates);
        list[0].iter().map(|entry| (entry.feature, entry.decoded, entry.key)).collect()
    };
    assert_eq!(kept(Keep::PerRow { k: 2 }), [(0, 0.0, -1.0), (2, 4.0, 8.0)]);
    let dead = |raw| Keep::Dead { most: 1, raw, counted: Counted::Before };
    assert_eq!((kept(dead(false)), kept(dead(true))), (vec![(0, 0.0, -1.0)], vec![(0, -0.5, -1.0)]));
}

#[test]
fn the_largest_of_a_batch_are_positive_and_of_the_lower_rows_among_equals() {
    let keys = [1.0, 2.0, 2.0, -1.0, 0.0, -0.0, 2.0, 3.0, 2.0];
    assert_eq!(largest_of_batch(&keys, 3, 4), [vec![1, 2], vec![], vec![0, 1]]);
    assert_eq!(largest_of_batch(&keys, 3, 9), [vec![0, 1, 2], vec![], vec![0, 1, 2]]);
    // NaN is seen.
    assert_eq!(largest_of_batch(&[1.0, 5.0, f64::NAN, -2.0], 2, 1), [vec![], vec![0]]);
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
