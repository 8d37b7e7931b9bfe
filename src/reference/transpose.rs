use super::Codes;

/// The positive entries of a batch by feature: the run of `features[r]` is `entries[starts[r]..starts[r + 1]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// The active features, ascending.
    pub features: Vec<u32>,
    /// Where each run starts in `entries`, and where the last one ends: one more than `features`.
    pub starts: Vec<u32>,
    /// Entry indices `row * k + slot`; rows ascend within a run.
    pub entries: Vec<u32>,
}

impl Runs {
    /// Each active feature with its entries.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u32])> {
        self.features
            .iter()
            .zip(self.starts.windows(2))
            .map(|(&j, run)| (j as usize, &self.entries[run[0] as usize..run[1] as usize]))
    }
}

/// Lists the entries with a value above 0 by feature, then row; `features` is the number of features of the model.
pub fn transpose(codes: &Codes, features: usize) -> Runs {
    let mut entries_of = vec![Vec::new(); features];
    for (entry, (&j, &a)) in codes.features.iter().zip(&codes.values).enumerate() {
        if a > 0.0 {
            entries_of[j as usize].push(entry as u32);
        }
    }
    let mut runs = Runs { features: Vec::new(), starts: vec![0], entries: Vec::new() };
    for (j, entries) in entries_of.into_iter().enumerate() {
        if !entries.is_empty() {
            runs.features.push(j as u32);
            runs.entries.extend(entries);
            runs.starts.push(runs.entries.len() as u32);
        }
    }
    runs
}
