//! Batches of rows on their way through the device, one of them submitted before the results of another are read.

use std::collections::VecDeque;

use crate::data::RowsView;
use crate::engine::entries::Pass;
use crate::engine::forward::{Forward, count_rows};
use crate::engine::parameters::Parameters;
use crate::engine::planes::Planes;
use crate::engine::select::Tuning;
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Pending, Program, Recording, Results};
use crate::sae::Weights;

/// Batches that are under way at once: the device works on one while the host reads the other's results.
const UNDER_WAY: usize = 2;

/// An SAE on the device, and room for a batch.
pub(super) struct DeviceSae {
    pub gpu: Gpu,
    pub parameters: Parameters,
    pub forward: Forward,
}

impl DeviceSae {
    pub fn new(gpu: &Gpu, weights: &dyn Weights, batch: usize, tuning: Tuning) -> Result<Self> {
        let parameters = Parameters::allocate(gpu, weights.config(), Planes::inference(&weights.config().describe()))?;
        parameters.fill(gpu, &gpu.pipeline(&parameters.planes().defines())?, weights)?;
        let forward = Forward::new(gpu, &parameters, batch, tuning, Pass::Evaluation)?;
        Ok(Self { gpu: gpu.clone(), parameters, forward })
    }

    /// The codes of a batch; the guard is at rest again, whatever a batch before it held.
    pub fn record_codes(&self) -> Recording {
        let Self { parameters, forward, .. } = self;
        let mut recording = Recording::default();
        recording.clear(&forward.guard);
        forward.record_center(&mut recording, parameters, forward.rows());
        forward.record_codes(&mut recording, parameters, forward.rows());
        recording
    }

    /// Uploads at most a batch of `[rows, d_in]` rows, and gives their number. Copies of the last one fill the batch:
    /// they change no other row's results, and fire and raise nothing that it does not.
    fn upload(&mut self, rows: RowsView<'_>) -> Result<u32> {
        let d = self.parameters.config().d_in;
        let batch = self.forward.rows();
        let count = count_rows(rows.len(), d, batch)?;
        if count == batch || count == 0 {
            self.forward.upload(&self.gpu, rows, d)?;
        } else {
            let rows = rows.to_f32();
            let copies = rows[rows.len() - d..].repeat((batch - count) as usize);
            self.forward.upload(&self.gpu, RowsView::F32(&[&rows[..], &copies].concat()), d)?;
        }
        Ok(count)
    }
}

/// Batches under way, each with something that the host keeps for it.
pub(super) struct Stream<T> {
    pub sae: DeviceSae,
    program: Program,
    reported: Vec<Buffer>,
    under_way: VecDeque<UnderWay<T>>,
}

struct UnderWay<T> {
    rows: u32,
    pending: Pending,
    kept: T,
}

/// A batch that the device has done.
pub(super) struct Done<T> {
    pub rows: u32,
    pub results: Results,
    pub kept: T,
}

impl<T> Stream<T> {
    /// Runs `recording`, which is of a whole batch, for each batch, and reports what these buffers then hold.
    pub fn new(sae: DeviceSae, recording: Recording, reported: Vec<Buffer>) -> Result<Self> {
        let program = sae.gpu.program(recording)?;
        Ok(Self { sae, program, reported, under_way: VecDeque::new() })
    }

    /// Submits a batch, and keeps for it what `keep` makes meanwhile.
    pub fn submit(&mut self, rows: RowsView<'_>, keep: impl FnOnce() -> T) -> Result<()> {
        let count = self.sae.upload(rows)?;
        let pending = self.sae.gpu.submit_and_read(&self.program, &self.reported.iter().collect::<Vec<_>>())?;
        self.under_way.push_back(UnderWay { rows: count, pending, kept: keep() });
        Ok(())
    }

    /// Whether the oldest batch is to be read before another is submitted.
    pub fn is_full(&self) -> bool {
        self.under_way.len() >= UNDER_WAY
    }

    /// Whether no batch is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Waits for the oldest batch; none if none is under way.
    pub fn next(&mut self) -> Result<Option<Done<T>>> {
        let Some(UnderWay { rows, pending, kept }) = self.under_way.pop_front() else { return Ok(None) };
        let results = pending.wait(&self.sae.gpu)?;
        Ok(Some(Done { rows, results, kept }))
    }
}
