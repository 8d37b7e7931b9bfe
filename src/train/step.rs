//! A training step: the forward pass, gradients over the sparse codes, clipping, Adam. Nothing of size features · d is
//! held but the parameters and their moments.

use super::state::{self, StatePart, StateSink, StateSource, state_tensors};
use super::{Forward, MomentPrecision, Recipe};
use half::bf16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};
use crate::gpu::shaders::{
    Clip as ClipResult, Guard, Step, activity, bias_gradient, clip, code_gradients, gradients, update,
};
use crate::gpu::{Buffer, Gpu, Pause, Pending, Program, Recording, Timing};
use crate::kernels::{BLOCK_ROWS, BackwardKernels, ForwardKernels, Runs};
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

/// Parameters and optimiser on the device, and the program that takes them one step further.
pub struct TrainingStep {
    parameters: Parameters,
    forward: Forward,
    states: Vec<ShardState>,
    m_b_dec: Buffer,
    v_b_dec: Buffer,
    runs: Runs,
    backward: Backward,
    step: Buffer,
    recipe: Recipe,
    program: Program,
    taken: u32,
}

/// What passes from kernel to kernel after the forward pass.
struct Backward {
    code_gradients: Buffer,
    run_bias: Buffer,
    run_squares: Buffer,
    block_squares: Buffer,
    row_blocks: Buffer,
    shard_blocks: Buffer,
    encoder_part: Buffer,
    b_dec_gradient: Buffer,
    clip: Buffer,
    dead: Buffer,
}

/// What the host learns of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResults {
    /// Squared error of each row.
    pub squared_errors: Vec<f32>,
    /// Active features of all rows.
    pub active: f64,
    /// Norm of the whole gradient, before clipping.
    pub gradient_norm: f32,
    /// Features that have not fired for the recipe's window.
    pub dead: u32,
    /// Rows that screening could not prove exact; if there are any, all were selected by chunks.
    pub uncertain_rows: u32,
}

impl TrainingStep {
    /// Makes the optimiser's state for parameters that are on the device, and the program of a step.
    ///
    /// # Errors
    /// [`Error::Config`] if the recipe or the batch cannot be used, [`Error::OutOfMemory`] if the state does not fit.
    pub fn new(
        gpu: &Gpu,
        kernels: (&ForwardKernels, &BackwardKernels),
        parameters: Parameters,
        recipe: Recipe,
    ) -> Result<Self> {
        recipe.validate()?;
        let forward = Forward::new(gpu, &parameters, recipe.batch, kernels.0.selection.method())?;
        let bytes = recipe.moments.bytes();
        let states = parameters.shards.iter().map(|shard| ShardState::new(gpu, shard, bytes)).collect::<Result<_>>()?;
        let runs = Runs::new(gpu, forward.rows(), forward.codes.k, parameters.config().features as u32)?;
        let mut this = Self {
            states,
            m_b_dec: gpu.buffer("moment of b_dec", parameters.b_dec.bytes() / 4)?,
            v_b_dec: gpu.buffer("moment of b_dec", parameters.b_dec.bytes() / 4)?,
            backward: Backward::new(gpu, &parameters, &forward, &runs)?,
            step: gpu.buffer("step", 8)?,
            program: gpu.program(Recording::default())?,
            taken: 0,
            parameters,
            forward,
            runs,
            recipe,
        };
        this.program = gpu.program(this.record(kernels))?;
        Ok(this)
    }

