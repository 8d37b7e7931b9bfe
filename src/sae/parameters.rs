//! The model on the device, in feature shards.

use std::ops::Range;

use super::{Sae, SaeConfig};
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

/// Rows that cross the bus at once, so that padding them takes little memory.
const UPLOAD_ROWS: usize = 4096;

impl Parameters {
    /// Uploads an SAE, cut into shards.
    ///
    /// # Errors
    /// [`Error::Config`] if 1,024 features exceed a binding; [`Error::OutOfMemory`] if the device is too small.
    pub fn upload(gpu: &Gpu, norms: &Norms, sae: &Sae) -> Result<Self> {
        sae.config.validate()?;
        let (d, quads) = (sae.config.d_in, quads(sae.config.d_in));
        let b_dec = gpu.buffer("b_dec", u64::from(quads) * 4)?;
        gpu.upload(&b_dec, 0, &sae.b_dec);
        let mut shards = Vec::new();
        for features in shard_ranges(sae.config.features as u32, quads, gpu.max_binding_bytes())? {
            let (first, end) = (features.start as usize, features.end as usize);
            let count = features.end - features.start;
            let matrix = |name: &str| gpu.buffer(name, u64::from(count) * u64::from(quads) * 4);
            let shard = Shard {
                first: features.start,
                count,
                w_enc: matrix("W_enc")?,
                w_dec: matrix("W_dec")?,
                b_enc: gpu.buffer_from("b_enc", &sae.b_enc[first..end])?,
                norms: gpu.buffer("decoder norms", count.into())?,
            };
            upload_rows(gpu, &shard.w_enc, &sae.w_enc[first * d..end * d], d)?;
            upload_rows(gpu, &shard.w_dec, &sae.w_dec[first * d..end * d], d)?;
            let mut recording = Recording::default();
            let params = norms::Params { count, quads };
            norms.record(&mut recording, norms::main::Bindings { w_dec: &shard.w_dec, norms: &shard.norms, params });
            gpu.submit(&gpu.program(recording)?)?;
            shards.push(shard);
        }
        Ok(Self { config: sae.config.clone(), quads, shards, b_dec })
    }

    /// Downloads the SAE.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails, [`Error::OutOfMemory`] if there is no room for a staging copy.
    pub fn download(&self, gpu: &Gpu) -> Result<Sae> {
        let d = self.config.d_in;
        let mut sae = Sae {
            config: self.config.clone(),
            w_enc: Vec::with_capacity(self.config.features * d),
            b_enc: Vec::with_capacity(self.config.features),
            w_dec: Vec::with_capacity(self.config.features * d),
            b_dec: gpu.read(&self.b_dec)?,
            provenance: Provenance::default(),
        };
        sae.b_dec.truncate(d);
        for shard in &self.shards {
            let count = shard.count as usize;
            extend_with_rows(&mut sae.w_enc, &gpu.read(&shard.w_enc)?, count, d, self.quads);
            extend_with_rows(&mut sae.w_dec, &gpu.read(&shard.w_dec)?, count, d, self.quads);
            sae.b_enc.extend_from_slice(&gpu.read::<f32>(&shard.b_enc)?[..count]);
        }
        Ok(sae)
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

/// Writes rows of `d` values to a matrix whose rows are padded with zeros.
fn upload_rows(gpu: &Gpu, matrix: &Buffer, rows: &[f32], d: usize) -> Result<()> {
    let width = quads(d) as usize * 4;
    let mut padded = Vec::new();
    for (tile, rows) in rows.chunks(UPLOAD_ROWS * d).enumerate() {
        pad_rows(rows, d, &mut padded);
        gpu.upload(matrix, (tile * UPLOAD_ROWS * width * 4) as u64, &padded);
        // Otherwise the copies on their way would pile up to the size of the model.
        gpu.wait_for_uploads()?;
    }
    Ok(())
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

fn extend_with_rows(target: &mut Vec<f32>, padded: &[f32], count: usize, d: usize, quads: u32) {
    for row in padded.chunks_exact(quads as usize * 4).take(count) {
        target.extend_from_slice(&row[..d]);
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
