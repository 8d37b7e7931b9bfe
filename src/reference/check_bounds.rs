/// The rows that are not proven: those whose smallest bound of `[rows, groups]` reaches the smallest key of `[rows, k]`.
pub fn check_bounds(best_bounds: &[f64], keys: &[f64], groups: usize, k: usize) -> Vec<usize> {
    let least = |values: &[f64]| values.iter().fold(f64::INFINITY, |least, value| least.min(*value));
    let rows = best_bounds.chunks_exact(groups).zip(keys.chunks_exact(k)).enumerate();
    rows.filter(|(_, (bounds, keys))| least(bounds) >= least(keys)).map(|(row, _)| row).collect()
}
