//! Logit weights: the tokens that a feature makes likelier, and less likely, by its direct path to the logits.

use std::collections::BTreeMap;

use super::unembedding::{FinalNorm, Unembedding};
use crate::apply::{LargestProducts, Matrix};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::Weights;
use crate::sae::description::{Role, TensorSpec};
use crate::storage::{Dtype, TensorWriter, WholeFile};

/// The largest and the smallest logit weights of each feature: exact, over the whole vocabulary.
///
/// A feature's logit weights are `W_U v`, where `v` is its decoder row and `W_U` the unembedding, or with a final norm
/// `W_U (gain · v)`, where LayerNorm takes the mean of `v` from it first ("the logit lens", nostalgebraist 2020; the
/// norm's weight as "A Mathematical Framework for Transformer Circuits", Elhage et al. 2021, folds it). A sum in f32.
/// Neither layers in between nor the division by the row's length are in it, nor a bias or a soft cap of the logits.
pub struct LogitWeights<'a> {
    /// The SAE.
    pub of: &'a dyn Weights,
    /// The unembedding of its model.
    pub unembedding: &'a Unembedding,
    /// The final norm of its model.
    pub norm: Option<&'a FinalNorm>,
    /// Tokens at each end, at most the vocabulary.
    pub count: usize,
    /// Features that are worked on at a time.
    pub batch: usize,
}

/// Where each end is in the file: its tokens, then their logit weights.
const TENSORS: [[&str; 2]; 2] = [["top_tokens", "top_logits"], ["bottom_tokens", "bottom_logits"]];

impl LogitWeights<'_> {
    /// Writes `top_tokens` and `bottom_tokens`, i32 `[features, count]`, the largest and the smallest first, of equal
    /// ones the lower token first, and `top_logits` and `bottom_logits`, f32 `[features, count]`.
    ///
    /// # Errors
    /// [`Error::Data`] if f32 does not hold a feature's logit weights; as [`LargestProducts::find`]; [`Error::Io`].
    /// There is no file then.
    pub fn write(&self, gpu: &Gpu, file: WholeFile, metadata: &BTreeMap<&str, String>) -> Result<()> {
        let vocabulary = self.unembedding.vocabulary();
        let count = self.count.min(vocabulary);
        let (index_type, shape) = (Dtype::of_indices(vocabulary), &[self.of.config().features, count][..]);
        let tensors = TENSORS.map(|[tokens, logits]| [(tokens, index_type, shape), (logits, Dtype::F32, shape)]);
        let mut file = TensorWriter::new(file, &tensors.concat(), metadata)?;
        let search = LargestProducts { matrix: self.unembedding, count, batch: self.batch };
        let directions = [1.0, -1.0].map(|sign| Directions { of: self, decoder: decoder(self.of), sign });
        search.find(gpu, &[&directions[0], &directions[1]], |mut found| {
            let (end, before) = (found.of, (found.first * count) as u64);
            if let Some(at) = found.values.iter().position(|value| !value.is_finite()) {
                return Err(self.too_large(found.first + at / count));
            }
            if end == 1 {
                // 0 stays without a sign.
                found.values.iter_mut().for_each(|value| *value = 0.0 - *value);
            }
            file.write_indices(2 * end, before, &found.indices)?;
            file.write(2 * end + 1, 4 * before, bytemuck::cast_slice(&found.values))
        })?;
        file.finish()
    }

    fn too_large(&self, feature: usize) -> Error {
        let problem = format!("the logit weights of feature {feature} are too large for f32: is it the SAE's model?");
        Error::data(self.unembedding.path(), problem)
    }
}

fn decoder(weights: &dyn Weights) -> TensorSpec {
    weights.config().describe().tensor(Role::Decoder)
}

/// Decoder rows as the unembedding sees them, or their negatives.
struct Directions<'a> {
    of: &'a LogitWeights<'a>,
    decoder: TensorSpec,
    sign: f32,
}

impl Matrix for Directions<'_> {
    fn shape(&self) -> [usize; 2] {
        self.decoder.shape(self.of.of.config())
    }

    fn read(&self, first: usize, values: &mut [f32]) -> Result<()> {
        self.of.of.read(&self.decoder, first, values)?;
        let [_, width] = self.shape();
        for (at, row) in values.chunks_exact_mut(width).enumerate() {
            if let Some(norm) = self.of.norm {
                norm.apply(row);
            }
            if row.iter().any(|value| !value.is_finite()) {
                return Err(self.of.too_large(first + at));
            }
            row.iter_mut().for_each(|value| *value *= self.sign);
        }
        Ok(())
    }
}
