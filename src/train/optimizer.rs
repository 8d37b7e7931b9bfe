//! The optimiser: Adam's moments, what is known of each feature's firing, and the kernels that take them a step further.

use half::bf16;
use half::slice::HalfFloatSliceExt;

use super::backward::Backward;
use super::state::StatePart;
use super::{Forward, MomentPrecision, Recipe};
use crate::error::Result;
use crate::gpu::shaders::{Step, activity, update};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::BackwardKernels;
use crate::sae::{Parameters, Shard};

/// Training state of a shard's features.
struct ShardState {
    m_w_enc: Buffer,
    v_w_enc: Buffer,
    m_w_dec: Buffer,
    v_w_dec: Buffer,
    b_enc_moments: Buffer,
    last_fired: Buffer,
    fired: Buffer,
}

/// Everything of a run's state that is not parameters.
pub(super) struct Optimizer {
    states: Vec<ShardState>,
    m_b_dec: Buffer,
    v_b_dec: Buffer,
    /// Constants of the step that is submitted next.
    step: Buffer,
    /// Features that have not fired for the recipe's window, `[1]`.
    pub dead: Buffer,
}

/// What an update is made from.
#[derive(Clone, Copy)]
pub(super) struct UpdateArguments<'a> {
    pub parameters: &'a Parameters,
    pub forward: &'a Forward,
    pub backward: &'a Backward,
    pub recipe: &'a Recipe,
}

impl Optimizer {
    /// Makes the buffers.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if they do not fit.
    pub fn new(gpu: &Gpu, parameters: &Parameters, moments: MomentPrecision) -> Result<Self> {
        let bytes = moments.bytes();
        let states = parameters.shards.iter().map(|shard| ShardState::new(gpu, shard, bytes)).collect::<Result<_>>()?;
        Ok(Self {
            states,
            m_b_dec: gpu.buffer("moment of b_dec", parameters.b_dec.bytes() / 4)?,
            v_b_dec: gpu.buffer("moment of b_dec", parameters.b_dec.bytes() / 4)?,
            step: gpu.buffer("step", 8)?,
            dead: gpu.buffer("dead features", 1)?,
        })
    }

    /// Uploads the constants of the step that is submitted next, the `number`th.
    pub fn upload(&self, gpu: &Gpu, recipe: &Recipe, number: u32, learning_rate: f64) {
        gpu.upload(&self.step, 0, &[step_constants(recipe, number, learning_rate)]);
    }

    /// The state by the marks before which it must be copied: each shard's, then the decoder bias's.
    pub fn state_parts(&self, parameters: &Parameters, moments: MomentPrecision) -> Vec<Vec<StatePart>> {
        let row = u64::from(parameters.quads()) * 16;
        let moment_row = row / 4 * moments.bytes();
        let shards = parameters.shards.iter().zip(&self.states).map(|(shard, state)| {
            let buffers = [
                (&shard.w_enc, row),
                (&shard.w_dec, row),
                (&state.m_w_enc, moment_row),
                (&state.v_w_enc, moment_row),
                (&state.m_w_dec, moment_row),
                (&state.v_w_dec, moment_row),
                (&shard.b_enc, 4),
                (&state.b_enc_moments, 8),
                (&shard.norms, 4),
                (&state.last_fired, 4),
                (&state.fired, 4),
            ];
            let (first, rows) = (shard.first.into(), shard.count.into());
            parts(0, first, rows, &buffers)
        });
        let bias = [(&parameters.b_dec, row), (&self.m_b_dec, row), (&self.v_b_dec, row)];
        shards.chain([parts(11, 0, 1, &bias)]).collect()
    }

    /// As [`super::TrainingStep::first_moments`].
    pub fn first_moments(
        &self,
        gpu: &Gpu,
        parameters: &Parameters,
        precision: MomentPrecision,
    ) -> Result<[Vec<f32>; 4]> {
        let d = parameters.config().d_in;
        let width = parameters.quads() as usize * 4;
        let mut moments = [Vec::new(), Vec::new(), Vec::new(), gpu.read(&self.m_b_dec)?];
        moments[3].truncate(d);
        for (state, shard) in self.states.iter().zip(&parameters.shards) {
            for (target, buffer) in [(0, &state.m_w_enc), (1, &state.m_w_dec)] {
                let rows: Vec<f32> = match precision {
                    MomentPrecision::F32 => gpu.read(buffer)?,
                    MomentPrecision::Bf16 { .. } => gpu.read::<bf16>(buffer)?.to_f32_vec(),
                };
                moments[target].extend(rows.chunks_exact(width).flat_map(|row| &row[..d]));
            }
            let pairs: Vec<[f32; 2]> = gpu.read(&state.b_enc_moments)?;
            moments[2].extend(pairs[..shard.count as usize].iter().map(|[m, _]| m));
        }
        Ok(moments)
    }

    /// Takes parameters and state a step further: a mark before each shard, and one before b_dec.
    pub fn record(&self, recording: &mut Recording, kernels: &BackwardKernels, arguments: UpdateArguments<'_>) {
        recording.clear(&self.dead);
        for (shard, state) in arguments.parameters.shards.iter().zip(&self.states) {
            recording.mark();
            self.record_shard(recording, kernels, arguments, (shard, state));
        }
        recording.mark();
        self.record_bias_update(recording, kernels, arguments);
    }

