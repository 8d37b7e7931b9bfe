//! What an SAE does to each row of its input.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use crate::error::{Error, Result};

/// What is done to each row before it is encoded, and undone in its reconstruction. Losses are of the rows as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputNormalization {
    /// Nothing.
    #[default]
    None,
    /// Its mean `m` is subtracted and it is divided by `s + 1e-5`, where `s` is its standard deviation with d - 1 in
    /// the denominator; the reconstruction is multiplied by `s`, and `m` is added (SAELens's `layer_norm`).
    LayerNorm,
}

/// Keeps rows whose values are all equal from being divided by 0.
const EPSILON: f64 = 1e-5;

/// Mean and standard deviation of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowNorm {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
}

impl RowNorm {
    /// Those of a row of at least two values.
    pub fn of(row: impl Iterator<Item = f64> + Clone) -> Self {
        let (count, sum) = row.clone().fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        let mean = sum / count;
        let squares: f64 = row.map(|value| (value - mean).powi(2)).sum();
        Self { mean, deviation: (squares / (count - 1.0)).sqrt() }
    }

    /// A value of the row as the encoder gets it.
    pub fn normalized(&self, value: f64) -> f64 {
        (value - self.mean) / (self.deviation + EPSILON)
    }

    /// What a value of the reconstruction is of the row as it was.
    pub fn restored(&self, value: f64) -> f64 {
        self.deviation.mul_add(value, self.mean)
    }
}

impl InputNormalization {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    pub(super) fn validate(&self, config: &SaeConfig) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        if config.d_in < 2 {
            return Err(Error::Config("a row of one value has no standard deviation to divide by".into()));
        }
        if config.describe().dead().is_some() {
            return Err(Error::Config(
                "an auxiliary loss on dead features reconstructs errors, which layer norm of the rows scales anew in \
                 every row: train without one of them (--auxk none, or another --normalize-activations)"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Does it to rows `[rows, d]`.
    pub fn apply(&self, rows: &mut [f32], d: usize) {
        if self.is_none() {
            return;
        }
        for row in rows.chunks_exact_mut(d) {
            let norm = RowNorm::of(row.iter().map(|&value| f64::from(value)));
            row.iter_mut().for_each(|value| *value = norm.normalized(f64::from(*value)) as f32);
        }
    }
}
