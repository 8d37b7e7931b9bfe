//! sparsify's layout: a directory with `cfg.json` and `sae.safetensors` (`SparseCoder.save_to_disk` of eai-sparsify
//! 1.3.3), read alone.

use std::path::Path;

use serde::Deserialize;

use super::SaeConfig;
use super::description::{Role, TensorSpec};
use super::directory::SaeFile;
use super::saelens::CONFIG;
use super::stored::{Contents, StoredTensor, StoredWeights, parse_json};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::storage::tensor_file::TensorFile;

pub(super) const WEIGHTS: &str = "sae.safetensors";

/// What is read of `cfg.json`, with sparsify's defaults.
#[derive(Deserialize)]
struct Fields {
    d_in: usize,
    #[serde(default = "default_expansion")]
    expansion_factor: usize,
    /// 0 stands for `expansion_factor · d_in`.
    #[serde(default)]
    num_latents: usize,
    #[serde(default = "default_k")]
    k: usize,
    activation: Option<String>,
    #[serde(default)]
    skip_connection: bool,
    #[serde(default)]
    transcode: bool,
    /// Of early versions.
    #[serde(default)]
    signed: bool,
}

fn default_expansion() -> usize {
    32
}

fn default_k() -> usize {
    32
}

impl Fields {
    /// The SAE, or what keeps it from being one.
    fn config(&self) -> std::result::Result<SaeConfig, String> {
        if let Some(activation) = self.activation.as_deref().filter(|&activation| activation != "topk") {
            return Err(format!("activation is {activation:?}; only \"topk\" can be read"));
        }
        let unsupported = [
            ("transcode", self.transcode, "a transcoder is no autoencoder"),
            ("skip_connection", self.skip_connection, "an SAE has none"),
            ("signed", self.signed, "activations are rectified"),
        ];
        if let Some((name, _, reason)) = unsupported.into_iter().find(|(_, is_set, _)| *is_set) {
            return Err(format!("{name} is true, and cannot be read: {reason}"));
        }
        let features = match self.num_latents {
            0 => self.expansion_factor.checked_mul(self.d_in).ok_or("expansion_factor · d_in is too large")?,
            latents => latents,
        };
        let config = SaeConfig::top_k(self.d_in, features, self.k);
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }
}

/// Opens the SAE in a directory.
pub(super) fn open(dir: &Path) -> Result<SaeFile> {
    let path = dir.join(CONFIG);
    let config = parse_json::<Fields>(&path)?.config().map_err(|problem| Error::data(&path, problem))?;
    let stored = |tensor: TensorSpec| StoredTensor {
        tensor,
        name: match tensor.role {
            Role::Encoder => "encoder.weight",
            Role::EncoderBias => "encoder.bias",
            Role::Decoder | Role::Own(_) | Role::OutputBias => tensor.name,
        },
        transposed: false,
    };
    let tensors = config.tensors().into_iter().map(stored).collect();
    let contents = Contents { config, provenance: Provenance::default(), tensors, others: &[], scale: None };
    let weights = StoredWeights::new(TensorFile::open(&dir.join(WEIGHTS))?, contents)?;
    Ok(SaeFile { weights: Box::new(weights), trained_as: "topk".into() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::Dtype;

    use super::*;
    use crate::sae::load;
    use crate::storage::fixtures::{Tensor, write};

    fn directory(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG), config).unwrap();
        let ramp = |count: usize, first: f32| (0..count).map(|at| first + at as f32 / 8.0).collect::<Vec<_>>();
        let tensors = [
            Tensor::f32("encoder.weight", &[4, 3], &ramp(12, 0.0)),
            Tensor::float("encoder.bias", Dtype::BF16, &[4], &ramp(4, 4.0)),
            Tensor::f32("W_dec", &[4, 3], &ramp(12, 8.0)),
            Tensor::f32("b_dec", &[3], &ramp(3, 16.0)),
        ];
        write(&dir.path().join(WEIGHTS), &tensors, &[("format", "pt")]);
        dir
    }

    #[test]
    fn a_directory_of_sparsify_is_a_topk_sae() {
        let named = r#"{"activation":"topk","expansion_factor":4,"normalize_decoder":true,"num_latents":4,"k":2,
            "multi_topk":false,"skip_connection":false,"transcode":false,"d_in":3}"#;
        let sae = load(directory(named).path()).unwrap();
        assert_eq!(sae.config, SaeConfig::top_k(3, 4, 2));
        assert_eq!((sae.tensor("W_enc")[..4].to_vec(), sae.tensor("W_dec")[0]), (vec![0.0, 0.125, 0.25, 0.375], 8.0));
        assert_eq!(
            (sae.tensor("b_enc"), sae.tensor("b_dec")),
            (&[4.0, 4.125, 4.25, 4.375][..], &[16.0, 16.125, 16.25][..])
        );
    }

    #[test]
    fn what_is_no_topk_sae_is_refused_by_name() {
        let cases = [
            (r#"{"d_in": 3, "num_latents": 4, "k": 2, "activation": "groupmax"}"#, "groupmax"),
            (r#"{"d_in": 3, "num_latents": 4, "k": 2, "transcode": true}"#, "transcode"),
            (r#"{"d_in": 3, "num_latents": 4, "k": 2, "skip_connection": true}"#, "skip_connection"),
            (r#"{"d_in": 3, "num_latents": 4, "k": 2, "signed": true}"#, "signed"),
            (r#"{"d_in": 3, "num_latents": 4}"#, "k is 32"),
            (r#"{"d_in": 3, "expansion_factor": 4, "k": 2}"#, "[12, 3]"),
            (r#"{"d_in": 3, "expansion_factor": 18446744073709551615, "k": 2}"#, "too large"),
            (r#"{"num_latents": 4, "k": 2}"#, "d_in"),
        ];
        for (config, expected) in cases {
            let message = load(directory(config).path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{config}: {message}");
        }
    }
}
