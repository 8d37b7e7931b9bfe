//! Batches of rows on their way through the device, one of them submitted before the results of another are read.

use std::collections::{BTreeMap, VecDeque};

use crate::data::RowsView;
use crate::engine::entries::Pass;
use crate::engine::forward::{Finding, Forward, Room, count_rows};
use crate::engine::parameters::Parameters;
use crate::engine::planes::Planes;
use crate::engine::select::{ScreenMode, Tuning};
use crate::engine::step::{check_guard, is_list_full};
use crate::error::{Error, Result};
use crate::gpu::shaders::Guard;
use crate::gpu::{Buffer, Gpu, Pending, Program, Recording, Results};
use crate::sae::Weights;
use crate::sae::description::Inference;

/// Batches that are under way at once: the device works on one while the host reads the other's results.
const UNDER_WAY: usize = 2;

/// An SAE on the device, and room for a batch.
pub(super) struct DeviceSae {
    gpu: Gpu,
    pub parameters: Parameters,
    pub forward: Forward,
}

impl DeviceSae {
    pub fn new(gpu: &Gpu, weights: &dyn Weights, batch: usize, tuning: Tuning) -> Result<Self> {
        let description = weights.config().describe();
        if description.inference == Inference::Threshold {
            return Err(Error::Config(
                "the features of this architecture compete within a batch, but for a threshold that training leaves: \
                 save the SAE and load it again, as the JumpReLU SAE that it then is"
                    .into(),
            ));
        }
        let parameters = Parameters::allocate(gpu, weights.config(), Planes::inference(&description))?;
        parameters.fill(gpu, &gpu.pipeline(&parameters.planes().defines())?, weights)?;
        let room = Room { rows: batch, k: weights.config().usual_l0() };
        let forward = Forward::new(gpu, &parameters, room, tuning, Pass::Evaluation)?;
        Ok(Self { gpu: gpu.keeping_staging(), parameters, forward })
    }

    /// The codes of `rows` rows; the guard is at rest again, whatever a batch before it held.
    pub fn record_codes(&self, rows: u32) -> Recording {
        let Self { parameters, forward, .. } = self;
        let mut recording = Recording::default();
        recording.clear(&forward.guard);
        forward.record_center(&mut recording, parameters, rows);
        let k = parameters.config().usual_l0() as u32;
        let finding = Finding { k, screen: ScreenMode::Complete, halvings: 0 };
        forward.record_codes(&mut recording, parameters, rows, finding);
        recording
    }

    /// Uploads `[rows, d_in]` rows, at most `room`, and gives their number. Copies of the last one fill the room: they
    /// change no other row's results, and fire and raise nothing that it does not.
    fn upload(&mut self, rows: RowsView<'_>, room: u32) -> Result<u32> {
        let d = self.parameters.config().d_in;
        let count = count_rows(rows.len(), d, room)?;
        if count == room || count == 0 {
            self.forward.upload(&self.gpu, rows, d)?;
        } else {
            let rows = rows.to_f32();
            let copies = rows[rows.len() - d..].repeat((room - count) as usize);
            self.forward.upload(&self.gpu, RowsView::F32(&[&rows[..], &copies].concat()), d)?;
        }
        Ok(count)
    }
}

/// Batches under way, each with something that the host keeps for it.
pub(super) struct Stream<T> {
    pub sae: DeviceSae,
    record: fn(&DeviceSae, u32) -> Recording,
    program: Program,
    /// Those of fewer rows than a batch, by their number.
    programs_of_parts: BTreeMap<u32, Program>,
    reported: Vec<Buffer>,
    under_way: VecDeque<UnderWay<T>>,
}

struct UnderWay<T> {
    rows: u32,
    pending: Pending,
    kept: T,
    /// The rows, if they may have to be taken by parts.
    values: Vec<f32>,
}

/// A batch that the device has done: its rows in one part, unless their entries did not fit a list together.
pub(super) struct Done<T> {
    pub parts: Vec<Part>,
    pub kept: T,
}

/// Some rows of a batch.
pub(super) struct Part {
    pub rows: usize,
    /// What was to be reported.
    pub results: Results,
    /// Their entries.
    pub entries: Vec<[u32; 4]>,
    /// Where those of each row begin, `[rows + 1]`.
    pub starts: Vec<usize>,
}

