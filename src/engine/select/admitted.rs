//! A chunk of features at a time, of which a list takes all that its entries admit.

use super::chunks::RowBlock;
use super::encoded::Encoded;
use super::growing::{Addition, Admission, Growing};
use super::{Inputs, SelectionMethod, Selector};
use crate::engine::entries::Pass;
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::Cut;
use crate::gpu::shaders::admit::ALL_TIES;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::EncodeVariant;
use crate::sae::description::EntryKind;

pub(super) struct Admitted {
    encoded: Encoded,
    growing: Growing,
    /// None.
    cut: Buffer,
    /// Always 0.
    uncertain: Buffer,
}

impl Admitted {
    /// Compiles the kernels and makes the scratch for `rows` rows and `capacity` entries.
    pub fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        [rows, capacity]: [u32; 2],
        variant: EncodeVariant,
        entry: EntryKind,
        pass: Pass,
    ) -> Result<Self> {
        Ok(Self {
            encoded: Encoded::new(gpu, parameters, rows, variant)?,
            growing: Growing::new(gpu, parameters, [rows, capacity], Admission::Entry(entry), pass)?,
            cut: gpu.buffer_from("cut", &[Cut { ties: ALL_TIES, ..Cut::default() }])?,
            uncertain: gpu.buffer("uncertain rows", 1)?,
        })
    }
}

impl Selector for Admitted {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        let block = RowBlock { first: 0, count: inputs.rows };
        let chunks: Vec<_> = inputs.chunks(self.encoded.chunks).collect();
        self.growing.record_begin(recording, inputs, chunks.len());
        for (to_come, chunk) in (0..chunks.len()).rev().zip(chunks) {
            self.encoded.record(recording, inputs, block, chunk);
            let addition = Addition {
                pre_activations: &self.encoded.pre_activations,
                stride: self.encoded.stride(),
                chunk: Some(chunk),
                cut: &self.cut,
            };
            self.growing.record(recording, inputs, addition, to_come);
        }
    }

    fn method(&self) -> SelectionMethod {
        SelectionMethod::Chunked
    }

    fn uncertain(&self) -> &Buffer {
        &self.uncertain
    }

    fn encoded(&self) -> Option<&Encoded> {
        Some(&self.encoded)
    }
}
