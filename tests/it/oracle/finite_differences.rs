//! The gradients of the reference against finite differences of its losses, and when AuxK has a loss. Those that are
//! estimates (JumpReLU's) are in `straight_through.rs`.

use monosem::reference::entry::Flags;
use monosem::reference::{Clock, Forward, List, Parameters, backward, forward};
use monosem::sae::description::{FieldSpec, Keep, Role};
use monosem::sae::{
    Architecture, AuxK, AuxKForm, BatchTopK, Gated, InputNormalization, Matryoshka, Relu, SaeConfig, TopK,
};

use crate::oracle::vectors::{DEAD_WINDOW, Worst};

pub const ROWS: usize = 7;
pub const D: usize = 5;
pub const FEATURES: usize = 14;

/// Features that have not fired for long.
pub const SILENT: usize = 5;

/// The losses whose gradients are compared with finite differences. With `k` 8 some rows keep entries with u < 0, which
/// the ReLU must silence, and dead features that they keep twice; with `k` 2 some features fire on no row, and are dead
/// if that counts.
fn probed() -> Vec<SaeConfig> {
    let form = |form, most| Some(AuxK { most, coefficient: 0.75, ..AuxK::new(form) });
    let auxks = [
        (8, None),
        (8, form(AuxKForm::SaeLens, None)),
        (8, form(AuxKForm::SaeLens, Some(SILENT + 2))),
        (2, form(AuxKForm::Normalised, None)),
        (2, form(AuxKForm::Normalised, Some(SILENT + 2))),
    ];
    let mut architectures: Vec<Architecture> = Vec::new();
    for (k, auxk) in auxks {
        for rescale_acts_by_decoder_norm in [false, true] {
            architectures.push(TopK { k, rescale_acts_by_decoder_norm, auxk }.into());
            architectures.push(BatchTopK { k, rescale_acts_by_decoder_norm, auxk }.into());
            let widths = vec![3, 8, FEATURES];
            for weights in [None, Some(vec![0.5, 1.5, 0.25])] {
                let widths = widths.clone();
                architectures.push(Matryoshka { k, widths, weights, rescale_acts_by_decoder_norm, auxk }.into());
            }
        }
    }
    for normed in [false, true] {
        architectures.push(Relu { l1: 0.75, normed, capacity: None }.into());
        for detached in [false, true] {
            architectures.push(Gated { l1: 0.75, normed, detached, capacity: None }.into());
        }
    }
    let centred_or_not =
        |architecture: Architecture| [true, false].map(|input_centred| config(input_centred, architecture.clone()));
    let mut configs: Vec<SaeConfig> = architectures.into_iter().flat_map(centred_or_not).collect();
    let without_dead = configs.iter().filter(|config| config.describe().dead().is_none());
    let normalized: Vec<SaeConfig> = without_dead
        .map(|config| SaeConfig { input_normalization: InputNormalization::LayerNorm, ..config.clone() })
        .collect();
    configs.extend(normalized);
    configs
}

pub fn config(apply_b_dec_to_input: bool, architecture: Architecture) -> SaeConfig {
    SaeConfig { apply_b_dec_to_input, ..SaeConfig::new(D, FEATURES, architecture) }
}

pub fn pass(config: &SaeConfig, parameters: &Parameters, x: &[f64]) -> Forward {
    let last_fired: Vec<i64> = (0..FEATURES).map(|j| if j < SILENT { -DEAD_WINDOW } else { 0 }).collect();
    forward(config, parameters, x, Clock { last_fired: &last_fired, step: 1, window: DEAD_WINDOW })
}

#[test]
fn gradients_are_finite_differences_of_the_loss() {
    for config in probed() {
        let mut random = Random(17);
        let mut parameters = random.parameters(&config);
        if config.k() == Some(2) {
            // Below most of the others.
            parameters.of_mut(Role::Encoder)[..SILENT * D].iter_mut().for_each(|value| *value *= 0.2);
            parameters.of_mut(Role::EncoderBias)[..SILENT].iter_mut().for_each(|value| *value *= 0.2);
        }
        let x = random.numbers(ROWS * D);
        let base = pass(&config, &parameters, &x);
        assert_covers(&config, &base);

        let loss = |changed: &Parameters| {
            let pass = pass(&config, changed, &x);
            // The loss jumps where the selection changes: a probe that crosses such an edge measures the jump.
            assert_eq!((&pass.dead, support(&pass)), (&base.dead, support(&base)), "{config:?}");
            loss_to_detached(&config, &pass, &base, &parameters)
        };
        assert!((loss(&parameters) - base.loss()).abs() < 1e-12 * base.loss());
        let mut worst = Worst::new(1e-7);
        worst.compare_each("grad", &backward(&config, &parameters, &base), &differences(&parameters, loss));
        worst.report(&format!("finite differences of {config:?}"));
    }
}

