//! Recipes as their authors publish them: the flags that reproduce each.

/// A recipe by name.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// Flags without their dashes, and values: what differs from monosem's defaults, and what those may come to differ
    /// in.
    pub settings: &'static [(&'static str, &'static str)],
}

/// Settings, and those that all trainers of SAELens have by default.
macro_rules! saelens {
    ($(($key:literal, $value:literal)),* $(,)?) => {
        &[
            $(($key, $value),)*
            ("batch", "4096"),
            ("lr", "3e-4"),
            ("schedule", "constant"),
            ("warmup", "0"),
            ("decay", "0"),
            ("adam-beta1", "0.9"),
            ("adam-beta2", "0.999"),
            ("adam-eps", "1e-8"),
            ("clip", "1"),
            ("decoder-rule", "free"),
            // 1,000 steps.
            ("dead-window", "4096000"),
            ("init-decoder-norm", "0.1"),
            ("init-encoder", "decoder"),
            ("init-b-dec", "zero"),
        ]
    };
}

/// Settings, and those that dictionary_learning's trainers of these kinds share.
macro_rules! dictionary_learning {
    ($(($key:literal, $value:literal)),* $(,)?) => {
        &[
            $(($key, $value),)*
            ("auxk", "normalised"),
            ("auxk-coefficient", "0.03125"),
            ("lr", "2e-4/sqrt(features/16384)"),
            ("schedule", "constant"),
            ("warmup", "1000"),
            ("decay", "0"),
            ("adam-beta1", "0.9"),
            ("adam-beta2", "0.999"),
            ("adam-eps", "1e-8"),
            ("clip", "1"),
            ("decoder-rule", "unit-norm"),
            ("dead-window", "10000000"),
            ("init-encoder", "decoder"),
            ("init-b-dec", "median"),
        ]
    };
}

/// The presets. What training has in common with all of them is not said again: Adam, and the losses of `--auxk`.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "openai-topk",
        source: "openai/sparse_autoencoder 4965b94, train.py (Config, FastAutoencoder, init_from_data_)",
        settings: &[
            ("arch", "topk"),
            ("features", "32768"),
            ("k", "32"),
            ("auxk", "normalised"),
            ("auxk-coefficient", "0.03125"),
            ("auxk-k", "256"),
            ("batch", "131072"),
            ("lr", "1e-4"),
            ("schedule", "constant"),
            ("warmup", "0"),
            ("decay", "0"),
            ("adam-beta1", "0.9"),
            ("adam-beta2", "0.999"),
            ("adam-eps", "6.25e-10"),
            ("clip", "none"),
            ("decoder-rule", "unit-norm"),
            ("dead-window", "10000000"),
            ("init-encoder", "matched"),
            ("init-b-dec", "median"),
        ],
    },
    Preset {
        name: "dictionary-learning-topk",
        source: "saprmarks/dictionary_learning 60ec6bf, trainers/top_k.py (TopKTrainer)",
        settings: dictionary_learning![("arch", "topk"),],
    },
    Preset {
        name: "dictionary-learning-batchtopk",
        source: "saprmarks/dictionary_learning 60ec6bf, trainers/batch_top_k.py (BatchTopKTrainer)",
        settings: dictionary_learning![("arch", "batchtopk"),],
    },
    Preset {
        name: "saelens-topk",
        source: "sae-lens 6.54.12, config.py (LanguageModelSAERunnerConfig), saes/topk_sae.py (TopKTrainingSAEConfig)",
        settings: saelens![
            ("arch", "topk"),
            ("k", "100"),
            ("rescale-acts-by-decoder-norm", "true"),
            ("auxk", "saelens"),
            ("auxk-coefficient", "1"),
        ],
    },
    Preset {
        name: "saelens-batchtopk",
        source: "sae-lens 6.54.12, config.py (LanguageModelSAERunnerConfig), saes/batchtopk_sae.py (BatchTopKTrainingSAEConfig)",
        settings: saelens![
            ("arch", "batchtopk"),
            ("k", "100"),
            ("rescale-acts-by-decoder-norm", "true"),
            ("auxk", "saelens"),
            ("auxk-coefficient", "1"),
        ],
    },
    Preset {
        name: "saelens-standard",
        source: "sae-lens 6.54.12, config.py (LanguageModelSAERunnerConfig), saes/standard_sae.py (StandardTrainingSAEConfig)",
        settings: saelens![
            ("arch", "relu"),
            ("l1", "1"),
            ("l1-by-decoder-norm", "true"),
            ("init-threshold", "0"),
            ("sparsity-warmup", "0"),
        ],
    },
    Preset {
        name: "saelens-jumprelu",
        source: "sae-lens 6.54.12, config.py (LanguageModelSAERunnerConfig), saes/jumprelu_sae.py (JumpReLUTrainingSAEConfig)",
        settings: saelens![
            ("arch", "jumprelu"),
            ("l0-coefficient", "1"),
            ("sparsity-penalty", "step"),
            ("bandwidth", "0.05"),
            ("log-threshold", "false"),
            ("straight-through-to-input", "false"),
            ("init-threshold", "0.01"),
            ("sparsity-warmup", "0"),
        ],
    },
    Preset {
        name: "saelens-gated",
        source: "sae-lens 6.54.12, config.py (LanguageModelSAERunnerConfig), saes/gated_sae.py (GatedTrainingSAEConfig)",
        settings: saelens![
            ("arch", "gated"),
            ("l1", "1"),
            ("l1-by-decoder-norm", "true"),
            ("init-threshold", "0"),
            ("sparsity-warmup", "0"),
        ],
    },
    Preset {
        name: "sparsify-adam",
        source: "eai-sparsify 1.3.3, config.py, trainer.py (optimizer adam), sparse_coder.py",
        settings: &[
            ("arch", "topk"),
            ("expansion", "32"),
            ("k", "32"),
            ("auxk", "none"),
            ("batch", "65536"),
            ("lr", "2e-4/sqrt(features/16384)"),
            ("schedule", "linear"),
            ("warmup", "1000"),
            ("decay", "rest"),
            ("adam-beta1", "0.9"),
            ("adam-beta2", "0.999"),
            ("adam-eps", "1e-8"),
            ("clip", "none"),
            ("decoder-rule", "unit-norm"),
            ("dead-window", "10000000"),
            ("init-encoder", "linear"),
            ("init-b-dec", "mean"),
        ],
    },
];

