//! The arithmetic of a list's entries on the device: which file of `shaders/entry/` it is, and what that is told.

use super::entries::Pass;
use crate::gpu::Entry;
use crate::gpu::shaders::entry;
use crate::sae::description::{EntryKind, JumpReluEntry, Penalty};

/// The file.
pub fn entry(kind: EntryKind) -> Entry {
    match kind {
        EntryKind::TopK => entry::TOPK,
        EntryKind::Relu { .. } => entry::RELU,
        EntryKind::JumpRelu(_) => entry::JUMPRELU,
        EntryKind::Gated { .. } => entry::GATED,
    }
}

/// Its definitions. Training lists entries that only train.
pub fn defines(kind: EntryKind, pass: Pass) -> Vec<(&'static str, u32)> {
    match kind {
        EntryKind::TopK | EntryKind::Relu { .. } | EntryKind::Gated { .. } => Vec::new(),
        EntryKind::JumpRelu(JumpReluEntry { log, pre_activation, .. }) => vec![
            ("TRAINING", u32::from(pass == Pass::Training)),
            ("LOG", log.into()),
            ("PRE_ACTIVATION", pre_activation.into()),
        ],
    }
}

/// Its constants, c0 to c3, for the mean over `rows` rows; the coefficient of its penalty is multiplied by
/// `sparsity_factor`.
pub fn constants(kind: EntryKind, rows: u32, sparsity_factor: f64) -> [f32; 4] {
    let over_rows = |coefficient: f64| coefficient * sparsity_factor / f64::from(rows);
    let constants = match kind {
        EntryKind::TopK => [0.0; 4],
        EntryKind::Relu { sparsity, .. } | EntryKind::Gated { sparsity, .. } => [over_rows(sparsity), 0.0, 0.0, 0.0],
        EntryKind::JumpRelu(JumpReluEntry { penalty, sparsity, bandwidth, .. }) => {
            let of_penalty = match penalty {
                Penalty::Step => 0.0,
                Penalty::Quadratic { target } => target,
                Penalty::Tanh { scale } => scale,
            };
            [over_rows(sparsity), bandwidth, of_penalty, 0.0]
        }
    };
    constants.map(|constant| constant as f32)
}
