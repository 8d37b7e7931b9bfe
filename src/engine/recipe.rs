//! The recipe of a training run: sizes, schedule, optimiser.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sae::SaeConfig;

/// Tokens after which a feature that has not fired is dead (Gao et al. 2024).
pub const DEAD_WINDOW: u64 = 10_000_000;

/// A training recipe. [`Recipe::top_k`] has dictionary_learning's settings for its `TopKTrainer`; AuxK, which that
/// trainer always adds, is part of the architecture here ([`crate::sae::AuxK`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Rows per step.
    pub batch: usize,
    /// Steps in all.
    pub steps: u64,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Steps over which it rises from 0.
    pub warmup_steps: u64,
    /// How it falls at the end.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps at the end over which it falls to 0.
    pub decay_steps: u64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// The largest norm of the whole gradient, if it is clipped.
    pub clip: Option<f64>,
    /// Keeps decoder rows at norm 1 and their gradients perpendicular to them.
    pub unit_norm_decoder: bool,
    /// A feature is dead once it has not fired for this many tokens.
    pub dead_window: u64,
    /// Steps over which the coefficient of the penalty on active features rises from 0.
    #[serde(default)]
    pub sparsity_warmup_steps: u64,
    /// How the number of active features per row falls to the SAE's k, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k_annealing: Option<KAnnealing>,
    /// The type that Adam's moments of W_enc and W_dec are stored in.
    pub moments: MomentPrecision,
    /// What rows are multiplied by before they are trained on; initial weights and losses are those of such rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_scale: Option<f32>,
}

/// A number of active features per row that falls to the SAE's k in a straight line, rounded down
/// (dictionary_learning's `k_anneal_steps`, which begins at d).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KAnnealing {
    /// The number in the first step.
    pub start: usize,
    /// Steps until it is k.
    pub steps: u64,
}

impl KAnnealing {
    /// The number in a step, the first being 0.
    fn at(self, step: u64, k: usize) -> usize {
        let (left, above) = (self.steps.saturating_sub(step), self.start.saturating_sub(k));
        // At most `above`.
        k + (above as u128 * u128::from(left) / u128::from(self.steps.max(1))) as usize
    }
}

/// How the learning rate falls over the recipe's last steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not fall.
    Constant,
    /// In a straight line.
    #[default]
    Linear,
    /// As the first half of a cosine's period.
    Cosine,
}

/// The type that Adam's moments are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentPrecision {
    /// 4 bytes each.
    #[default]
    F32,
    /// 2 bytes each, with stochastic rounding: right on average, where the nearest value would stand still.
    Bf16 {
        /// Seed of the rounding.
        seed: u64,
    },
}

impl MomentPrecision {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 { .. } => 2,
        }
    }
}

impl Recipe {
    /// dictionary_learning's `TopKTrainer` (lr 2e-4 / sqrt(features / 2^14), clip 1, unit-norm decoder, dead after 10M
    /// tokens), with a warm-up over min(1,000, steps / 15) and a linear decay over the last fifth of the steps.
    ///
    /// That rate is meant for runs of tens of thousands of steps. A run of fewer than 10,000 cannot travel far enough
    /// at it, so its rate is larger by sqrt(10,000 / steps), at most 4 times (benches/results/ has what that gives).
    pub fn top_k(features: usize, batch: usize, steps: u64) -> Self {
        let haste = (10_000.0 / steps.max(1) as f64).sqrt().clamp(1.0, 4.0);
        Self {
            batch,
            steps,
            learning_rate: haste * 2e-4 / (features as f64 / 16_384.0).sqrt(),
            warmup_steps: (steps / 15).min(1_000),
            schedule: Schedule::Linear,
            decay_steps: steps / 5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip: Some(1.0),
            unit_norm_decoder: true,
            dead_window: DEAD_WINDOW,
            sparsity_warmup_steps: 0,
            k_annealing: None,
            moments: MomentPrecision::F32,
            row_scale: None,
        }
    }

