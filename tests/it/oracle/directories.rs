//! SAEs in directories: what SAELens and sparsify (eai-sparsify 1.3.3) wrote, and what is written, against the
//! reference.
//!
//! `MONOSEM_EXPORTS` names an existing directory to keep the written ones in, each with `expected.safetensors`; SAELens
//! itself is tried on them by tests/interop/test_saelens.py.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use monosem::data::Provenance;
use monosem::reference::{Clock, Forward, Parameters, forward};
use monosem::sae::description::Role;
use monosem::sae::{
    self, Architecture, AsJumpRelu, BatchTopK, InputNormalization, JumpRelu, Sae, SaeConfig, TopK, Weights,
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::oracle::finite_differences::Random;
use crate::oracle::vectors::{self, DEAD_WINDOW, Vectors, Worst, dense};

const ROWS: usize = 23;
const D: usize = 12;
const FEATURES: usize = 40;

/// What is active, `[rows, n]`, and what it reconstructs, `[rows, d]`.
struct Applied {
    activations: Vec<f64>,
    reconstruction: Vec<f64>,
}

fn parameters(sae: &Sae) -> Parameters {
    Parameters::new(&sae.config, |tensor| sae.tensor(tensor.name).iter().map(|&value| value.into()).collect())
}

/// The reference's forward pass of an SAE.
pub fn pass(sae: &Sae, x: &[f64]) -> Forward {
    let clock = Clock { last_fired: &vec![0; sae.config.features], step: 1, window: DEAD_WINDOW };
    forward(&sae.config, &parameters(sae), x, clock)
}

fn apply(sae: &Sae, x: &[f64]) -> Applied {
    let pass = pass(sae, x);
    Applied { activations: dense(&pass.lists[0], sae.config.features), reconstruction: pass.fields[0].values.clone() }
}

/// As [`apply`], with what exceeds a threshold instead of the list.
fn apply_with_threshold(sae: &Sae, x: &[f64], threshold: f64) -> Applied {
    let (parameters, pass) = (parameters(sae), pass(sae, x));
    let (w_dec, b_dec) = (parameters.of(Role::Decoder), parameters.of(Role::OutputBias));
    let mut reconstruction = b_dec.repeat(ROWS);
    for (at, &key) in pass.keys.iter().enumerate().filter(|(_, key)| **key > threshold) {
        assert!(key - threshold > 1e-5, "too near for f32");
        let (row, feature) = (at / FEATURES, at % FEATURES);
        let sums = reconstruction[row * D..][..D].iter_mut();
        sums.zip(&w_dec[feature * D..]).for_each(|(sum, v)| *sum += pass.pre_activations[at] * v);
    }
    let activations = pass.keys.iter().map(|&key| if key > threshold { key } else { 0.0 }).collect();
    Applied { activations, reconstruction }
}

#[test]
fn golden_saelens_directories() {
    for architecture in ["standard", "topk", "jumprelu", "gated"] {
        for directory in vectors::saelens_directories(architecture) {
            let expected = Vectors::open(&directory.join("expected.safetensors"));
            let applied = apply(&sae::load(&directory).unwrap(), &expected.f64s("x"));
            let mut worst = Worst::new(1e-12);
            worst.compare("feature_acts", &applied.activations, &expected.f64s("feature_acts"));
            worst.compare("reconstruction", &applied.reconstruction, &expected.f64s("reconstruction"));
            worst.report(&directory.file_name().unwrap().to_string_lossy());

            let trained_as = sae::open(&directory).unwrap().trained_as().to_owned();
            let json = vectors::json(&directory.join("cfg.json"));
            assert_eq!(json["metadata"]["training_architecture"], *trained_as);
        }
    }
}

#[test]
fn golden_sparsify_directory() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sparsify-topk");
    let expected = Vectors::open(&directory.join("expected.safetensors"));
    let applied = apply(&sae::load(&directory).unwrap(), &expected.f64s("x"));
    let mut worst = Worst::new(1e-12);
    worst.compare("feature_acts", &applied.activations, &expected.f64s("feature_acts"));
    worst.compare("reconstruction", &applied.reconstruction, &expected.f64s("reconstruction"));
    worst.report("sparsify-topk");
}

