//! A random order of the rows in constant memory.

use crate::rng::{Purpose, Rng};

/// Rounds of the network: four make it pseudorandom (Luby and Rackoff 1988), more mend domains of a few values.
const ROUNDS: usize = 8;

/// A seeded bijection of `0..len`: a generalised Feistel network on pairs (left, right) of `0..lefts` and `0..rights`,
/// whose product is hardly more than `len`, walked until it comes back inside (Black and Rogaway, "Ciphers with
/// arbitrary finite domains", 2002, sections 4 and 5).
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    lefts: u64,
    rights: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The order of `epoch` under `seed`; orders repeat after 2^32 epochs.
    pub fn new(len: u64, seed: u64, epoch: u64) -> Self {
        // The least of lefts² >= len and of lefts * rights >= len: fewer than `lefts` values are walked over.
        let root = len.isqrt();
        let lefts = (root + u64::from(root * root < len)).max(1);
        let rights = len.div_ceil(lefts).max(1);
        let rng = Rng::new(seed, Purpose::Shuffle);
        let keys = std::array::from_fn(|round| {
            let [low, high, ..] = rng.block(round as u64, epoch as u32);
            u64::from(high) << 32 | u64::from(low)
        });
        Self { len, lefts, rights, keys }
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
        let (mut left, mut right) = (value / self.rights, value % self.rights);
        for [of_right, of_left] in self.keys.as_chunks::<2>().0 {
            left = add(left, scaled(mixed(right ^ of_right), self.lefts), self.lefts);
            right = add(right, scaled(mixed(left ^ of_left), self.rights), self.rights);
        }
        left * self.rights + right
    }

    fn decipher(&self, value: u64) -> u64 {
        let (mut left, mut right) = (value / self.rights, value % self.rights);
        for [of_right, of_left] in self.keys.as_chunks::<2>().0.iter().rev() {
            right = subtract(right, scaled(mixed(left ^ of_left), self.rights), self.rights);
            left = subtract(left, scaled(mixed(right ^ of_right), self.lefts), self.lefts);
        }
        left * self.rights + right
    }
}

/// A bijection of 64 bits whose every output bit depends on every input bit: SplitMix64's ("Fast splittable
/// pseudorandom number generators", Steele, Lea and Flood 2014), Stafford's variant 13.
fn mixed(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// A number below `count` from 64 random bits: none is favoured by more than one part in 2^64 / count.
fn scaled(bits: u64, count: u64) -> u64 {
    ((u128::from(bits) * u128::from(count)) >> 64) as u64
}

/// a + b modulo `count`, both below it.
fn add(a: u64, b: u64, count: u64) -> u64 {
    let sum = a + b;
    if sum >= count { sum - count } else { sum }
}

/// a - b modulo `count`, both below it.
fn subtract(a: u64, b: u64, count: u64) -> u64 {
    if a >= b { a - b } else { a + count - b }
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
        for len in (1..=70).chain([1000, 4095, 4096, 4097]) {
            let mut rows = order(len, 7, 3);
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..len), "length {len}");
        }
    }

    #[test]
    fn every_row_is_found_at_its_place() {
        for len in [1, 2, 3, 17, 1000, 4097, u64::from(u32::MAX), 1 << 62, u64::MAX - 1, u64::MAX] {
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
