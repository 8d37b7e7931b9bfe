use super::check::{Check, Checker};
use super::tensors::{AT_REST, POISON, Tensor, random, submit, words};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::Guard;
use crate::gpu::shaders::rerun::{
    AUDITED, FIRST, LISTED, NO_ROW, OVERFULL, Params, SCREENED_WRONGLY, TOO_MANY_UNCERTAIN, gather, scatter,
};

/// Rows of a batch, of which some are to be selected again.
#[derive(Clone)]
pub struct Case {
    /// Rows of the batch.
    pub rows: usize,
    /// Vectors of a row.
    pub quads: usize,
    /// Entries of a row.
    pub k: usize,
    /// The rows that are listed, each with whether it is only audited.
    pub listed: Vec<(usize, bool)>,
    /// Rows that there is room for.
    pub room: usize,
    /// An entry of an audited row that is another in f32: the row's place in the list, and the entry's in the row.
    pub wrong: Option<(usize, usize)>,
    /// Whether too many rows raise the guard.
    pub is_taken_again: bool,
}

/// What the kernels leave.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// The gathered rows, poison where there are fewer than room, and all entries.
    pub words: Vec<u32>,
    /// Whether there were more rows than room.
    pub is_overfull: bool,
    /// Status and row.
    pub guard: [u32; 2],
}

impl Case {
    fn centred(&self) -> Vec<[f32; 4]> {
        random(1, self.rows * self.quads * 4).as_chunks().0.to_vec()
    }

    /// Those of all rows as screening found them, then those of the listed rows as f32 does.
    fn entries(&self) -> [Vec<[u32; 4]>; 2] {
        let entry = |seed: u64, row: usize, at: usize| {
            let word = words(seed, at + 1)[at];
            [word % 1000, row as u32 | (word % 2) << 25, word ^ 0x55, word]
        };
        let of = |row: usize, seed: u64, place: usize| (0..self.k).map(move |at| entry(seed + row as u64, place, at));
        let screened = (0..self.rows).flat_map(|row| of(row, 10, row)).collect();
        let again = self.listed.iter().take(self.room).enumerate().flat_map(|(slot, &(row, is_audited))| {
            of(row, if is_audited { 10 } else { 5000 }, slot).collect::<Vec<_>>()
        });
        let mut again: Vec<_> = again.collect();
        if let Some((slot, at)) = self.wrong {
            again[slot * self.k + at][3] ^= 1;
        }
        again.resize(self.room * self.k, [POISON; 4]);
        [screened, again]
    }

    /// Runs both kernels.
    pub fn run(&self, gpu: &Gpu) -> Result<Found> {
        let (gather, scatter) = (gpu.pipeline::<gather::Kernel>(&[])?, gpu.pipeline::<scatter::Kernel>(&[])?);
        let mut reruns = vec![0; FIRST as usize + self.room];
        reruns[LISTED as usize] = self.listed.len() as u32;
        for (word, &(row, is_audited)) in reruns[FIRST as usize..].iter_mut().zip(&self.listed) {
            *word = row as u32 | if is_audited { AUDITED } else { 0 };
        }
        let [screened, again] = self.entries();
        let (reruns, centred) = (Tensor::new(gpu, &reruns)?, Tensor::new(gpu, &self.centred())?);
        let (entries, found) = (Tensor::new(gpu, &screened)?, Tensor::new(gpu, &again)?);
        let gathered = Tensor::poisoned(gpu, self.room * self.quads * 4)?;
        let guard = Tensor::new(gpu, &AT_REST)?;
        let [quads, k, room] = [self.quads, self.k, self.room].map(|size| size as u32);
        let params = Params { quads, k, room, is_taken_again: self.is_taken_again.into() };
        submit(gpu, |recording| {
            let (reruns, guard) = (&reruns, &guard);
            let (centred, gathered, found, entries) = (&centred, &gathered, &found, &entries);
            recording.run(&gather, gather::Bindings { reruns, centred, gathered, guard, params });
            recording.run(&scatter, scatter::Bindings { reruns, found, entries, guard, params });
        })?;
        let mut left: Vec<u32> = gathered.read()?;
        left.extend(entries.read::<u32>()?);
        let guard: Vec<Guard> = guard.read()?;
        let is_overfull = reruns.read::<u32>()?[OVERFULL as usize] != 0;
        Ok(Found { words: left, is_overfull, guard: [guard[0].status, guard[0].row] })
    }

    /// What they should leave.
    pub fn expected(&self) -> Found {
        let (centred, [mut entries, again]) = (self.centred(), self.entries());
        let mut gathered: Vec<[f32; 4]> = Vec::new();
        for (slot, &(row, is_audited)) in self.listed.iter().take(self.room).enumerate() {
            gathered.extend(&centred[row * self.quads..(row + 1) * self.quads]);
            if !is_audited {
                for at in 0..self.k {
                    let [feature, place, u, key] = again[slot * self.k + at];
                    entries[row * self.k + at] = [feature, (place & !0xff_ffff) | row as u32, u, key];
                }
            }
        }
        let mut words: Vec<u32> = bytemuck::cast_slice(&gathered).to_vec();
        words.resize(self.room * self.quads * 4, POISON);
        words.extend(entries.as_flattened());
        let is_overfull = self.listed.len() > self.room;
        let guard = match (is_overfull && self.is_taken_again, self.wrong) {
            (true, _) => [TOO_MANY_UNCERTAIN, !NO_ROW],
            (false, Some((slot, _))) => [SCREENED_WRONGLY, !(self.listed[slot].0 as u32)],
            (false, None) => AT_REST,
        };
        Found { words, is_overfull, guard }
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut rows = checker.compare("rerun", 0.0);
    let case = Case {
        rows: 300,
        quads: 12,
        k: 7,
        listed: vec![(299, false), (0, false), (17, true), (120, false)],
        room: 128,
        wrong: None,
        is_taken_again: true,
    };
    for case in [
        case.clone(),
        Case { wrong: Some((2, 6)), ..case.clone() },
        Case { room: 3, ..case.clone() },
        Case { listed: Vec::new(), ..case },
    ] {
        let words =
            |Found { words, is_overfull, guard }: Found| [words, vec![is_overfull.into()], guard.into()].concat();
        let (found, expected) = (words(case.run(checker.gpu)?), words(case.expected()));
        rows.equal((case.listed.len(), case.room), &found, &expected);
    }
    Ok(vec![rows.done()])
}
