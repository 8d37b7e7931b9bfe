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
        EntryKind::TopK => Vec::new(),
        EntryKind::Relu { normed, .. } => vec![("NORMED", normed.into())],
        EntryKind::Gated { normed, .. } => vec![("NORMED", normed.into()), training(pass)],
        EntryKind::JumpRelu(JumpReluEntry { penalty, to_input, log, pre_activation, .. }) => vec![
            training(pass),
            ("LOG", log.into()),
            ("PRE_ACTIVATION", pre_activation.into()),
            ("TANH", matches!(penalty, Penalty::Tanh { .. }).into()),
            ("QUADRATIC", matches!(penalty, Penalty::Quadratic { .. }).into()),
            ("TO_INPUT", to_input.into()),
        ],
    }
}

fn training(pass: Pass) -> (&'static str, u32) {
    ("TRAINING", u32::from(pass == Pass::Training))
}

/// Its constants, c0 to c3, for the mean over `rows` rows.
pub fn constants(kind: EntryKind, rows: u32) -> [f32; 4] {
    let over_rows = |coefficient: f64| coefficient / f64::from(rows);
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

/// The penalty on a row with `l0` active features; none if it is a sum over entries, which the device makes.
pub fn row_penalty(kind: EntryKind, l0: f64) -> Option<f64> {
    match kind {
        EntryKind::TopK | EntryKind::Relu { .. } | EntryKind::Gated { .. } => None,
        EntryKind::JumpRelu(JumpReluEntry { penalty, sparsity, .. }) => match penalty {
            Penalty::Step => Some(sparsity * l0),
            Penalty::Quadratic { target } => Some(sparsity * 2.0 / target * (l0 - target).powi(2)),
            Penalty::Tanh { .. } => None,
        },
    }
}
