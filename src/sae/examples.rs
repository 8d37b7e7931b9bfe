//! Architectures for tests that loop over all.

use super::description::{Features, Penalty};
use super::{
    Architecture, AuxK, AuxKForm, BatchTopK, Gated, JumpRelu, Matryoshka, PreActivation, Relu, SaeConfig, TopK,
};

impl Architecture {
    /// One of each, for SAEs of at least 4 features.
    #[doc(hidden)]
    pub fn examples(features: usize) -> Vec<Self> {
        let auxk = Some(AuxK::new(AuxKForm::SaeLens));
        vec![
            TopK { k: 2, rescale_acts_by_decoder_norm: true, auxk: Some(AuxK::new(AuxKForm::Normalised)) }.into(),
            BatchTopK { k: 2, rescale_acts_by_decoder_norm: false, auxk }.into(),
            Matryoshka {
                k: 2,
                widths: vec![features / 4, features / 2, features],
                weights: Some(vec![0.5, 0.25, 0.75]),
                rescale_acts_by_decoder_norm: true,
                auxk,
            }
            .into(),
            Relu { l1: 0.5, normed: true, capacity: None }.into(),
            JumpRelu {
                penalty: Penalty::Tanh { scale: 4.0 },
                l0: 0.25,
                bandwidth: 0.5,
                straight_through_to_input: true,
                log_threshold: false,
                pre_activation: Some(PreActivation { coefficient: 0.125, of: Features::Dead }),
                capacity: None,
            }
            .into(),
            Gated { l1: 0.5, normed: true, detached: false, capacity: None }.into(),
        ]
    }
}

impl SaeConfig {
    /// One of each architecture, of at least 4 features.
    #[doc(hidden)]
    pub fn examples(d_in: usize, features: usize) -> Vec<Self> {
        let with = |architecture: Architecture| Self::new(d_in, features, architecture);
        Architecture::examples(features).into_iter().map(with).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_valid_example_of_each_architecture() {
        let examples = SaeConfig::examples(8, 12);
        let mut kinds: Vec<_> = examples.iter().map(|config| std::mem::discriminant(&config.architecture)).collect();
        kinds.dedup();
        // As many as `Architecture` has variants: a new one makes this match incomplete.
        let variants = match examples[0].architecture {
            Architecture::TopK(_)
            | Architecture::BatchTopK(_)
            | Architecture::Matryoshka(_)
            | Architecture::Relu(_)
            | Architecture::JumpRelu(_)
            | Architecture::Gated(_) => 6,
        };
        assert_eq!((kinds.len(), examples.len()), (variants, variants));
        examples.iter().for_each(|config| config.validate().unwrap());
    }
}
