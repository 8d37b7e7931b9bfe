//! An SAE's parameters on the device, in feature shards.

use std::ops::Range;

use super::planes::{Plane, Planes};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::gpu::shaders::{bias_gradient, dead, norms};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording};
use crate::kernels::quads;
use crate::sae::description::{Description, Role, TensorSpec};
use crate::sae::{SaeConfig, Weights, for_each_tile_of};

/// Shards are cut at multiples of this.
pub const BLOCK_FEATURES: u32 = dead::BLOCK;

/// The most chunks of a model (rule T, docs/architecture.md).
pub const CHUNKS: u32 = bias_gradient::CHUNKS;

/// A range of features whose rows fit one binding of the device.
pub struct Shard {
    /// First feature.
    pub first: u32,
    /// Number of features.
    pub count: u32,
    /// `[count, quads]` vec4.
    pub w_enc: Buffer,
    /// `[count, quads]` vec4.
    pub w_dec: Buffer,
    /// [`Planes`] of `count` words.
    pub scalars: Buffer,
}

/// An SAE's parameters, or those of some of its features, on the device.
pub struct Parameters {
    config: SaeConfig,
    description: Description,
    planes: Planes,
    quads: u32,
    /// By ascending features.
    pub shards: Vec<Shard>,
    /// `[quads]` vec4.
    pub b_dec: Buffer,
}

/// Where the rows of a tensor are in one buffer.
pub struct Place<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// The first of its bytes that are the tensor's.
    pub offset: u64,
    /// Words from one row to the next.
    pub stored_columns: usize,
}

impl Parameters {
    /// Makes room for an SAE.
    ///
    /// # Errors
    /// [`Error::Config`] if 1,024 features exceed a binding; [`Error::OutOfMemory`] if the device is too small.
    pub fn allocate(gpu: &Gpu, config: &SaeConfig, planes: Planes) -> Result<Self> {
        Self::allocate_part(gpu, config, planes, 0..config.features as u32)
    }

    /// Makes room for some features of an SAE, which begin with a chunk.
    ///
    /// # Errors
    /// As [`Parameters::allocate`].
    pub fn allocate_part(gpu: &Gpu, config: &SaeConfig, planes: Planes, features: Range<u32>) -> Result<Self> {
        config.validate()?;
        let gpu = &gpu.for_part("weights");
        let quads = quads(config.d_in);
        let row = u64::from(quads * 4).max(planes.count().into());
        let mut shards = Vec::new();
        for features in shard_ranges(features, 4 * row, gpu.max_binding_bytes())? {
            let count = features.end - features.start;
            let matrix = |name: &str| gpu.buffer(name, u64::from(count) * u64::from(quads) * 4);
            shards.push(Shard {
                first: features.start,
                count,
                w_enc: matrix("W_enc")?,
                w_dec: matrix("W_dec")?,
                scalars: gpu.buffer("scalars of features", u64::from(planes.count()) * u64::from(count))?,
            });
        }
        let b_dec = gpu.buffer("b_dec", u64::from(quads) * 4)?;
        Ok(Self { config: config.clone(), description: config.describe(), planes, quads, shards, b_dec })
    }

    /// Puts the weights of an SAE of these sizes in their place.
    ///
    /// # Errors
    /// Those of the weights, and [`Error::DeviceLost`] if the device fails.
    pub fn fill(&self, gpu: &Gpu, norms: &Pipeline<norms::main::Kernel>, weights: &dyn Weights) -> Result<()> {
        for tensor in &self.description.tensors {
            match tensor.role {
                Role::OutputBias => self.upload(gpu, tensor, &self.model_place(), 0..1, weights)?,
                _ => {
                    for shard in &self.shards {
                        let features = shard.first as usize..(shard.first + shard.count) as usize;
                        self.upload(gpu, tensor, &self.feature_place(tensor, shard), features, weights)?;
                    }
                }
            }
        }
        self.compute_norms(gpu, norms)
    }

