//! Gemma Scope 2's layout: a directory with `params.safetensors`, and `config.json` beside it, read alone. The SAE is a
//! JumpReLU SAE whose input is not centred (as SAELens 6.54.12 reads it).

use std::path::Path;

use serde::Deserialize;

use super::description::{Role, TensorSpec};
use super::directory::SaeFile;
use super::stored::{Contents, StoredTensor, StoredWeights, parse_json};
use super::{JumpRelu, SaeConfig};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::storage::tensor_file::TensorFile;

pub(super) const WEIGHTS: &str = "params.safetensors";
const CONFIG: &str = "config.json";

/// What is read of `config.json`.
#[derive(Default, Deserialize)]
struct Fields {
    architecture: Option<String>,
    model_name: Option<String>,
    hf_hook_point_in: Option<String>,
    hf_hook_point_out: Option<String>,
}

impl Fields {
    /// What keeps it from being an SAE.
    fn problem(&self) -> Option<String> {
        if let Some(architecture) = self.architecture.as_deref().filter(|&architecture| architecture != "jump_relu") {
            return Some(format!("architecture is {architecture:?}; only \"jump_relu\" can be read"));
        }
        let (from, to) = (self.hf_hook_point_in.as_ref()?, self.hf_hook_point_out.as_ref()?);
        (from != to).then(|| format!("reads {from:?} and writes {to:?}: a transcoder is no autoencoder"))
    }
}

/// Opens the SAE in a directory.
pub(super) fn open(dir: &Path) -> Result<SaeFile> {
    let path = dir.join(CONFIG);
    let fields: Fields = if path.is_file() { parse_json(&path)? } else { Fields::default() };
    if let Some(problem) = fields.problem() {
        return Err(Error::data(&path, problem));
    }
    let file = TensorFile::open(&dir.join(WEIGHTS))?;
    let shape = file.floats(name(Role::Encoder))?.shape().to_vec();
    let [d_in, features] = shape[..] else {
        let problem = format!("tensor `{}` has shape {shape:?}, not [d_in, features]", name(Role::Encoder));
        return Err(Error::data(file.path(), problem));
    };
    let config = SaeConfig { apply_b_dec_to_input: false, ..SaeConfig::new(d_in, features, JumpRelu::inference()) };
    config.validate().map_err(|error| Error::data(file.path(), error.to_string()))?;
    let stored =
        |tensor: TensorSpec| StoredTensor { tensor, name: name(tensor.role), transposed: tensor.role == Role::Encoder };
    let tensors = config.tensors().into_iter().map(stored).collect();
    let provenance =
        Provenance { model_name: fields.model_name, hook_name: fields.hf_hook_point_in, ..Provenance::default() };
    let weights = StoredWeights::new(file, Contents { config, provenance, tensors, others: &[], scale: None })?;
    Ok(SaeFile { weights: Box::new(weights), trained_as: "jumprelu".into() })
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Encoder => "w_enc",
        Role::EncoderBias => "b_enc",
        Role::Decoder => "w_dec",
        Role::OutputBias => "b_dec",
        Role::Own(_) => "threshold",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sae::{load, weights_file};
    use crate::storage::fixtures::{Tensor, write};

    fn directory(config: Option<&str>, others: &[Tensor<'_>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        if let Some(config) = config {
            fs::write(dir.path().join(CONFIG), config).unwrap();
        }
        let mut tensors = vec![
            Tensor::f32("w_enc", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            Tensor::f32("b_enc", &[3], &[0.5; 3]),
            Tensor::f32("w_dec", &[3, 2], &[7.0, 8.0, 9.0, 10.0, 11.0, 12.0]),
            Tensor::f32("b_dec", &[2], &[13.0, 14.0]),
        ];
        tensors.extend(others.iter().cloned());
        write(&dir.path().join(WEIGHTS), &tensors, &[]);
        dir
    }

    fn threshold() -> Tensor<'static> {
        Tensor::f32("threshold", &[3], &[0.25, 0.0, 1.5])
    }

    #[test]
    fn a_directory_of_gemma_scope_is_a_jumprelu_sae() {
        let config =
            r#"{"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", "hf_hook_point_in": "h", "l0": 9}"#;
        let dir = directory(Some(config), &[threshold()]);
        let sae = load(dir.path()).unwrap();
        let config = SaeConfig { apply_b_dec_to_input: false, ..SaeConfig::new(2, 3, JumpRelu::inference()) };
        assert_eq!(sae.config, config);
        assert_eq!(sae.tensor("W_enc"), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!((sae.tensor("W_dec")[2], sae.tensor("threshold")), (9.0, &[0.25, 0.0, 1.5][..]));
        let Provenance { model_name, hook_name, .. } = sae.provenance;
        assert_eq!((model_name.as_deref(), hook_name.as_deref()), (Some("gemma-v3-1b-pt"), Some("h")));
        assert_eq!(weights_file(dir.path()), Some(dir.path().join(WEIGHTS)));
        assert!(load(directory(None, &[threshold()]).path()).is_ok());
    }

    #[test]
    fn what_is_no_jumprelu_sae_is_refused_by_name() {
        let skip = Tensor::f32("affine_skip_connection", &[2, 2], &[0.0; 4]);
        let transcoder = r#"{"hf_hook_point_in": "a", "hf_hook_point_out": "b"}"#;
        let cases = [
            (directory(None, &[]), "no tensor `threshold`"),
            (directory(None, &[threshold(), skip]), "affine_skip_connection"),
            (directory(Some(r#"{"architecture": "topk"}"#), &[threshold()]), "topk"),
            (directory(Some(transcoder), &[threshold()]), "transcoder"),
        ];
        for (dir, expected) in cases {
            let message = load(dir.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
