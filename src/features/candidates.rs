//! Rows that may become a feature's examples: the largest activations, and random ones from the range below.

use super::half_octaves::half_octave;

/// How many examples there are of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExampleCounts {
    /// Examples of each interval at most.
    pub per_interval: usize,
    /// Intervals: the first is the largest activations, the others are equal parts of what lies below the maximum.
    pub intervals: usize,
}

impl ExampleCounts {
    /// Rows that are kept of each half octave.
    fn kept(self) -> usize {
        3 * self.per_interval
    }

    /// Equal parts of the range up to the maximum.
    fn parts(self) -> usize {
        self.intervals.saturating_sub(1)
    }

    /// Half octaves that are told apart, from the maximum's on down; what lies below them is in the lowest part.
    fn octaves(self) -> usize {
        (2.0 * (self.parts().max(1) as f64).log2()).ceil() as usize + 1
    }

    /// Bytes that the candidates of a feature refer to at most.
    pub fn heap_bytes(self) -> usize {
        let groups = if self.parts() == 0 { 0 } else { self.octaves() + 1 };
        self.per_interval * size_of::<Active>() + groups * (self.kept() * size_of::<Sample>() + size_of::<Group>())
    }
}

/// A row that a feature is active on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Active {
    /// The row.
    pub row: u64,
    /// The activation.
    pub value: f32,
}

/// A row that became an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// 0 for the largest activations, then the parts of the range from above.
    pub interval: usize,
    /// The row.
    pub row: u64,
    /// The activation.
    pub value: f32,
}

/// The candidates of a feature, in bounded memory.
///
/// Each row has a random key. Of each half octave the rows with the smallest keys are kept: those of several half
/// octaves together are then known up to as many keys, and are a uniform sample without replacement of all their rows.
/// What of that sample lies in an interval is a uniform sample of the interval's rows.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Descending values, then ascending rows.
    top: Vec<Active>,
    samples: Vec<Sample>,
    groups: Vec<Group>,
    /// The half octave of the greatest value.
    highest: i32,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    key: u64,
    row: u64,
    value: f32,
}

/// The rows of a half octave, or of all below the last one.
#[derive(Clone, Copy, Debug)]
struct Group {
    kept: usize,
    /// The smallest key of a row that was not kept; all rows of smaller keys are. `u64::MAX` if all rows are.
    least_dropped: u64,
}

impl Group {
    const EMPTY: Self = Self { kept: 0, least_dropped: u64::MAX };
}

impl Candidates {
    /// Adds an active row, later than those before; `key` is its random key.
    pub fn add(&mut self, active: Active, counts: ExampleCounts, key: impl FnOnce() -> u64) {
        self.add_to_top(active, counts.per_interval);
        if counts.parts() > 0 {
            let Active { row, value } = active;
            self.add_sample(Sample { key: key(), row, value }, counts);
        }
    }

    fn add_to_top(&mut self, active: Active, most: usize) {
        if self.top.len() == most && self.top.last().is_none_or(|last| active.value <= last.value) {
            return;
        }
        let place = self.top.partition_point(|other| other.value >= active.value);
        self.top.truncate(most - 1);
        if self.top.capacity() == 0 {
            self.top.reserve_exact(most);
        }
        self.top.insert(place, active);
    }

    fn add_sample(&mut self, sample: Sample, counts: ExampleCounts) {
        let octave = half_octave(sample.value);
        if self.groups.is_empty() {
            self.groups = vec![Group::EMPTY; counts.octaves() + 1];
            self.highest = octave;
        } else if octave > self.highest {
            self.raise(octave, counts.kept());
        }
        let at = self.group_of(sample.value);
        let group = &mut self.groups[at];
        if sample.key >= group.least_dropped {
            return;
        }
        if group.kept < counts.kept() {
            group.kept += 1;
            if self.samples.len() == self.samples.capacity() {
                // Doubling would take twice the bytes that are told.
                self.samples.reserve_exact(counts.kept());
            }
            self.samples.push(sample);
            return;
        }
        let of_group = (0..self.samples.len()).filter(|&place| self.group_of(self.samples[place].value) == at);
        let Some(largest) = of_group.max_by_key(|&place| self.samples[place].key) else { return };
        let dropped = if sample.key < self.samples[largest].key {
            std::mem::replace(&mut self.samples[largest], sample)
        } else {
            sample
        };
        self.groups[at].least_dropped = dropped.key;
    }