    /// Computes the norms of the decoder rows.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails.
    pub fn compute_norms(&self, gpu: &Gpu, norms: &Pipeline<norms::main::Kernel>) -> Result<()> {
        let mut recording = Recording::default();
        for Shard { w_dec, scalars, count, .. } in &self.shards {
            let params = norms::Params { quads: self.quads, count: *count, one: 1.0 };
            recording.run(norms, norms::main::Bindings { w_dec, scalars, params });
        }
        gpu.submit(&gpu.program(recording)?)
    }

    /// Where a shard has a tensor of features.
    pub fn feature_place<'a>(&self, tensor: &TensorSpec, shard: &'a Shard) -> Place<'a> {
        let stored_columns = self.quads as usize * 4;
        match tensor.role {
            Role::Encoder => Place { buffer: &shard.w_enc, offset: 0, stored_columns },
            Role::Decoder => Place { buffer: &shard.w_dec, offset: 0, stored_columns },
            Role::Own(number) => self.plane(Plane::Own(number), shard),
            Role::EncoderBias | Role::OutputBias => self.plane(Plane::Bias, shard),
        }
    }

    /// Where a shard has a plane.
    pub fn plane<'a>(&self, plane: Plane, shard: &'a Shard) -> Place<'a> {
        Place { buffer: &shard.scalars, offset: self.planes.bytes(plane, shard.count).start, stored_columns: 1 }
    }

    /// Where the tensor of the model is.
    pub fn model_place(&self) -> Place<'_> {
        Place { buffer: &self.b_dec, offset: 0, stored_columns: self.quads as usize * 4 }
    }

    /// The weights on the device, to be read from there.
    pub fn weights<'a>(&'a self, gpu: &'a Gpu, provenance: Provenance) -> DeviceWeights<'a> {
        DeviceWeights { gpu, parameters: self, provenance }
    }

    /// Sizes and architecture.
    pub fn config(&self) -> &SaeConfig {
        &self.config
    }

    /// The description of its architecture.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The planes of each shard's scalars.
    pub fn planes(&self) -> &Planes {
        &self.planes
    }

    /// Vectors of 4 per row.
    pub fn quads(&self) -> u32 {
        self.quads
    }

    /// The first feature that is here.
    pub fn first(&self) -> u32 {
        self.shards.first().map_or(0, |shard| shard.first)
    }

    /// Features of the whole model.
    pub fn features(&self) -> u32 {
        self.config.features as u32
    }

    /// Features of a chunk (rule T, docs/architecture.md).
    pub fn chunk(&self) -> u32 {
        chunk_features(self.features())
    }

    fn upload(
        &self,
        gpu: &Gpu,
        tensor: &TensorSpec,
        place: &Place<'_>,
        rows: Range<usize>,
        weights: &dyn Weights,
    ) -> Result<()> {
        let [_, columns] = tensor.shape(&self.config);
        let mut padded = Vec::new();
        for_each_tile_of(weights, tensor, rows.clone(), |first, values| {
            let offset = place.offset + ((first - rows.start) * place.stored_columns * 4) as u64;
            if place.stored_columns == columns {
                gpu.upload(place.buffer, offset, values);
            } else {
                pad_rows(values, columns, &mut padded);
                gpu.upload(place.buffer, offset, &padded);
            }
            // Otherwise the copies on their way would pile up to the size of the model.
            gpu.wait_for_uploads()
        })
    }
}

/// Features of a chunk in a model of `features`: a multiple of 1,024, of which at most 64 cover it.
pub fn chunk_features(features: u32) -> u32 {
    BLOCK_FEATURES * features.div_ceil(BLOCK_FEATURES * CHUNKS).max(1)
}

/// Cuts features at multiples of 1,024 so that `row_bytes` of each fit one binding.
///
/// # Errors
/// [`Error::Config`] if 1,024 rows already exceed it.
pub fn shard_ranges(features: Range<u32>, row_bytes: u64, max_binding_bytes: u64) -> Result<Vec<Range<u32>>> {
    let blocks = max_binding_bytes / (row_bytes * u64::from(BLOCK_FEATURES));
    if blocks == 0 && u64::from(features.end - features.start) * row_bytes > max_binding_bytes {
        return Err(Error::Config(format!(
            "rows of {} values are too wide for this device: {BLOCK_FEATURES} of them exceed its largest binding, \
             {max_binding_bytes} bytes",
            row_bytes / 4
        )));
    }
    let rows = u32::try_from(blocks.max(1) * u64::from(BLOCK_FEATURES)).unwrap_or(u32::MAX);
    let end = features.end;
    Ok(features.step_by(rows as usize).map(|first| first..end.min(first.saturating_add(rows))).collect())
}