impl<T> Stream<T> {
    /// Runs what `record` records, of a whole batch, for each batch, and reports what these buffers then hold.
    pub fn new(sae: DeviceSae, record: fn(&DeviceSae, u32) -> Recording, mut reported: Vec<Buffer>) -> Result<Self> {
        let program = sae.gpu.program(record(&sae, sae.forward.rows()))?;
        let Forward { guard, entries, .. } = &sae.forward;
        let list = if entries.per_row.is_some() { &entries.list } else { &entries.starts[0] };
        reported.extend([guard, list].map(Clone::clone));
        Ok(Self { sae, record, program, programs_of_parts: BTreeMap::new(), reported, under_way: VecDeque::new() })
    }

    /// Submits a batch, keeps for it what `keep` makes meanwhile, and gives the oldest batch that is done, if another
    /// is under way. A list whose length the device decides is read before the next batch overwrites it.
    pub fn submit(&mut self, rows: RowsView<'_>, keep: impl FnOnce() -> T) -> Result<Option<Done<T>>> {
        let is_variable = self.sae.forward.entries.per_row.is_none();
        let oldest = if is_variable { self.next()? } else { None };
        let count = self.sae.upload(rows, self.sae.forward.rows())?;
        let values = if is_variable { rows.to_f32().into_owned() } else { Vec::new() };
        let pending = self.sae.gpu.submit_and_read(&self.program, &self.reported.iter().collect::<Vec<_>>())?;
        self.under_way.push_back(UnderWay { rows: count, pending, kept: keep(), values });
        if self.under_way.len() < UNDER_WAY { Ok(oldest) } else { self.next() }
    }

    /// Whether no batch is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Waits for the oldest batch; none if none is under way.
    pub fn next(&mut self) -> Result<Option<Done<T>>> {
        let Some(UnderWay { rows, pending, kept, values }) = self.under_way.pop_front() else { return Ok(None) };
        let results = pending.wait(&self.sae.gpu)?;
        let mut parts = Vec::new();
        match self.part(results, 0..rows)? {
            Some(part) => parts.push(part),
            None => self.run_halves(&values, 0, self.sae.forward.rows(), &mut parts)?,
        }
        Ok(Some(Done { parts, kept }))
    }

    /// Runs rows of a batch, from its row `first` on, by halves of what did not fit a list: at most `rows`.
    fn run_halves(&mut self, values: &[f32], first: u32, rows: u32, parts: &mut Vec<Part>) -> Result<()> {
        let d = self.sae.parameters.config().d_in;
        if rows == 1 {
            let capacity = self.sae.forward.entries.second;
            let problem = format!("a row has more active features than one binding of this device holds, {capacity}");
            return Err(Error::Device(problem));
        }
        let half = rows.div_ceil(2);
        for (at, values) in (0..).zip(values.chunks(half as usize * d)) {
            let first = first + at * half;
            if !self.programs_of_parts.contains_key(&half) {
                let program = self.sae.gpu.program((self.record)(&self.sae, half))?;
                self.programs_of_parts.insert(half, program);
            }
            let count = self.sae.upload(RowsView::F32(values), half)?;
            let (gpu, program) = (&self.sae.gpu, &self.programs_of_parts[&half]);
            let results = gpu.submit_and_read(program, &self.reported.iter().collect::<Vec<_>>())?.wait(gpu)?;
            match self.part(results, first..first + count)? {
                Some(part) => parts.push(part),
                None => self.run_halves(values, first, half, parts)?,
            }
        }
        Ok(())
    }

    /// Rows of a batch that the device has done; none if their entries do not fit the list.
    fn part(&self, results: Results, rows: std::ops::Range<u32>) -> Result<Option<Part>> {
        let [guard_at, list_at] = [2, 1].map(|back| self.reported.len() - back);
        let guard: Guard = results.get(guard_at)[0];
        if is_list_full(guard) {
            return Ok(None);
        }
        check_guard(guard).map_err(|error| match error {
            Error::Diverged { step, row, file, what } => {
                Error::Diverged { step, row: row.map(|row| u64::from(rows.start) + row), file, what }
            }
            other => other,
        })?;
        let (gpu, listed) = (&self.sae.gpu, &self.sae.forward.entries);
        let count = rows.len();
        let (starts, mut entries): (Vec<usize>, Vec<[u32; 4]>) = match listed.per_row {
            Some(k) => ((0..=count).map(|row| row * k as usize).collect(), results.get(list_at)),
            None => {
                let starts: Vec<u32> = results.get(list_at);
                let bytes = 16 * u64::from(starts[count]);
                let entries =
                    if bytes == 0 { Vec::new() } else { gpu.read_range(&listed.list, 0..bytes)?.wait(gpu)?.get(0) };
                (starts[..=count].iter().map(|start| *start as usize).collect(), entries)
            }
        };
        entries.truncate(starts[count]);
        Ok(Some(Part { rows: count, results, entries, starts }))
    }
}
