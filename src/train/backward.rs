//! The backward pass: the codes by feature, the gradients at them, and what must be known of all gradients before any is applied.

use super::{Forward, Recipe};
use crate::error::Result;
use crate::gpu::shaders::{bias_gradient, clip, code_gradients, gradients};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{BLOCK_ROWS, BackwardKernels, Runs};
use crate::sae::{Parameters, Shard};

/// Buffers of a backward pass.
pub(super) struct Backward {
    /// The codes by feature.
    pub runs: Runs,
    /// The gradient of the loss at each code, `[rows, k]`.
    pub code_gradients: Buffer,
    run_bias: Buffer,
    run_squares: Buffer,
    block_squares: Buffer,
    row_blocks: Buffer,
    shard_blocks: Buffer,
    encoder_part: Buffer,
    /// `[quads]` vec4.
    pub b_dec_gradient: Buffer,
    /// The norm of the whole gradient, and what it is multiplied by.
    pub clip: Buffer,
}

impl Backward {
    /// Makes the buffers.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if they do not fit.
    pub fn new(gpu: &Gpu, parameters: &Parameters, forward: &Forward) -> Result<Self> {
        let (rows, k) = (forward.rows(), forward.codes.k);
        let runs = Runs::new(gpu, rows, k, parameters.config().features as u32)?;
        let width = u64::from(parameters.quads()) * 4;
        let shard_blocks = parameters.shards.iter().map(Shard::blocks).max().unwrap_or(1);
        Ok(Self {
            code_gradients: gpu.buffer("code gradients", u64::from(rows) * u64::from(k))?,
            run_bias: gpu.buffer("b_enc gradients", runs.capacity().into())?,
            run_squares: gpu.buffer("squared gradient norms", runs.capacity().into())?,
            block_squares: gpu.buffer("squared norms by block", u64::from(parameters.blocks()).next_multiple_of(4))?,
            row_blocks: gpu.buffer("gradient by row block", u64::from(rows.div_ceil(BLOCK_ROWS)) * width)?,
            shard_blocks: gpu.buffer("encoder part by block", u64::from(shard_blocks) * width)?,
            encoder_part: gpu.buffer("encoder part", width)?,
            b_dec_gradient: gpu.buffer("gradient of b_dec", width)?,
            clip: gpu.buffer("clip", 2)?,
            runs,
        })
    }

    /// From the loss of the last forward pass to the clipped norm.
    pub fn record(
        &self,
        recording: &mut Recording,
        kernels: &BackwardKernels,
        (parameters, forward, recipe): (&Parameters, &Forward, &Recipe),
    ) {
        kernels.transpose.record(recording, &forward.codes, forward.rows(), &self.runs);
        for shard in &parameters.shards {
            self.record_shard(recording, kernels, (parameters, forward, recipe), shard);
        }
        self.record_clip(recording, kernels, (parameters, forward, recipe));
    }

    fn record_shard(
        &self,
        recording: &mut Recording,
        kernels: &BackwardKernels,
        (parameters, forward, recipe): (&Parameters, &Forward, &Recipe),
        shard: &Shard,
    ) {
        let (rows, k, quads) = (forward.rows(), forward.codes.k, parameters.quads());
        let input_centred = u32::from(parameters.config().apply_b_dec_to_input);
        let (first, count, blocks) = (shard.first, shard.count, shard.blocks());
        let bindings = code_gradients::main::Bindings {
            features: &forward.codes.features,
            values: &forward.codes.values,
            gradient: &forward.gradient,
            w_dec: &shard.w_dec,
            code_gradients: &self.code_gradients,
            params: code_gradients::Params { entries: rows * k, quads, k, first, count },
        };
        kernels.code_gradients.record(recording, bindings);
        let params = gradients::Params { quads, k, first, blocks, project: u32::from(recipe.unit_norm_decoder) };
        let bindings = gradients::features::Bindings {
            run_features: &self.runs.features,
            run_starts: &self.runs.starts,
            run_entries: &self.runs.entries,
            block_bounds: &self.runs.block_bounds,
            values: &forward.codes.values,
            code_gradients: &self.code_gradients,
            centred: &forward.centred,
            gradient: &forward.gradient,
            w_dec: &shard.w_dec,
            norms: &shard.norms,
            run_bias: &self.run_bias,
            run_squares: &self.run_squares,
            params,
        };
        kernels.gradients.record_features(recording, bindings, self.runs.capacity().min(count));
        let bindings = gradients::blocks::Bindings {
            run_features: &self.runs.features,
            block_bounds: &self.runs.block_bounds,
            run_squares: &self.run_squares,
            block_squares: &self.block_squares,
            params,
        };
        kernels.gradients.record_blocks(recording, bindings);
        let params = bias_gradient::Params { rows, quads, first, blocks, input_centred };
        let blocks = bias_gradient::blocks::Bindings {
            run_features: &self.runs.features,
            run_bias: &self.run_bias,
            block_bounds: &self.runs.block_bounds,
            w_enc: &shard.w_enc,
            shard_blocks: &self.shard_blocks,
            params,
        };
        let (shard_blocks, encoder_part) = (&self.shard_blocks, &self.encoder_part);
        let fold = bias_gradient::fold::Bindings { shard_blocks, encoder_part, params };
        kernels.bias_gradient.record_shard(recording, blocks, fold);
    }

    fn record_clip(
        &self,
        recording: &mut Recording,
        kernels: &BackwardKernels,
        (parameters, forward, recipe): (&Parameters, &Forward, &Recipe),
    ) {
        let quads = parameters.quads();
        let input_centred = u32::from(parameters.config().apply_b_dec_to_input);
        let params = bias_gradient::Params { rows: forward.rows(), quads, first: 0, blocks: 0, input_centred };
        let (gradient, row_blocks) = (&forward.gradient, &self.row_blocks);
        kernels.bias_gradient.record_rows(recording, bias_gradient::rows::Bindings { gradient, row_blocks, params });
        let (encoder_part, b_dec_gradient) = (&self.encoder_part, &self.b_dec_gradient);
        let bindings = bias_gradient::finish::Bindings { row_blocks, encoder_part, b_dec_gradient, params };
        kernels.bias_gradient.record_finish(recording, bindings);
        let bindings = clip::main::Bindings {
            block_squares: &self.block_squares,
            b_dec_gradient,
            clip: &self.clip,
            guard: &forward.guard,
            params: clip::Params {
                quads,
                square_quads: parameters.blocks().div_ceil(4),
                limit: recipe.clip.unwrap_or(0.0) as f32,
            },
        };
        kernels.clip.record(recording, bindings);
    }
}
