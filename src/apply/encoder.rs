//! The codes of rows.

use super::stream::{DeviceSae, Done, Stream};
use crate::data::RowsView;
use crate::engine::select::{Screening, Tuning};
use crate::engine::step::check_guard;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::Weights;

/// An SAE on the device, ready to encode up to `batch` rows at a time. A batch takes the time of a full one, however
/// few rows it has.
pub struct Encoder {
    stream: Stream<()>,
    uncertain_rows: u32,
}

/// The codes of some rows on the host: `k` entries per row, by ascending feature; a value of 0 is an entry that is not
/// active.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCodes {
    /// `[rows, k]`.
    pub features: Vec<u32>,
    /// The activations as the SAE reports them: `[rows, k]`. What f32 cannot hold is infinite or NaN.
    pub values: Vec<f32>,
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
        let forward = &sae.forward;
        let reported = [&forward.entries.list, &forward.guard, forward.selector().uncertain()].map(Clone::clone);
        let recording = sae.record_codes();
        Ok(Self { stream: Stream::new(sae, recording, reported.into())?, uncertain_rows: 0 })
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
        let codes = self.next_finished()?;
        Ok(codes.unwrap_or(HostCodes { features: Vec::new(), values: Vec::new() }))
    }

    /// Submits `[rows, d_in]` rows, at most a batch of them, and returns the codes of the oldest batch under way once
    /// there are two. Batches finish in the order in which they were submitted.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows are no whole rows or too many, and those of [`Encoder::next_finished`].
    pub fn submit<'a>(&mut self, rows: impl Into<RowsView<'a>>) -> Result<Option<HostCodes>> {
        self.stream.submit(rows.into(), || ())?;
        if self.stream.is_full() { self.next_finished() } else { Ok(None) }
    }

    /// Waits for the codes of the oldest batch under way; none if there is none.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a value of that batch is not finite, naming the row in it.
    pub fn next_finished(&mut self) -> Result<Option<HostCodes>> {
        let Some(Done { rows, results, .. }) = self.stream.next()? else { return Ok(None) };
        check_guard(results.get(1)[0])?;
        self.uncertain_rows = results.get(2)[0];
        let k = self.stream.sae.forward.entries.per_row.unwrap_or(0);
        let mut entries: Vec<[u32; 4]> = results.get(0);
        entries.truncate((rows * k) as usize);
        // An entry without flags carries nothing (shaders/shared/entry_list.wgsl).
        let value = |&[_, place, _, key]: &[u32; 4]| if place >> 25 == 0 { 0.0 } else { f32::from_bits(key) };
        Ok(Some(HostCodes {
            features: entries.iter().map(|entry| entry[0]).collect(),
            values: entries.iter().map(value).collect(),
        }))
    }

    /// The number of rows of the last finished batch that screening could not prove exact, copies that filled it
    /// included; if there were any, all were selected by chunks.
    pub fn uncertain_rows(&self) -> u32 {
        self.uncertain_rows
    }
}
