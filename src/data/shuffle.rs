//! A random order of the rows in constant memory.

use crate::rng::{Purpose, Rng};

/// Rounds of the network: four make it pseudorandom (Luby and Rackoff 1988), more mend domains of a few bits.
const ROUNDS: u64 = 8;

/// A seeded bijection of `0..len`: a balanced Feistel network on the smallest even number of bits that covers `len`,
/// walked until it comes back inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    rng: Rng,
    epoch: u32,
}

impl Permutation {
    /// The order of `epoch` under `seed`; orders repeat after 2^32 epochs.
    pub fn new(len: u64, seed: u64, epoch: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { len, half_bits: bits.div_ceil(2), rng: Rng::new(seed, Purpose::Shuffle), epoch: epoch as u32 }
    }

    /// The row at place `i`.
    ///
    /// # Panics
    /// When `i` is not below the length.
    pub fn at(&self, i: u64) -> u64 {
        assert!(i < self.len, "place {i} of {}", self.len);
        let mut row = self.encipher(i);
        while row >= self.len {
            row = self.encipher(row);
        }
        row
    }

    /// The place of a row: the inverse of [`Self::at`].
    ///
    /// # Panics
    /// When `row` is not below the length.
    pub fn place_of(&self, row: u64) -> u64 {
        assert!(row < self.len, "row {row} of {}", self.len);
        let mut place = self.decipher(row);
        while place >= self.len {
            place = self.decipher(place);
        }
        place
    }

    fn encipher(&self, value: u64) -> u64 {
        let (mut left, mut right) = (value >> self.half_bits, value & self.mask());
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        left << self.half_bits | right
    }

    fn decipher(&self, value: u64) -> u64 {
        let (mut left, mut right) = (value >> self.half_bits, value & self.mask());
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        left << self.half_bits | right
    }

    /// A round's function of one half.
    fn round(&self, round: u64, half: u64) -> u64 {
        let [word, ..] = self.rng.block(round << 32 | half, self.epoch);
        u64::from(word) & self.mask()
    }

    fn mask(&self) -> u64 {
        (1 << self.half_bits) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(len: u64, seed: u64, epoch: u64) -> Vec<u64> {
        let permutation = Permutation::new(len, seed, epoch);
        (0..len).map(|i| permutation.at(i)).collect()
    }

    #[test]
    fn bijective() {
        for len in [1, 2, 3, 4, 5, 16, 17, 1000, 4097] {
            let mut rows = order(len, 7, 3);
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..len), "length {len}");
        }
    }

    #[test]
    fn every_row_is_found_at_its_place() {
        for len in [1, 2, 3, 17, 1000, 4097, u64::from(u32::MAX), u64::MAX] {
            let permutation = Permutation::new(len, 7, 3);
            for i in (0..len.min(5000)).chain([len - 1]) {
                assert_eq!(permutation.place_of(permutation.at(i)), i, "length {len}");
                assert_eq!(permutation.at(permutation.place_of(i)), i, "length {len}");
            }
        }
    }

    #[test]
    fn covers_every_length() {
        for len in [u64::from(u32::MAX), 1 << 62, u64::MAX] {
            assert!(Permutation::new(len, 0, 0).at(len - 1) < len);
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let first = order(1000, 0, 0);
        assert_eq!(first, order(1000, 0, 0));
        for other in [order(1000, 0, 1), order(1000, 1, 0), (0..1000).collect()] {
            let fixed = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(fixed < 20, "{fixed} of 1000 rows did not move");
        }
    }

    /// Pearson's statistic of where one place lands, and of the step between neighbours, over many seeds: its mean is
    /// its degrees of freedom, its deviation sqrt(2 dof), and 6 deviations are generous.
    #[test]
    fn uniform_over_seeds() {
        const SEEDS: u64 = 20_000;
        for len in [3, 10, 17, 100_u64] {
            let chi_square = |value: &dyn Fn(Permutation) -> u64, cells: u64| {
                let mut counts = vec![0.0_f64; cells as usize];
                (0..SEEDS).for_each(|seed| counts[value(Permutation::new(len, seed, 0)) as usize] += 1.0);
                let expected = SEEDS as f64 / cells as f64;
                let sum: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
                (sum - (cells - 1) as f64) / (2.0 * (cells - 1) as f64).sqrt()
            };
            for place in [0, 1, len - 1] {
                let deviations = chi_square(&|p| p.at(place), len);
                assert!(deviations < 6.0, "place {place} of {len}: {deviations} deviations");
            }
            let deviations = chi_square(&|p| (p.at(1) + len - p.at(0)) % len - 1, len - 1);
            assert!(deviations < 6.0, "steps of {len}: {deviations} deviations");
        }
    }
}