/// The central differences of a loss in every parameter.
pub fn differences(parameters: &Parameters, loss: impl Fn(&Parameters) -> f64) -> Parameters {
    const H: f64 = 1e-5;
    let mut differences = Parameters::zeros(parameters);
    let roles: Vec<Role> = parameters.each().map(|(tensor, _)| tensor.role).collect();
    for role in roles {
        for i in 0..parameters.of(role).len() {
            let changed_by = |change: f64| {
                let mut changed = parameters.clone();
                changed.of_mut(role)[i] += change;
                loss(&changed)
            };
            differences.of_mut(role)[i] = (changed_by(H) - changed_by(-H)) / (2.0 * H);
        }
    }
    differences
}

/// Fails unless a pass has what its case is for.
fn assert_covers(config: &SaeConfig, pass: &Forward) {
    let description = config.describe();
    assert!(pass.fields.iter().all(|field| field.loss > 0.0));
    assert_eq!(description.lists[0].entry.penalty().is_some(), pass.penalty > 0.0);
    let carrying = |list: &List| list.iter().flatten().filter(|entry| entry.flags.any()).count();
    let main = carrying(&pass.lists[0]);
    match description.lists[0].keep {
        Keep::PerRow { k } => assert!(main < ROWS * k || description.dead().is_some(), "no entry is silenced"),
        Keep::PerBatch { per_row } => assert!((1..=ROWS * per_row).contains(&main)),
        _ => {
            assert!((1..ROWS * FEATURES).contains(&main));
            let silenced = pass.lists[0].iter().flatten().filter(|entry| entry.decoded == 0.0).count();
            assert_eq!(silenced > 0, description.fields.len() > 1, "a gate is open whose value is rectified");
        }
    }
    let Some(auxk) = description.dead() else { return };
    let (dead, list) = (&pass.dead, &pass.lists[1]);
    assert_eq!(list[0].len(), auxk.most.min(dead.len()));
    if auxk.raw {
        assert_eq!((dead.len(), carrying(list)), (SILENT, ROWS * list[0].len()));
        assert!(list.iter().flatten().any(|entry| entry.u < 0.0), "no value is below 0");
        let mut rows = pass.lists[0].iter().zip(list);
        let twice = rows.any(|(main, list)| main.iter().any(|entry| list.contains(entry)));
        assert!(twice, "no dead feature is in the main list too");
    } else {
        assert!((1..=SILENT).contains(&dead.len()), "{dead:?}");
        assert!((1..ROWS * list[0].len()).contains(&carrying(list)), "{list:?}");
    }
}

/// The loss, with what the gradient takes for constant from another pass: targets, factors, and the decoder of a field
/// that is detached.
fn loss_to_detached(config: &SaeConfig, pass: &Forward, detached: &Forward, parameters: &Parameters) -> f64 {
    let description = config.describe();
    let loss = |(at, field): (usize, &FieldSpec)| {
        let by_gate = field.detached.then(|| gate_reconstruction(pass, field.list, parameters));
        let values = by_gate.as_ref().unwrap_or(&pass.fields[at].values);
        let errors = values.iter().zip(&detached.fields[at].target);
        detached.fields[at].scale * errors.map(|(value, target)| (value - target).powi(2)).sum::<f64>() / ROWS as f64
    };
    description.fields.iter().enumerate().map(loss).sum::<f64>() + pass.penalty
}

/// What the gate's values reconstruct with a decoder.
fn gate_reconstruction(pass: &Forward, list: usize, parameters: &Parameters) -> Vec<f64> {
    let w_dec = parameters.of(Role::Decoder);
    let mut values = parameters.of(Role::OutputBias).repeat(ROWS);
    for (i, (entries, row)) in pass.lists[list].iter().zip(values.chunks_exact_mut(D)).enumerate() {
        for entry in entries {
            row.iter_mut().zip(&w_dec[entry.feature * D..]).for_each(|(sum, v)| *sum += entry.gate * v);
        }
        if let Some(norms) = &pass.row_norms {
            row.iter_mut().for_each(|value| *value = norms[i].restored(*value));
        }
    }
    values
}

/// The features of each entry, its flags, and whether it adds to the reconstruction.
fn support(pass: &Forward) -> Vec<(usize, Flags, bool)> {
    let entries = pass.lists.iter().flatten().flatten();
    entries.map(|entry| (entry.feature, entry.flags, entry.decoded == 0.0)).collect()
}

#[test]
fn the_batch_decides_which_features_are_dead_only_where_it_counts() {
    let auxk = |form| config(true, TopK { auxk: Some(AuxK::new(form)), ..TopK::new(2) }.into());
    let mut random = Random(3);
    let parameters = random.parameters(&auxk(AuxKForm::SaeLens));
    let x = random.numbers(2 * D);
    let before = pass(&auxk(AuxKForm::SaeLens), &parameters, &x);
    let with_batch = pass(&auxk(AuxKForm::Normalised), &parameters, &x);
    let fired = |j: &usize| before.lists[0].iter().flatten().any(|entry| entry.flags.value && entry.feature == *j);
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
        let parameters = random.parameters(&config);
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
pub struct Random(pub u64);

impl Random {
    /// Uniform in [-1, 1).
    pub fn numbers(&mut self, count: usize) -> Vec<f64> {
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

    pub fn parameters(&mut self, config: &SaeConfig) -> Parameters {
        Parameters::new(config, |tensor| self.numbers(tensor.shape(config).iter().product()))
    }
}
