//! The end of a language model, in a safetensors file of its weights: the final norm and the unembedding.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::apply::Matrix;
use crate::error::{Error, Result};
use crate::storage::header::printable;
use crate::storage::tensor_file::{FloatTensor, TensorFile};

/// The ends of the names of unembeddings, and then those of token embeddings, which are tied where there is no other.
const UNEMBEDDINGS: [&[&str]; 2] =
    [&["lm_head.weight", "embed_out.weight"], &["wte.weight", "embed_tokens.weight", "word_embeddings.weight"]];

/// The ends of the names of final norms' weights.
const FINAL_NORMS: &[&str] =
    &["ln_f.weight", "norm_f.weight", "final_layer_norm.weight", "final_layernorm.weight", "norm.weight"];

/// Models whose RMSNorm multiplies by 1 + weight, by their `model_type`.
const WEIGHTS_ABOUT_ONE: &[&str] = &["gemma", "gemma2", "gemma3", "gemma3_text"];

/// An unembedding, `[vocabulary, d]`, as it is read from its file.
#[derive(Debug)]
pub struct Unembedding {
    file: TensorFile,
    tensor: FloatTensor,
    name: String,
    shape: [usize; 2],
    is_embedding: bool,
}

impl Unembedding {
    /// Finds the tensor of this name, or else `lm_head.weight`, `embed_out.weight` or the tied embedding of the tokens
    /// (`wte.weight`, `embed_tokens.weight`, `word_embeddings.weight`), under whatever prefix.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] if there is no such tensor of floats, there are several, or it has no rows of
    /// `d` values.
    pub fn open(path: &Path, name: Option<&str>, d: usize) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let (name, is_embedding) = match name {
            Some(name) => (name.to_owned(), false),
            None => {
                let own = find(&file, UNEMBEDDINGS[0])?;
                let is_embedding = own.is_none();
                let found = if is_embedding { find(&file, UNEMBEDDINGS[1])? } else { own };
                (found.ok_or_else(|| none_found(&file, "unembedding", &UNEMBEDDINGS.concat()))?, is_embedding)
            }
        };
        let tensor = file.floats(&name)?;
        let shape = match *tensor.shape() {
            [vocabulary, columns] if columns == d && vocabulary > 0 => [vocabulary, columns],
            ref shape => {
                let problem = format!(
                    "tensor `{}` has shape {shape:?}, and the SAE's decoder rows have {d} values: an unembedding of \
                     their model is [vocabulary, {d}]; give the model that the SAE was trained on, or another tensor",
                    printable(&name)
                );
                return Err(Error::data(path, problem));
            }
        };
        Ok(Self { file, tensor, name, shape, is_embedding })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.shape[0]
    }

    /// Whether it is the embedding of the tokens, taken because the file has no unembedding.
    pub fn is_embedding(&self) -> bool {
        self.is_embedding
    }
}

impl Matrix for Unembedding {
    fn shape(&self) -> [usize; 2] {
        self.shape
    }

    fn read(&self, first: usize, values: &mut [f32]) -> Result<()> {
        self.file.read(&self.tensor, (first * self.shape[1]) as u64, values)
    }
}

/// The final norm of a model, without the division by the length, which scales all logits of a row alike.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalNorm {
    path: PathBuf,
    name: String,
    kind: NormKind,
    /// What it multiplies each dimension by, `[d]`.
    gain: Vec<f32>,
}

/// The kind of a norm, as its file tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// LayerNorm, which has a bias: the mean is taken from a row before it is multiplied by the weight.
    LayerNorm,
    /// RMSNorm: a row is multiplied by the weight.
    RmsNorm,
    /// RMSNorm as Gemma has it: a row is multiplied by 1 + weight.
    RmsNormAboutOne,
}

impl NormKind {
    /// As messages and metadata have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LayerNorm => "LayerNorm",
            Self::RmsNorm => "RMSNorm",
            Self::RmsNormAboutOne => "RMSNorm, 1 + weight",
        }
    }
}

