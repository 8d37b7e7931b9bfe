//! The reference against what SAELens and dictionary_learning computed, against finite differences and by hand.

use monosem::reference::{
    Clock, Codes, Counters, Entry, Forward, List, Parameters, Settings, State, activity, backward, clip, forward,
    select, step, transpose,
};
use monosem::sae::{AuxK, AuxKForm, SaeConfig, TopK};
use serde_json::Value;

use crate::vectors::{self, DEAD_WINDOW, Vectors, Worst, batches, dense, flag, last_fired, number, top_k_config};

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

/// A loss whose gradient is compared with finite differences.
#[derive(Clone, Copy, Debug)]
struct Probed {
    k: usize,
    rescale: bool,
    input_centred: bool,
    auxk: Option<AuxK>,
}

const ROWS: usize = 7;
const D: usize = 5;
const FEATURES: usize = 14;

/// Features that have not fired for long.
const SILENT: usize = 5;

impl Probed {
    fn config(&self) -> SaeConfig {
        let Self { k, rescale, input_centred, auxk } = *self;
        SaeConfig {
            d_in: D,
            features: FEATURES,
            apply_b_dec_to_input: input_centred,
            architecture: TopK { k, rescale_acts_by_decoder_norm: rescale, auxk }.into(),
        }
    }

    fn pass(&self, parameters: &Parameters, x: &[f64]) -> Forward {
        let last_fired: Vec<i64> = (0..FEATURES).map(|j| if j < SILENT { -DEAD_WINDOW } else { 0 }).collect();
        forward(&self.config(), parameters, x, Clock { last_fired: &last_fired, step: 1, window: DEAD_WINDOW })
    }
}

/// With `k` 8 some rows keep entries with u < 0, which the ReLU must silence, and dead features that they keep twice;
/// with `k` 2 some features fire on no row, and are dead if that counts.
fn probed() -> Vec<Probed> {
    let form = |form, most| Some(AuxK { most, coefficient: 0.75, ..AuxK::new(form) });
    let kinds = [
        (8, None),
        (8, form(AuxKForm::SaeLens, None)),
        (8, form(AuxKForm::SaeLens, Some(SILENT + 2))),
        (2, form(AuxKForm::Normalised, None)),
        (2, form(AuxKForm::Normalised, Some(SILENT + 2))),
    ];
    let mut all = Vec::new();
    for (k, auxk) in kinds {
        for (rescale, input_centred) in [(false, true), (true, true), (false, false), (true, false)] {
            all.push(Probed { k, rescale, input_centred, auxk });
        }
    }
    all
}

#[test]
fn gradients_are_finite_differences_of_the_loss() {
    const H: f64 = 1e-5;
    for probed in probed() {
        let mut random = Random(17);
        let mut parameters = Parameters {
            w_enc: random.numbers(FEATURES * D),
            b_enc: random.numbers(FEATURES),
            w_dec: random.numbers(FEATURES * D),
            b_dec: random.numbers(D),
        };
        if probed.k == 2 {
            // Below most of the others.
            parameters.w_enc[..SILENT * D].iter_mut().for_each(|value| *value *= 0.2);
            parameters.b_enc[..SILENT].iter_mut().for_each(|value| *value *= 0.2);
        }
        let x = random.numbers(ROWS * D);
        let base = probed.pass(&parameters, &x);
        assert_covers(&probed, &base);

        let mut differences = Parameters::zeros(&parameters);
        for group in 0..4 {
            for i in 0..parameters.each()[group].len() {
                let loss = |change: f64| {
                    let mut changed = parameters.clone();
                    changed.each_mut()[group][i] += change;
                    let pass = probed.pass(&changed, &x);
                    // The loss jumps where the selection changes: a probe that crosses such an edge measures the jump.
                    assert_eq!((&pass.dead, support(&pass)), (&base.dead, support(&base)), "{probed:?}");
                    loss_to_detached(&pass, &base)
                };
                differences.each_mut()[group][i] = (loss(H) - loss(-H)) / (2.0 * H);
            }
        }
        let mut worst = Worst::new(1e-7);
        worst.compare_each("grad", &backward(&probed.config(), &parameters, &base), &differences);
        worst.report(&format!("finite differences of {probed:?}"));
    }
}

