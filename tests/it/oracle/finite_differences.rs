//! The gradients of the reference against finite differences of its losses, and when AuxK has a loss.

use monosem::reference::{Clock, Forward, List, Parameters, backward, forward};
use monosem::sae::{AuxK, AuxKForm, SaeConfig, TopK};

use crate::oracle::vectors::{DEAD_WINDOW, Worst};

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
        let mut parameters = random.parameters();
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
    let parameters = random.parameters();
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
        let parameters = random.parameters();
        let x = random.numbers(ROWS * D);
        let clock = Clock { last_fired: &[0; FEATURES], step: 1, window: DEAD_WINDOW };
        let pass = forward(&config, &parameters, &x, clock);
        assert_eq!(pass.fields[1].loss, 0.0);
        let plain = SaeConfig::top_k(D, FEATURES, 2);
        let without = backward(&plain, &parameters, &forward(&plain, &parameters, &x, clock));
        assert_eq!(backward(&config, &parameters, &pass), without);
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

    fn parameters(&mut self) -> Parameters {
        Parameters {
            w_enc: self.numbers(FEATURES * D),
            b_enc: self.numbers(FEATURES),
            w_dec: self.numbers(FEATURES * D),
            b_dec: self.numbers(D),
        }
    }
}
