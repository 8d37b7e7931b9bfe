//! The model on the device, in feature shards.

use std::ops::Range;

use super::weights::for_each_tile_of;
use super::{SaeConfig, Tensor, Weights};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::gpu::shaders::norms;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{BLOCK_FEATURES, Norms, quads};

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
    /// `[count]`.
    pub b_enc: Buffer,
    /// Norms of the decoder rows, `[count]`.
    pub norms: Buffer,
}

impl Shard {
    /// Feature blocks in the shard (rule F, docs/architecture.md).
    pub fn blocks(&self) -> u32 {
        self.count.div_ceil(BLOCK_FEATURES)
    }
}

/// An SAE's parameters on the device.
pub struct Parameters {
    config: SaeConfig,
    quads: u32,
    /// By ascending features.
    pub shards: Vec<Shard>,
    /// `[quads]` vec4.
    pub b_dec: Buffer,
}

impl Parameters {
    /// Makes room for an SAE, cut into shards.
    ///
    /// # Errors
    /// [`Error::Config`] if 1,024 features exceed a binding; [`Error::OutOfMemory`] if the device is too small.
    pub fn allocate(gpu: &Gpu, config: &SaeConfig) -> Result<Self> {
        config.validate()?;
        let quads = quads(config.d_in);
        let b_dec = gpu.buffer("b_dec", u64::from(quads) * 4)?;
        let mut shards = Vec::new();
        for features in shard_ranges(config.features as u32, quads, gpu.max_binding_bytes())? {
            let count = features.end - features.start;
            let matrix = |name: &str| gpu.buffer(name, u64::from(count) * u64::from(quads) * 4);
            shards.push(Shard {
                first: features.start,
                count,
                w_enc: matrix("W_enc")?,
                w_dec: matrix("W_dec")?,
                b_enc: gpu.buffer("b_enc", count.into())?,
                norms: gpu.buffer("decoder norms", count.into())?,
            });
        }
        Ok(Self { config: config.clone(), quads, shards, b_dec })
    }

    /// Uploads an SAE, cut into shards.
    ///
    /// # Errors
    /// As [`Parameters::allocate`], and those of the weights.
    pub fn upload(gpu: &Gpu, norms: &Norms, weights: &dyn Weights) -> Result<Self> {
        let this = Self::allocate(gpu, weights.config())?;
        this.fill(gpu, norms, weights)?;
        Ok(this)
    }

    /// Puts the weights of an SAE of these sizes in their place.
    ///
    /// # Errors
    /// Those of the weights, and [`Error::DeviceLost`] if the device fails.
    pub fn fill(&self, gpu: &Gpu, norms: &Norms, weights: &dyn Weights) -> Result<()> {
        upload_rows(gpu, &self.b_dec, weights, Tensor::BDec, 0..1)?;
        for shard in &self.shards {
            let features = shard.first as usize..(shard.first + shard.count) as usize;
            for (buffer, tensor) in
                [(&shard.w_enc, Tensor::WEnc), (&shard.w_dec, Tensor::WDec), (&shard.b_enc, Tensor::BEnc)]
            {
                upload_rows(gpu, buffer, weights, tensor, features.clone())?;
            }
            let mut recording = Recording::default();
            let params = norms::Params { count: shard.count, quads: self.quads };
            norms.record(&mut recording, norms::main::Bindings { w_dec: &shard.w_dec, norms: &shard.norms, params });
            gpu.submit(&gpu.program(recording)?)?;
        }
        Ok(())
    }

    /// The weights on the device, to be read from there.
    pub fn weights<'a>(&'a self, gpu: &'a Gpu, provenance: Provenance) -> DeviceWeights<'a> {
        DeviceWeights { gpu, parameters: self, provenance }
    }

    /// Sizes and selection.
    pub fn config(&self) -> &SaeConfig {
        &self.config
    }

    /// Vectors of 4 a row.
    pub fn quads(&self) -> u32 {
        self.quads
    }

    /// Feature blocks of the whole model (rule F, docs/architecture.md).
    pub fn blocks(&self) -> u32 {
        (self.config.features as u32).div_ceil(BLOCK_FEATURES)
    }
}