/// Fails unless a pass has what its case is for.
fn assert_covers(probed: &Probed, pass: &Forward) {
    let carrying = |list: &List| list.iter().flatten().filter(|entry| entry.carries).count();
    let Some(auxk) = probed.auxk else {
        assert!(carrying(&pass.lists[0]) < ROWS * probed.k, "no entry is silenced");
        return;
    };
    let (dead, list) = (&pass.dead, &pass.lists[1]);
    assert!(pass.fields[1].loss > 0.0);
    assert_eq!(list[0].len(), auxk.most.unwrap_or(D / 2).min(dead.len()));
    match auxk.form {
        AuxKForm::SaeLens => {
            assert_eq!((dead.len(), carrying(list)), (SILENT, ROWS * list[0].len()));
            assert!(list.iter().flatten().any(|entry| entry.u < 0.0), "no value is below 0");
            let twice =
                pass.lists[0].iter().zip(list).any(|(main, list)| main.iter().any(|entry| list.contains(entry)));
            assert!(twice, "no dead feature is in the main list too");
        }
        AuxKForm::Normalised => {
            assert!((1..=SILENT).contains(&dead.len()), "{dead:?}");
            assert!((1..ROWS * list[0].len()).contains(&carrying(list)), "{list:?}");
        }
    }
}

/// The loss, with the targets and factors of another pass: what the gradient takes for constant.
fn loss_to_detached(pass: &Forward, detached: &Forward) -> f64 {
    let fields = pass.fields.iter().zip(&detached.fields);
    let losses = fields.map(|(field, detached)| {
        let errors = field.values.iter().zip(&detached.target);
        detached.scale * errors.map(|(value, target)| (value - target).powi(2)).sum::<f64>() / ROWS as f64
    });
    losses.sum()
}

/// The features of each entry, and whether it carries anything.
fn support(pass: &Forward) -> Vec<(usize, bool)> {
    pass.lists.iter().flatten().flatten().map(|entry| (entry.feature, entry.carries)).collect()
}

#[test]
fn the_batch_decides_which_features_are_dead_only_where_it_counts() {
    let auxk = |form| Probed { k: 2, rescale: false, input_centred: true, auxk: Some(AuxK::new(form)) };
    let mut random = Random(3);
    let parameters = Parameters {
        w_enc: random.numbers(FEATURES * D),
        b_enc: random.numbers(FEATURES),
        w_dec: random.numbers(FEATURES * D),
        b_dec: random.numbers(D),
    };
    let x = random.numbers(2 * D);
    let before = auxk(AuxKForm::SaeLens).pass(&parameters, &x);
    let with_batch = auxk(AuxKForm::Normalised).pass(&parameters, &x);
    let fired = |j: &usize| before.lists[0].iter().flatten().any(|entry| entry.carries && entry.feature == *j);
    assert_eq!(before.dead, (0..SILENT).collect::<Vec<_>>());
    assert!(before.dead.iter().any(fired));
    assert_eq!(with_batch.dead, (0..SILENT).filter(|j| !fired(j)).collect::<Vec<_>>());
}

#[test]
fn no_dead_feature_is_no_auxiliary_loss() {
    for form in [AuxKForm::SaeLens, AuxKForm::Normalised] {
        let topk = TopK { auxk: Some(AuxK::new(form)), ..TopK::new(2) };
        let config = SaeConfig { architecture: topk.into(), ..SaeConfig::top_k(D, FEATURES, 2) };
        let mut random = Random(5);
        let parameters = Parameters {
            w_enc: random.numbers(FEATURES * D),
            b_enc: random.numbers(FEATURES),
            w_dec: random.numbers(FEATURES * D),
            b_dec: random.numbers(D),
        };
        let x = random.numbers(ROWS * D);
        let clock = Clock { last_fired: &[0; FEATURES], step: 1, window: DEAD_WINDOW };
        let pass = forward(&config, &parameters, &x, clock);
        assert_eq!(pass.fields[1].loss, 0.0);
        let plain = SaeConfig::top_k(D, FEATURES, 2);
        let without = backward(&plain, &parameters, &forward(&plain, &parameters, &x, clock));
        assert_eq!(backward(&config, &parameters, &pass), without);
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
