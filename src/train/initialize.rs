//! Where an SAE starts.

mod matched;

use std::num::NonZeroUsize;
use std::thread;

use serde::{Deserialize, Serialize};

use super::geometric_median;
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::description::{Role, TensorSpec};
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

impl Default for Initialization {
    fn default() -> Self {
        Self { decoder_norm: 1.0, encoder: EncoderStart::Decoder, b_dec: BiasStart::Median }
    }
}

/// An SAE before its first step. Rows are drawn as they are read.
#[derive(Clone, Debug)]
pub struct InitialWeights {
    config: SaeConfig,
    rng: Rng,
    decoder_norm: f64,
    /// Factor of an encoder that starts as a linear layer.
    linear_scale: Option<f64>,
    b_dec: Vec<f32>,
    /// Origin of the activations to train on.
    pub provenance: Provenance,
}

/// The weights of `seed` by the default [`Initialization`].
///
/// # Errors
/// As [`Initialization::draw`].
pub fn initialize(config: &SaeConfig, seed: u64, first_batch: &[f32]) -> Result<InitialWeights> {
    Initialization::default().draw(config, seed, first_batch)
}

impl Initialization {
    /// The weights of `seed` for data that begin with the batch `[rows, d_in]`. Every number depends on the seed and its
    /// own place only, but for the scale of a matched encoder.
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
            linear_scale: (self.encoder != EncoderStart::Decoder).then_some(1.0),
            b_dec: b_dec.iter().map(|&value| value as f32).collect(),
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

impl InitialWeights {
    /// Fills a row with what is drawn for its feature, uniform in [-1, 1).
    fn draw(&self, feature: usize, row: &mut [f32]) {
        for (four, values) in (0..).zip(row.chunks_mut(4)) {
            let drawn = self.rng.block(feature as u64, four).map(symmetric);
            values.copy_from_slice(&drawn[..values.len()]);
        }
    }

    fn decoder_row(&self, feature: usize, row: &mut [f32]) {
        self.draw(feature, row);
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        for value in row {
            *value = (self.decoder_norm * f64::from(*value) / norm.max(f64::MIN_POSITIVE)) as f32;
        }
    }

    fn encoder_row(&self, feature: usize, row: &mut [f32]) {
        let Some(scale) = self.linear_scale else { return self.decoder_row(feature, row) };
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
            Role::EncoderBias | Role::Own(_) => values.fill(0.0),
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
