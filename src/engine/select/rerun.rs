//! The rows of a screened batch that are selected again in f32: those that screening is not sure of, and now and then
//! some that it is sure of, to see whether it is right to be.

use super::chunked::Chunked;
use super::chunks::{Chunks, Limits, RowBlock, max_multiply_adds};
use super::encoded::Encoded;
use super::{Inputs, ScreenMode};
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::check_bounds::{FIRST, LISTED, OVERFULL};
use crate::gpu::shaders::rerun::{self, gather, scatter};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot};

/// Rows of a batch that are selected again without all others: as many as a tile has of the usual shape of `encode`.
const ROOM: u32 = 128;

pub(super) struct Rerun {
    /// Over wider chunks than those of a whole batch, in the same memory.
    chunked: Chunked,
    /// Rows that can be listed.
    pub room: u32,
    /// The list of rows ([`FIRST`] says what is before it).
    pub list: Buffer,
    /// (first row, rows) that are audited.
    pub audit: Buffer,
    /// `[room, quads]` vec4.
    gathered: Buffer,
    /// `[room, k]` entries.
    found: Buffer,
    gather: Pipeline<gather::Kernel>,
    scatter: Pipeline<scatter::Kernel>,
}

impl Rerun {
    /// Compiles the kernels and makes the scratch for batches of `rows` rows.
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, chunked: &Chunked) -> Result<Self> {
        let room = ROOM.min(rows);
        let Encoded { encode, pre_activations, .. } = &chunked.encoded;
        let limits = Limits { rows: room, group: 1, multiply_adds: max_multiply_adds(gpu.description()) };
        let chunks = Chunks::new(gpu, parameters, &limits);
        let fitting = pre_activations.bytes() / (4 * u64::from(room));
        let encoded = Encoded {
            encode: encode.clone(),
            chunks: Chunks::at_most(parameters, 1, fitting.min(chunks.features().into())).balanced(parameters),
            pre_activations: pre_activations.clone(),
        };
        Ok(Self {
            chunked: chunked.with(encoded),
            list: gpu.buffer("rows to select again", u64::from(FIRST + room))?,
            audit: gpu.buffer("rows to audit", 2)?,
            gathered: gpu.buffer("rows to select again", 4 * u64::from(room) * u64::from(parameters.quads()))?,
            found: gpu.buffer("rows to select again", 4 * u64::from(room) * parameters.config().usual_l0() as u64)?,
            gather: gpu.pipeline(&[])?,
            scatter: gpu.pipeline(&[])?,
            room,
        })
    }

    /// Selects the listed rows again, if there are any.
    pub fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        let Self { list: reruns, gathered, found, .. } = self;
        let params = rerun::Params {
            quads: inputs.parameters.quads(),
            k: inputs.k,
            room: self.room,
            is_taken_again: u32::from(matches!(inputs.screen, ScreenMode::Optimistic { .. })),
        };
        let &Inputs { centred, guard, entries, .. } = inputs;
        let entries = &entries.list;
        recording.only_if(self.word(LISTED), |recording| {
            recording.run(&self.gather, gather::Bindings { reruns, centred, gathered, guard, params });
            let block = RowBlock { first: 0, count: self.room };
            self.chunked.record_rows(recording, &Inputs { centred: gathered, ..*inputs }, found, block);
            recording.run(&self.scatter, scatter::Bindings { reruns, found, entries, guard, params });
        });
    }

    /// Not 0 once there are more rows to be selected again than there is room for.
    pub fn overfull(&self) -> Slot<'_> {
        self.word(OVERFULL)
    }

    fn word(&self, word: u32) -> Slot<'_> {
        Slot { buffer: &self.list, offset: 4 * u64::from(word) }
    }
}
