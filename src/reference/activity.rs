use super::Runs;

/// Notes that the active features fired in `step`: `last_fired` becomes `step`, `counts` grows by the rows. Both are `[n]`.
pub fn activity(runs: &Runs, step: u32, last_fired: &mut [u32], counts: &mut [u32]) {
    for (j, entries) in runs.iter() {
        last_fired[j] = step;
        counts[j] += entries.len() as u32;
    }
}
