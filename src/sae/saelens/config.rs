//! `cfg.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CONFIG, SCALER};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::sae::stored::parse_json;
use crate::sae::{Architecture, BatchTopK, Gated, InputNormalization, JumpRelu, Relu, SaeConfig, TopK, Weights};

/// The version whose files are written.
pub(super) const VERSION: &str = "6.54.12";

/// SAELens's name of [`InputNormalization::LayerNorm`].
const LAYER_NORM: &str = "layer_norm";

/// What is read of `cfg.json`, with SAELens's defaults.
#[derive(Deserialize)]
struct Fields {
    architecture: Option<String>,
    d_in: usize,
    d_sae: usize,
    /// Of `batchtopk`, a mean that need not be whole.
    k: Option<f64>,
    #[serde(default)]
    rescale_acts_by_decoder_norm: bool,
    #[serde(default = "enabled")]
    apply_b_dec_to_input: bool,
    /// A flag before version 6.
    #[serde(default)]
    normalize_activations: Value,
    reshape_activations: Option<String>,
    /// Of versions before 6, whose `standard` architecture could have it.
    activation_fn_str: Option<String>,
    #[serde(default)]
    finetuning_scaling_factor: bool,
    #[serde(default)]
    metadata: Value,
}

fn enabled() -> bool {
    true
}

/// What `cfg.json` says.
pub(super) struct Stored {
    /// The SAE as its tensors are.
    pub config: SaeConfig,
    /// The origin of its data.
    pub provenance: Provenance,
    /// What it was trained as, by SAELens's name.
    pub trained_as: String,
    /// What rows were multiplied by before they came to it, if they were.
    pub scale: Option<f64>,
}

impl Architecture {
    /// SAELens's name.
    pub(crate) fn saelens_name(&self) -> &'static str {
        match self {
            Self::TopK(_) => "topk",
            Self::BatchTopK(_) => "batchtopk",
            Self::Matryoshka(_) => "matryoshka_batchtopk",
            Self::Relu(_) => "standard",
            Self::JumpRelu(_) => "jumprelu",
            Self::Gated(_) => "gated",
        }
    }
}

/// The configuration of weights that are saved.
pub(super) fn json(weights: &dyn Weights) -> Result<Value> {
    let (config, provenance) = (weights.config(), weights.provenance());
    let mut metadata = json!({
        "sae_lens_version": VERSION,
        "training_architecture": weights.trained_as(),
        "model_name": provenance.model_name,
        "hook_name": provenance.hook_name,
        "context_size": provenance.context_size,
        "dataset_path": provenance.dataset_path,
    });
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let architecture = config.architecture.saelens_name();
    let mut json = json!({
        "architecture": architecture,
        "d_in": config.d_in,
        "d_sae": config.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.apply_b_dec_to_input,
        "normalize_activations": match config.input_normalization {
            InputNormalization::None => "none",
            InputNormalization::LayerNorm => LAYER_NORM,
        },
        "reshape_activations": "none",
        "metadata": metadata,
    });
    match &config.architecture {
        Architecture::TopK(topk) => {
            json["k"] = topk.k.into();
            json["rescale_acts_by_decoder_norm"] = topk.rescale_acts_by_decoder_norm.into();
        }
        Architecture::BatchTopK(_) | Architecture::Matryoshka(_) => {
            return Err(Error::Config(format!(
                "a {architecture} SAE is saved as a jumprelu SAE, which needs the threshold of its training: give it one"
            )));
        }
        Architecture::Relu(_) | Architecture::JumpRelu(_) | Architecture::Gated(_) => {}
    }
    Ok(json)
}