/// An SAE's weights on the device.
pub struct DeviceWeights<'a> {
    gpu: &'a Gpu,
    parameters: &'a Parameters,
    provenance: Provenance,
}

impl Weights for DeviceWeights<'_> {
    fn config(&self) -> &SaeConfig {
        &self.parameters.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let Self { gpu, parameters, .. } = self;
        let [_, columns] = tensor.shape(&parameters.config);
        if tensor.role == Role::OutputBias {
            return download(gpu, &parameters.model_place(), 0, columns, values);
        }
        let end = first + values.len() / columns;
        for shard in &parameters.shards {
            let start = (shard.first as usize).max(first);
            let stop = ((shard.first + shard.count) as usize).min(end);
            if start < stop {
                let values = &mut values[(start - first) * columns..(stop - first) * columns];
                let row = start - shard.first as usize;
                download(gpu, &parameters.feature_place(tensor, shard), row, columns, values)?;
            }
        }
        Ok(())
    }
}

/// Reads rows of `columns` values from a place, from its row `first` on.
fn download(gpu: &Gpu, place: &Place<'_>, first: usize, columns: usize, values: &mut [f32]) -> Result<()> {
    let rows = values.len() / columns;
    let byte = |row: usize| place.offset + (row * place.stored_columns * 4) as u64;
    let padded: Vec<f32> = gpu.read_range(place.buffer, byte(first)..byte(first + rows))?.wait(gpu)?.get(0);
    for (row, padded) in values.chunks_exact_mut(columns).zip(padded.chunks_exact(place.stored_columns)) {
        row.copy_from_slice(&padded[..columns]);
    }
    Ok(())
}

/// Lays out rows of `d` values as the device stores them: padded with zeros to whole [`quads`].
pub fn pad_rows(rows: &[f32], d: usize, padded: &mut Vec<f32>) {
    let width = quads(d) as usize * 4;
    padded.clear();
    padded.resize(rows.len() / d * width, 0.0);
    for (row, target) in rows.chunks_exact(d).zip(padded.chunks_exact_mut(width)) {
        target[..d].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_cut_at_multiples_of_1024() {
        let lavapipe = 128 << 20;
        let row = |d| u64::from(quads(d)) * 16;
        for (features, row_bytes, max_binding_bytes, ends) in [
            (0..200_000, row(384), lavapipe, vec![87_040, 174_080, 200_000]),
            (0..1000, row(384), lavapipe, vec![1000]),
            (0..2049, 64, 4 * 16 * 1024, vec![1024, 2048, 2049]),
            (4096..6145, 64, 4 * 16 * 1024, vec![5120, 6144, 6145]),
            (0..10, row(8192), 1 << 20, vec![10]),
        ] {
            let ranges = shard_ranges(features.clone(), row_bytes, max_binding_bytes).unwrap();
            let starts: Vec<u32> = ranges.iter().map(|range| range.start).collect();
            assert_eq!(ranges.iter().map(|range| range.end).collect::<Vec<_>>(), ends);
            assert_eq!(starts, [&[features.start], &ends[..ends.len() - 1]].concat());
        }
        assert!(matches!(shard_ranges(0..1024, row(8192), 1 << 20), Err(Error::Config(_))));
    }

    #[test]
    fn at_most_64_chunks_cover_a_model() {
        for (features, chunk) in [(1, 1024), (65_536, 1024), (65_537, 2048), (70_000, 2048), (33_554_432, 524_288)] {
            assert_eq!(chunk_features(features), chunk, "{features}");
            assert!(features.div_ceil(chunk) <= CHUNKS);
        }
    }
}
