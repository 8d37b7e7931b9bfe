//! The tokens around examples: which rows they are, and the feature's activation on each.

use std::collections::VecDeque;
use std::sync::Arc;

use super::kept_codes::KeptCodes;
use crate::apply::{Encoder, HostCodes};
use crate::data::{Batches, FilteredRows, RowIntegers};
use crate::error::Result;

/// Rows whose sequences and positions are read at a time.
const PIECE: u64 = 1 << 16;

/// A row that a feature is active on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Focus {
    /// The feature.
    pub feature: u32,
    /// The row.
    pub row: u64,
    /// The activation.
    pub value: f32,
}

/// The rows around an example, at consecutive positions of one sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Which sequence.
    pub sequence: i64,
    /// The position of the example itself.
    pub position: i64,
    /// The rows, by position.
    pub rows: Vec<u64>,
    /// The feature's activation on each of them.
    pub activations: Vec<f32>,
    /// The example's own place among them.
    pub focus: usize,
    /// Positions before the first row that were wanted and are from 0 on, but follow no row that is there.
    pub missing_before: u64,
    /// Positions behind the last row that were wanted and that a later row of the sequence shows to exist.
    pub missing_after: u64,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    sequence: i64,
    position: i64,
}

/// Finds the rows around rows.
pub struct ContextFinder {
    sequences: RowIntegers,
    positions: RowIntegers,
    before: usize,
    after: usize,
}

impl ContextFinder {
    /// Bytes that the context of an example takes at most while it is looked for.
    pub fn bytes(before: usize, after: usize) -> usize {
        let rows = before + 1 + after;
        size_of::<Context>() + rows * (size_of::<(Place, u64)>() + size_of::<Wanted>() + 2 * size_of::<u64>() + 4)
    }

    /// Finds up to `before` rows before and `after` behind a row, of these sequences and positions.
    pub fn new(sequences: RowIntegers, positions: RowIntegers, before: usize, after: usize) -> Self {
        Self { sequences, positions, before, after }
    }

    /// The contexts of examples without activations. Sequences and positions of all rows are read once.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] when a file has become shorter.
    pub fn find(&self, examples: &[Focus], rows: &FilteredRows) -> Result<Vec<Context>> {
        let mut own: Vec<u64> = examples.iter().map(|example| example.row).collect();
        own.sort_unstable();
        own.dedup();
        let of_own = self.places(&own)?;
        let mut wanted = of_own.clone();
        wanted.sort_unstable();
        wanted.dedup();
        let near = self.rows_near(&wanted, rows)?;
        let context = |example: &Focus| {
            // Every example's row is among its own.
            let place = of_own[own.partition_point(|row| *row < example.row)];
            self.context(place, example.row, &near)
        };
        Ok(examples.iter().map(context).collect())
    }

    fn places(&self, rows: &[u64]) -> Result<Vec<Place>> {
        let (sequences, positions) = (self.sequences.of(rows)?, self.positions.of(rows)?);
        Ok(sequences.into_iter().zip(positions).map(|(sequence, position)| Place { sequence, position }).collect())
    }

    /// The rows near these places, by place; of several at one place the first.
    fn rows_near(&self, wanted: &[Place], rows: &FilteredRows) -> Result<Vec<(Place, u64)>> {
        let (before, after) = (self.before as i64, self.after as i64);
        let is_near = |place: &Place| {
            let first = place.position.saturating_sub(after);
            let next = wanted.partition_point(|wanted| *wanted < Place { position: first, ..*place });
            wanted.get(next).is_some_and(|wanted| {
                wanted.sequence == place.sequence && wanted.position <= place.position.saturating_add(before)
            })
        };
        let mut near = Vec::new();
        for first in (0..rows.rows()).step_by(PIECE as usize) {
            let piece: Vec<u64> = (first..rows.rows().min(first + PIECE)).map(|place| rows.row(place)).collect();
            let places = self.places(&piece)?.into_iter().zip(piece);
            near.extend(places.filter(|(place, _)| is_near(place)));
        }
        near.sort_unstable();
        near.dedup_by_key(|(place, _)| *place);
        Ok(near)
    }