/// The preset of a name.
///
/// # Errors
/// The names that there are.
pub fn parse(name: &str) -> Result<&'static Preset, String> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};
    use monosem::sae::{Architecture, SaeConfig};
    use monosem::train::{Recipe, Schedule};

    use super::*;
    use crate::cli::arguments::Settings;

    fn settings(preset: &Preset, flags: &[&str]) -> Settings {
        let command =
            Settings::augment_args(Command::new("").no_binary_name(true)).mut_args(|flag| flag.required(false));
        let arguments = preset.settings.iter().map(|(key, value)| format!("--{key}={value}"));
        let arguments = arguments.chain(flags.iter().map(|&flag| flag.to_owned()));
        Settings::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    /// What the sources say, in other words than the table's.
    #[test]
    fn presets_make_the_recipes_of_their_sources() {
        let recipe = |name: &str| {
            let preset = parse(name).unwrap();
            let sized = |key: &str| preset.settings.iter().any(|(known, _)| *known == key);
            let mut flags = vec!["--steps=20000"];
            flags.extend((!sized("features") && !sized("expansion")).then_some("--features=65536"));
            let settings = settings(preset, &flags);
            let config = settings.model.sae_config(2048).unwrap();
            let recipe = settings.recipe(config.features).unwrap();
            settings.initialization.start(&config, &recipe).unwrap();
            (config, recipe)
        };
        let adam = |recipe: &Recipe| [recipe.beta1, recipe.beta2, recipe.epsilon];
        let (config, openai) = recipe("openai-topk");
        assert_eq!((config.features, config.k(), openai.batch, openai.clip), (32_768, Some(32), 131_072, None));
        assert_eq!((openai.learning_rate, adam(&openai)), (1e-4, [0.9, 0.999, 6.25e-10]));
        assert_eq!([0, 19_999].map(|step| openai.learning_rate_at(step)), [1e-4; 2]);

        let (_, learning) = recipe("dictionary-learning-topk");
        assert_eq!((learning.learning_rate, learning.clip, learning.unit_norm_decoder), (1e-4, Some(1.0), true));
        assert_eq!([500, 1000, 19_999].map(|step| learning.learning_rate_at(step)), [0.5e-4, 1e-4, 1e-4]);

        let (config, saelens) = recipe("saelens-topk");
        assert_eq!((config.k(), saelens.batch, saelens.unit_norm_decoder), (Some(100), 4096, false));
        assert_eq!((saelens.learning_rate_at(0), saelens.dead_window_steps()), (3e-4, 1000));

        let penalty = |config: &SaeConfig| match &config.architecture {
            Architecture::Relu(relu) => relu.l1,
            Architecture::JumpRelu(jumprelu) => jumprelu.l0 * jumprelu.bandwidth,
            Architecture::Gated(gated) => gated.l1,
            other => panic!("{other:?}"),
        };
        for (name, coefficient) in [("saelens-standard", 1.0), ("saelens-jumprelu", 0.05), ("saelens-gated", 1.0)] {
            let (config, recipe) = recipe(name);
            assert_eq!((penalty(&config), recipe.unit_norm_decoder), (coefficient, false));
            assert_eq!((recipe.learning_rate_at(0), recipe.sparsity_at(0)), (3e-4, 1.0));
        }

        let (config, sparsify) = recipe("sparsify-adam");
        assert_eq!((config.features, sparsify.batch, sparsify.schedule), (65_536, 65_536, Schedule::Linear));
        assert_eq!([1000, 10_500, 20_000].map(|step| sparsify.learning_rate_at(step)), [1e-4, 0.5e-4, 0.0]);
    }
}