    fn group_of(&self, value: f32) -> usize {
        ((self.highest - half_octave(value)) as usize).min(self.groups.len() - 1)
    }

    /// Makes `octave` the highest: lower ones fall together.
    fn raise(&mut self, octave: i32, most: usize) {
        let (by, last) = ((octave - self.highest) as usize, self.groups.len() - 1);
        self.highest = octave;
        let mut groups = vec![Group::EMPTY; last + 1];
        for (at, group) in self.groups.iter().enumerate() {
            let merged = &mut groups[(at + by).min(last)];
            merged.least_dropped = merged.least_dropped.min(group.least_dropped);
        }
        self.groups = groups;
        let mut samples = std::mem::take(&mut self.samples);
        samples.sort_unstable_by_key(|sample| (self.group_of(sample.value), sample.key));
        samples.retain(|sample| {
            let group = self.group_of(sample.value);
            let Group { kept, least_dropped } = &mut self.groups[group];
            let keep = sample.key < *least_dropped && *kept < most;
            if keep {
                *kept += 1;
            } else {
                *least_dropped = sample.key.min(*least_dropped);
            }
            keep
        });
        self.samples = samples;
    }

    /// The examples: by interval, and by descending activation, then ascending row in each. No row comes twice.
    pub fn choose(&self, counts: ExampleCounts) -> Vec<Chosen> {
        let chosen = |interval: usize, &Active { row, value }: &Active| Chosen { interval, row, value };
        let mut all: Vec<Chosen> = self.top.iter().map(|active| chosen(0, active)).collect();
        let (Some(greatest), parts) = (self.top.first().map(|top| f64::from(top.value)), counts.parts()) else {
            return all;
        };
        for interval in 1..=parts {
            let mut of_interval = self.sample_of(parts + 1 - interval, parts, greatest, counts);
            of_interval.sort_unstable_by(|a, b| b.value.total_cmp(&a.value).then(a.row.cmp(&b.row)));
            all.extend(of_interval.iter().map(|active| chosen(interval, active)));
        }
        all
    }

    /// A uniform sample of the rows of a part of the range, numbered from 1 at the bottom.
    fn sample_of(&self, part: usize, parts: usize, greatest: f64, counts: ExampleCounts) -> Vec<Active> {
        let [low, high] = [part - 1, part].map(|end| greatest * end as f64 / parts as f64);
        let last = self.groups.len() - 1;
        // A group more than there must be harms nothing: edges may be wider than rounding makes them.
        let overlaps = |at: usize| {
            let octave = f64::from(self.highest) - at as f64;
            let (from, to) = (2_f64.powf(octave / 2.0) * 0.999, 2_f64.powf((octave + 1.0) / 2.0) * 1.001);
            (at == last || from <= high) && to > low
        };
        let overlapping: Vec<bool> = (0..=last).map(overlaps).collect();
        let is_complete = (0..=last).all(|at| !overlapping[at] || self.groups[at].least_dropped == u64::MAX);
        let mut known: Vec<&Sample> =
            self.samples.iter().filter(|sample| overlapping[self.group_of(sample.value)]).collect();
        known.sort_unstable_by_key(|sample| sample.key);
        let most = if is_complete { known.len() } else { counts.kept() };
        let of_part = |sample: &&Sample| part_of(sample.value, parts, greatest) == part;
        let is_new = |sample: &&Sample| self.top.iter().all(|top| top.row != sample.row);
        let sample = known.into_iter().take(most).filter(of_part).filter(is_new).take(counts.per_interval);
        sample.map(|&Sample { row, value, .. }| Active { row, value }).collect()
    }
}

