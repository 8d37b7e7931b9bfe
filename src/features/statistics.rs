//! Sums over the rows that a feature is active on.

use super::half_octaves::{BINS, bin};

/// What is known of a feature's activations, all above 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Rows that the feature is active on.
    pub count: u64,
    /// The greatest activation, 0 without any.
    pub maximum: f32,
    /// Sum of the activations.
    pub sum: f64,
    /// Sum of their squares.
    pub sum_of_squares: f64,
    /// Activations by half octave (docs/features.md).
    pub histogram: [u64; BINS],
    /// Active rows of each source, as far as there were any.
    pub source_counts: Vec<u64>,
}

impl Default for Statistics {
    fn default() -> Self {
        Self { count: 0, maximum: 0.0, sum: 0.0, sum_of_squares: 0.0, histogram: [0; BINS], source_counts: Vec::new() }
    }
}

impl Statistics {
    /// Adds the activation of a row.
    pub fn add(&mut self, value: f32, source: Option<usize>) {
        self.count += 1;
        self.maximum = self.maximum.max(value);
        self.sum += f64::from(value);
        self.sum_of_squares += f64::from(value) * f64::from(value);
        self.histogram[bin(value)] += 1;
        if let Some(source) = source {
            if self.source_counts.len() <= source {
                self.source_counts.resize(source + 1, 0);
            }
            self.source_counts[source] += 1;
        }
    }

    /// The mean activation of active rows; 0 without any.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }
}
