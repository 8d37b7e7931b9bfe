//! Where an SAE starts.

mod matched;
mod quantile;

use std::num::NonZeroUsize;
use std::thread;

use serde::{Deserialize, Serialize};

use super::geometric_median;
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::description::{EntryKind, Input, JumpReluEntry, Role, TensorSpec};
use crate::sae::{SaeConfig, Weights};

/// How the weights are drawn that a run starts with. The default is that of Gao et al. 2024, appendix A.1: decoder rows
/// of random direction and norm 1, the encoder equal to them, `b_enc` 0, `b_dec` the geometric median of the first
/// batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Initialization {
    /// Norm of the decoder rows, whose directions are drawn.
    pub decoder_norm: f64,
    /// The encoder.
    pub encoder: EncoderStart,
    /// The output bias.
    pub b_dec: BiasStart,
    /// How sparse relu, jumprelu and gated are; those that rank features are as sparse as they say.
    pub sparsity: SparsityStart,
}

/// Where the encoder starts. Its rows have the directions of the decoder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderStart {
    /// Equal to the decoder.
    Decoder,
    /// Uniform in ±1/√d, as torch.nn.Linear's weights.
    Linear,
    /// The same, scaled so that reconstructions of rows of norm 1 have norm 1 on average (OpenAI's sparse_autoencoder,
    /// `init_from_data_`).
    Matched,
    /// The decoder times d / features (Anthropic, January 2025 update).
    Shared,
}

/// Where `b_dec` starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BiasStart {
    /// At the geometric median of the first batch.
    Median,
    /// At its mean.
    Mean,
    /// At 0.
    Zero,
}

/// What decides how many features are active before the first step. Biases are below 0 by as much as thresholds are
/// above it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SparsityStart {
    /// Each feature exceeds its threshold on as many rows of the first batch as makes this many active per row; if no
    /// number is given 256, but at most a sixteenth of the features. Where values are not reduced by what they exceed,
    /// the decoder is scaled to reconstruct best.
    Active(Option<f64>),
    /// All thresholds are this.
    Threshold(f64),
    /// All thresholds are this, and each feature's bias is such that it exceeds it as often as makes so many active per
    /// row (Anthropic, January 2025 update); of JumpReLU.
    Biased {
        /// The threshold.
        threshold: f64,
        /// Active features per row.
        active: f64,
    },
}

/// Four times the active features that an SAE without a k is usually trained to.
const USUAL_ACTIVE: f64 = 256.0;

/// The share of active features that lists are meant for.
const USUAL_SHARE: f64 = 1.0 / 16.0;

impl Default for Initialization {
    fn default() -> Self {
        Self {
            decoder_norm: 1.0,
            encoder: EncoderStart::Decoder,
            b_dec: BiasStart::Median,
            sparsity: SparsityStart::Active(None),
        }
    }
}

/// An SAE before its first step. Rows are drawn as they are read.
#[derive(Clone, Debug)]
pub struct InitialWeights {
    config: SaeConfig,
    rng: Rng,
    decoder_norm: f64,
    /// Norm of the encoder rows, but for one that starts as a linear layer.
    encoder_norm: f64,
    /// Factor of an encoder that starts as a linear layer.
    linear_scale: Option<f64>,
    b_dec: Vec<f32>,
    /// Of each feature, or one of all.
    thresholds: Vec<f32>,
    /// The threshold of all features where biases do what thresholds do elsewhere.
    biased_to: Option<f32>,
    /// A further factor of the decoder.
    decoder_scale: f64,
    /// Origin of the activations to train on.
    pub provenance: Provenance,
}

/// The weights of `seed` by the default [`Initialization`], without quantiles.
///
/// # Errors
/// As [`Initialization::draw`].
pub fn initialize(config: &SaeConfig, seed: u64, first_batch: &[f32]) -> Result<InitialWeights> {
    Initialization::default().draw(config, seed, first_batch)
}

impl Initialization {
    /// The weights of `seed` for data that begin with the batch `[rows, d_in]`, as sparse as [`Self::sparsity`] says.
    ///
    /// # Errors
    /// As [`Initialization::draw`], and those of the device.
    pub fn start(&self, gpu: &Gpu, config: &SaeConfig, seed: u64, first_batch: &[f32]) -> Result<InitialWeights> {
        let drawn = self.draw(config, seed, first_batch)?;
        match self.sparsity {
            SparsityStart::Active(active) => drawn.with_active(gpu, first_batch, active),
            SparsityStart::Biased { active, .. } => drawn.with_active(gpu, first_batch, Some(active)),
            SparsityStart::Threshold(_) => Ok(drawn),
        }
    }

