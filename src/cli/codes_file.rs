//! The file that `encode` writes: codes, what they are of, and the integers that stand beside the rows.

mod spool;

use std::collections::BTreeMap;

use monosem::apply::HostCodes;
use monosem::data::{Activations, RowLabels};
use monosem::sae::{SaeConfig, Weights};
use monosem::storage::{Dtype, TensorWriter, WholeFile};
use monosem::{Divergence, Error, Result};

use super::origin::{self, SaeOrigin, data_json};
use spool::Spool;

/// The format of the file; a change that a reader must know of raises the number.
const FORMAT: (&str, &str) = ("monosem.codes", "1");

/// The places of the tensors that every such file has; offsets and labels follow.
const INDICES: usize = 0;
const VALUES: usize = 1;
const OFFSETS: usize = 2;

/// A file of codes that is being written.
pub struct CodesFile<'a> {
    about: About<'a>,
    index_type: Dtype,
    body: Body,
    rows: u64,
    entries: u64,
}

/// What the file says of its codes.
pub struct About<'a> {
    /// The SAE.
    pub weights: &'a dyn Weights,
    /// Where it is from.
    pub origin: &'a SaeOrigin,
    /// The rows.
    pub data: &'a Activations,
    /// What stands beside them.
    pub labels: &'a RowLabels,
    /// Entries per row, if each has as many.
    pub k: Option<usize>,
}

enum Body {
    /// As many entries per row: every place in the file is known.
    Fixed(TensorWriter),
    /// The file begins with how many there are, so they wait beside it until all are there.
    Variable { file: WholeFile, indices: Spool, values: Spool, offsets: Spool },
}

impl<'a> CodesFile<'a> {
    /// Begins the file with what is known before any code: its metadata, and the labels of the rows.
    pub fn create(file: WholeFile, about: About<'a>) -> Result<Self> {
        let index_type = Dtype::of_indices(about.weights.config().features);
        // More than the address space holds is more than any disk holds.
        let rows = usize::try_from(about.data.rows()).unwrap_or(usize::MAX);
        let body = match about.k {
            Some(k) => {
                let codes: &[usize] = &[rows, k];
                Body::Fixed(about.write_start(file, &[("indices", index_type, codes), ("values", Dtype::F32, codes)])?)
            }
            None => {
                let mut offsets = Spool::beside(file.path())?;
                offsets.write(&0_i64.to_le_bytes())?;
                let (indices, values) = (Spool::beside(file.path())?, Spool::beside(file.path())?);
                Body::Variable { file, indices, values, offsets }
            }
        };
        Ok(Self { about, index_type, body, rows: 0, entries: 0 })
    }

    /// The number of rows whose codes are written.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The number of their entries.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Writes the codes of the next rows, all of them finite.
    pub fn write(&mut self, codes: &HostCodes) -> Result<()> {
        let HostCodes { starts, features, values } = codes;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let row = starts.partition_point(|start| *start <= at) - 1;
            let what = Divergence::CodeNotFinite;
            return Err(Error::Diverged { step: None, row: Some(row as u64), file: None, what });
        }
        let wide: Vec<i64>;
        let indices: &[u8] = if self.index_type == Dtype::I64 {
            wide = features.iter().map(|&feature| feature.into()).collect();
            bytemuck::cast_slice(&wide)
        } else {
            // Small enough to be the same bits with a sign.
            bytemuck::cast_slice(features)
        };
        match &mut self.body {
            Body::Fixed(file) => {
                file.write(INDICES, self.index_type.bytes() as u64 * self.entries, indices)?;
                file.write(VALUES, 4 * self.entries, bytemuck::cast_slice(values))?;
            }
            Body::Variable { indices: spooled, values: spooled_values, offsets, .. } => {
                spooled.write(indices)?;
                spooled_values.write(bytemuck::cast_slice(values))?;
                let ends: Vec<i64> = starts[1..].iter().map(|end| (self.entries + *end as u64) as i64).collect();
                offsets.write(bytemuck::cast_slice(&ends))?;
            }
        }
        self.rows += starts.len() as u64 - 1;
        self.entries += values.len() as u64;
        Ok(())
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<()> {
        let Self { about, index_type, body, rows, entries } = self;
        let (file, spools) = match body {
            Body::Fixed(file) => return file.finish(),
            Body::Variable { file, indices, values, offsets } => (file, [indices, values, offsets]),
        };
        let [entries, offsets] = [entries, rows + 1].map(|size| [usize::try_from(size).unwrap_or(usize::MAX)]);
        let tensors = [
            ("indices", index_type, &entries[..]),
            ("values", Dtype::F32, &entries),
            ("offsets", Dtype::I64, &offsets),
        ];
        let mut file = about.write_start(file, &tensors)?;
        for (tensor, spool) in [INDICES, VALUES, OFFSETS].into_iter().zip(spools) {
            let mut offset = 0;
            spool.read(|bytes| {
                file.write(tensor, offset, bytes)?;
                offset += bytes.len() as u64;
                Ok(())
            })?;
        }
        file.finish()
    }
}

impl About<'_> {
    /// The header of a file of these tensors and of the labels, and the labels.
    fn write_start(&self, file: WholeFile, codes: &[(&str, Dtype, &[usize])]) -> Result<TensorWriter> {
        let column = [usize::try_from(self.data.rows()).unwrap_or(usize::MAX)];
        let mut tensors = codes.to_vec();
        tensors.extend(self.labels.shared.iter().map(|label| (label.name, label.dtype, &column[..])));
        let mut file = TensorWriter::new(file, &tensors, &self.metadata())?;
        for (tensor, label) in (codes.len()..).zip(&self.labels.shared) {
            let mut offset = 0;
            RowLabels::read(self.data, *label, |integers| {
                file.write(tensor, offset, integers)?;
                offset += integers.len() as u64;
                Ok(())
            })?;
        }
        Ok(file)
    }

    fn metadata(&self) -> BTreeMap<&'static str, String> {
        let Self { weights, origin, data, labels, k } = self;
        let of_data = data.provenance();
        let mut metadata = origin::sae_metadata(*weights, origin);
        let known = [
            ("format", Some(FORMAT.0.to_owned())),
            ("format_version", Some(FORMAT.1.to_owned())),
            ("data", Some(data_json(data).to_string())),
            ("k", k.map(|k| k.to_string())),
            ("model_name", of_data.model_name.clone()),
            ("hook_name", of_data.hook_name.clone()),
            ("context_size", of_data.context_size.map(|size| size.to_string())),
            ("dataset_path", of_data.dataset_path.clone()),
            ("sources", labels.sources.clone()),
        ];
        metadata.extend(known.into_iter().filter_map(|(name, value)| Some((name, value?))));
        metadata
    }
}

/// The name of the architecture, as config.json has it.
pub fn architecture(config: &SaeConfig) -> String {
    let settings = serde_json::to_value(config).unwrap_or_default();
    settings["architecture"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_architecture_is_named() {
        assert_eq!(architecture(&SaeConfig::top_k(2, 3, 1)), "topk");
    }
}