/// Which of the equal parts of (0, greatest] a value lies in, from 1 at the bottom.
pub fn part_of(value: f32, parts: usize, greatest: f64) -> usize {
    ((f64::from(value) * parts as f64 / greatest).ceil() as usize).clamp(1, parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Rng};

    const COUNTS: ExampleCounts = ExampleCounts { per_interval: 4, intervals: 5 };

    fn candidates(values: &[f32], seed: u64, counts: ExampleCounts) -> Candidates {
        let rng = Rng::new(seed, Purpose::Examples);
        let mut candidates = Candidates::default();
        for (row, &value) in (0..).zip(values) {
            candidates.add(Active { row, value }, counts, || {
                let [low, high, ..] = rng.block(row, 0);
                u64::from(high) << 32 | u64::from(low)
            });
        }
        candidates
    }

    #[test]
    fn the_largest_come_first_and_of_equals_the_lowest_rows() {
        let values = [1.0, 3.0, 2.0, 3.0, 2.0, 2.0, 3.0, 1.0];
        let chosen = candidates(&values, 0, COUNTS).choose(COUNTS);
        let top: Vec<u64> = chosen.iter().filter(|one| one.interval == 0).map(|one| one.row).collect();
        assert_eq!(top, [1, 3, 6, 2]);
        // The rest in quarters of (0, 3]: 2 in the third from below, 1 in the second.
        let rest: Vec<_> = chosen.iter().filter(|one| one.interval > 0).map(|one| (one.interval, one.row)).collect();
        assert_eq!(rest, [(2, 4), (2, 5), (3, 0), (3, 7)]);
    }

    /// Every row of an interval is chosen as often as any other, whichever half octave it is in.
    #[test]
    fn samples_are_uniform_within_each_interval() {
        let rng = Rng::new(1, Purpose::Shuffle);
        // Many small values, few large ones, and a maximum that rises to the end.
        let value = |row: u64| {
            let uniform = (f64::from(rng.block(row, 0)[0]) + 0.5) / 4_294_967_296.0;
            (-uniform.ln() * (1.0 + row as f64 / 200.0)) as f32
        };
        let values: Vec<f32> = (0..400).map(value).collect();
        let (greatest, parts) = (f64::from(values.iter().copied().fold(0.0, f32::max)), COUNTS.parts());
        let mut chosen = vec![0_u32; values.len()];
        let seeds = 4000;
        let mut top = Vec::new();
        for seed in 0..seeds {
            let all = candidates(&values, seed, COUNTS).choose(COUNTS);
            top = all.iter().filter(|one| one.interval == 0).map(|one| one.row as usize).collect();
            for one in all.iter().filter(|one| one.interval > 0) {
                assert_eq!(one.interval, parts + 1 - part_of(one.value, parts, greatest));
                chosen[one.row as usize] += 1;
            }
        }
        for part in 1..=parts {
            let rows: Vec<usize> = (0..values.len())
                .filter(|row| part_of(values[*row], parts, greatest) == part && !top.contains(row))
                .collect();
            if rows.is_empty() {
                continue;
            }
            let total: u32 = rows.iter().map(|row| chosen[*row]).sum();
            let expected = f64::from(total) / rows.len() as f64;
            let per_seed = f64::from(total) / seeds as f64;
            assert!(per_seed > 0.25 * rows.len().min(COUNTS.per_interval) as f64, "part {part}: {per_seed}");
            // Pearson's statistic, which is about as large as there are rows, give or take a few of its deviations.
            let statistic: f64 = rows.iter().map(|row| (f64::from(chosen[*row]) - expected).powi(2) / expected).sum();
            let degrees = rows.len() as f64;
            assert!(statistic < degrees + 5.0 * (2.0 * degrees).sqrt() + 5.0, "part {part}: {statistic} of {degrees}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let rng = Rng::new(2, Purpose::Shuffle);
        let values: Vec<f32> = (0..20_000).map(|row| f32::from_bits(1 + rng.block(row, 0)[0] % 0x7f00_0000)).collect();
        let candidates = candidates(&values, 0, COUNTS);
        assert!(candidates.samples.len() <= (COUNTS.octaves() + 1) * COUNTS.kept());
        assert!(candidates.samples.capacity() <= (COUNTS.octaves() + 1) * COUNTS.kept());
        let kept: usize = candidates.groups.iter().map(|group| group.kept).sum();
        assert_eq!((candidates.samples.len(), candidates.top.len()), (kept, COUNTS.per_interval));
    }
}