/// Cuts `features` rows at multiples of 1,024 so that each shard's matrix stays within `max_binding_bytes`.
///
/// # Errors
/// [`Error::Config`] if 1,024 rows already exceed it.
pub fn shard_ranges(features: u32, quads: u32, max_binding_bytes: u64) -> Result<Vec<Range<u32>>> {
    let row_bytes = u64::from(quads) * 16;
    let blocks = max_binding_bytes / (row_bytes * u64::from(BLOCK_FEATURES));
    if blocks == 0 && u64::from(features) * row_bytes > max_binding_bytes {
        return Err(Error::Config(format!(
            "rows of {} values are too wide for this device: {BLOCK_FEATURES} of them exceed its largest binding, \
             {max_binding_bytes} bytes",
            quads * 4
        )));
    }
    let rows = u32::try_from(blocks.max(1) * u64::from(BLOCK_FEATURES)).unwrap_or(u32::MAX);
    Ok((0..features).step_by(rows as usize).map(|first| first..features.min(first.saturating_add(rows))).collect())
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

    fn read(&self, tensor: Tensor, first: usize, values: &mut [f32]) -> Result<()> {
        let Parameters { config, shards, b_dec, .. } = self.parameters;
        let [_, columns] = tensor.shape(config);
        if tensor == Tensor::BDec {
            return download_rows(self.gpu, b_dec, 0, columns, stored_columns(tensor, columns), values);
        }
        let end = first + values.len() / columns;
        for shard in shards {
            let start = (shard.first as usize).max(first);
            let stop = ((shard.first + shard.count) as usize).min(end);
            if start < stop {
                let buffer = match tensor {
                    Tensor::WEnc => &shard.w_enc,
                    Tensor::WDec => &shard.w_dec,
                    Tensor::BEnc | Tensor::BDec => &shard.b_enc,
                };
                let values = &mut values[(start - first) * columns..(stop - first) * columns];
                let row = start - shard.first as usize;
                download_rows(self.gpu, buffer, row, columns, stored_columns(tensor, columns), values)?;
            }
        }
        Ok(())
    }
}

/// Values a row in a buffer: those of matrices are padded.
fn stored_columns(tensor: Tensor, columns: usize) -> usize {
    match tensor {
        Tensor::BEnc => 1,
        Tensor::WEnc | Tensor::WDec | Tensor::BDec => quads(columns) as usize * 4,
    }
}

/// Reads rows of `columns` values, from row `first` of the buffer on, of which each has `stored` there.
fn download_rows(
    gpu: &Gpu,
    buffer: &Buffer,
    first: usize,
    columns: usize,
    stored: usize,
    values: &mut [f32],
) -> Result<()> {
    let rows = values.len() / columns;
    let range = (first * stored * 4) as u64..((first + rows) * stored * 4) as u64;
    let padded: Vec<f32> = gpu.read_range(buffer, range)?.wait(gpu)?.get(0);
    for (row, padded) in values.chunks_exact_mut(columns).zip(padded.chunks_exact(stored)) {
        row.copy_from_slice(&padded[..columns]);
    }
    Ok(())
}

/// Writes some rows of a tensor to the buffer that holds them.
fn upload_rows(gpu: &Gpu, buffer: &Buffer, weights: &dyn Weights, tensor: Tensor, rows: Range<usize>) -> Result<()> {
    let [_, columns] = tensor.shape(weights.config());
    let stored = stored_columns(tensor, columns);
    let mut padded = Vec::new();
    for_each_tile_of(weights, tensor, rows.clone(), |first, values| {
        let offset = ((first - rows.start) * stored * 4) as u64;
        if stored == columns {
            gpu.upload(buffer, offset, values);
        } else {
            pad_rows(values, columns, &mut padded);
            gpu.upload(buffer, offset, &padded);
        }
        // Otherwise the copies on their way would pile up to the size of the model.
        gpu.wait_for_uploads()
    })
}

/// Lays out rows of `d` values as the device stores them: padded with zeros to whole [`quads`].
pub(crate) fn pad_rows(rows: &[f32], d: usize, padded: &mut Vec<f32>) {
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
        for (features, quads, max_binding_bytes, ends) in [
            (200_000, quads(384), lavapipe, vec![87_040, 174_080, 200_000]),
            (1000, quads(384), lavapipe, vec![1000]),
            (2049, 4, 4 * 16 * 1024, vec![1024, 2048, 2049]),
            (10, quads(8192), 1 << 20, vec![10]),
        ] {
            let ranges = shard_ranges(features, quads, max_binding_bytes).unwrap();
            let starts: Vec<u32> = ranges.iter().map(|range| range.start).collect();
            assert_eq!(ranges.iter().map(|range| range.end).collect::<Vec<_>>(), ends);
            assert_eq!(starts, [&[0], &ends[..ends.len() - 1]].concat());
        }
        assert!(matches!(shard_ranges(1024, quads(8192), 1 << 20), Err(Error::Config(_))));
    }
}
