//! Norms by their size, in bounded memory.

/// The bits of an f32 that do not tell bins apart: each power of two has 2^10 bins.
const SHIFT: u32 = 13;

/// Bins up to the largest f32.
const BINS: usize = (0x7f80_0000 >> SHIFT) as usize;

/// A histogram of norms whose bins are as wide as 1/1024 of their value, or narrower.
pub(super) struct NormHistogram {
    counts: Vec<u64>,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for NormHistogram {
    fn default() -> Self {
        Self { counts: vec![0; BINS], count: 0, sum: 0.0, min: f64::INFINITY, max: 0.0 }
    }
}

impl NormHistogram {
    /// Adds a finite norm.
    pub fn add(&mut self, norm: f64) {
        self.counts[bin(norm)] += 1;
        self.count += 1;
        self.sum += norm;
        self.min = self.min.min(norm);
        self.max = self.max.max(norm);
    }

    /// The smallest; 0 without any.
    pub fn min(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.min }
    }

    /// The largest; 0 without any.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The mean; 0 without any.
    pub fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// The norm that this share of all does not exceed: the middle of its bin.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut below = 0;
        let bin = self.counts.iter().position(|&count| {
            below += count;
            below >= rank
        });
        let middle = bin.map_or(0.0, |bin| (edge(bin) + edge(bin + 1)) / 2.0);
        middle.clamp(self.min(), self.max())
    }

    /// Whether a norm is in a bin above that of `limit`.
    pub fn is_above(&self, norm: f64, limit: f64) -> bool {
        bin(norm) > bin(limit)
    }

    /// Norms for which [`Self::is_above`] holds.
    pub fn count_above(&self, limit: f64) -> u64 {
        self.counts[bin(limit) + 1..].iter().sum()
    }
}

fn bin(norm: f64) -> usize {
    // Norms of the largest values are beyond f32.
    ((norm as f32).min(f32::MAX).to_bits() >> SHIFT) as usize
}

/// The smallest norm of a bin.
fn edge(bin: usize) -> f64 {
    f32::from_bits((bin as u32) << SHIFT).min(f32::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_as_close_as_is_said() {
        let mut norms = NormHistogram::default();
        let values: Vec<f64> = (1..=100_000).map(|at| 1e-3 * 1.0002_f64.powi(at)).collect();
        values.iter().rev().for_each(|&norm| norms.add(norm));
        for share in [1e-5, 0.001, 0.1, 0.5, 0.9, 0.999, 1.0] {
            let exact = values[((share * 1e5_f64).ceil() as usize).max(1) - 1];
            let error = (norms.quantile(share) / exact - 1.0).abs();
            assert!(error <= 1.0 / 2048.0, "{share}: {error}");
        }
        assert_eq!((norms.min(), norms.max()), (values[0], values[99_999]));
        let above = values.iter().filter(|&&norm| norm > 10.0).count() as f64;
        assert!((norms.count_above(10.0) as f64 / above - 1.0).abs() < 0.01);
    }

    #[test]
    fn norms_of_every_size_have_a_bin() {
        let mut norms = NormHistogram::default();
        assert_eq!((norms.min(), norms.max(), norms.mean(), norms.quantile(0.5)), (0.0, 0.0, 0.0, 0.0));
        [0.0, 1e-45, f64::from(f32::MAX), 1e40].iter().for_each(|&norm| norms.add(norm));
        assert_eq!((norms.min(), norms.max(), norms.quantile(0.25)), (0.0, 1e40, edge(1) / 2.0));
        assert_eq!(norms.count_above(1e39), 0);
        assert_eq!(norms.count_above(1.0), 2);
        let mut zeros = NormHistogram::default();
        zeros.add(0.0);
        assert_eq!((zeros.quantile(0.5), zeros.count_above(0.0)), (0.0, 0));
    }
}
