//! The largest products of rows with the rows of a matrix, by the kernels that encode.

use super::stream::{DeviceSae, Done, Part, Stream};
use crate::data::{Provenance, RowsView};
use crate::engine::select::{Screening, Tuning};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::description::{Role, TensorSpec};
use crate::sae::{SaeConfig, Weights};

/// A matrix that is read some rows at a time.
pub trait Matrix {
    /// Rows, and values in each.
    fn shape(&self) -> [usize; 2];

    /// Fills `values` with whole rows, from row `first` on, all of them finite.
    ///
    /// # Errors
    /// Those of where the matrix is.
    fn read(&self, first: usize, values: &mut [f32]) -> Result<()>;
}

/// A search of a matrix `[n, d]` for the rows with the largest products with other rows. The device holds the matrix,
/// what an encoder of its size needs, and a batch; nothing of the size of all pairs exists.
pub struct LargestProducts<'a> {
    /// What is searched.
    pub matrix: &'a dyn Matrix,
    /// Products that are kept of each row: at least 1 and at most n.
    pub count: usize,
    /// Rows that are searched for at a time.
    pub batch: usize,
}

/// The largest products of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Products {
    /// Which of the matrices of rows they are of.
    pub of: usize,
    /// The first of the rows.
    pub first: usize,
    /// Rows of the searched matrix, `[rows, count]`, by descending product; of equal products the lower row first.
    pub indices: Vec<u32>,
    /// The products, `[rows, count]`: sums in f32, infinite or NaN where f32 does not hold them.
    pub values: Vec<f32>,
}

impl LargestProducts<'_> {
    /// Searches for every row of each of `queries`, `[rows, d]`, in order, and hands what it finds to `take`.
    ///
    /// # Errors
    /// [`Error::Config`] if the widths differ or the sizes make no encoder; as [`Encoder::new`](super::Encoder::new);
    /// those of the matrices and of `take`.
    pub fn find(&self, gpu: &Gpu, queries: &[&dyn Matrix], mut take: impl FnMut(Products) -> Result<()>) -> Result<()> {
        let [features, d_in] = self.matrix.shape();
        if let Some([_, width]) = queries.iter().map(|rows| rows.shape()).find(|[_, width]| *width != d_in) {
            return Err(Error::Config(format!("rows of {width} values have no products with rows of {d_in}")));
        }
        let most = queries.iter().map(|rows| rows.shape()[0]).max().unwrap_or(0);
        let batch = self.batch.min(most);
        if batch == 0 {
            return Ok(());
        }
        let config = SaeConfig { apply_b_dec_to_input: false, ..SaeConfig::top_k(d_in, features, self.count) };
        let encoder = AsEncoder { matrix: self.matrix, config, provenance: Provenance::default() };
        let tuning = Tuning::estimated(gpu.description(), &encoder.config, batch, Screening::Auto);
        let sae = DeviceSae::new(gpu, &encoder, batch, tuning)?;
        let mut stream = Stream::new(sae, DeviceSae::record_codes, Vec::new())?;
        let mut rows = Vec::new();
        for (of, query) in queries.iter().enumerate() {
            let [count, _] = query.shape();
            for first in (0..count).step_by(batch) {
                rows.resize(batch.min(count - first) * d_in, 0.0);
                query.read(first, &mut rows)?;
                if let Some(done) = stream.submit(RowsView::F32(&rows), || (of, first))? {
                    take(products(&done, self.count))?;
                }
            }
        }
        while let Some(done) = stream.next()? {
            take(products(&done, self.count))?;
        }
        Ok(())
    }
}

/// What a batch found, by descending product.
fn products(Done { parts, kept: (of, first) }: &Done<(usize, usize)>, count: usize) -> Products {
    let entries = parts.iter().flat_map(|Part { entries, .. }| entries);
    // The key is there whatever its sign (shaders/select.wgsl); -0.0 equals 0.0.
    let mut found: Vec<(u32, f32)> = entries.map(|&[row, _, _, key]| (row, f32::from_bits(key) + 0.0)).collect();
    for row in found.chunks_exact_mut(count) {
        row.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    }
    let (indices, values) = found.into_iter().unzip();
    Products { of: *of, first: *first, indices, values }
}

/// A matrix as an encoder that keeps pre-activations as they are; it decodes nothing.
struct AsEncoder<'a> {
    matrix: &'a dyn Matrix,
    config: SaeConfig,
    provenance: Provenance,
}

impl Weights for AsEncoder<'_> {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        match tensor.role {
            Role::Encoder => self.matrix.read(first, values),
            Role::Decoder | Role::EncoderBias | Role::Own(_) | Role::OutputBias => {
                values.fill(0.0);
                Ok(())
            }
        }
    }
}
