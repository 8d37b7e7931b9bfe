//! Logit weights, against f64 and the whole vocabulary.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use monosem::Error;
use monosem::data::Provenance;
use monosem::features::logits::LogitWeights;
use monosem::features::unembedding::{FinalNorm, NormKind, Unembedding};
use monosem::sae::{Sae, SaeConfig};
use monosem::selftest::tensors::random;
use monosem::storage::WholeFile;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::kernels::gpu;

const D: usize = 13;
const FEATURES: usize = 70;
const VOCABULARY: usize = 150;
const COUNT: usize = 6;

fn sae() -> Sae {
    let mut w_dec = random(1, FEATURES * D);
    w_dec[3 * D..4 * D].fill(0.0);
    let tensors = vec![random(2, FEATURES * D), random(3, FEATURES), w_dec, random(4, D)];
    Sae { config: SaeConfig::top_k(D, FEATURES, 2), tensors, provenance: Provenance::default() }
}

/// The values of a model in f16, and its file.
fn model(path: &Path, names: &[(&str, &[usize])]) -> Vec<Vec<f32>> {
    let halves = |at: usize, shape: &[usize]| -> Vec<f16> {
        random(50 + at as u64, shape.iter().product()).into_iter().map(f16::from_f32).collect()
    };
    let tensors: Vec<Vec<f16>> = names.iter().enumerate().map(|(at, (_, shape))| halves(at, shape)).collect();
    let views = names.iter().zip(&tensors).map(|((name, shape), values)| {
        (*name, TensorView::new(Dtype::F16, shape.to_vec(), bytemuck::cast_slice(values)).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
    tensors.iter().map(|values| values.iter().map(|value| value.to_f32()).collect()).collect()
}

/// What the file of the logit weights holds: tokens and logits of the top, then of the bottom.
fn written(sae: &Sae, unembedding: &Unembedding, norm: Option<&FinalNorm>, count: usize) -> [(Vec<i32>, Vec<f32>); 2] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logits");
    let file = WholeFile::create_new(&path).unwrap();
    let weights = LogitWeights { of: sae, unembedding, norm, count, batch: 32 };
    weights.write(gpu(), file, &BTreeMap::new()).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    ["top", "bottom"].map(|end| {
        let [tokens, logits] = ["tokens", "logits"].map(|what| tensors.tensor(&format!("{end}_{what}")).unwrap());
        assert_eq!([tokens.shape(), logits.shape()], [[FEATURES, count.min(VOCABULARY)]; 2]);
        assert_eq!([tokens.dtype(), logits.dtype()], [Dtype::I32, Dtype::F32]);
        (bytemuck::pod_collect_to_vec(tokens.data()), bytemuck::pod_collect_to_vec(logits.data()))
    })
}

/// Checks both ends against `W_U (gain · (v - mean))` in f64.
fn check(sae: &Sae, w_u: &[f32], gain: impl Fn(usize) -> f64, centred: bool, found: &[(Vec<i32>, Vec<f32>); 2]) {
    let count = found[0].0.len() / FEATURES;
    for feature in 0..FEATURES {
        let row = &sae.tensor("W_dec")[feature * D..][..D];
        let mean = if centred { row.iter().map(|v| f64::from(*v)).sum::<f64>() / D as f64 } else { 0.0 };
        let direction: Vec<f64> = row.iter().enumerate().map(|(at, v)| (f64::from(*v) - mean) * gain(at)).collect();
        let terms = |token: usize| w_u[token * D..][..D].iter().zip(&direction).map(|(u, v)| f64::from(*u) * v);
        let exact: Vec<f64> = (0..VOCABULARY).map(|token| terms(token).sum()).collect();
        let margin =
            |token: usize| (D as f64 + 2.0) * f64::from(f32::EPSILON) * terms(token).map(f64::abs).sum::<f64>() + 1e-30;
        for (sign, (tokens, logits)) in [1.0, -1.0].into_iter().zip(found) {
            let slots = feature * count..(feature + 1) * count;
            let (tokens, logits) = (&tokens[slots.clone()], &logits[slots]);
            for (token, logit) in tokens.iter().zip(logits) {
                let (token, logit) = (*token as usize, f64::from(*logit));
                assert!((logit - exact[token]).abs() <= margin(token), "{feature}, {token}: {logit}, {}", exact[token]);
                assert!(logit != 0.0 || logit.is_sign_positive(), "{feature}, {token}");
            }
            let pairs: Vec<_> = logits.iter().map(|logit| f64::from(*logit) * sign).zip(tokens).collect();
            assert!(pairs.is_sorted_by(|a, b| a.0 > b.0 || a.0 == b.0 && a.1 < b.1), "{feature}: {pairs:?}");
            let (last, _) = pairs[count - 1];
            for token in (0..VOCABULARY).filter(|token| !tokens.contains(&(*token as i32))) {
                assert!(sign * exact[token] <= last + 2.0 * margin(token), "{feature}: {token} was left out");
            }
        }
    }
}

#[test]
fn logit_weights_are_those_of_the_whole_vocabulary() {
    let (sae, directory) = (sae(), tempfile::tempdir().unwrap());
    let path = directory.path().join("model.safetensors");
    let unembedding: &[usize] = &[VOCABULARY, D];
    // As it is.
    let values = model(&path, &[("transformer.wte.weight", unembedding)]);
    let tied = Unembedding::open(&path, None, D).unwrap();
    assert_eq!((tied.name(), tied.vocabulary(), tied.is_embedding()), ("transformer.wte.weight", VOCABULARY, true));
    check(&sae, &values[0], |_| 1.0, false, &written(&sae, &tied, None, COUNT));
    // All of the vocabulary, and no more.
    check(&sae, &values[0], |_| 1.0, false, &written(&sae, &tied, None, 1000));
    // An RMSNorm, whose layers have others; and an unembedding of its own.
    let llama = [
        ("lm_head.weight", unembedding),
        ("model.embed_tokens.weight", unembedding),
        ("model.layers.0.norm.weight", &[D]),
        ("model.norm.weight", &[D]),
    ];
    let values = model(&path, &llama);
    let own = Unembedding::open(&path, None, D).unwrap();
    assert_eq!((own.name(), own.is_embedding()), ("lm_head.weight", false));
    let norm = FinalNorm::open(&path, None, D).unwrap();
    assert_eq!((norm.name(), norm.kind()), ("model.norm.weight", NormKind::RmsNorm));
    check(&sae, &values[0], |at| values[3][at].into(), false, &written(&sae, &own, Some(&norm), COUNT));
    let named = Unembedding::open(&path, Some("model.embed_tokens.weight"), D).unwrap();
    check(&sae, &values[1], |at| values[3][at].into(), false, &written(&sae, &named, Some(&norm), COUNT));
    // Gemma's.
    std::fs::write(directory.path().join("config.json"), r#"{"model_type": "gemma2"}"#).unwrap();
    let norm = FinalNorm::open(&path, None, D).unwrap();
    assert_eq!(norm.kind(), NormKind::RmsNormAboutOne);
    let gain = |at: usize| f64::from(values[3][at] + 1.0);
    check(&sae, &values[0], gain, false, &written(&sae, &own, Some(&norm), COUNT));
    // A LayerNorm.
    let gpt = [("wte.weight", unembedding), ("ln_f.bias", &[D]), ("ln_f.weight", &[D])];
    let values = model(&path, &gpt);
    let (tied, norm) = (Unembedding::open(&path, None, D).unwrap(), FinalNorm::open(&path, None, D).unwrap());
    assert_eq!(norm.kind(), NormKind::LayerNorm);
    check(&sae, &values[0], |at| values[2][at].into(), true, &written(&sae, &tied, Some(&norm), COUNT));
}

#[test]
fn what_is_no_end_of_the_model_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let refuse = |outcome: Result<(), Error>, words: &str| {
        let Err(Error::Data { problem, .. }) = outcome else { panic!("{outcome:?}: {words}") };
        assert!(problem.contains(words), "{problem}");
    };
    let unembedding = |name: Option<&str>, words: &str| refuse(Unembedding::open(&path, name, D).map(drop), words);
    let norm = |name: Option<&str>, words: &str| refuse(FinalNorm::open(&path, name, D).map(drop), words);
    model(&path, &[("h.0.lm_head.weight", &[9, D]), ("a\n", &[9, D]), ("ln_f.weight", &[D + 1])]);
    unembedding(None, "has no unembedding (no tensor lm_head.weight, embed_out.weight, wte.weight");
    unembedding(None, "it has a\\n, h.0.lm_head.weight, ln_f.weight");
    unembedding(Some("head"), "has no tensor `head`");
    unembedding(Some("ln_f.weight"), "has shape [14], and the SAE's decoder rows have 13 values");
    norm(None, "tensor `ln_f.weight` has shape [14]");
    model(&path, &[("lm_head.weight", &[D, 9]), ("model.lm_head.weight", &[9, D])]);
    unembedding(None, "`lm_head.weight` and `model.lm_head.weight`: name the one that is meant");
    unembedding(Some("lm_head.weight"), "has shape [13, 9]");
    norm(None, "has no final norm");
    // What f32 does not hold.
    let mut sae = sae();
    sae.tensors[2][5 * D..6 * D].fill(f32::MAX);
    let values: Vec<f32> = [[4.0; D], [-4.0; D]].concat();
    let view = TensorView::new(Dtype::F32, vec![2, D], bytemuck::cast_slice(&values)).unwrap();
    safetensors::serialize_to_file([("lm_head.weight", view)], None, &path).unwrap();
    let large = Unembedding::open(&path, None, D).unwrap();
    let out = directory.path().join("logits");
    let weights = LogitWeights { of: &sae, unembedding: &large, norm: None, count: 1, batch: 100 };
    let outcome = weights.write(gpu(), WholeFile::create_new(&out).unwrap(), &BTreeMap::new());
    refuse(outcome, "the logit weights of feature 5 are too large for f32");
    assert!(!out.exists());
}
