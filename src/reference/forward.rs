//! The forward pass: pre-activations, the lists of entries, what is reconstructed from them, and the losses.

use super::entry::{Own, Seen, arithmetic};
use super::{Candidates, Clock, Entry, List, Parameters, add_scaled, dot, encode, row, row_mut, select};
use crate::sae::description::{
    Counted, Description, Factor, Features, FieldSpec, Input, KeyScale, Role, Target, Value,
};
use crate::sae::{InputNormalization, RowNorm, SaeConfig};

/// All that a forward pass computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The input of the encoder, `[rows, d]`.
    pub input: Vec<f64>,
    /// What the rows are normalised by, where they are.
    pub row_norms: Option<Vec<RowNorm>>,
    /// `u`, `[rows, n]`.
    pub pre_activations: Vec<f64>,
    /// The keys that features are ranked by, `[rows, n]`.
    pub keys: Vec<f64>,
    /// `|v|`, `[n]`.
    pub norms: Vec<f64>,
    /// The dead features, if the description asks for them.
    pub dead: Vec<usize>,
    /// The entries of each of the description's lists.
    pub lists: Vec<List>,
    /// The reconstruction of each of its fields.
    pub fields: Vec<Reconstruction>,
    /// The penalty on the entries of the main list, its mean over the rows.
    pub penalty: f64,
    /// The closed form's part of the loss.
    pub closed_form: f64,
}

/// The reconstruction of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// `[rows, d]`.
    pub values: Vec<f64>,
    /// Its target, `[rows, d]`; a constant to the gradient.
    pub target: Vec<f64>,
    /// The field's weight times its factor: what its squared error is multiplied by; a constant to the gradient.
    pub scale: f64,
    /// The mean over the rows of the squared error, summed over d, times `scale`.
    pub loss: f64,
}

/// The forward pass of `x` `[rows, d]`.
pub fn forward(config: &SaeConfig, parameters: &Parameters, x: &[f64], clock: Clock<'_>) -> Forward {
    let SaeConfig { d_in: d, features: n, .. } = *config;
    let (w_dec, b_dec) = (parameters.of(Role::Decoder), parameters.of(Role::OutputBias));
    let description = config.describe();
    let own: Vec<Own> = (0..n).map(|feature| parameters.own(feature)).collect();

    let row_norms = row_norms(x, d, description.normalization);
    let normalized = match &row_norms {
        None => x.to_vec(),
        Some(norms) => x.iter().enumerate().map(|(at, &value)| norms[at / d].normalized(value)).collect(),
    };
    let input = match description.input {
        Input::Centred => center(&normalized, b_dec),
        Input::AsItIs => normalized,
    };
    let bias = match parameters.of(Role::EncoderBias) {
        [] => &vec![0.0; n],
        b_enc => b_enc,
    };
    let pre_activations = encode(&input, parameters.of(Role::Encoder), bias, d);
    let norms = norms(w_dec, d);
    let scale = |feature: usize| match description.key {
        KeyScale::One => 1.0,
        KeyScale::DecoderNorm => norms[feature],
    };
    let keys = pre_activations.iter().enumerate().map(|(at, u)| u * scale(at % n)).collect();

    let mut pass = Forward {
        input,
        row_norms,
        pre_activations,
        keys,
        norms,
        dead: vec![],
        lists: vec![],
        fields: vec![],
        penalty: 0.0,
        closed_form: 0.0,
    };
    for list in &description.lists {
        let candidates = Candidates { u: &pass.pre_activations, keys: &pass.keys, own: &own, dead: &pass.dead };
        let entries = select(list, candidates);
        pass.lists.push(entries);
        if let Some(counted) = counts_dead(&description) {
            pass.dead = clock.dead(counted, &pass.lists[0]);
        }
    }
    for field in &description.fields {
        let found = reconstruct(&description, field, &pass, parameters, x);
        pass.fields.push(found);
    }
    let kind = arithmetic(description.lists[0].entry);
    let penalties = (0..x.len() / d).map(|i| kind.penalty(&pass.seen(0, i, parameters)));
    pass.penalty = penalties.sum::<f64>() / (x.len() / d) as f64;
    pass.closed_form = pass.below_threshold(config, parameters).iter().map(|pair| pair.loss).sum();
    pass
}

impl Forward {
    /// All losses.
    pub fn loss(&self) -> f64 {
        self.fields.iter().map(|field| field.loss).sum::<f64>() + self.penalty + self.closed_form
    }

    /// The entries of a row of a list, as their arithmetic sees them.
    pub(super) fn seen(&self, list: usize, row: usize, parameters: &Parameters) -> Vec<Seen> {
        let entries = &self.lists[list][row];
        let (rows, l0) = (self.lists[list].len(), entries.iter().filter(|entry| entry.flags.value).count());
        let seen = |entry: &Entry| Seen {
            u: entry.u,
            flags: entry.flags,
            own: parameters.own(entry.feature),
            norm: self.norms[entry.feature],
            l0: l0 as f64,
            rows: rows as f64,
        };
        entries.iter().map(seen).collect()
    }

