//! The codes of rows.

use super::stream::{DeviceSae, Done, Part, Stream};
use crate::data::RowsView;
use crate::engine::select::{Screening, Tuning};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::Weights;

/// An SAE on the device, ready to encode up to `batch` rows at a time. A batch takes the time of a full one, however
/// few rows it has.
pub struct Encoder {
    stream: Stream<()>,
    uncertain_rows: u32,
}

/// The codes of some rows on the host, by ascending feature in each row. With TopK every row has k entries, of which
/// one with a value of 0 is not active.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCodes {
    /// Where each row's entries begin in the others: `[rows + 1]`.
    pub starts: Vec<usize>,
    /// `[entries]`.
    pub features: Vec<u32>,
    /// The activations as the SAE reports them: `[entries]`. What f32 cannot hold is infinite or NaN.
    pub values: Vec<f32>,
}

impl HostCodes {
    /// Of no rows.
    fn empty() -> Self {
        Self { starts: vec![0], features: Vec::new(), values: Vec::new() }
    }

    /// The same, and those of the rows that follow.
    fn add(&mut self, part: &Part) {
        let before = self.features.len();
        self.starts.extend(part.starts[1..].iter().map(|start| before + start));
        self.features.extend(part.entries.iter().map(|entry| entry[0]));
        // An entry without flags carries nothing (shaders/shared/entry_list.wgsl).
        let value = |&[_, place, _, key]: &[u32; 4]| if place >> 25 == 0 { 0.0 } else { f32::from_bits(key) };
        self.values.extend(part.entries.iter().map(value));
    }
}

impl Encoder {
    /// Compiles the kernels and puts the SAE on the device.
    ///
    /// # Errors
    /// [`crate::Error::Config`], [`crate::Error::Shader`] or [`crate::Error::OutOfMemory`] if the device cannot take
    /// it.
    pub fn new(gpu: &Gpu, weights: &dyn Weights, batch: usize) -> Result<Self> {
        let tuning = Tuning::estimated(gpu.description(), weights.config(), batch, Screening::Auto);
        Self::with_tuning(gpu, weights, batch, tuning)
    }

    /// As [`Encoder::new`], with the kernels that find the active features given; the result is the same.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn with_tuning(gpu: &Gpu, weights: &dyn Weights, batch: usize, tuning: Tuning) -> Result<Self> {
        let sae = DeviceSae::new(gpu, weights, batch, tuning)?;
        let uncertain = sae.forward.selector().uncertain().clone();
        Ok(Self { stream: Stream::new(sae, DeviceSae::record_codes, vec![uncertain])?, uncertain_rows: 0 })
    }

    /// The codes of `[rows, d_in]` rows, at most a batch of them. Many batches take less time with [`Encoder::submit`].
    ///
    /// # Errors
    /// As [`Encoder::submit`], and [`Error::Config`] while batches are under way.
    pub fn encode<'a>(&mut self, rows: impl Into<RowsView<'a>>) -> Result<HostCodes> {
        if !self.stream.is_empty() {
            return Err(Error::Config("batches are under way in the encoder: take their codes first".into()));
        }
        self.stream.submit(rows.into(), || ())?;
        Ok(self.next_finished()?.unwrap_or(HostCodes::empty()))
    }

    /// Submits `[rows, d_in]` rows, at most a batch of them, and returns the codes of the oldest batch under way once
    /// there are two. Batches finish in the order in which they were submitted.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows are no whole rows or too many, and those of [`Encoder::next_finished`].
    pub fn submit<'a>(&mut self, rows: impl Into<RowsView<'a>>) -> Result<Option<HostCodes>> {
        let done = self.stream.submit(rows.into(), || ())?;
        Ok(done.map(|done| self.codes(&done)))
    }

    /// Waits for the codes of the oldest batch under way; none if there is none.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a value of that batch is not finite, naming the row in it.
    pub fn next_finished(&mut self) -> Result<Option<HostCodes>> {
        let done = self.stream.next()?;
        Ok(done.map(|done| self.codes(&done)))
    }

    fn codes(&mut self, Done { parts, .. }: &Done<()>) -> HostCodes {
        self.uncertain_rows = parts.iter().map(|part| part.results.get::<u32>(0)[0]).sum();
        let mut codes = HostCodes::empty();
        parts.iter().for_each(|part| codes.add(part));
        codes
    }

    /// Entries of each row, if each has as many.
    pub fn entries_per_row(&self) -> Option<usize> {
        self.stream.sae.forward.entries.per_row.map(|k| k as usize)
    }

    /// The number of rows of the last finished batch that screening could not prove exact, copies that filled it
    /// included: their codes were found in f32.
    pub fn uncertain_rows(&self) -> u32 {
        self.uncertain_rows
    }
}