    /// That of an SAE with this share of the features, of which as large a share is active.
    pub fn of_share(self, share: f64) -> Self {
        let sparsity = match self.sparsity {
            SparsityStart::Active(active) => SparsityStart::Active(active.map(|active| active * share)),
            SparsityStart::Biased { threshold, active } => SparsityStart::Biased { threshold, active: active * share },
            threshold => threshold,
        };
        Self { sparsity, ..self }
    }

    /// The weights of `seed` for data that begin with the batch `[rows, d_in]`. Every number depends on the seed and
    /// its own place only, but for the scale of a matched encoder. No feature has a quantile of its own.
    ///
    /// # Errors
    /// As [`SaeConfig::validate`]; [`Error::Config`] when the encoder is to be matched and the architecture keeps no
    /// fixed number of features, or the norm is not above 0.
    pub fn draw(&self, config: &SaeConfig, seed: u64, first_batch: &[f32]) -> Result<InitialWeights> {
        config.validate()?;
        if !(self.decoder_norm as f32).is_normal() || self.decoder_norm < 0.0 {
            let problem = format!("decoder rows cannot start at norm {}: it must be above 0", self.decoder_norm);
            return Err(Error::Config(problem));
        }
        let d = config.d_in;
        let b_dec = match self.b_dec {
            BiasStart::Median => geometric_median(first_batch, d),
            BiasStart::Mean => mean(first_batch, d),
            BiasStart::Zero => vec![0.0; d],
        };
        let mut weights = InitialWeights {
            config: config.clone(),
            rng: Rng::new(seed, Purpose::Weights),
            decoder_norm: self.decoder_norm,
            linear_scale: matches!(self.encoder, EncoderStart::Linear | EncoderStart::Matched).then_some(1.0),
            encoder_norm: match self.encoder {
                EncoderStart::Shared => self.decoder_norm * d as f64 / config.features as f64,
                EncoderStart::Decoder | EncoderStart::Linear | EncoderStart::Matched => self.decoder_norm,
            },
            b_dec: b_dec.iter().map(|&value| value as f32).collect(),
            thresholds: vec![match self.sparsity {
                SparsityStart::Threshold(threshold) => threshold as f32,
                SparsityStart::Active(_) | SparsityStart::Biased { .. } => 0.0,
            }],
            biased_to: match self.sparsity {
                SparsityStart::Biased { threshold, .. } => Some(threshold as f32),
                SparsityStart::Active(_) | SparsityStart::Threshold(_) => None,
            },
            decoder_scale: 1.0,
            provenance: Provenance::default(),
        };
        if self.encoder == EncoderStart::Matched {
            let k = config.k().ok_or_else(|| {
                Error::Config(
                    "an encoder is matched to its decoder by the features that a row keeps: this kind of SAE \
                               keeps no fixed number of them"
                        .into(),
                )
            })?;
            let norm = matched::reconstruction_norm(&weights, seed, k);
            weights.linear_scale = Some(1.0 / norm.max(f64::MIN_POSITIVE));
        }
        Ok(weights)
    }
}

fn mean(rows: &[f32], d: usize) -> Vec<f64> {
    let mut mean = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        for (sum, &value) in mean.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let count = (rows.len() / d).max(1) as f64;
    mean.iter().map(|sum| sum / count).collect()
}

/// Rows that the scale of the decoder is fitted to.
const SCALE_ROWS: usize = 1024;

/// The least threshold whose logarithm is trained.
const LEAST_THRESHOLD: f32 = 1e-6;

impl InitialWeights {
    /// The same with thresholds, or biases, that the first batch `[rows, d_in]` exceeds as often as
    /// [`SparsityStart::Active`] or [`SparsityStart::Biased`] says, where the architecture has any.
    ///
    /// # Errors
    /// Those of the device.
    fn with_active(mut self, gpu: &Gpu, first_batch: &[f32], active: Option<f64>) -> Result<Self> {
        let description = self.config.describe();
        let entry = description.lists[0].entry;
        if entry == EntryKind::TopK {
            return Ok(self);
        }
        let mut rows = first_batch.to_vec();
        if description.input == Input::Centred {
            for row in rows.chunks_exact_mut(self.config.d_in) {
                row.iter_mut().zip(&self.b_dec).for_each(|(value, mean)| *value -= mean);
            }
        }
        let active = active.unwrap_or(USUAL_ACTIVE.min(USUAL_SHARE * self.config.features as f64));
        self.thresholds = quantile::quantiles(gpu, &self, &rows, active)?;
        let is_reduced = matches!(entry, EntryKind::Relu { .. });
        if !is_reduced && self.biased_to.is_none() {
            let d = self.config.d_in;
            let sample = &rows[..rows.len().min(SCALE_ROWS * d)];
            let b_dec = std::mem::replace(&mut self.b_dec, vec![0.0; d]);
            let scale = quantile::decoder_scale(gpu, &self, sample);
            (self.b_dec, self.decoder_scale) = (b_dec, scale?);
        }
        Ok(self)
    }

