//! The learning rate over a run, as people write it.

use std::fmt::{Display, Formatter, Result as FormatResult};

use clap::ValueEnum;
use serde::{Serialize, Serializer};

use super::number::{count_or_zero, positive};

/// A learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LearningRate {
    Fixed(f64),
    /// (rate, features): the rate at that number of features, inversely proportional to its square root.
    PerRoot(f64, f64),
}

/// The part of a rate that divides by the root of the features, up to the number at which it is 1.
const PER_ROOT: &str = "/sqrt(features/";

impl LearningRate {
    /// X, or X/sqrt(features/N).
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((rate, rest)) = text.split_once(PER_ROOT) else { return positive(text).map(Self::Fixed) };
        let number = rest.trim_end().strip_suffix(')').ok_or("no `)` after the number of features")?;
        Ok(Self::PerRoot(positive(rate)?, positive(number)?))
    }

    /// The learning rate of an SAE with this many features.
    pub fn of(self, features: usize) -> f64 {
        match self {
            Self::Fixed(rate) => rate,
            Self::PerRoot(rate, number) => rate / (features as f64 / number).sqrt(),
        }
    }
}

impl Serialize for LearningRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(rate) => serializer.serialize_f64(*rate),
            Self::PerRoot(rate, number) => serializer.collect_str(&format_args!("{rate}{PER_ROOT}{number})")),
        }
    }
}

/// Some of a run's steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stretch {
    Steps(u64),
    /// Percent of all steps.
    Percent(f64),
}

impl Stretch {
    /// A number of steps, or a percentage of all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(percent) = text.trim().strip_suffix('%') else { return count_or_zero(text).map(Self::Steps) };
        match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
            _ => Err("not a percentage from 0% to 100%".into()),
        }
    }

    /// The number of them in a run of `steps` steps.
    pub fn of(self, steps: u64) -> u64 {
        match self {
            Self::Steps(number) => number,
            Self::Percent(percent) => (percent / 100.0 * steps as f64) as u64,
        }
    }
}

impl Display for Stretch {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> FormatResult {
        match self {
            Self::Steps(number) => write!(formatter, "{number}"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

impl Serialize for Stretch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Steps(number) => serializer.serialize_u64(*number),
            percent => serializer.collect_str(percent),
        }
    }
}

/// The last steps of a run, over which the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    Last(Stretch),
    /// All steps after the warm-up.
    Rest,
}

impl Decay {
    /// As [`Stretch::parse`], or `rest`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "rest" { Ok(Self::Rest) } else { Stretch::parse(text).map(Self::Last) }
    }

    /// The number of steps in a run of `steps` steps, of which the first are warm-up.
    pub fn of(self, steps: u64, warmup: u64) -> u64 {
        match self {
            Self::Last(stretch) => stretch.of(steps),
            Self::Rest => steps.saturating_sub(warmup),
        }
    }
}

impl Serialize for Decay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Last(stretch) => stretch.serialize(serializer),
            Self::Rest => serializer.serialize_str("rest"),
        }
    }
}

/// The values of `--schedule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleName {
    Constant,
    Linear,
    Cosine,
}

impl From<ScheduleName> for monosem::train::Schedule {
    fn from(name: ScheduleName) -> Self {
        match name {
            ScheduleName::Constant => Self::Constant,
            ScheduleName::Linear => Self::Linear,
            ScheduleName::Cosine => Self::Cosine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_stretches_are_read_as_they_are_written() {
        let rate = LearningRate::parse("2e-4/sqrt(features/16384)").unwrap();
        assert_eq!(rate, LearningRate::PerRoot(2e-4, 16_384.0));
        assert_eq!([rate.of(16_384), rate.of(65_536)], [2e-4, 1e-4]);
        assert_eq!(LearningRate::parse("3e-4"), Ok(LearningRate::Fixed(3e-4)));
        assert_eq!(serde_json::to_value(rate).unwrap(), "0.0002/sqrt(features/16384)");
        for wrong in ["0", "2e-4/sqrt(features/16384", "2e-4/sqrt(features/0)", "2e-4/features", "/sqrt(features/2)"] {
            assert!(LearningRate::parse(wrong).is_err(), "{wrong}");
        }
        let decay = |text| Decay::parse(text).map(|decay| decay.of(250, 30));
        assert_eq!(["20%", "7", "0", "rest", "2.5%", "100%"].map(decay), [50, 7, 0, 220, 6, 250].map(Ok));
        for text in ["20%", "rest"] {
            assert_eq!(serde_json::to_value(Decay::parse(text).unwrap()).unwrap(), text);
        }
        for wrong in ["101%", "-1%", "x%", "-1", "most", "NaN%"] {
            assert!(Decay::parse(wrong).is_err(), "{wrong}");
        }
    }
}
