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
            ("normalize-activations", "none"),
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
            ("normalize-activations", "none"),
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

/// Settings, and those that dictionary_learning's trainers without a k share.
macro_rules! dictionary_learning_l1 {
    ($(($key:literal, $value:literal)),* $(,)?) => {
        &[
            $(($key, $value),)*
            ("l1", "0.1"),
            ("normalize-activations", "none"),
            ("apply-b-dec-to-input", "true"),
            ("schedule", "constant"),
            ("warmup", "1000"),
            ("decay", "0"),
            ("sparsity-warmup", "2000"),
            ("adam-beta2", "0.999"),
            ("adam-eps", "1e-8"),
            ("dead-window", "10000000"),
            ("init-encoder", "decoder"),
            ("init-b-dec", "zero"),
            ("init-threshold", "0"),
        ]
    };
}

/// Settings, and those that Anthropic's recipes share.
macro_rules! anthropic {
    ($(($key:literal, $value:literal)),* $(,)?) => {
        &[
            $(($key, $value),)*
            ("normalize-activations", "expected-norm"),
            ("apply-b-dec-to-input", "false"),
            ("schedule", "linear"),
            ("warmup", "0"),
            ("decay", "20%"),
            ("adam-beta1", "0.9"),
            ("adam-beta2", "0.999"),
            ("adam-eps", "1e-8"),
            ("clip", "1"),
            ("decoder-rule", "free"),
            ("dead-window", "10000000"),
            ("init-b-dec", "zero"),
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
        name: "dictionary-learning-matryoshka",
        source: "saprmarks/dictionary_learning 60ec6bf, trainers/matryoshka_batch_top_k.py (MatryoshkaBatchTopKTrainer), \
                 dictionary_learning_demo's groups",
        // The mean of five losses that are weighted by 1/5 each.
        settings: dictionary_learning![("arch", "matryoshka"), ("width-weights", "0.04,0.04,0.04,0.04,0.04"),],
    },
    Preset {
        name: "dictionary-learning-standard",
        source: "saprmarks/dictionary_learning 60ec6bf, trainers/standard.py (StandardTrainerAprilUpdate)",
        // Its encoder biases start as torch.nn.Linear's, uniform in +-1/sqrt(d), and not at 0.
        settings: dictionary_learning_l1![
            ("arch", "relu"),
            ("l1-by-decoder-norm", "true"),
            ("lr", "1e-3"),
            ("adam-beta1", "0.9"),
            ("clip", "1"),
            ("decoder-rule", "free"),
            ("init-decoder-norm", "0.1"),
        ],
    },
    // Its JumpReLU trainer has no preset: the penalty is of the batch's mean L0, and its window is of activations.
    Preset {
        name: "dictionary-learning-gated",
        source: "saprmarks/dictionary_learning 60ec6bf, trainers/gdm.py (GatedSAETrainer)",
        settings: dictionary_learning_l1![
            ("arch", "gated"),
            ("l1-by-decoder-norm", "false"),
            ("lr", "5e-5"),
            ("adam-beta1", "0"),
            ("clip", "none"),
            ("decoder-rule", "unit-norm"),
            ("init-decoder-norm", "1"),
        ],
    },
    Preset {
        name: "anthropic-2024-04",
        source: "Anthropic, Circuits Updates April 2024, \"Update on how we train SAEs\"",
        settings: anthropic![
            ("arch", "relu"),
            ("l1", "5"),
            ("l1-by-decoder-norm", "true"),
            ("sparsity-warmup", "5%"),
            ("batch", "4096"),
            ("lr", "5e-5"),
            ("init-decoder-norm", "0.1"),
            ("init-encoder", "decoder"),
            ("init-threshold", "0"),
        ],
    },
    Preset {
        name: "anthropic-2025-01",
        source: "Anthropic, Circuits Updates January 2025, \"Dictionary Learning Optimization Techniques\"",
        settings: anthropic![
            ("arch", "jumprelu"),
            ("l0-coefficient", "10"),
            ("sparsity-penalty", "tanh"),
            ("tanh-scale", "4"),
            ("bandwidth", "2"),
            ("log-threshold", "true"),
            ("straight-through-to-input", "true"),
            ("pre-act-coefficient", "3e-6"),
            ("pre-act-of", "all"),
            ("sparsity-warmup", "100%"),
            ("batch", "32768"),
            ("lr", "2e-4"),
            // 1/sqrt(3), about which the norms of its rows lie: they are uniform in +-1/sqrt(d).
            ("init-decoder-norm", "0.57735"),
            ("init-encoder", "shared"),
            ("init-threshold", "0.1"),
            ("init-l0", "10000"),
        ],
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
        name: "saelens-matryoshka",
        source: "sae-lens 6.54.12, config.py (LanguageModelSAERunnerConfig), saes/matryoshka_batchtopk_sae.py \
                 (MatryoshkaBatchTopKTrainingSAEConfig)",
        // It has no widths by default, and refuses to train without.
        settings: saelens![
            ("arch", "matryoshka"),
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

/// The help of --preset.
pub fn help() -> String {
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    format!(
        "Train by a published recipe: {}. Its settings count as defaults: flags and --config win over them [default: \
         none]",
        names.join(", ")
    )
}

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
    use monosem::sae::description::{Features, Penalty};
    use monosem::sae::{Architecture, PreActivation, SaeConfig};
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
            let config = settings.sae_config(2048).unwrap();
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

        let (config, matryoshka) = recipe("dictionary-learning-matryoshka");
        let Architecture::Matryoshka(levels) = &config.architecture else { panic!("{config:?}") };
        assert_eq!(levels.widths, [2048, 6144, 14_336, 30_720, 65_536]);
        assert_eq!(levels.weights.as_deref(), Some(&[0.04; 5][..]));
        assert_eq!((matryoshka.learning_rate, matryoshka.unit_norm_decoder), (1e-4, true));
        for (name, rate, betas, clip) in [
            ("dictionary-learning-standard", 1e-3, [0.9, 0.999, 1e-8], Some(1.0)),
            ("dictionary-learning-gated", 5e-5, [0.0, 0.999, 1e-8], None),
        ] {
            let (config, recipe) = recipe(name);
            assert_eq!((penalty(&config), config.apply_b_dec_to_input), (0.1, true));
            assert_eq!((recipe.learning_rate_at(19_999), adam(&recipe), recipe.clip), (rate, betas, clip));
            assert_eq!((recipe.sparsity_at(1000), recipe.unit_norm_decoder), (0.5, name.ends_with("gated")));
        }
        let (config, _) = recipe("dictionary-learning-gated");
        assert!(matches!(&config.architecture, Architecture::Gated(gated) if gated.detached && !gated.normed));

        let (config, april) = recipe("anthropic-2024-04");
        assert_eq!((penalty(&config), config.apply_b_dec_to_input, april.unit_norm_decoder), (5.0, false, false));
        let rates = [0, 15_999, 18_000, 20_000].map(|step| april.learning_rate_at(step));
        assert_eq!((rates, april.sparsity_at(500)), ([5e-5, 5e-5, 2.5e-5, 0.0], 0.5));
        let (config, january) = recipe("anthropic-2025-01");
        let Architecture::JumpRelu(jumprelu) = &config.architecture else { panic!("{config:?}") };
        let all = PreActivation { coefficient: 3e-6, of: Features::All };
        assert_eq!((&jumprelu.penalty, jumprelu.pre_activation), (&Penalty::Tanh { scale: 4.0 }, Some(all)));
        assert_eq!((jumprelu.l0, jumprelu.bandwidth), (10.0, 2.0));
        assert!(jumprelu.log_threshold && jumprelu.straight_through_to_input && !config.apply_b_dec_to_input);
        assert_eq!((january.sparsity_at(5000), january.learning_rate_at(0)), (0.25, 2e-4));

        let (config, sparsify) = recipe("sparsify-adam");
        assert_eq!((config.features, sparsify.batch, sparsify.schedule), (65_536, 65_536, Schedule::Linear));
        assert_eq!([1000, 10_500, 20_000].map(|step| sparsify.learning_rate_at(step)), [1e-4, 0.5e-4, 0.0]);
    }
}
