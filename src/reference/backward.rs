//! The gradients of the summed losses, dense.

use super::forward::difference;
use super::{Forward, Parameters, add_scaled, dot, row, row_mut};
use crate::sae::SaeConfig;
use crate::sae::description::{EntryKind, Input};

/// The gradient of the losses of a forward pass, summed over its fields, with respect to `parameters`.
pub fn backward(config: &SaeConfig, parameters: &Parameters, pass: &Forward) -> Parameters {
    let Parameters { w_enc, w_dec, b_dec, .. } = parameters;
    let d = b_dec.len();
    let description = config.describe();
    let mut gradient = Parameters::zeros(parameters);

    for (field, found) in description.fields.iter().zip(&pass.fields) {
        let (list, kind) = (&pass.lists[field.list], description.lists[field.list].entry);
        for (i, entries) in list.iter().enumerate() {
            // With respect to the row's reconstruction.
            let error = difference(row(&found.values, i, d), row(&found.target, i, d));
            let g: Vec<f64> = error.iter().map(|error| found.scale * 2.0 / list.len() as f64 * error).collect();
            if field.bias {
                add_scaled(&mut gradient.b_dec, 1.0, &g);
            }
            for entry in entries.iter().filter(|entry| entry.carries) {
                let j = entry.feature;
                // With respect to the entry's value, then to its pre-activation. Keys have no part in it: a decoder
                // norm that multiplies a key divides the decoder row, and cancels.
                let s = dot(&g, row(w_dec, j, d));
                let p = match kind {
                    EntryKind::TopK => s,
                    EntryKind::Relu { .. } | EntryKind::JumpRelu(_) | EntryKind::Gated { .. } => unimplemented!(),
                };
                add_scaled(row_mut(&mut gradient.w_dec, j, d), entry.value(), &g);
                add_scaled(row_mut(&mut gradient.w_enc, j, d), p, row(&pass.input, i, d));
                gradient.b_enc[j] += p;
            }
        }
    }
    if description.input == Input::Centred {
        // Every pre-activation of feature j falls by w_j · b_dec.
        for (j, &b_enc) in gradient.b_enc.iter().enumerate() {
            add_scaled(&mut gradient.b_dec, -b_enc, row(w_enc, j, d));
        }
    }
    gradient
}