impl FinalNorm {
    /// Reads the weight of this name, or else `ln_f.weight`, `norm_f.weight`, `final_layer_norm.weight`,
    /// `final_layernorm.weight` or `norm.weight`, under whatever prefix that does not number a layer. It is a LayerNorm
    /// if a bias is beside it, else an RMSNorm; Gemma's if config.json beside the file says `gemma`, `gemma2` or
    /// `gemma3`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] if there is no such tensor of `d` floats, or there are several.
    pub fn open(path: &Path, name: Option<&str>, d: usize) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => find(&file, FINAL_NORMS)?.ok_or_else(|| none_found(&file, "final norm", FINAL_NORMS))?,
        };
        let tensor = file.floats(&name)?;
        if tensor.shape() != [d] {
            let (name, shape) = (printable(&name), tensor.shape());
            let problem = format!(
                "tensor `{name}` has shape {shape:?}, and the SAE's decoder rows have {d} values: the final norm of \
                 their model has as many; give the model that the SAE was trained on, or another tensor"
            );
            return Err(Error::data(path, problem));
        }
        let mut gain = vec![0.0; d];
        file.read(&tensor, 0, &mut gain)?;
        let bias = name.strip_suffix("weight").map(|stem| format!("{stem}bias"));
        let kind = if bias.is_some_and(|bias| file.names().contains(&&*bias)) {
            NormKind::LayerNorm
        } else if is_about_one(path) {
            gain.iter_mut().for_each(|gain| *gain += 1.0);
            NormKind::RmsNormAboutOne
        } else {
            NormKind::RmsNorm
        };
        Ok(Self { path: path.to_owned(), name, kind, gain })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the weight.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn kind(&self) -> NormKind {
        self.kind
    }

    /// A direction as the unembedding sees it.
    pub fn apply(&self, row: &mut [f32]) {
        let mean = match self.kind {
            NormKind::LayerNorm => row.iter().map(|&value| f64::from(value)).sum::<f64>() / row.len() as f64,
            NormKind::RmsNorm | NormKind::RmsNormAboutOne => 0.0,
        };
        for (value, gain) in row.iter_mut().zip(&self.gain) {
            *value = ((f64::from(*value) - mean) * f64::from(*gain)) as f32;
        }
    }
}

/// Whether config.json beside a file says that its norms multiply by 1 + weight.
fn is_about_one(path: &Path) -> bool {
    let text = fs::read_to_string(path.with_file_name("config.json")).unwrap_or_default();
    let config: Value = serde_json::from_str(&text).unwrap_or_default();
    config["model_type"].as_str().is_some_and(|kind| WEIGHTS_ABOUT_ONE.contains(&kind))
}

/// The one tensor whose name ends as one of these does, and that is no layer's; none if there is none.
fn find(file: &TensorFile, ends: &[&str]) -> Result<Option<String>> {
    let is_layers =
        |name: &str| name.split('.').any(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let ends_so = |name: &str| {
        let rest = ends.iter().find_map(|end| name.strip_suffix(end));
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let found: Vec<&str> = file.names().into_iter().filter(|name| ends_so(name) && !is_layers(name)).collect();
    if let [first, second, ..] = found[..] {
        let [first, second] = [first, second].map(printable);
        let problem = format!("has `{first}` and `{second}`: name the one that is meant");
        return Err(Error::data(file.path(), problem));
    }
    Ok(found.first().map(|name| (*name).to_owned()))
}

/// Tensors that a message lists.
const MOST_LISTED: usize = 12;

fn none_found(file: &TensorFile, what: &str, ends: &[&str]) -> Error {
    let names = file.names();
    let listed: Vec<String> = names.iter().take(MOST_LISTED).map(|name| printable(name)).collect();
    let more = if names.len() > MOST_LISTED { ", ..." } else { "" };
    let problem = format!(
        "has no {what} (no tensor {}; it has {}{more}): give the file of the model that has it, or name the tensor",
        ends.join(", "),
        listed.join(", ")
    );
    Error::data(file.path(), problem)
}
