//! The gradients of the summed losses, dense.

use super::entry::{Values, arithmetic};
use super::forward::{Reconstruction, difference};
use super::{Forward, Parameters, add_scaled, dot, row, row_mut};
use crate::sae::SaeConfig;
use crate::sae::description::{Description, Input, Role, Value};

/// The gradient of the losses of a forward pass with respect to `parameters`. Keys have no part in it: a decoder norm
/// that multiplies a key divides the decoder row, and cancels.
pub fn backward(config: &SaeConfig, parameters: &Parameters, pass: &Forward) -> Parameters {
    let SaeConfig { d_in: d, features: n, .. } = *config;
    let (w_enc, w_dec) = (parameters.of(Role::Encoder), parameters.of(Role::Decoder));
    let description = config.describe();
    let rows = pass.lists[0].len();
    let mut gradient = Parameters::zeros(parameters);
    // Of each feature, with respect to its pre-activations together and to the norm of its decoder row.
    let (mut slopes, mut of_norms) = (vec![0.0; n], vec![0.0; n]);

    let mut of_fields: Vec<Vec<f64>> = pass.fields.iter().map(|field| of_reconstruction(field, rows)).collect();
    if let Some(norms) = &pass.row_norms {
        let rows = of_fields.iter_mut().flat_map(|g| g.chunks_exact_mut(d).zip(norms));
        rows.for_each(|(g, norm)| g.iter_mut().for_each(|g| *g *= norm.deviation));
    }
    for (field, g) in description.fields.iter().zip(&of_fields) {
        if field.bias && !field.detached {
            g.chunks_exact(d).for_each(|g| add_scaled(gradient.of_mut(Role::OutputBias), 1.0, g));
        }
    }
    for (number, list) in pass.lists.iter().enumerate() {
        let kind = arithmetic(description.lists[number].entry);
        for (i, entries) in list.iter().enumerate() {
            for (entry, seen) in entries.iter().zip(pass.seen(number, i, parameters)) {
                let j = entry.feature;
                let g = OfValues::sum(&description, &of_fields, At { list: number, row: i, feature: j, d });
                let v = row(w_dec, j, d);
                let of_entry = kind.slopes(&seen, Values { decoded: dot(&g.decoded, v), gate: dot(&g.gate, v) });

                add_scaled(row_mut(gradient.of_mut(Role::Encoder), j, d), of_entry.u, row(&pass.input, i, d));
                slopes[j] += of_entry.u;
                let of_decoder = row_mut(gradient.of_mut(Role::Decoder), j, d);
                add_scaled(of_decoder, entry.decoded, &g.decoded);
                if !g.gate_is_detached {
                    add_scaled(of_decoder, entry.gate, &g.gate);
                }
                of_norms[j] += of_entry.norm;
                gradient.add_own(j, of_entry.own);
            }
        }
    }
    for pair in pass.below_threshold(config, parameters) {
        let j = pair.feature;
        let kind = arithmetic(description.lists[0].entry);
        add_scaled(row_mut(gradient.of_mut(Role::Encoder), j, d), -pair.per_short, row(&pass.input, pair.row, d));
        slopes[j] -= pair.per_short;
        of_norms[j] += pair.per_norm;
        gradient.add_own(j, kind.threshold_slopes(parameters.own(j), pair.per_short));
    }

    for j in (0..n).filter(|&j| pass.norms[j] > 0.0) {
        let per_unit = of_norms[j] / pass.norms[j];
        add_scaled(row_mut(gradient.of_mut(Role::Decoder), j, d), per_unit, row(w_dec, j, d));
    }
    gradient.of_mut(Role::EncoderBias).iter_mut().zip(&slopes).for_each(|(gradient, slope)| *gradient = *slope);
    if description.input == Input::Centred {
        // Every pre-activation of feature j falls by w_j · b_dec.
        for (j, &slope) in slopes.iter().enumerate() {
            add_scaled(gradient.of_mut(Role::OutputBias), -slope, row(w_enc, j, d));
        }
    }
    gradient
}

/// The gradient of a field's loss with respect to its reconstruction, `[rows, d]`.
fn of_reconstruction(field: &Reconstruction, rows: usize) -> Vec<f64> {
    let error = difference(&field.values, &field.target);
    error.iter().map(|error| field.scale * 2.0 / rows as f64 * error).collect()
}

/// A place in the lists.
struct At {
    list: usize,
    row: usize,
    feature: usize,
    d: usize,
}

/// The gradients of the fields' losses with respect to what an entry adds to the reconstruction of its row, `[d]`.
struct OfValues {
    decoded: Vec<f64>,
    gate: Vec<f64>,
    gate_is_detached: bool,
}

impl OfValues {
    /// The sum over the fields that decode the entry.
    fn sum(description: &Description, of_fields: &[Vec<f64>], at: At) -> Self {
        let At { list, row: i, feature, d } = at;
        let mut sum = Self { decoded: vec![0.0; d], gate: vec![0.0; d], gate_is_detached: false };
        let fields = description.fields.iter().zip(of_fields);
        for (field, g) in fields.filter(|(field, _)| field.list == list && field.decodes(feature)) {
            match field.value {
                Value::Decoded => add_scaled(&mut sum.decoded, 1.0, row(g, i, d)),
                Value::Gate => {
                    add_scaled(&mut sum.gate, 1.0, row(g, i, d));
                    sum.gate_is_detached = field.detached;
                }
            }
        }
        sum
    }
}
