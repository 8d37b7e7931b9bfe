//! The nearest features of each feature, by the cosine of their decoder rows.

use std::collections::BTreeMap;

use crate::apply::{LargestProducts, Matrix, Products};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::Weights;
use crate::sae::description::{Role, TensorSpec};
use crate::storage::{Dtype, TensorWriter, WholeFile};

/// A search for the nearest features of an SAE's features: exact, over all pairs.
///
/// The cosine of two features is the product of their decoder rows, each divided by its norm and rounded to f32, summed
/// in f32. A row of zeros points nowhere: its cosine with every other is 0.
pub struct Neighbors<'a> {
    of: &'a dyn Weights,
    among: Option<&'a dyn Weights>,
    count: usize,
    batch: usize,
}

/// The nearest features of some features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nearest {
    /// Where the first of these features is among those that were asked for.
    pub first: usize,
    /// `[features, count]`, the nearest first; of equal cosines the lower feature first.
    pub neighbors: Vec<u32>,
    /// `[features, count]`, in [-1, 1].
    pub cosines: Vec<f32>,
}

impl<'a> Neighbors<'a> {
    /// For the `count` nearest features of `of` among those of another SAE, or among its own without the feature
    /// itself; fewer if there are not as many. `batch` features are searched for at a time.
    ///
    /// # Errors
    /// [`Error::Config`] if the decoder rows differ in width, or there is no other feature.
    pub fn new(of: &'a dyn Weights, among: Option<&'a dyn Weights>, count: usize, batch: usize) -> Result<Self> {
        let there_are = match among {
            Some(other) => other.config().features,
            None => of.config().features - 1,
        };
        let [own, other] = [of, among.unwrap_or(of)].map(|weights| weights.config().d_in);
        if own != other {
            return Err(Error::Config(format!(
                "the SAE's decoder rows have {own} values and those of the other have {other}: only features of one \
                 place in one model have a cosine"
            )));
        }
        if there_are == 0 {
            return Err(Error::Config("an SAE of one feature has no other to be near to: name another SAE".into()));
        }
        Ok(Self { of, among, count: count.min(there_are), batch })
    }

    /// Neighbours of each feature.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Searches for all features, or for those of these numbers, in that order, and hands what it finds to `take`.
    ///
    /// # Errors
    /// [`Error::Config`] if the SAE has no feature of such a number; as [`LargestProducts::find`].
    pub fn find(
        &self,
        gpu: &Gpu,
        features: Option<&[u32]>,
        mut take: impl FnMut(&Nearest) -> Result<()>,
    ) -> Result<()> {
        let there_are = self.of.config().features;
        if let Some(feature) = features.unwrap_or_default().iter().find(|feature| **feature as usize >= there_are) {
            return Err(Error::Config(format!("there is no feature {feature}: the SAE has {there_are}, from 0 on")));
        }
        let rows = Directions::of(self.among.unwrap_or(self.of), None);
        let search = LargestProducts { matrix: &rows, count: self.kept(), batch: self.batch };
        search.find(gpu, &[&Directions::of(self.of, features)], |found| take(&self.nearest(found, features)))
    }

    /// Without the feature itself; where equals of it come before it, without the last.
    fn nearest(&self, Products { first, indices, values, .. }: Products, features: Option<&[u32]>) -> Nearest {
        let mut nearest = Nearest { first, ..Nearest::default() };
        let kept = self.kept();
        for (at, (indices, values)) in indices.chunks_exact(kept).zip(values.chunks_exact(kept)).enumerate() {
            let number = first + at;
            let own = features.map_or(number as u32, |features| features[number]);
            let is_other = |feature: u32| self.among.is_some() || feature != own;
            // A sum in f32 may exceed the bounds of a cosine.
            let pairs = indices.iter().zip(values).map(|(feature, cosine)| (*feature, cosine.clamp(-1.0, 1.0)));
            let mut others: Vec<(u32, f32)> = pairs.filter(|(feature, _)| is_other(*feature)).collect();
            others.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
            others.truncate(self.count);
            nearest.neighbors.extend(others.iter().map(|(feature, _)| *feature));
            nearest.cosines.extend(others.iter().map(|(_, cosine)| *cosine));
        }
        nearest
    }

    /// Products that are kept of each feature: one more if it may find itself.
    fn kept(&self) -> usize {
        self.count + usize::from(self.among.is_none())
    }

    /// Writes those of all features to a file: `neighbors` `[features, count]`, i32 if that holds every number, else
    /// i64, and `cosines` f32 `[features, count]`.
    ///
    /// # Errors
    /// As [`Neighbors::find`], and [`Error::Io`]; there is no file then.
    pub fn write(&self, gpu: &Gpu, file: WholeFile, metadata: &BTreeMap<&str, String>) -> Result<()> {
        let index_type = Dtype::of_indices(self.among.unwrap_or(self.of).config().features);
        let shape = &[self.of.config().features, self.count][..];
        let tensors = [("neighbors", index_type, shape), ("cosines", Dtype::F32, shape)];
        let mut file = TensorWriter::new(file, &tensors, metadata)?;
        self.find(gpu, None, |Nearest { first, neighbors, cosines }| {
            let before = (first * self.count) as u64;
            file.write_indices(0, before, neighbors)?;
            file.write(1, 4 * before, bytemuck::cast_slice(cosines))
        })?;
        file.finish()
    }
}

/// Decoder rows divided by their norms.
struct Directions<'a> {
    weights: &'a dyn Weights,
    decoder: TensorSpec,
    /// The features whose rows they are, if not all.
    features: Option<&'a [u32]>,
}

impl<'a> Directions<'a> {
    fn of(weights: &'a dyn Weights, features: Option<&'a [u32]>) -> Self {
        Self { weights, decoder: weights.config().describe().tensor(Role::Decoder), features }
    }
}

impl Matrix for Directions<'_> {
    fn shape(&self) -> [usize; 2] {
        let config = self.weights.config();
        [self.features.map_or(config.features, <[u32]>::len), config.d_in]
    }

    fn read(&self, first: usize, values: &mut [f32]) -> Result<()> {
        let width = self.weights.config().d_in;
        match self.features {
            None => self.weights.read(&self.decoder, first, values)?,
            Some(features) => {
                for (feature, row) in features[first..].iter().zip(values.chunks_exact_mut(width)) {
                    self.weights.read(&self.decoder, *feature as usize, row)?;
                }
            }
        }
        values.chunks_exact_mut(width).for_each(normalize);
        Ok(())
    }
}

/// Divides a row by its norm; zeros stay.
fn normalize(row: &mut [f32]) {
    let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
}