    fn context(&self, place: Place, row: u64, near: &[(Place, u64)]) -> Context {
        let at = near.partition_point(|(other, _)| *other < place);
        let (first, last) =
            (place.position.saturating_sub(self.before as i64), place.position.saturating_add(self.after as i64));
        let follows = |place: Place, next: Place| {
            next.sequence == place.sequence && place.position.checked_add(1) == Some(next.position)
        };
        let mut start = at;
        while start > 0 && follows(near[start - 1].0, near[start].0) && near[start - 1].0.position >= first {
            start -= 1;
        }
        let mut end = at;
        while end + 1 < near.len() && follows(near[end].0, near[end + 1].0) && near[end + 1].0.position <= last {
            end += 1;
        }
        let mut rows: Vec<u64> = near[start..=end].iter().map(|(_, row)| *row).collect();
        // Not another row of the same place.
        rows[at - start] = row;
        let beyond = near.partition_point(|(other, _)| *other <= Place { position: last, ..place });
        let known_last = near[beyond - 1].0.position;
        let wanted_before = place.position.saturating_sub(first.max(0)).max(0) as u64;
        Context {
            sequence: place.sequence,
            position: place.position,
            rows,
            activations: Vec::new(),
            focus: at - start,
            missing_before: wanted_before.saturating_sub((at - start) as u64),
            missing_after: known_last.abs_diff(near[end].0.position),
        }
    }
}

/// The activation of a feature on a row, and where it belongs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    row: u64,
    feature: u32,
    /// The place among the activations of all contexts.
    slot: u32,
}

/// Gives contexts the activations of their features: by the codes that were kept, if all were, or by encoding the rows
/// of the contexts again, each row once. `advance` is told of the rows done and of all, now and then; when it returns
/// false, it stops with false. There must be fewer than 2^32 rows in all contexts together.
///
/// # Errors
/// Those of the encoder and of reading. Rows that were encoded before have codes that are finite.
pub fn encode_contexts(
    examples: &[Focus],
    contexts: &mut [Context],
    kept: &KeptCodes,
    encoder: &mut Encoder,
    rows: &FilteredRows,
    batch: usize,
    mut advance: impl FnMut(u64, u64) -> bool,
) -> Result<bool> {
    let mut wanted = Vec::new();
    let mut activations: Vec<f32> = Vec::new();
    for (example, context) in examples.iter().zip(&*contexts) {
        let first = activations.len();
        activations.resize(first + context.rows.len(), 0.0);
        activations[first + context.focus] = example.value;
        let others = context.rows.iter().enumerate().filter(|(place, _)| *place != context.focus);
        wanted.extend(others.map(|(place, &row)| Wanted {
            row,
            feature: example.feature,
            slot: (first + place) as u32,
        }));
    }
    wanted.sort_unstable();
    let mut distinct: Vec<u64> = Vec::new();
    if kept.all().is_none() {
        distinct.extend(wanted.iter().map(|wanted| wanted.row));
        distinct.dedup();
    }
    let total = if kept.all().is_some() { rows.rows() } else { distinct.len() as u64 };
    let mut left = &wanted[..];
    let mut done = 0;
    let mut numbers = VecDeque::new();
    let mut take = |codes: &HostCodes, numbers: &[u64]| {
        for (number, ends) in numbers.iter().zip(codes.starts.windows(2)) {
            let (features, values) = (&codes.features[ends[0]..ends[1]], &codes.values[ends[0]..ends[1]]);
            let (of_row, rest) = left.split_at(left.partition_point(|wanted| wanted.row <= *number));
            left = rest;
            for wanted in of_row {
                if let Ok(at) = features.binary_search(&wanted.feature) {
                    activations[wanted.slot as usize] = values[at].max(0.0);
                }
            }
        }
        done += numbers.len() as u64;
        advance(done, total)
    };
    for (numbers, codes) in kept.all().unwrap_or_default() {
        if !take(codes, numbers) {
            return Ok(false);
        }
    }
    for batch in Batches::of_rows(rows.data().clone(), Arc::from(distinct), batch)? {
        let batch = batch?;
        numbers.push_back(batch.numbers.to_vec());
        let finished = encoder.submit(&batch.rows)?;
        let Some(codes) = finished else { continue };
        let Some(numbers) = numbers.pop_front() else { break };
        if !take(&codes, &numbers) {
            return Ok(false);
        }
    }
    while let Some(codes) = encoder.next_finished()? {
        let Some(numbers) = numbers.pop_front() else { break };
        if !take(&codes, &numbers) {
            return Ok(false);
        }
    }
    let mut activations = activations.into_iter();
    for context in contexts {
        context.activations = activations.by_ref().take(context.rows.len()).collect();
    }
    Ok(true)
}