    /// Fills a tensor of a scalar per feature.
    fn fill_scalars(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) {
        let threshold = |at: usize| self.thresholds.get(first + at).or(self.thresholds.first()).copied().unwrap_or(0.0);
        let of_all = self.biased_to;
        let start: &dyn Fn(f32) -> f32 = match (self.config.describe().lists[0].entry, tensor.name) {
            (EntryKind::Relu { .. }, "b_enc") | (EntryKind::Gated { .. }, "b_gate") => &|threshold| -threshold,
            (EntryKind::JumpRelu(_), "b_enc") => &|threshold| of_all.map_or(0.0, |of_all| of_all - threshold),
            (EntryKind::JumpRelu(JumpReluEntry { log: false, .. }), "threshold") => {
                &|threshold| of_all.unwrap_or(threshold)
            }
            (EntryKind::JumpRelu(JumpReluEntry { log: true, .. }), "threshold") => {
                &|threshold| of_all.unwrap_or(threshold).max(LEAST_THRESHOLD).ln()
            }
            _ => &|_| 0.0,
        };
        values.iter_mut().enumerate().for_each(|(at, value)| *value = start(threshold(at)));
    }

    /// Fills a row with what is drawn for its feature, uniform in [-1, 1).
    fn draw(&self, feature: usize, row: &mut [f32]) {
        for (four, values) in (0..).zip(row.chunks_mut(4)) {
            let drawn = self.rng.block(feature as u64, four).map(symmetric);
            values.copy_from_slice(&drawn[..values.len()]);
        }
    }

    /// Fills a row with its feature's direction, in this length.
    fn direction(&self, feature: usize, length: f64, row: &mut [f32]) {
        self.draw(feature, row);
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        for value in row {
            *value = (length * f64::from(*value) / norm.max(f64::MIN_POSITIVE)) as f32;
        }
    }

    fn decoder_row(&self, feature: usize, row: &mut [f32]) {
        self.direction(feature, self.decoder_norm * self.decoder_scale, row);
    }

    fn encoder_row(&self, feature: usize, row: &mut [f32]) {
        let Some(scale) = self.linear_scale else { return self.direction(feature, self.encoder_norm, row) };
        self.draw(feature, row);
        let factor = scale / (row.len() as f64).sqrt();
        for value in row {
            *value = (factor * f64::from(*value)) as f32;
        }
    }
}