    fn record_shard(
        &self,
        recording: &mut Recording,
        kernels: &BackwardKernels,
        arguments: UpdateArguments<'_>,
        (shard, state): (&Shard, &ShardState),
    ) {
        let UpdateArguments { forward, backward, recipe, .. } = arguments;
        let bindings = update::features::Bindings {
            run_features: &backward.runs.features,
            run_starts: &backward.runs.starts,
            run_entries: &backward.runs.entries,
            block_bounds: &backward.runs.block_bounds,
            values: &forward.codes.values,
            code_gradients: &backward.code_gradients,
            centred: &forward.centred,
            gradient: &forward.gradient,
            w_enc: &shard.w_enc,
            m_w_enc: &state.m_w_enc,
            v_w_enc: &state.v_w_enc,
            w_dec: &shard.w_dec,
            m_w_dec: &state.m_w_dec,
            v_w_dec: &state.v_w_dec,
            b_enc: &shard.b_enc,
            b_enc_moments: &state.b_enc_moments,
            norms: &shard.norms,
            clip: &backward.clip,
            guard: &forward.guard,
            step: (&self.step).into(),
            params: update_params(arguments, shard.first, shard.count),
        };
        kernels.update.record_features(recording, bindings);

        let (dead, step) = (&self.dead, (&self.step).into());
        let window = recipe.dead_window.div_ceil(recipe.batch as u64).clamp(1, u32::MAX.into()) as u32;
        let params = activity::Params { first: shard.first, count: shard.count, window };
        let bindings = activity::record::Bindings {
            run_features: &backward.runs.features,
            run_starts: &backward.runs.starts,
            block_bounds: &backward.runs.block_bounds,
            last_fired: &state.last_fired,
            fired: &state.fired,
            guard: &forward.guard,
            step,
            params,
        };
        kernels.activity.record(recording, bindings, backward.runs.capacity().min(shard.count));
        let last_fired = &state.last_fired;
        kernels.activity.record_dead(recording, activity::count_dead::Bindings { last_fired, dead, step, params });
    }

    fn record_bias_update(&self, recording: &mut Recording, kernels: &BackwardKernels, arguments: UpdateArguments<'_>) {
        let UpdateArguments { parameters, forward, backward, .. } = arguments;
        let bindings = update::bias::Bindings {
            b_dec: &parameters.b_dec,
            m_b_dec: &self.m_b_dec,
            v_b_dec: &self.v_b_dec,
            b_dec_gradient: &backward.b_dec_gradient,
            clip: &backward.clip,
            guard: &forward.guard,
            step: (&self.step).into(),
            params: update_params(arguments, 0, 0),
        };
        kernels.update.record_bias(recording, bindings);
    }
}

fn update_params(arguments: UpdateArguments<'_>, first: u32, count: u32) -> update::Params {
    let UpdateArguments { parameters, forward, recipe, .. } = arguments;
    let (quads, k) = (parameters.quads(), forward.codes.k);
    let seed = match recipe.moments {
        MomentPrecision::F32 => 0,
        MomentPrecision::Bf16 { seed } => seed,
    };
    let unit_norm = u32::from(recipe.unit_norm_decoder);
    update::Params { quads, k, first, count, unit_norm, seed_low: seed as u32, seed_high: (seed >> 32) as u32 }
}

fn step_constants(recipe: &Recipe, number: u32, learning_rate: f64) -> Step {
    let &Recipe { beta1, beta2, epsilon, .. } = recipe;
    let steps = f64::from(number);
    Step {
        number,
        learning_rate: (learning_rate / (1.0 - beta1.powf(steps))) as f32,
        second_correction: (1.0 / (1.0 - beta2.powf(steps)).sqrt()) as f32,
        beta1: beta1 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        epsilon: epsilon as f32,
    }
}

impl ShardState {
    /// Moments take `moment_bytes` an element.
    fn new(gpu: &Gpu, shard: &Shard, moment_bytes: u64) -> Result<Self> {
        let matrix = |name: &str| gpu.buffer(name, shard.w_enc.bytes() / 16 * moment_bytes);
        Ok(Self {
            m_w_enc: matrix("first moment of W_enc")?,
            v_w_enc: matrix("second moment of W_enc")?,
            m_w_dec: matrix("first moment of W_dec")?,
            v_w_dec: matrix("second moment of W_dec")?,
            b_enc_moments: gpu.buffer("moments of b_enc", 2 * u64::from(shard.count))?,
            last_fired: gpu.buffer("last step of firing", shard.count.into())?,
            fired: gpu.buffer("times fired", shard.count.into())?,
        })
    }
}

/// The rows from `first` on of the state's tensors from `tensor` on, a buffer each, which holds so many bytes a row.
fn parts(tensor: usize, first: u64, rows: u64, buffers: &[(&Buffer, u64)]) -> Vec<StatePart> {
    let part = |(tensor, &(buffer, stored_row_bytes)): (usize, &(&Buffer, u64))| StatePart {
        tensor,
        first,
        rows,
        buffer: buffer.clone(),
        stored_row_bytes,
    };
    (tensor..).zip(buffers).map(part).collect()
}
