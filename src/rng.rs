//! Random numbers from a counter: a value depends on its seed, purpose and index alone, never on how the work was
//! split.

/// The purpose of random numbers. Different purposes under one seed are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights.
    Weights = 0,
    /// The order of the rows.
    Shuffle = 1,
    /// The rounding of moments (shaders/update.wgsl).
    Rounding = 2,
    /// The order of rows in a mixing buffer.
    Mixing = 3,
    /// Rows that the scale of initial weights is measured with.
    Probes = 4,
    /// Which of a feature's rows are kept as examples.
    Examples = 5,
}

impl Purpose {
    /// Rounds of Philox4x32. Seven pass BigCrush (Salmon et al., table 2) and are enough for what each step draws anew
    /// for every moment; all else has the usual ten.
    fn rounds(self) -> u32 {
        match self {
            Self::Rounding => 7,
            Self::Weights | Self::Shuffle | Self::Mixing | Self::Probes | Self::Examples => 10,
        }
    }
}

/// Philox4x32 ("Parallel random numbers: as easy as 1, 2, 3", Salmon et al. 2011), addressed instead of advanced.
#[derive(Clone, Copy, Debug)]
pub struct Rng {
    key: [u32; 2],
    purpose: Purpose,
}

impl Rng {
    /// The generator of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { key: words(seed), purpose }
    }

    /// The four random words at `index` of `stream`.
    pub fn block(&self, index: u64, stream: u32) -> [u32; 4] {
        let [low, high] = words(index);
        philox(self.purpose.rounds(), [low, high, stream, self.purpose as u32], self.key)
    }
}

/// Uniform in [-1, 1): the top 24 bits as a multiple of 2^-23, exactly.
pub fn symmetric(bits: u32) -> f32 {
    const STEP: f32 = 1.0 / (1 << 23) as f32;
    ((bits >> 8) as i32 - (1 << 23)) as f32 * STEP
}

/// The low and the high half.
fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn philox(rounds: u32, mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..rounds {
        let [low0, high0] = words(u64::from(counter[0]) * 0xd251_1f53);
        let [low1, high1] = words(u64::from(counter[2]) * 0xcd9e_8d57);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS_OF_PI: [u32; 4] = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    const KEY_OF_PI: [u32; 2] = [0xa4093822, 0x299f31d0];

    #[test]
    fn known_answers_of_random123() {
        let cases = [
            (7, [0; 4], [0; 2], [0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48]),
            (7, [u32::MAX; 4], [u32::MAX; 2], [0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662]),
            (7, DIGITS_OF_PI, KEY_OF_PI, [0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a]),
            (10, [0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            (10, [u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (10, DIGITS_OF_PI, KEY_OF_PI, [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]),
        ];
        for (rounds, counter, key, expected) in cases {
            assert_eq!(philox(rounds, counter, key), expected, "{rounds} rounds");
        }
    }

    #[test]
    fn every_part_of_the_address_counts() {
        let block = |seed, purpose, index, stream| Rng::new(seed, purpose).block(index, stream);
        let origin = block(0, Purpose::Weights, 0, 0);
        assert_eq!(origin, block(0, Purpose::Weights, 0, 0));
        for other in [
            block(1, Purpose::Weights, 0, 0),
            block(1 << 32, Purpose::Weights, 0, 0),
            block(0, Purpose::Shuffle, 0, 0),
            block(0, Purpose::Weights, 1, 0),
            block(0, Purpose::Weights, 1 << 32, 0),
            block(0, Purpose::Weights, 0, 1),
        ] {
            assert_ne!(origin, other);
        }
    }

    #[test]
    fn symmetric_is_exact_at_its_ends() {
        assert_eq!(symmetric(0), -1.0);
        assert_eq!(symmetric(0x8000_0000), 0.0);
        assert_eq!(symmetric(u32::MAX), 1.0 - 1.0 / (1 << 23) as f32);
    }
}