/// What is written: an example of each architecture, and what they leave out.
fn written() -> Vec<(String, SaeConfig)> {
    let config = |architecture| SaeConfig { apply_b_dec_to_input: false, ..example(architecture) };
    let examples = Architecture::examples(FEATURES);
    let logarithms = examples.iter().find_map(|architecture| match architecture {
        Architecture::JumpRelu(jumprelu) => Some(JumpRelu { log_threshold: true, ..jumprelu.clone() }),
        _ => None,
    });
    let mut written: Vec<_> =
        examples.into_iter().map(|architecture| (name(&architecture), example(architecture))).collect();
    written.extend([
        ("topk_not_centred".into(), config(TopK::new(7).into())),
        (
            "topk_layer_norm".into(),
            SaeConfig { input_normalization: InputNormalization::LayerNorm, ..example(TopK::new(7).into()) },
        ),
        (
            "batchtopk_rescaled".into(),
            config(BatchTopK { rescale_acts_by_decoder_norm: true, ..BatchTopK::new(4) }.into()),
        ),
        ("jumprelu_logarithms".into(), config(logarithms.unwrap().into())),
    ]);
    written
}

fn example(architecture: Architecture) -> SaeConfig {
    SaeConfig::new(D, FEATURES, architecture)
}

/// The variant.
fn name(architecture: &Architecture) -> String {
    let debug = format!("{architecture:?}").to_lowercase();
    debug.split('(').next().unwrap().to_owned()
}

#[test]
fn what_is_exported_is_what_it_was() {
    let temporary = tempfile::tempdir().unwrap();
    let root = std::env::var_os("MONOSEM_EXPORTS").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    for (name, config) in written() {
        let mut random = Random(7);
        let singles = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<_>>();
        let tensors = config.tensors().into_iter().map(|tensor| {
            let values = singles(random.numbers(tensor.shape(&config).iter().product()));
            if tensor.non_negative { values.iter().map(|value| value.abs()).collect() } else { values }
        });
        let sae = Sae { tensors: tensors.collect(), config: config.clone(), provenance: Provenance::default() };
        let x: Vec<f64> = singles(random.numbers(ROWS * D)).into_iter().map(f64::from).collect();

        let directory = root.join(&name);
        let has_threshold = matches!(config.architecture, Architecture::BatchTopK(_) | Architecture::Matryoshka(_));
        let (expected, trained_as) = if has_threshold {
            sae::save(&sae, &directory).expect_err("a threshold is missing");
            let threshold = 0.75_f32;
            let jumprelu = AsJumpRelu::with_threshold(&sae, threshold).unwrap();
            sae::save(&jumprelu, &directory).unwrap();
            assert_eq!(sae::load(&directory).unwrap(), Sae::read(&jumprelu).unwrap());
            (apply_with_threshold(&sae, &x, threshold.into()), jumprelu.trained_as().to_owned())
        } else {
            sae::save(&sae, &directory).unwrap();
            (apply(&sae, &x), sae.trained_as().to_owned())
        };
        assert!(expected.activations.iter().any(|value| *value > 0.0));
        assert_eq!(sae::open(&directory).unwrap().trained_as(), trained_as);

        let loaded = sae::load(&directory).unwrap();
        let applied = apply(&loaded, &x);
        let mut worst = Worst::new(1e-6);
        worst.compare("feature_acts", &applied.activations, &expected.activations);
        worst.compare("reconstruction", &applied.reconstruction, &expected.reconstruction);
        worst.report(&name);
        write_expected(&directory, &x, &expected);

        // And once more, bit for bit.
        let again = temporary.path().join(format!("{name}-again"));
        sae::save(&loaded, &again).unwrap();
        assert_eq!(sae::load(&again).unwrap(), loaded);
    }
}

fn write_expected(directory: &Path, x: &[f64], expected: &Applied) {
    let bytes = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tensors = [("x", x), ("feature_acts", &expected.activations), ("reconstruction", &expected.reconstruction)];
    let tensors: BTreeMap<_, _> =
        tensors.into_iter().map(|(name, values)| (name, (vec![ROWS, values.len() / ROWS], bytes(values)))).collect();
    let views =
        tensors.iter().map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F64, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &directory.join("expected.safetensors")).unwrap();
}
