//! The forward pass: from rows to codes, reconstructions and losses.

use crate::engine::select::{Inputs, SelectionMethod, Selector, Tuning, selector};
use crate::error::{Error, Result};
use crate::gpu::shaders::{center, decode, residual};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Codes, ForwardKernels};
use crate::sae::{Parameters, pad_rows};

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
    selector: Box<dyn Selector>,
    padded: Vec<f32>,
}

impl Forward {
    /// Makes the buffers.
    ///
    /// # Errors
    /// [`Error::Config`] if a batch of so many rows exceeds a binding, [`Error::OutOfMemory`] if it does not fit.
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: usize, tuning: Tuning) -> Result<Self> {
        let k = parameters.config().k;
        let rows = u32::try_from(rows)
            .ok()
            .filter(|rows| rows.checked_mul(k as u32).is_some())
            .ok_or_else(|| Error::Config(format!("a batch of {rows} rows with {k} codes each: at most 2^32 codes")))?;
        let vectors = || gpu.buffer("a field of the batch", u64::from(rows) * u64::from(parameters.quads()) * 4);
        Ok(Self {
            x: vectors()?,
            centred: vectors()?,
            codes: Codes::new(gpu, rows, k as u32)?,
            reconstruction: vectors()?,
            gradient: vectors()?,
            row_statistics: gpu.buffer("row statistics", u64::from(rows) * 4)?,
            guard: gpu.buffer("guard", 2)?,
            rows,
            selector: selector(gpu, parameters, rows, tuning)?,
            padded: Vec::new(),
        })
    }

    /// The most rows that a pass can take.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The number of rows that screening could not prove exact, `[1]`.
    pub fn uncertain(&self) -> &Buffer {
        self.selector.uncertain()
    }

    /// How codes are selected.
    pub fn method(&self) -> SelectionMethod {
        self.selector.method()
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
        let (centred, codes) = (&self.centred, &self.codes);
        self.selector.record(recording, &Inputs { parameters, centred, codes, rows });
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
