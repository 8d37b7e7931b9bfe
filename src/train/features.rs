//! The features of an SAE under training: how often they fired, and how long their decoder rows are.

use super::Trainer;
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::histogram::Histogram;
use crate::sae::FeatureDensity;

/// Bins of the decoder norms.
const NORM_BINS: usize = 30;

/// Values that are read at once.
const TILE: u64 = 1 << 20;

/// Results of [`Trainer::feature_statistics`].
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureStatistics {
    /// How often features fired, over all rows that were trained on.
    pub density: FeatureDensity,
    /// Norms of the decoder rows, in bins of one width from the least to the greatest.
    pub decoder_norms: Histogram,
}

impl Trainer {
    /// Reads two numbers of each feature from the device, as they are after every step submitted.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] or [`crate::Error::Device`] if the device fails.
    pub fn feature_statistics(&self) -> Result<FeatureStatistics> {
        let mut density = FeatureDensity::of([], 0);
        let tokens = self.tokens_submitted();
        self.for_each_tile(Plane::TimesFired, |counts: &[u32]| {
            density.add(counts.iter().map(|&count| count.into()), tokens);
        })?;
        let (mut least, mut greatest) = (f32::INFINITY, 0.0_f32);
        self.for_each_tile(Plane::Norm, |norms: &[f32]| {
            for &norm in norms {
                (least, greatest) = (least.min(norm), greatest.max(norm));
            }
        })?;
        let mut decoder_norms = Histogram::new(least.into(), greatest.into(), NORM_BINS);
        self.for_each_tile(Plane::Norm, |norms: &[f32]| {
            for &norm in norms {
                decoder_norms.add(norm.into());
            }
        })?;
        Ok(FeatureStatistics { density, decoder_norms })
    }

    /// Reads a plane of all features.
    fn for_each_tile<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        &self,
        plane: Plane,
        mut take: impl FnMut(&[T]),
    ) -> Result<()> {
        let parameters = self.step.parameters();
        for shard in &parameters.shards {
            let range = parameters.planes().bytes(plane, shard.count);
            for start in range.clone().step_by(4 * TILE as usize) {
                let tile = start..range.end.min(start + 4 * TILE);
                let values: Vec<T> = self.gpu.read_range(&shard.scalars, tile)?.wait(&self.gpu)?.get(0);
                take(&values);
            }
        }
        Ok(())
    }
}
