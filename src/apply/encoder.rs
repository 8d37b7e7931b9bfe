//! The codes of rows.

use crate::engine::forward::{Forward, Pass, count_rows};
use crate::engine::parameters::Parameters;
use crate::engine::planes::Planes;
use crate::engine::select::{Screening, Tuning};
use crate::engine::step::check_guard;
use crate::error::Result;
use crate::gpu::{Gpu, Program, Recording};
use crate::sae::Weights;

/// An SAE on the device, ready to encode up to `batch` rows at a time.
pub struct Encoder {
    pub(super) gpu: Gpu,
    pub(super) parameters: Parameters,
    pub(super) forward: Forward,
    /// The number of rows that it is recorded for.
    program: Option<(u32, Program)>,
    uncertain_rows: u32,
}

/// The codes of some rows on the host: `k` entries per row, by ascending feature; a value of 0 is an entry that is not
/// active.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCodes {
    /// `[rows, k]`.
    pub features: Vec<u32>,
    /// The activations as the SAE reports them: `[rows, k]`.
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
        let parameters = Parameters::allocate(gpu, weights.config(), Planes::inference())?;
        parameters.fill(gpu, &gpu.pipeline(&parameters.planes().defines())?, weights)?;
        let forward = Forward::new(gpu, &parameters, batch, tuning, Pass::Evaluation)?;
        Ok(Self { gpu: gpu.clone(), parameters, forward, program: None, uncertain_rows: 0 })
    }

    /// The codes of `[rows, d_in]` rows, at most a batch of them.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the rows are no whole rows or too many, [`crate::Error::Diverged`] if one is not
    /// finite.
    pub fn encode(&mut self, rows: &[f32]) -> Result<HostCodes> {
        let d = self.parameters.config().d_in;
        let count = count_rows(rows.len(), d, self.forward.rows())?;
        let program = match self.program.take() {
            Some((recorded, program)) if recorded == count => program,
            _ => {
                let mut recording = Recording::default();
                self.record_codes(&mut recording, count);
                self.gpu.program(recording)?
            }
        };
        self.forward.upload(&self.gpu, rows, d);
        let entries = &self.forward.entries;
        let read = [&entries.list, &self.forward.guard, self.forward.selector().uncertain()];
        let pending = self.gpu.submit_and_read(&program, &read)?;
        self.program = Some((count, program));
        let results = pending.wait(&self.gpu)?;
        check_guard(results.get(1)[0])?;
        self.uncertain_rows = results.get(2)[0];
        let mut codes = HostCodes { features: Vec::new(), values: Vec::new() };
        for [feature, place, _, key] in results.get::<[u32; 4]>(0).into_iter().take((count * entries.k) as usize) {
            codes.features.push(feature);
            // An entry without flags carries nothing (shaders/shared/entry_list.wgsl).
            codes.values.push(if place >> 25 == 0 { 0.0 } else { f32::from_bits(key) });
        }
        Ok(codes)
    }

    /// The number of rows of the last batch that screening could not prove exact; if there were any, all were selected
    /// by chunks.
    pub fn uncertain_rows(&self) -> u32 {
        self.uncertain_rows
    }

    /// The codes of the first `rows` rows; the guard is at rest again, whatever a batch before it held.
    pub(super) fn record_codes(&self, recording: &mut Recording, rows: u32) {
        recording.clear(&self.forward.guard);
        self.forward.record_center(recording, &self.parameters, rows);
        self.forward.record_codes(recording, &self.parameters, rows);
    }
}
