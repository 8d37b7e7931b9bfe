//! Activations by half octaves: powers of the square root of 2.

/// The lowest edge of a histogram, as a power of 2.
const FIRST_LOG2: i32 = -12;

/// The highest.
const LAST_LOG2: i32 = 16;

/// Bins of a histogram.
pub const BINS: usize = 2 * (LAST_LOG2 - FIRST_LOG2) as usize;

/// The number `i` with 2^(i/2) <= value < 2^((i + 1)/2), exactly; `value` must be above 0 and finite.
pub fn half_octave(value: f32) -> i32 {
    /// The mantissa of the largest f32 below the square root of 2.
    const BELOW_ROOT: u32 = 0x35_04f3;
    let bits = value.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    2 * exponent + i32::from(bits & 0x7f_ffff > BELOW_ROOT)
}

/// The bin of a histogram that an activation is counted in; what is beyond its edges is in the outermost bins.
pub fn bin(value: f32) -> usize {
    (half_octave(value) - 2 * FIRST_LOG2).clamp(0, BINS as i32 - 1) as usize
}

/// The binary logarithms of a histogram's edges, one more than bins.
pub fn log2_edges() -> Vec<f64> {
    (0..=BINS).map(|at| f64::from(FIRST_LOG2) + at as f64 / 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_exact() {
        for i in -24..32 {
            let edge = 2_f64.powf(f64::from(i) / 2.0);
            let above = if f64::from(edge as f32) < edge { (edge as f32).next_up() } else { edge as f32 };
            assert_eq!((half_octave(above), half_octave(above.next_down())), (i, i - 1), "2^({i}/2)");
        }
        assert_eq!([f32::MIN_POSITIVE / 4.0, 1e-30, 0.5, 1.5, f32::MAX].map(bin), [0, 0, 22, 25, BINS - 1]);
        assert_eq!((log2_edges()[22], log2_edges().len()), (-1.0, BINS + 1));
    }
}
