/// What each thread of `multiply_add` ends with, four components each: three sums that start at four values which
/// differ by their number, after `rounds` of 16 times `sum = sum * factor + addend`.
pub fn multiply_add(threads: usize, rounds: usize, factor: f64, addend: f64) -> Vec<f64> {
    let sum = |start: usize| (0..16 * rounds).fold(start as f64, |sum, _| sum * factor + addend);
    (0..threads).flat_map(|thread| [(thread..thread + 3).map(sum).sum(); 4]).collect()
}