impl Weights for InitialWeights {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let d = self.config.d_in;
        match tensor.role {
            Role::EncoderBias | Role::Own(_) => self.fill_scalars(tensor, first, values),
            Role::OutputBias => values.copy_from_slice(&self.b_dec),
            Role::Encoder | Role::Decoder => {
                let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
                let share = (values.len() / d).div_ceil(threads);
                thread::scope(|scope| {
                    for (part, values) in values.chunks_mut(share * d).enumerate() {
                        scope.spawn(move || {
                            for (feature, row) in (first + part * share..).zip(values.chunks_exact_mut(d)) {
                                match tensor.role {
                                    Role::Encoder => self.encoder_row(feature, row),
                                    _ => self.decoder_row(feature, row),
                                }
                            }
                        });
                    }
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::Sae;

    const D: usize = 24;
    const ROWS: [f32; 3 * D] = {
        let mut rows = [1.0; 3 * D];
        let mut at = 0;
        while at < D {
            rows[at] = 4.0;
            at += 1;
        }
        rows
    };

    fn drawn(initialization: Initialization) -> Sae {
        Sae::read(&initialization.draw(&SaeConfig::top_k(D, 300, 5), 7, &ROWS).unwrap()).unwrap()
    }

    fn norms(rows: &[f32]) -> Vec<f64> {
        let norm = |row: &[f32]| row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        rows.chunks_exact(D).map(norm).collect()
    }

    #[test]
    fn rows_have_the_norm_that_is_asked_for_and_the_same_directions() {
        let (usual, small) =
            (drawn(Initialization::default()), Initialization { decoder_norm: 0.1, ..Default::default() });
        let small = drawn(small);
        assert_eq!(usual.tensor("W_enc"), usual.tensor("W_dec"));
        assert_eq!(small.tensor("W_enc"), small.tensor("W_dec"));
        assert!(norms(small.tensor("W_dec")).iter().all(|norm| (norm - 0.1).abs() < 1e-7));
        for (small, usual) in small.tensor("W_dec").iter().zip(usual.tensor("W_dec")) {
            assert!((small - 0.1 * usual).abs() < 1e-8);
        }
        assert!(Initialization { decoder_norm: 0.0, ..Default::default() }.draw(&usual.config, 7, &ROWS).is_err());
    }

    #[test]
    fn a_linear_encoder_is_uniform_along_the_decoder() {
        let sae = drawn(Initialization { encoder: EncoderStart::Linear, ..Default::default() });
        let bound = 1.0 / (D as f32).sqrt();
        let encoder = sae.tensor("W_enc");
        assert!(encoder.iter().all(|value| value.abs() <= bound) && encoder.iter().any(|value| *value > 0.99 * bound));
        for (row, norm) in norms(encoder).into_iter().enumerate() {
            let pair = [encoder, sae.tensor("W_dec")].map(|all| &all[row * D..(row + 1) * D]);
            assert!(pair[0].iter().zip(pair[1]).all(|(a, b)| (f64::from(*a) - norm * f64::from(*b)).abs() < 1e-6));
        }
    }

    #[test]
    fn a_shared_encoder_is_the_decoder_times_its_share() {
        let sae = drawn(Initialization { encoder: EncoderStart::Shared, decoder_norm: 0.5, ..Default::default() });
        assert!(norms(sae.tensor("W_dec")).iter().all(|norm| (norm - 0.5).abs() < 1e-6));
        for (encoder, decoder) in sae.tensor("W_enc").iter().zip(sae.tensor("W_dec")) {
            assert!((encoder - decoder * 24.0 / 300.0).abs() < 1e-8);
        }
    }

    #[test]
    fn the_output_bias_starts_where_it_is_asked_to() {
        let b_dec = |b_dec| drawn(Initialization { b_dec, ..Default::default() }).tensor("b_dec").to_vec();
        assert_eq!(b_dec(BiasStart::Zero), [0.0; D]);
        assert_eq!(b_dec(BiasStart::Mean), [2.0; D]);
        // Two of the three rows are the same.
        assert!(b_dec(BiasStart::Median).iter().all(|value| (value - 1.0).abs() < 1e-3));
    }

    #[test]
    fn a_matched_encoder_gives_rows_of_norm_1_back_at_norm_1() {
        let matched = Initialization { encoder: EncoderStart::Matched, ..Default::default() };
        let config = SaeConfig::top_k(D, 300, 5);
        let weights = matched.draw(&config, 7, &ROWS).unwrap();
        let linear = Initialization { encoder: EncoderStart::Linear, ..matched }.draw(&config, 7, &ROWS).unwrap();
        let mut pair = [vec![0.0; D], vec![0.0; D]];
        weights.encoder_row(3, &mut pair[0]);
        linear.encoder_row(3, &mut pair[1]);
        let scale = weights.linear_scale.unwrap();
        assert!(scale > 0.2 && scale != 1.0);
        assert!(pair[0].iter().zip(&pair[1]).all(|(a, b)| (f64::from(*a) - scale * f64::from(*b)).abs() < 1e-6));
        // The reconstructions of the matched weights, by the definition, on rows of another seed.
        let sae = Sae::read(&weights).unwrap();
        let norms: Vec<f64> = matched::probes(8, D)
            .chunks_exact(D)
            .map(|row| {
                let dot = |feature: usize| -> f64 {
                    let weights = &sae.tensor("W_enc")[feature * D..(feature + 1) * D];
                    weights.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                };
                let mut keys: Vec<(f64, usize)> = (0..300).map(|feature| (dot(feature), feature)).collect();
                keys.sort_by(|(a, _), (b, _)| b.total_cmp(a));
                let mut sum = [0.0; D];
                for (value, feature) in &keys[..5] {
                    for (sum, weight) in sum.iter_mut().zip(&sae.tensor("W_dec")[feature * D..]) {
                        *sum += value.max(0.0) * f64::from(*weight);
                    }
                }
                sum.iter().map(|value| value * value).sum::<f64>().sqrt()
            })
            .collect();
        let mean = norms.iter().sum::<f64>() / norms.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }
}