    /// The pairs that have a share of the closed form.
    pub(super) fn below_threshold(&self, config: &SaeConfig, parameters: &Parameters) -> Vec<BelowThreshold> {
        let description = config.describe();
        let Some(closed_form) = description.closed_form else { return vec![] };
        let features: Vec<usize> = match closed_form.of {
            Features::All => (0..config.features).collect(),
            Features::Dead => self.dead.clone(),
        };
        let kind = arithmetic(description.lists[0].entry);
        let rows = self.lists[0].len();
        let mut pairs = Vec::new();
        for (row, u) in self.pre_activations.chunks_exact(config.features).enumerate() {
            for &feature in &features {
                let short = kind.threshold(parameters.own(feature)) - u[feature];
                if short > 0.0 {
                    let per_short = closed_form.coefficient / rows as f64 * self.norms[feature];
                    let per_norm = closed_form.coefficient / rows as f64 * short;
                    pairs.push(BelowThreshold { row, feature, loss: per_short * short, per_short, per_norm });
                }
            }
        }
        pairs
    }
}

/// A row and a feature whose pre-activation is below its threshold, in the closed form.
pub(super) struct BelowThreshold {
    /// The row.
    pub row: usize,
    /// The feature.
    pub feature: usize,
    /// Its share of the loss.
    pub loss: f64,
    /// The gradient of the loss with respect to the threshold; the opposite of that with respect to `u`.
    pub per_short: f64,
    /// The gradient of the loss with respect to `|v|`.
    pub per_norm: f64,
}

/// How dead features are counted, if anything asks for them.
fn counts_dead(description: &Description) -> Option<Counted> {
    let of_list = description.dead().map(|dead| dead.counted);
    let closed_form = description.closed_form.filter(|closed_form| closed_form.of == Features::Dead);
    of_list.or(closed_form.map(|_| Counted::Before))
}

/// A field, from the lists and the fields before it.
fn reconstruct(
    description: &Description,
    field: &FieldSpec,
    pass: &Forward,
    parameters: &Parameters,
    x: &[f64],
) -> Reconstruction {
    let (w_dec, b_dec) = (parameters.of(Role::Decoder), parameters.of(Role::OutputBias));
    let (d, list) = (b_dec.len(), &pass.lists[field.list]);
    let mut values = vec![0.0; x.len()];
    for (i, entries) in list.iter().enumerate() {
        for entry in entries.iter().filter(|entry| field.decodes(entry.feature)) {
            let value = match field.value {
                Value::Decoded => entry.decoded,
                Value::Gate => entry.gate,
            };
            add_scaled(row_mut(&mut values, i, d), value, row(w_dec, entry.feature, d));
        }
        if field.bias {
            add_scaled(row_mut(&mut values, i, d), 1.0, b_dec);
        }
        if let Some(norms) = &pass.row_norms {
            row_mut(&mut values, i, d).iter_mut().for_each(|value| *value = norms[i].restored(*value));
        }
    }
    let target = match field.target {
        Target::Input => x.to_vec(),
        Target::ErrorOf(other) => difference(x, &pass.fields[other].values),
    };
    let factor = match (field.factor, description.dead()) {
        (Factor::One, _) => 1.0,
        // Where none is dead there is nothing to learn, and no loss.
        (_, Some(_)) if pass.dead.is_empty() => 0.0,
        (Factor::ShareOfDead, Some(dead)) => (pass.dead.len() as f64 / dead.most as f64).min(1.0),
        (Factor::ShareOfDead, None) => 1.0,
        (Factor::VarianceRatio, _) => {
            let left = variance(&target, d);
            if left > 0.0 { variance(x, d) / left } else { 0.0 }
        }
    };
    let scale = field.weight * factor;
    let error = difference(&values, &target);
    let loss = scale * dot(&error, &error) / list.len() as f64;
    Reconstruction { values, target, scale, loss }
}

/// Those of the rows `[rows, d]`, where they are normalised.
fn row_norms(x: &[f64], d: usize, normalization: InputNormalization) -> Option<Vec<RowNorm>> {
    let of = |row: &[f64]| RowNorm::of(row.iter().copied());
    match normalization {
        InputNormalization::None => None,
        InputNormalization::LayerNorm => Some(x.chunks_exact(d).map(of).collect()),
    }
}

/// `c_i = x_i - b_dec` for every row of `x` `[rows, d]`; `b_dec` is `[d]`.
pub fn center(x: &[f64], b_dec: &[f64]) -> Vec<f64> {
    x.chunks_exact(b_dec.len()).flat_map(|x| difference(x, b_dec)).collect()
}

/// `|v_j|` of every row of `w_dec` `[n, d]`.
pub fn norms(w_dec: &[f64], d: usize) -> Vec<f64> {
    w_dec.chunks_exact(d).map(|v| dot(v, v).sqrt()).collect()
}

/// The mean squared distance of the rows of `x` `[rows, d]` from their mean.
pub fn variance(x: &[f64], d: usize) -> f64 {
    let rows = (x.len() / d) as f64;
    let mut mean = vec![0.0; d];
    for x in x.chunks_exact(d) {
        add_scaled(&mut mean, 1.0 / rows, x);
    }
    let distances = center(x, &mean);
    dot(&distances, &distances) / rows
}

/// `a - b`.
pub(super) fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
