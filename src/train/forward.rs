//! The forward pass: from rows to codes, reconstructions and losses.

use crate::error::{Error, Result};
use crate::gpu::shaders::{center, decode, residual, select};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Codes, EncodeArguments, ForwardKernels};
use crate::sae::{Parameters, Shard, pad_rows};

/// Buffers of a forward pass over at most `rows` rows.
pub struct Forward {
    /// The rows, `[rows, quads]` vec4.
    pub x: Buffer,
    /// The rows less `b_dec`.
    pub centred: Buffer,
    /// Their codes.
    pub codes: Codes,
    /// Their reconstructions.
    pub reconstruction: Buffer,
    /// The gradient of the loss at the reconstructions.
    pub gradient: Buffer,
    /// (squared error, x · x^, |x^|², active features) of each row.
    pub row_statistics: Buffer,
    /// Raised by whatever is not finite.
    pub guard: Buffer,
    rows: u32,
    pre_activations: Buffer,
    chunk: u32,
    padded: Vec<f32>,
}

/// Features a chunk at most: the smallest tiles of `encode`, 32 features wide, then stay within one dimension of a dispatch.
const MAX_CHUNK: u64 = 1 << 20;

/// Pre-activations are kept for so many bytes of features at a time.
const CHUNK_BYTES: u64 = 128 << 20;

impl Forward {
    /// Makes the buffers.
    ///
    /// # Errors
    /// [`Error::Config`] if a batch of so many rows exceeds a binding, [`Error::OutOfMemory`] if it does not fit.
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: usize) -> Result<Self> {
        let k = parameters.config().k;
        let rows = u32::try_from(rows)
            .ok()
            .filter(|rows| rows.checked_mul(k as u32).is_some())
            .ok_or_else(|| Error::Config(format!("a batch of {rows} rows with {k} codes each: at most 2^32 codes")))?;
        let vectors = || gpu.buffer("a field of the batch", u64::from(rows) * u64::from(parameters.quads()) * 4);
        let chunk = chunk_features(parameters, rows, gpu.max_binding_bytes().min(CHUNK_BYTES));
        Ok(Self {
            x: vectors()?,
            centred: vectors()?,
            codes: Codes::new(gpu, rows, k as u32)?,
            reconstruction: vectors()?,
            gradient: vectors()?,
            row_statistics: gpu.buffer("row statistics", u64::from(rows) * 4)?,
            guard: gpu.buffer("guard", 2)?,
            rows,
            pre_activations: gpu.buffer("pre-activations", u64::from(rows) * u64::from(chunk))?,
            chunk,
            padded: Vec::new(),
        })
    }

    /// The most rows that a pass can take.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Uploads `[rows, d]` rows for what is submitted next.
    pub fn upload(&mut self, gpu: &Gpu, rows: &[f32], d: usize) {
        pad_rows(rows, d, &mut self.padded);
        gpu.upload(&self.x, 0, &self.padded);
    }

    /// Everything up to the codes of the first `rows` rows.
    pub fn record_codes(
        &self,
        recording: &mut Recording,
        kernels: &ForwardKernels,
        parameters: &Parameters,
        rows: u32,
    ) {
        let config = parameters.config();
        let (quads, subtract) = (parameters.quads(), u32::from(config.apply_b_dec_to_input));
        let bindings = center::main::Bindings {
            x: &self.x,
            b_dec: &parameters.b_dec,
            centred: &self.centred,
            guard: &self.guard,
            params: center::Params { rows, quads, subtract },
        };
        kernels.center.record(recording, bindings);
        for shard in &parameters.shards {
            for first in (0..shard.count).step_by(self.chunk as usize) {
                self.record_chunk(recording, kernels, parameters, shard, first, rows);
            }
        }
    }

    fn record_chunk(
        &self,
        recording: &mut Recording,
        kernels: &ForwardKernels,
        parameters: &Parameters,
        shard: &Shard,
        first: u32,
        rows: u32,
    ) {
        let config = parameters.config();
        let count = self.chunk.min(shard.count - first);
        kernels.encode.record(
            recording,
            &EncodeArguments {
                centred: &self.centred,
                w_enc: &shard.w_enc,
                b_enc: &shard.b_enc,
                pre_activations: &self.pre_activations,
                rows,
                quads: parameters.quads(),
                first,
                count,
                stride: self.chunk,
                relu: false,
            },
        );
        let features_before = shard.first + first;
        let bindings = select::main::Bindings {
            pre_activations: &self.pre_activations,
            norms: &shard.norms,
            features: &self.codes.features,
            values: &self.codes.values,
            keys: &self.codes.keys,
            params: select::Params {
                rows,
                k: self.codes.k,
                filled: features_before.min(self.codes.k),
                first: features_before,
                first_in_shard: first,
                count,
                stride: self.chunk,
                scaled: u32::from(config.rescale_acts_by_decoder_norm),
                last: u32::from(features_before + count == config.features as u32),
            },
        };
        kernels.select.record(recording, bindings);
    }

    /// Reconstructions and losses from the codes; the gradient is that of the mean over `rows` rows.
    pub fn record_loss(&self, recording: &mut Recording, kernels: &ForwardKernels, parameters: &Parameters, rows: u32) {
        let quads = parameters.quads();
        for shard in &parameters.shards {
            let bindings = decode::main::Bindings {
                features: &self.codes.features,
                values: &self.codes.values,
                w_dec: &shard.w_dec,
                b_dec: &parameters.b_dec,
                reconstruction: &self.reconstruction,
                params: decode::Params { rows, quads, k: self.codes.k, first: shard.first, count: shard.count },
            };
            kernels.decode.record(recording, bindings);
        }
        let bindings = residual::main::Bindings {
            x: &self.x,
            reconstruction: &self.reconstruction,
            values: &self.codes.values,
            gradient: &self.gradient,
            row_statistics: &self.row_statistics,
            guard: &self.guard,
            params: residual::Params { rows, quads, k: self.codes.k, scale: 2.0 / rows as f32 },
        };
        kernels.residual.record(recording, bindings);
    }
}

/// Features a chunk, a multiple of 16: as many as `bytes` hold for every row, but no more than the largest shard has.
fn chunk_features(parameters: &Parameters, rows: u32, bytes: u64) -> u32 {
    let largest = parameters.shards.iter().map(|shard| shard.count).max().unwrap_or(1);
    let fitting = (bytes / (4 * u64::from(rows.max(1)))).max(16);
    (fitting.min(largest.next_multiple_of(16).into()).min(MAX_CHUNK) as u32) & !15
}