    /// Checks that the numbers make a run.
    ///
    /// # Errors
    /// [`Error::Config`] naming the one that does not.
    pub fn validate(&self) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        // The device computes in f32: an epsilon of 0 there divides 0 by 0 for every silent feature.
        let in_f32 = |value: f64| (value as f32).is_normal() && value > 0.0;
        let problem = if self.batch == 0 {
            "batch is 0: a step needs at least one row".to_owned()
        } else if self.steps == 0 || self.steps >= u64::from(u32::MAX) {
            format!("steps is {}: it must be at least 1 and below 2^32 - 1", self.steps)
        } else if !positive(self.learning_rate) || !((self.learning_rate / (1.0 - self.beta1)) as f32).is_finite() {
            format!("the learning rate is {}: it must be above 0, and f32 must hold it", self.learning_rate)
        } else if self.warmup_steps.saturating_add(self.decay_steps) > self.steps {
            format!(
                "{} steps of warm-up and {} of decay are more than {} steps",
                self.warmup_steps, self.decay_steps, self.steps
            )
        } else if self.schedule == Schedule::Constant && self.decay_steps > 0 {
            format!("a constant schedule does not fall, and has {} steps of decay: give it 0", self.decay_steps)
        } else if !(0.0..1.0).contains(&self.beta1) || !(0.0..1.0).contains(&self.beta2) || !in_f32(self.epsilon) {
            format!(
                "Adam takes betas in [0, 1) and an epsilon that f32 can hold, at least 1.2e-38, not {}, {}, {}",
                self.beta1, self.beta2, self.epsilon
            )
        } else if let Some(limit) = self.clip.filter(|limit| !in_f32(*limit)) {
            format!("the gradient cannot be clipped at {limit}: the norm must be above 0, and f32 must hold it")
        } else if let Some(scale) = self.row_scale.filter(|scale| !(scale.is_normal() && *scale > 0.0)) {
            format!("rows cannot be multiplied by {scale}: it must be above 0 and finite")
        } else if self.dead_window == 0 {
            "the window of dead features is 0 tokens: it must be at least 1".to_owned()
        } else if let Some(KAnnealing { steps, .. }) = self.k_annealing.filter(|k| !(1..self.steps).contains(&k.steps))
        {
            format!("k falls over {steps} steps: they must be at least 1 and fewer than all {} steps", self.steps)
        } else {
            return Ok(());
        };
        Err(Error::Config(problem))
    }

    /// As [`Recipe::validate`], and that the number of active features can fall to this SAE's k.
    ///
    /// # Errors
    /// [`Error::Config`] naming what does not fit.
    pub fn validate_for(&self, config: &SaeConfig) -> Result<()> {
        self.validate()?;
        let Some(KAnnealing { start, .. }) = self.k_annealing else { return Ok(()) };
        match config.k() {
            None => Err(Error::Config("there is no k that could fall: leave its start out".into())),
            Some(k) if start < k || start > config.features => Err(Error::Config(format!(
                "k starts at {start} and falls to {k}: it must start at {k} or more and at most at the number of \
                 features, {}",
                config.features
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Active features per row of a step, the first being 0, where the architecture fixes their number: of each row, or
    /// on average.
    pub fn k_at(&self, step: u64, config: &SaeConfig) -> Option<usize> {
        config.k().map(|k| self.k_annealing.map_or(k, |annealing| annealing.at(step, k)))
    }

    /// The window of dead features in steps.
    pub fn dead_window_steps(&self) -> u32 {
        self.dead_window.div_ceil(self.batch.max(1) as u64).clamp(1, u32::MAX.into()) as u32
    }

    /// The learning rate of a step, the first being 0: a linear rise from 0, a plateau, and the schedule's fall towards
    /// 0.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let rise = rise(step, self.warmup_steps);
        let left = self.steps.saturating_sub(step);
        let share = match self.decay_steps {
            0 => 1.0,
            decay => (left as f64 / decay as f64).min(1.0),
        };
        let fall = match self.schedule {
            Schedule::Constant | Schedule::Linear => share,
            Schedule::Cosine => 0.5 - 0.5 * (PI * share).cos(),
        };
        self.learning_rate * rise.min(fall)
    }

    /// What the coefficient of the penalty on active features is multiplied by in a step, the first being 0.
    pub fn sparsity_at(&self, step: u64) -> f64 {
        rise(step, self.sparsity_warmup_steps)
    }
}

/// From 0 to 1 over so many steps.
fn rise(step: u64, warmup: u64) -> f64 {
    match warmup {
        0 => 1.0,
        warmup => (step as f64 / warmup as f64).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{KAnnealing, Recipe, Schedule};
    use crate::sae::{Relu, SaeConfig};

    #[test]
    fn the_learning_rate_rises_stays_and_falls() {
        let recipe = Recipe { learning_rate: 2.0, ..Recipe::top_k(16_384, 8, 150) };
        let rates = [0, 5, 10, 119, 120, 135, 149].map(|step| recipe.learning_rate_at(step));
        assert_eq!(rates, [0.0, 1.0, 2.0, 2.0, 2.0, 1.0, 2.0 / 30.0]);
        assert_eq!(Recipe { warmup_steps: 0, ..recipe }.learning_rate_at(0), 2.0);
    }

    #[test]
    fn a_cosine_falls_from_the_plateau_to_0_and_a_constant_stays() {
        let linear = Recipe { learning_rate: 2.0, warmup_steps: 10, decay_steps: 100, ..Recipe::top_k(16_384, 8, 110) };
        let cosine = Recipe { schedule: Schedule::Cosine, ..linear.clone() };
        cosine.validate().unwrap();
        let rates = [5, 10, 35, 60, 110].map(|step| cosine.learning_rate_at(step));
        for (rate, expected) in rates.into_iter().zip([1.0, 2.0, 1.0 + 0.5_f64.sqrt(), 1.0, 0.0]) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
        assert!(Recipe { schedule: Schedule::Constant, ..linear.clone() }.validate().is_err());
        let constant = Recipe { schedule: Schedule::Constant, decay_steps: 0, ..linear };
        constant.validate().unwrap();
        assert_eq!([5, 10, 109].map(|step| constant.learning_rate_at(step)), [1.0, 2.0, 2.0]);
    }

    #[test]
    fn short_runs_hurry() {
        let rate = |steps| Recipe::top_k(4096, 8, steps).learning_rate;
        assert_eq!([rate(1_000_000), rate(10_000), rate(2_500), rate(1)], [4e-4, 4e-4, 8e-4, 16e-4]);
    }

    #[test]
    fn k_falls_in_a_straight_line_and_stays() {
        let config = SaeConfig::top_k(16, 64, 3);
        let annealed =
            |start, steps| Recipe { k_annealing: Some(KAnnealing { start, steps }), ..Recipe::top_k(64, 8, 100) };
        let k =
            |recipe: &Recipe, steps: &[u64]| steps.iter().map(|&step| recipe.k_at(step, &config)).collect::<Vec<_>>();
        // 64 - 61 / 4 · step, rounded down.
        assert_eq!(k(&annealed(64, 4), &[0, 1, 2, 3, 4, 99]), [64, 48, 33, 18, 3, 3].map(Some));
        assert_eq!(k(&annealed(3, 4), &[0, 3, 4]), [Some(3); 3]);
        assert_eq!(k(&Recipe::top_k(64, 8, 100), &[0, 99]), [Some(3); 2]);
        annealed(64, 99).validate_for(&config).unwrap();
        for (start, steps) in [(2, 4), (65, 4), (64, 0), (64, 100), (64, u64::MAX)] {
            annealed(start, steps).validate_for(&config).unwrap_err();
        }
        let relu = SaeConfig { architecture: Relu::inference().into(), ..config };
        assert_eq!(Recipe::top_k(64, 8, 100).k_at(0, &relu), None);
        annealed(64, 4).validate_for(&relu).unwrap_err();
    }

    #[test]
    fn unusable_recipes_are_refused() {
        let good = Recipe::top_k(64, 8, 100);
        good.validate().unwrap();
        for bad in [
            Recipe { batch: 0, ..good.clone() },
            Recipe { steps: 0, ..good.clone() },
            Recipe { learning_rate: f64::NAN, ..good.clone() },
            Recipe { decay_steps: 100, ..good.clone() },
            Recipe { warmup_steps: u64::MAX, ..good.clone() },
            Recipe { beta2: 1.0, ..good.clone() },
            Recipe { clip: Some(0.0), ..good.clone() },
            Recipe { epsilon: 1e-46, ..good.clone() },
            Recipe { learning_rate: 1e300, ..good.clone() },
            Recipe { dead_window: 0, ..good.clone() },
            Recipe { row_scale: Some(0.0), ..good.clone() },
            Recipe { row_scale: Some(f32::INFINITY), ..good.clone() },
        ] {
            bad.validate().unwrap_err();
        }
    }
}