    /// Makes room for the results of `steps` steps that are under way at once, and for the tiles of a copy of the state.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_staging(&self, gpu: &Gpu, steps: usize) -> Result<()> {
        gpu.reserve_staging(self.reported().iter().map(|buffer| buffer.bytes()).sum(), steps)?;
        state::reserve_staging(gpu, &self.state_parts())
    }

    /// Submits a step over `[batch, d]` rows, without waiting for it.
    ///
    /// # Errors
    /// [`Error::Config`] if `rows` is no whole batch; [`Error::DeviceLost`] or [`Error::Device`] if the device fails.
    pub fn submit(&mut self, gpu: &Gpu, rows: &[f32], learning_rate: f64) -> Result<Pending> {
        self.prepare(gpu, rows, learning_rate)?;
        gpu.submit_and_read(&self.program, &self.reported())
    }

    /// As [`TrainingStep::submit`], and times each dispatch.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`], and [`Error::Device`] if the device has no timestamps.
    pub fn submit_and_time(&mut self, gpu: &Gpu, rows: &[f32], learning_rate: f64) -> Result<(Pending, Timing)> {
        self.prepare(gpu, rows, learning_rate)?;
        gpu.submit_and_time(&self.program, &self.reported())
    }

    /// As [`TrainingStep::submit`], and meanwhile copies the state as it is before this step to `sink`: each shard before
    /// its own update, and without a wait unless the sink is slower than the device.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`], and those of the sink.
    pub fn submit_and_copy(
        &mut self,
        gpu: &Gpu,
        rows: &[f32],
        learning_rate: f64,
        sink: &mut dyn StateSink,
    ) -> Result<Pending> {
        self.prepare(gpu, rows, learning_rate)?;
        let (tensors, stages) = (state_tensors(self.parameters.config(), self.recipe.moments), self.state_parts());
        let mut copy = state::copy(gpu, sink, &tensors, &stages);
        let pending = gpu.submit_with_pauses(&self.program, &self.reported(), |pause| match pause {
            Pause::Busy => copy.advance(),
            Pause::Mark(stage) => copy.reach(stage),
        })?;
        copy.finish()?;
        Ok(pending)
    }

    /// Copies the state as it is after the last step to `sink`, and waits for it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails, and those of the sink.
    pub fn copy_state(&self, gpu: &Gpu, sink: &mut dyn StateSink) -> Result<()> {
        state::copy(gpu, sink, &state_tensors(self.parameters.config(), self.recipe.moments), &self.state_parts())
            .finish()
    }

    /// Goes on from a state that was copied after `taken` steps.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails, and those of the source; the state is then neither of both.
    pub fn restore_state(&mut self, gpu: &Gpu, source: &mut dyn StateSource, taken: u32) -> Result<()> {
        state::restore(
            gpu,
            source,
            &state_tensors(self.parameters.config(), self.recipe.moments),
            &self.state_parts(),
        )?;
        self.taken = taken;
        Ok(())
    }

    /// The state by the marks before which it must be copied: each shard's, then the decoder bias's.
    fn state_parts(&self) -> Vec<Vec<StatePart>> {
        let row = u64::from(self.parameters.quads()) * 16;
        let moment_row = row / 4 * self.recipe.moments.bytes();
        let shards = self.parameters.shards.iter().zip(&self.states).map(|(shard, state)| {
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
        let bias = [(&self.parameters.b_dec, row), (&self.m_b_dec, row), (&self.v_b_dec, row)];
        shards.chain([parts(11, 0, 1, &bias)]).collect()
    }

    fn prepare(&mut self, gpu: &Gpu, rows: &[f32], learning_rate: f64) -> Result<()> {
        let d = self.parameters.config().d_in;
        if rows.len() != self.recipe.batch * d {
            return Err(Error::Config(format!(
                "a step takes {} rows of {d} values, not {} values",
                self.recipe.batch,
                rows.len()
            )));
        }
        self.taken += 1;
        self.forward.upload(gpu, rows, d);
        gpu.upload(&self.step, 0, &[self.step_constants(learning_rate)]);
        Ok(())
    }

    fn reported(&self) -> [&Buffer; 5] {
        let Self { forward, backward, .. } = self;
        [&forward.row_statistics, &backward.clip, &backward.dead, &forward.guard, forward.uncertain()]
    }

    /// Waits for a step's results.
    ///
    /// # Errors
    /// [`Error::Diverged`] if something was not finite: neither this step nor any after it changed the parameters.
    pub fn results(&self, gpu: &Gpu, pending: Pending) -> Result<StepResults> {
        let results = pending.wait(gpu)?;
        let guard: Guard = results.get(3)[0];
        if let Some(problem) = describe_guard(guard) {
            return Err(Error::Diverged(problem));
        }
        let clip: ClipResult = results.get(1)[0];
        let rows: Vec<[f32; 4]> = results.get(0);
        let rows = &rows[..self.recipe.batch];
        Ok(StepResults {
            squared_errors: rows.iter().map(|row| row[0]).collect(),
            active: rows.iter().map(|row| f64::from(row[3])).sum(),
            gradient_norm: clip.norm,
            dead: results.get(2)[0],
            uncertain_rows: results.get(4)[0],
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The forward pass's buffers, as the last step left them.
    pub fn forward(&self) -> &Forward {
        &self.forward
    }

    /// The first moments of W_enc, W_dec (`[features, d]`), b_enc and b_dec: after the first step (1 - beta1) times the
    /// clipped gradients.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails.
    pub fn first_moments(&self, gpu: &Gpu) -> Result<[Vec<f32>; 4]> {
        let d = self.parameters.config().d_in;
        let width = self.parameters.quads() as usize * 4;
        let mut moments = [Vec::new(), Vec::new(), Vec::new(), gpu.read(&self.m_b_dec)?];
        moments[3].truncate(d);
        for (state, shard) in self.states.iter().zip(&self.parameters.shards) {
            for (target, buffer) in [(0, &state.m_w_enc), (1, &state.m_w_dec)] {
                let rows: Vec<f32> = match self.recipe.moments {
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

    fn step_constants(&self, learning_rate: f64) -> Step {
        let Recipe { beta1, beta2, epsilon, .. } = self.recipe;
        let steps = f64::from(self.taken);
        Step {
            number: self.taken,
            learning_rate: (learning_rate / (1.0 - beta1.powf(steps))) as f32,
            second_correction: (1.0 / (1.0 - beta2.powf(steps)).sqrt()) as f32,
            beta1: beta1 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
        }
    }

    fn record(&self, (forward, backward): (&ForwardKernels, &BackwardKernels)) -> Recording {
        let mut recording = Recording::default();
        let rows = self.forward.rows();
        self.forward.record_codes(&mut recording, forward, &self.parameters, rows);
        self.forward.record_loss(&mut recording, forward, &self.parameters, rows);
        backward.transpose.record(&mut recording, &self.forward.codes, rows, &self.runs);
        self.record_gradients(&mut recording, backward);
        self.record_clip(&mut recording, backward);
        recording.clear(&self.backward.dead);
        for (shard, state) in self.parameters.shards.iter().zip(&self.states) {
            recording.mark();
            self.record_update(&mut recording, backward, shard, state);
            self.record_activity(&mut recording, backward, shard, state);
        }
        recording.mark();
        self.record_bias_update(&mut recording, backward);
        recording
    }

    fn record_gradients(&self, recording: &mut Recording, kernels: &BackwardKernels) {
        let (forward, runs, scratch) = (&self.forward, &self.runs, &self.backward);
        let (rows, k, quads) = (forward.rows(), forward.codes.k, self.parameters.quads());
        let input_centred = u32::from(self.parameters.config().apply_b_dec_to_input);
        for shard in &self.parameters.shards {
            let (first, count, blocks) = (shard.first, shard.count, shard.blocks());
            let bindings = code_gradients::main::Bindings {
                features: &forward.codes.features,
                values: &forward.codes.values,
                gradient: &forward.gradient,
                w_dec: &shard.w_dec,
                code_gradients: &scratch.code_gradients,
                params: code_gradients::Params { entries: rows * k, quads, k, first, count },
            };
            kernels.code_gradients.record(recording, bindings);
            let params =
                gradients::Params { quads, k, first, blocks, project: u32::from(self.recipe.unit_norm_decoder) };
            let bindings = gradients::features::Bindings {
                run_features: &runs.features,
                run_starts: &runs.starts,
                run_entries: &runs.entries,
                block_bounds: &runs.block_bounds,
                values: &forward.codes.values,
                code_gradients: &scratch.code_gradients,
                centred: &forward.centred,
                gradient: &forward.gradient,
                w_dec: &shard.w_dec,
                norms: &shard.norms,
                run_bias: &scratch.run_bias,
                run_squares: &scratch.run_squares,
                params,
            };
            kernels.gradients.record_features(recording, bindings, runs.capacity().min(count));
            let bindings = gradients::blocks::Bindings {
                run_features: &runs.features,
                block_bounds: &runs.block_bounds,
                run_squares: &scratch.run_squares,
                block_squares: &scratch.block_squares,
                params,
            };
            kernels.gradients.record_blocks(recording, bindings);
            let params = bias_gradient::Params { rows, quads, first, blocks, input_centred };
            let blocks = bias_gradient::blocks::Bindings {
                run_features: &runs.features,
                run_bias: &scratch.run_bias,
                block_bounds: &runs.block_bounds,
                w_enc: &shard.w_enc,
                shard_blocks: &scratch.shard_blocks,
                params,
            };
            let (shard_blocks, encoder_part) = (&scratch.shard_blocks, &scratch.encoder_part);
            let fold = bias_gradient::fold::Bindings { shard_blocks, encoder_part, params };
            kernels.bias_gradient.record_shard(recording, blocks, fold);
        }
    }

    fn record_clip(&self, recording: &mut Recording, kernels: &BackwardKernels) {
        let scratch = &self.backward;
        let quads = self.parameters.quads();
        let input_centred = u32::from(self.parameters.config().apply_b_dec_to_input);
        let params = bias_gradient::Params { rows: self.forward.rows(), quads, first: 0, blocks: 0, input_centred };
        let (gradient, row_blocks) = (&self.forward.gradient, &scratch.row_blocks);
        kernels.bias_gradient.record_rows(recording, bias_gradient::rows::Bindings { gradient, row_blocks, params });
        let (encoder_part, b_dec_gradient) = (&scratch.encoder_part, &scratch.b_dec_gradient);
        let bindings = bias_gradient::finish::Bindings { row_blocks, encoder_part, b_dec_gradient, params };
        kernels.bias_gradient.record_finish(recording, bindings);
        let bindings = clip::main::Bindings {
            block_squares: &scratch.block_squares,
            b_dec_gradient,
            clip: &scratch.clip,
            guard: &self.forward.guard,
            params: clip::Params {
                quads,
                square_quads: self.parameters.blocks().div_ceil(4),
                limit: self.recipe.clip.unwrap_or(0.0) as f32,
            },
        };
        kernels.clip.record(recording, bindings);
    }

    fn record_update(&self, recording: &mut Recording, kernels: &BackwardKernels, shard: &Shard, state: &ShardState) {
        let (forward, runs, scratch) = (&self.forward, &self.runs, &self.backward);
        let bindings = update::features::Bindings {
            run_features: &runs.features,
            run_starts: &runs.starts,
            run_entries: &runs.entries,
            block_bounds: &runs.block_bounds,
            values: &forward.codes.values,
            code_gradients: &scratch.code_gradients,
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
            clip: &scratch.clip,
            guard: &forward.guard,
            step: &self.step,
            params: self.update_params(shard.first, shard.count),
        };
        kernels.update.record_features(recording, bindings);
    }

    fn record_bias_update(&self, recording: &mut Recording, kernels: &BackwardKernels) {
        let bindings = update::bias::Bindings {
            b_dec: &self.parameters.b_dec,
            m_b_dec: &self.m_b_dec,
            v_b_dec: &self.v_b_dec,
            b_dec_gradient: &self.backward.b_dec_gradient,
            clip: &self.backward.clip,
            guard: &self.forward.guard,
            step: &self.step,
            params: self.update_params(0, 0),
        };
        kernels.update.record_bias(recording, bindings);
    }

    fn update_params(&self, first: u32, count: u32) -> update::Params {
        let (quads, k) = (self.parameters.quads(), self.forward.codes.k);
        let seed = match self.recipe.moments {
            MomentPrecision::F32 => 0,
            MomentPrecision::Bf16 { seed } => seed,
        };
        let unit_norm = u32::from(self.recipe.unit_norm_decoder);
        update::Params { quads, k, first, count, unit_norm, seed_low: seed as u32, seed_high: (seed >> 32) as u32 }
    }

    fn record_activity(&self, recording: &mut Recording, kernels: &BackwardKernels, shard: &Shard, state: &ShardState) {
        let (runs, dead, step) = (&self.runs, &self.backward.dead, &self.step);
        let window = self.recipe.dead_window.div_ceil(self.recipe.batch as u64).clamp(1, u32::MAX.into()) as u32;
        let params = activity::Params { first: shard.first, count: shard.count, window };
        let bindings = activity::record::Bindings {
            run_features: &runs.features,
            run_starts: &runs.starts,
            block_bounds: &runs.block_bounds,
            last_fired: &state.last_fired,
            fired: &state.fired,
            guard: &self.forward.guard,
            step,
            params,
        };
        kernels.activity.record(recording, bindings, runs.capacity().min(shard.count));
        let last_fired = &state.last_fired;
        kernels.activity.record_dead(recording, activity::count_dead::Bindings { last_fired, dead, step, params });
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

impl Backward {
    fn new(gpu: &Gpu, parameters: &Parameters, forward: &Forward, runs: &Runs) -> Result<Self> {
        let width = u64::from(parameters.quads()) * 4;
        let shard_blocks = parameters.shards.iter().map(Shard::blocks).max().unwrap_or(1);
        Ok(Self {
            code_gradients: gpu.buffer("code gradients", u64::from(forward.rows()) * u64::from(forward.codes.k))?,
            run_bias: gpu.buffer("b_enc gradients", runs.capacity().into())?,
            run_squares: gpu.buffer("squared gradient norms", runs.capacity().into())?,
            block_squares: gpu.buffer("squared norms by block", u64::from(parameters.blocks()).next_multiple_of(4))?,
            row_blocks: gpu.buffer("gradient by row block", u64::from(forward.rows().div_ceil(BLOCK_ROWS)) * width)?,
            shard_blocks: gpu.buffer("encoder part by block", u64::from(shard_blocks) * width)?,
            encoder_part: gpu.buffer("encoder part", width)?,
            b_dec_gradient: gpu.buffer("gradient of b_dec", width)?,
            clip: gpu.buffer("clip", 2)?,
            dead: gpu.buffer("dead features", 1)?,
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

/// What a raised guard says.
pub(super) fn describe_guard(guard: Guard) -> Option<String> {
    // The bits and the complement of the row are those of shaders/shared/guard.wgsl.
    let row = !guard.row;
    match guard.status {
        0 => None,
        status if status & 1 != 0 => Some(format!("row {row} of the batch holds a value that is not finite")),
        status if status & 2 != 0 => Some(format!(
            "the loss of row {row} of the batch is not finite: lower the learning rate, or look at the data"
        )),
        _ => Some("the gradient is not finite: lower the learning rate, or look at the data".into()),
    }
}
