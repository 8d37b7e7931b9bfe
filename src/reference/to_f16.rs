/// What f16 keeps of each row `[d]` of `source`, scaled so that its largest element lies in `[2^14, 2^15)`: the scaled
/// elements, and the power of two that undoes it. Rounded to 11 bits, ties to even; below 2^-14 nothing is left. A row
/// below 2^-80 is zeros.
pub fn to_f16(source: &[f64], d: usize) -> Vec<(Vec<f64>, f64)> {
    source.chunks_exact(d).map(row_to_f16).collect()
}

fn row_to_f16(row: &[f64]) -> (Vec<f64>, f64) {
    let largest = row.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest < (-80_f64).exp2() {
        return (vec![0.0; row.len()], 0.0);
    }
    let unscale = (largest.log2().floor() - 14.0).exp2();
    let rounded = |value: &f64| {
        let scaled = value / unscale;
        let unit = (scaled.abs().log2().floor() - 10.0).exp2();
        if scaled.abs() < (-14_f64).exp2() { 0.0 } else { (scaled / unit).round_ties_even() * unit }
    };
    (row.iter().map(rounded).collect(), unscale)
}
