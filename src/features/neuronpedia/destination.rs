//! Where an export belongs on a server of Neuronpedia.

use crate::error::{Error, Result};
use crate::features::reader::FeatureSet;

/// What is asked for; what is none follows from the set.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    /// The server's name of the model.
    pub model_id: Option<String>,
    /// The layer that the SAE is of.
    pub layer: Option<u32>,
    /// The name of the set of sources, without the layer.
    pub source_set: String,
    /// A user of the server.
    pub creator_id: String,
    /// The author's name.
    pub creator_name: String,
    /// The name of the release; if none, that of the set of sources.
    pub release: Option<String>,
    /// The title of the release and of the set of sources.
    pub title: Option<String>,
}

/// All names that an export needs.
pub(super) struct Place {
    pub model: String,
    pub source_set: String,
    /// The layer and the set.
    pub source: String,
    pub creator_id: String,
    pub creator_name: String,
    pub release: String,
    pub title: String,
}

impl Place {
    /// The names that are asked for, and those that follow from what the set says of its SAE.
    ///
    /// # Errors
    /// [`Error::Config`] naming the flag that is needed or cannot be used.
    pub fn of(set: &FeatureSet, asked: &Destination) -> Result<Self> {
        let of_sae = |key: &str| set.description.sae.others.get(key).and_then(|value| value.as_str());
        let (hook, architecture) = (of_sae("hook_name"), of_sae("architecture").unwrap_or("sparse autoencoder"));
        let model = match (&asked.model_id, of_sae("model_name")) {
            (Some(model), _) => model.clone(),
            (None, Some(model)) => model.rsplit('/').next().unwrap_or(model).to_lowercase(),
            (None, None) => return Err(Error::Config("the set names no model: give --model-id".to_owned())),
        };
        let Some(layer) = asked.layer.or_else(|| layer_of(hook?)) else {
            let why = match hook {
                Some(hook) => format!("the set's hook name, '{}', names no layer", hook.escape_debug()),
                None => "the set has no hook name".to_owned(),
            };
            return Err(Error::Config(format!("{why}, as blocks.3 or layers.3 do: give --layer")));
        };
        let Destination { source_set, creator_id, creator_name, .. } = asked.clone();
        let release = asked.release.clone().unwrap_or_else(|| source_set.clone());
        let named = [
            ("--model-id", &model),
            ("--source-set", &source_set),
            ("--release", &release),
            ("--creator-id", &creator_id),
        ];
        named.into_iter().try_for_each(|(flag, name)| check(flag, name))?;
        // What follows it is taken for something else than the set's name.
        if source_set.contains("__") {
            return Err(Error::Config(format!("--source-set '{source_set}' has a double underscore")));
        }
        let title = asked.title.clone().unwrap_or_else(|| {
            let hook = hook.map(|hook| format!(", {hook}")).unwrap_or_default();
            format!("{} features, {architecture}{hook}", set.features)
        });
        let source = format!("{layer}-{source_set}");
        Ok(Self { model, source_set, source, creator_id, creator_name, release, title })
    }
}

/// Names are parts of paths and of addresses.
fn check(flag: &str, name: &str) -> Result<()> {
    let is_sound = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(is_sound) {
        return Err(Error::Config(format!(
            "'{}' is no name on Neuronpedia: give {flag} 1 to 128 letters, digits, dashes, underscores and points, \
             the first no point",
            name.escape_debug()
        )));
    }
    Ok(())
}

/// The number of the block that a hook is in.
fn layer_of(hook: &str) -> Option<u32> {
    const BLOCKS: [&str; 5] = ["block", "blocks", "h", "layer", "layers"];
    let mut parts = hook.split('.');
    parts.find(|part| BLOCKS.contains(part))?;
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_off_hooks() {
        for (hook, layer) in [
            ("blocks.3.hook_resid_post", Some(3)),
            ("model.layers.31", Some(31)),
            ("transformer.h.0.mlp", Some(0)),
            ("encoder.layer.2.output", Some(2)),
            ("gpt_neox.layers.7.mlp.experts.4", Some(7)),
            // The output of the block before.
            ("hidden_states.3", None),
            ("hook_embed", None),
            ("blocks", None),
            ("blocks.last", None),
            ("", None),
        ] {
            assert_eq!(layer_of(hook), layer, "{hook}");
        }
    }

    #[test]
    fn names_are_fit_for_paths_and_addresses() {
        for name in ["gpt2-small", "llama3.1-8b", "res_16k"] {
            check("--source-set", name).unwrap();
        }
        let long = "x".repeat(129);
        for name in ["", "..", ".hidden", "a/b", "a b", "a\0", "é", &long] {
            let refused = check("--source-set", name).unwrap_err();
            assert!(refused.to_string().contains("give --source-set 1 to 128"), "{refused}");
        }
    }
}
