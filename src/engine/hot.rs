//! Hot features, active on many rows of a batch: their gradients are summed once, by many threads, for the two kernels
//! that need them.

use super::backward::{Backward, LevelRange, Losses};
use super::forward::Forward;
use super::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::bias_gradient::BLOCK_ROWS;
use crate::gpu::shaders::hot::{LANES, Params, main};
use crate::gpu::shaders::runs::LEAST_HOT;
use crate::gpu::{Buffer, Gpu, Pipeline, Recording};
use crate::kernels::SumShape;
use crate::sae::description::Description;

/// The sums of hot features' gradients.
pub struct Hot {
    /// The run that begins in each slot, `[slots]`.
    pub runs: Buffer,
    /// Of their rows of the encoder, `[slots, quads]` vec4.
    pub encoder: Buffer,
    /// The same of the decoder.
    pub decoder: Buffer,
    of_encoder: Pipeline<main::Kernel>,
    of_decoder: Pipeline<main::Kernel>,
    slots: u32,
}

/// Room for hot features: with a row of each matrix they take half the memory of a field of the batch.
fn slots(rows: u32, capacity: u32) -> u32 {
    (rows / 4).min(capacity / LEAST_HOT).max(1)
}

/// The parts of a term in the gradient of a decoder row, as the shaders are told (shaders/shared/terms.wgsl).
fn term_defines(description: &Description) -> [(&'static str, u32); 2] {
    [("SECOND", (description.lists.len() > 1).into()), ("GATE", has_two_gradients(description).into())]
}

/// Whether every term has a part in two gradients.
fn has_two_gradients(description: &Description) -> bool {
    description.gate().is_some_and(|gate| !gate.detached)
}

/// The same, with the shape of the sums of `squares` and `update`.
pub fn sum_defines(gpu: &Gpu, description: &Description) -> Vec<(&'static str, u32)> {
    let [columns, (ahead, most)] = SumShape::best(gpu.description()).defines();
    // Rows of two gradients take twice as many registers.
    let terms = if has_two_gradients(description) { most.min(2) } else { most };
    [&term_defines(description)[..], &[columns, (ahead, terms)]].concat()
}

impl Hot {
    /// Compiles the kernel, and makes the buffers.
    ///
    /// # Errors
    /// As [`Gpu::buffer`], and [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, forward: &Forward) -> Result<Self> {
        let planes = parameters.planes().defines();
        let of_encoder = [&planes[..], &[("DECODER", 0), ("SECOND", 0)]].concat();
        let of_decoder = [&planes[..], &term_defines(parameters.description())].concat();
        let slots = slots(forward.rows(), forward.entries.capacity);
        let gpu = &gpu.for_part("gradients");
        let sums = || gpu.buffer("sums of hot features", 4 * u64::from(slots) * u64::from(parameters.quads()));
        Ok(Self {
            runs: gpu.buffer("runs of hot features", slots.into())?,
            encoder: sums()?,
            decoder: sums()?,
            of_encoder: gpu.pipeline(&of_encoder)?,
            of_decoder: gpu.pipeline(&of_decoder)?,
            slots,
        })
    }

    /// The most hot features that there is room for.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Sums the gradients of a range's hot features.
    pub(super) fn record(&self, recording: &mut Recording, backward: &Backward, losses: Losses<'_>, range: LevelRange) {
        let quads = losses.parameters.quads();
        let params = Params {
            quads,
            blocks: losses.forward.rows().div_ceil(BLOCK_ROWS),
            lists: losses.lists(),
            groups: backward.groups(self.slots * quads.div_ceil(LANES), 1),
            one: 1.0,
        };
        let [g0, g1] = losses.gradients(range.level);
        let centred = &losses.forward.centred;
        for (kernel, [rows_0, rows_1], sums) in
            [(&self.of_encoder, [centred; 2], &self.encoder), (&self.of_decoder, [g0, g1], &self.decoder)]
        {
            let bindings = main::Bindings {
                runs: &backward.sorted.runs,
                hot_runs: &self.runs,
                terms: &backward.terms,
                rows_0,
                rows_1,
                sums,
                range: backward.sorted.range(range.number),
                params,
            };
            recording.run(kernel, bindings);
        }
    }
}
