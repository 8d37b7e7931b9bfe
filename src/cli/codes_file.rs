//! The file that `encode` writes: codes, what they are of, and the integers that stand beside the rows.

use std::collections::BTreeMap;

use monosem::apply::HostCodes;
use monosem::data::{Activations, RowLabels};
use monosem::sae::Weights;
use monosem::storage::{Dtype, TensorWriter, WholeFile};
use monosem::{Divergence, Error, Result};

use super::origin::{SaeOrigin, data_json};

/// The format of the file; a change that a reader must know of raises the number.
const FORMAT: (&str, &str) = ("monosem.codes", "1");

/// The places of the tensors that every such file has; labels follow.
const INDICES: usize = 0;
const VALUES: usize = 1;
const FIRST_LABEL: usize = 2;

/// A file of codes that is being written.
pub struct CodesFile {
    file: TensorWriter,
    index_type: Dtype,
    k: u64,
    rows: u64,
}

impl CodesFile {
    /// Begins the file with what is known before any code: its metadata, and the labels of the rows.
    pub fn create(
        file: WholeFile,
        weights: &dyn Weights,
        origin: &SaeOrigin,
        data: &Activations,
        labels: &RowLabels,
    ) -> Result<Self> {
        let config = weights.config();
        let index_type = index_type(config.features);
        // More than the address space holds is more than any disk holds.
        let rows = usize::try_from(data.rows()).unwrap_or(usize::MAX);
        let (codes, column) = ([rows, config.usual_l0()], [rows]);
        let mut tensors: Vec<(&str, Dtype, &[usize])> =
            vec![("indices", index_type, &codes), ("values", Dtype::F32, &codes)];
        tensors.extend(labels.shared.iter().map(|label| (label.name, label.dtype, &column[..])));
        let metadata = metadata(weights, origin, data, labels);
        let mut file = TensorWriter::new(file, &tensors, &metadata)?;
        for (tensor, label) in (FIRST_LABEL..).zip(&labels.shared) {
            let mut offset = 0;
            RowLabels::read(data, *label, |integers| {
                file.write(tensor, offset, integers)?;
                offset += integers.len() as u64;
                Ok(())
            })?;
        }
        Ok(Self { file, index_type, k: config.usual_l0() as u64, rows: 0 })
    }

    /// The number of rows whose codes are written.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the codes of the next rows, all of them finite.
    pub fn write(&mut self, codes: &HostCodes) -> Result<()> {
        let HostCodes { features, values, .. } = codes;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Diverged {
                step: None,
                row: Some(at as u64 / self.k),
                file: None,
                what: Divergence::CodeNotFinite,
            });
        }
        let entries = self.rows * self.k;
        if self.index_type == Dtype::I64 {
            let features: Vec<i64> = features.iter().map(|&feature| feature.into()).collect();
            self.file.write(INDICES, 8 * entries, bytemuck::cast_slice(&features))?;
        } else {
            // Small enough to be the same bits with a sign.
            self.file.write(INDICES, 4 * entries, bytemuck::cast_slice(features))?;
        }
        self.file.write(VALUES, 4 * entries, bytemuck::cast_slice(values))?;
        self.rows += values.len() as u64 / self.k;
        Ok(())
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<()> {
        self.file.finish()
    }
}

/// The smaller of the types that PyTorch indexes with, if it holds every feature.
fn index_type(features: usize) -> Dtype {
    if features <= 1 << 31 { Dtype::I32 } else { Dtype::I64 }
}

fn metadata(
    weights: &dyn Weights,
    origin: &SaeOrigin,
    data: &Activations,
    labels: &RowLabels,
) -> BTreeMap<&'static str, String> {
    let (config, of_sae, of_data) = (weights.config(), weights.provenance(), data.provenance());
    let [model_name, hook_name] = [
        of_data.model_name.as_ref().or(of_sae.model_name.as_ref()),
        of_data.hook_name.as_ref().or(of_sae.hook_name.as_ref()),
    ];
    let always = [
        ("format", FORMAT.0.to_owned()),
        ("format_version", FORMAT.1.to_owned()),
        ("monosem_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("architecture", "topk".to_owned()),
        ("d_in", config.d_in.to_string()),
        ("d_sae", config.features.to_string()),
        ("k", config.usual_l0().to_string()),
        ("data", data_json(data).to_string()),
    ];
    let known = [
        ("model_name", model_name.cloned()),
        ("hook_name", hook_name.cloned()),
        ("context_size", of_data.context_size.map(|size| size.to_string())),
        ("dataset_path", of_data.dataset_path.clone()),
        ("sae_checksum", origin.checksum.clone()),
        ("sae_step", origin.step().map(|step| step.to_string())),
        ("sources", labels.sources.clone()),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
    always.into_iter().chain(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_have_a_sign_to_spare() {
        assert_eq!([1, 1 << 31, (1 << 31) + 1].map(index_type), [Dtype::I32, Dtype::I32, Dtype::I64]);
    }
}
