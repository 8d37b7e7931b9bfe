//! The forward pass: pre-activations, the lists of entries, what is reconstructed from them, and the losses.

use super::{Clock, List, Parameters, add_scaled, dot, encode, row, row_mut, select_row};
use crate::sae::SaeConfig;
use crate::sae::description::{Description, Factor, FieldSpec, Input, KeyScale, Target};

/// All that a forward pass computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The input of the encoder, `[rows, d]`.
    pub input: Vec<f64>,
    /// `u`, `[rows, n]`.
    pub pre_activations: Vec<f64>,
    /// The keys that features are ranked by, `[rows, n]`.
    pub keys: Vec<f64>,
    /// The dead features, if the description has a list of them.
    pub dead: Vec<usize>,
    /// The entries of each of the description's lists.
    pub lists: Vec<List>,
    /// The reconstruction of each of its fields.
    pub fields: Vec<Reconstruction>,
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
    let Parameters { w_enc, b_enc, w_dec, b_dec } = parameters;
    let (d, n) = (b_dec.len(), b_enc.len());
    let description = config.describe();

    let input = match description.input {
        Input::Centred => center(x, b_dec),
        Input::AsItIs => x.to_vec(),
    };
    let pre_activations = encode(&input, w_enc, b_enc, d);
    let norms = match description.key {
        KeyScale::One => vec![1.0; n],
        KeyScale::DecoderNorm => norms(w_dec, d),
    };
    let keys: Vec<f64> = pre_activations.iter().zip(norms.iter().cycle()).map(|(u, norm)| u * norm).collect();

    let mut pass = Forward { input, pre_activations, keys, dead: vec![], lists: vec![], fields: vec![] };
    for list in &description.lists {
        if let (Some(dead), Some(main)) = (description.dead(), pass.lists.first()) {
            pass.dead = clock.dead(dead.counted, main);
        }
        let rows = pass.pre_activations.chunks_exact(n).zip(pass.keys.chunks_exact(n));
        let entries = rows.map(|(u, keys)| select_row(list.keep, u, keys, &pass.dead)).collect();
        pass.lists.push(entries);
    }
    for field in &description.fields {
        let found = reconstruct(&description, field, &pass, parameters, x);
        pass.fields.push(found);
    }
    pass
}

/// A field, from the lists and the fields before it.
fn reconstruct(
    description: &Description,
    field: &FieldSpec,
    pass: &Forward,
    parameters: &Parameters,
    x: &[f64],
) -> Reconstruction {
    let Parameters { w_dec, b_dec, .. } = parameters;
    let (d, list) = (b_dec.len(), &pass.lists[field.list]);
    let mut values = vec![0.0; x.len()];
    for (i, entries) in list.iter().enumerate() {
        for entry in entries {
            add_scaled(row_mut(&mut values, i, d), entry.value(), row(w_dec, entry.feature, d));
        }
        if field.bias {
            add_scaled(row_mut(&mut values, i, d), 1.0, b_dec);
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
