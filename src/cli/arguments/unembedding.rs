//! The end of the model that an SAE is of: what turns decoder rows into logit weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use monosem::Result;
use monosem::features::unembedding::{FinalNorm, Unembedding};

use super::number::count;
use crate::cli::output::tell;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logit weights")]
pub struct UnembeddingArguments {
    /// Safetensors file of the model's weights that has the unembedding: `lm_head.weight`, `embed_out.weight`, or the
    /// embedding of the tokens where that is tied [default: none, and no logit weights]
    #[arg(long, value_name = "FILE")]
    pub unembed: Option<PathBuf>,
    /// Tensor of the unembedding, [vocabulary, d] [default: found by its name]
    #[arg(long, value_name = "NAME", requires = "unembed")]
    unembed_tensor: Option<String>,
    /// Safetensors file of the model's weights that has the final norm, whose weight decoder rows are multiplied by;
    /// with a bias beside it, it is a LayerNorm, which takes their mean first [default: none, decoder rows as they are]
    #[arg(long, value_name = "FILE", requires = "unembed")]
    final_norm: Option<PathBuf>,
    /// Tensor of the final norm's weight, [d] [default: found by its name]
    #[arg(long, value_name = "NAME", requires = "final_norm")]
    final_norm_tensor: Option<String>,
    /// Tokens with the largest and with the smallest logit weights that are kept of each feature
    #[arg(long, default_value_t = 10, value_parser = count::<usize>, value_name = "N", allow_hyphen_values = true)]
    pub logit_tokens: usize,
}

/// The end of a model.
pub struct ModelEnd {
    pub unembedding: Unembedding,
    pub norm: Option<FinalNorm>,
}

impl UnembeddingArguments {
    /// What --unembed names, for decoder rows of `d` values, with a line on what it is; none without it.
    pub fn open(&self, d: usize) -> Result<Option<ModelEnd>> {
        let Some(path) = &self.unembed else { return Ok(None) };
        let unembedding = Unembedding::open(path, self.unembed_tensor.as_deref(), d)?;
        let norm = |path: &PathBuf| FinalNorm::open(path, self.final_norm_tensor.as_deref(), d);
        let end = ModelEnd { unembedding, norm: self.final_norm.as_ref().map(norm).transpose()? };
        tell(&format!("note: {}", end.words()));
        Ok(Some(end))
    }
}

impl ModelEnd {
    fn words(&self) -> String {
        let Self { unembedding, norm } = self;
        let tied =
            if unembedding.is_embedding() { ", the embedding of the tokens (the file has no other)" } else { "" };
        let norm = norm.as_ref().map_or("without a final norm".into(), |norm| {
            format!("after the final norm `{}` ({})", norm.name().escape_debug(), norm.kind().name())
        });
        let (name, vocabulary) = (unembedding.name().escape_debug(), unembedding.vocabulary());
        format!("logit weights by `{name}`{tied}, {vocabulary} tokens, {norm}")
    }

    /// What the file of logit weights says of it.
    pub fn metadata(&self) -> BTreeMap<&'static str, String> {
        let Self { unembedding, norm } = self;
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let mut metadata = BTreeMap::from([
            ("unembedding", path(unembedding.path())),
            ("unembedding_tensor", unembedding.name().to_owned()),
            ("vocabulary", unembedding.vocabulary().to_string()),
        ]);
        if let Some(norm) = norm {
            metadata.extend([
                ("final_norm", path(norm.path())),
                ("final_norm_tensor", norm.name().to_owned()),
                ("final_norm_kind", norm.kind().name().to_owned()),
            ]);
        }
        metadata
    }
}