/// Reads the configuration in a directory.
pub(super) fn read(dir: &Path) -> Result<Stored> {
    let path = &dir.join(CONFIG);
    let fields: Fields = parse_json(path)?;
    let invalid = |problem: String| Error::data(path, problem);
    if let Some(value) = fields.reshape_activations.as_deref().filter(|&value| value != "none") {
        return Err(invalid(format!("reshape_activations is {value:?}; only \"none\" can be read")));
    }
    if let Some(function) = fields.activation_fn_str.as_deref().filter(|&function| function != "relu") {
        let problem = format!("activation_fn_str is {function:?}; load it in SAELens 6 and save it again");
        return Err(invalid(problem));
    }
    if fields.finetuning_scaling_factor {
        return Err(invalid("has a finetuning_scaling_factor, which cannot be read; fold it into W_dec first".into()));
    }
    let text = |key| fields.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    let context_size = fields.metadata.get("context_size").and_then(Value::as_u64);
    let provenance = Provenance {
        model_name: text("model_name"),
        hook_name: text("hook_name"),
        context_size: context_size.and_then(|size| size.try_into().ok()),
        dataset_path: text("dataset_path"),
    };
    let has_layer_norm = fields.normalize_activations.as_str() == Some(LAYER_NORM);
    let config = SaeConfig {
        apply_b_dec_to_input: fields.apply_b_dec_to_input,
        input_normalization: if has_layer_norm { InputNormalization::LayerNorm } else { InputNormalization::None },
        ..SaeConfig::new(fields.d_in, fields.d_sae, fields.architecture().map_err(invalid)?)
    };
    config.validate().map_err(|error| invalid(error.to_string()))?;
    let trained_as = text("training_architecture").unwrap_or_else(|| config.architecture.saelens_name().into());
    Ok(Stored { config, provenance, trained_as, scale: scale(dir, &fields.normalize_activations)? })
}

impl Fields {
    /// The architecture, or what is wrong with it.
    fn architecture(&self) -> std::result::Result<Architecture, String> {
        let rescale_acts_by_decoder_norm = self.rescale_acts_by_decoder_norm;
        let Some(name) = self.architecture.as_deref() else {
            return Err("has no architecture; add it: \"standard\", \"topk\", \"jumprelu\" or \"gated\"".into());
        };
        Ok(match name {
            "topk" => {
                let k = self.whole_k()?;
                TopK { rescale_acts_by_decoder_norm, ..TopK::new(k) }.into()
            }
            // As training leaves them; the widths of Matryoshka only trained it.
            "batchtopk" | "matryoshka_batchtopk" => {
                BatchTopK { rescale_acts_by_decoder_norm, ..BatchTopK::new(self.mean_k()?) }.into()
            }
            "standard" => Relu::inference().into(),
            "jumprelu" => JumpRelu::inference().into(),
            "gated" => Gated::inference().into(),
            other => {
                return Err(format!(
                    "architecture {other:?} cannot be read, only \"standard\", \"topk\", \"batchtopk\", \
                     \"matryoshka_batchtopk\", \"jumprelu\" and \"gated\""
                ));
            }
        })
    }

    fn k(&self) -> std::result::Result<f64, String> {
        self.k.ok_or_else(|| "has no k; add the number of features active at a time".into())
    }

    fn whole_k(&self) -> std::result::Result<usize, String> {
        let k = self.k()?;
        if k.fract() == 0.0 && k >= 0.0 { Ok(k as usize) } else { Err(format!("k is {k}: it must be a whole number")) }
    }

    /// Rounded up, as it must be at least 1: it no longer decides what is active.
    fn mean_k(&self) -> std::result::Result<usize, String> {
        let k = self.k()?;
        if k > 0.0 { Ok(k.ceil() as usize) } else { Err(format!("k is {k}: it must be above 0")) }
    }
}

/// What is read of the file beside a checkpoint that was not folded.
#[derive(Deserialize)]
struct Scaler {
    scaling_factor: Option<f64>,
}

/// What rows were multiplied by, where one number says it.
fn scale(dir: &Path, normalize_activations: &Value) -> Result<Option<f64>> {
    let invalid = |problem: String| Error::data(dir.join(CONFIG), problem);
    match normalize_activations {
        Value::Null | Value::Bool(false) => Ok(None),
        Value::String(name) if name == "none" || name == LAYER_NORM => Ok(None),
        Value::String(name) if name != "expected_average_only_in" => Err(invalid(format!(
            "normalize_activations is {name:?}, which no change of the weights can stand for; only \"none\", \"layer_norm\" \
             and \"expected_average_only_in\" can be read"
        ))),
        Value::String(_) | Value::Bool(true) => {
            let path = dir.join(SCALER);
            let factor = if path.is_file() { parse_json::<Scaler>(&path)?.scaling_factor } else { None };
            match factor {
                Some(factor) if (factor as f32).is_normal() && factor > 0.0 => Ok(Some(factor)),
                Some(factor) => Err(Error::data(&path, format!("scaling_factor is {factor}: it must be above 0"))),
                None => Err(invalid(format!(
                    "normalize_activations is \"expected_average_only_in\", and no {SCALER} beside it has the \
                     scaling_factor; write {{\"scaling_factor\": X}} there, or set \"none\" if the weights hold it already"
                ))),
            }
        }
        other => Err(invalid(format!("normalize_activations is {other}; it must be a name"))),
    }
}
