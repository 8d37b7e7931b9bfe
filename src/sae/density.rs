//! How often features fire.

use crate::histogram::Histogram;

/// The share of rows on which each feature fires, as a histogram over features.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDensity {
    /// Features that fired on no row.
    pub unfired: u64,
    /// log10 of the density of the others, in bins of a quarter from -10 to 0.
    pub fired: Histogram,
}

impl FeatureDensity {
    /// The first edge of the bins, and where SAELens puts features that never fired.
    pub const LEAST: f64 = -10.0;

    const BINS: usize = 40;

    /// Of features that fired on so many of `rows` rows each.
    pub fn of(counts: impl IntoIterator<Item = u64>, rows: u64) -> Self {
        let mut density = Self { unfired: 0, fired: Histogram::new(Self::LEAST, 0.0, Self::BINS) };
        density.add(counts, rows);
        density
    }

    /// Adds features that fired on so many of `rows` rows each.
    pub fn add(&mut self, counts: impl IntoIterator<Item = u64>, rows: u64) {
        for count in counts {
            match count {
                0 => self.unfired += 1,
                _ => self.fired.add((count as f64 / rows as f64).log10()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FeatureDensity;

    #[test]
    fn features_are_sorted_by_the_logarithm_of_their_density() {
        let density = FeatureDensity::of([0, 1, 10, 999, 1000, 0, 1000], 1000);
        let bins: Vec<_> = density.fired.counts.iter().enumerate().filter(|(_, features)| **features > 0).collect();
        // From 10^-3 on, from 10^-2 on, and the last bin, whose upper edge is a density of 1.
        assert_eq!((density.unfired, bins), (2, vec![(28, &1), (32, &1), (39, &3)]));
        assert_eq!((density.fired.edges[28], density.fired.edges[40]), (-3.0, 0.0));
    }
}
