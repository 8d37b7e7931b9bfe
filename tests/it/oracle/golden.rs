//! Training steps on the device against what SAELens and dictionary_learning computed in f64.

use monosem::apply::{Encoder, evaluate};
use monosem::data::{Batch, RowStatistics};
use monosem::engine::path::StepPath;
use monosem::sae;
use monosem::sae::description::Role;
use monosem::selftest::step::{Run, TOLERANCE, loss};
use monosem::train::{Recipe, geometric_median};

use crate::engine::slabs::with_capacity;
use crate::kernels::gpu;
use crate::oracle::vectors::{
    self, DEAD_WINDOW, Vectors, Worst, batches, dense, dictionary_learning_config, flag, last_fired, number,
    saelens_config,
};

#[test]
fn golden_saelens_topk_steps_on_the_device() {
    saelens_steps(TOP_K, |vectors| !is_rescaled(vectors) && !has_dead(vectors));
}

#[test]
fn golden_saelens_topk_steps_with_scaled_keys_on_the_device() {
    saelens_steps(TOP_K, |vectors| is_rescaled(vectors) && !has_dead(vectors));
}

#[test]
fn golden_saelens_topk_steps_with_dead_features_on_the_device() {
    saelens_steps(TOP_K, |vectors| !is_rescaled(vectors) && has_dead(vectors));
}

#[test]
fn golden_saelens_topk_steps_with_scaled_keys_and_dead_features_on_the_device() {
    saelens_steps(TOP_K, |vectors| is_rescaled(vectors) && has_dead(vectors));
}

fn is_rescaled(vectors: &Vectors) -> bool {
    flag(&vectors.case["config"], "rescale_acts_by_decoder_norm")
}

fn has_dead(vectors: &Vectors) -> bool {
    vectors.f64s("dead_mask").contains(&1.0)
}

#[test]
fn golden_saelens_standard_steps_on_the_device() {
    saelens_steps("StandardTrainingSAE", |_| true);
}

#[test]
fn golden_saelens_jumprelu_steps_on_the_device() {
    saelens_steps("JumpReLUTrainingSAE", |_| true);
}

#[test]
fn golden_saelens_gated_steps_on_the_device() {
    saelens_steps("GatedTrainingSAE", |_| true);
}

#[test]
fn golden_saelens_batchtopk_steps_on_the_device() {
    saelens_steps("BatchTopKTrainingSAE", |_| true);
}

#[test]
fn golden_saelens_matryoshka_steps_on_the_device() {
    saelens_steps("MatryoshkaBatchTopKTrainingSAE", |_| true);
}

const TOP_K: &str = "TopKTrainingSAE";

#[test]
fn golden_saelens_steps_by_slabs_on_the_device() {
    for class in ["StandardTrainingSAE", "JumpReLUTrainingSAE", "GatedTrainingSAE"] {
        saelens_steps_by(StepPath::Slabs, class, |_| true);
    }
}

/// The cases of a class of SAELens of which `wanted` is true; fails if there is none.
fn saelens_steps(class: &str, wanted: impl Fn(&Vectors) -> bool) {
    saelens_steps_by(StepPath::Lists, class, wanted);
}

fn saelens_steps_by(path: StepPath, class: &str, wanted: impl Fn(&Vectors) -> bool) {
    let mut cases = vectors::cases(|of_case| of_case == class);
    cases.retain(|vectors| wanted(vectors));
    assert!(!cases.is_empty(), "no such case in {}", vectors::directory().display());
    for vectors in cases {
        let config = match (path, saelens_config(&vectors)) {
            (StepPath::Lists, config) => config,
            (StepPath::Slabs, config) => with_capacity(&config, 1),
        };
        let recipe = Recipe { clip: None, unit_norm_decoder: false, ..recipe(&vectors) };
        let mut run = Run::by_chunks(gpu(), &config, &vectors.saelens_parameters(&config, "init."), recipe).unwrap();
        let lr = number(&vectors.case["adam"], "lr");
        let dead_mask = vectors.f64s("dead_mask");
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.f64s(&format!("step{s}.{name}"));
            // SAELens was given the same dead features in every step, whichever fired meanwhile.
            run.set_last_fired(&last_fired(&dead_mask)).unwrap();
            let results = run.step(x, lr).unwrap();
            let others: f64 = results.losses.iter().map(|(_, loss)| loss).sum();
            worst.compare("loss", &[loss(&results) + others], &golden("loss"));
            for golden in vectors.names(&format!("step{s}.loss.")) {
                let own = |(name, loss): &(String, f64)| {
                    golden.ends_with(&format!(".{}", vectors::saelens_loss(name))).then_some(*loss)
                };
                let mse = golden.ends_with(".mse_loss").then(|| loss(&results));
                // SAELens reports an auxiliary loss of 0 where no feature is dead.
                let actual = mse.or_else(|| results.losses.iter().find_map(own)).unwrap_or(0.0);
                worst.compare(&golden, &[actual], &vectors.f64s(&golden));
            }
            assert_eq!(run.path(), path);
            if path == StepPath::Lists {
                let codes = dense(&run.lists().unwrap()[0], run.features());
                worst.compare("feature_acts", &codes, &golden("feature_acts"));
            }
            worst.compare("reconstruction", &run.reconstruction().unwrap(), &golden("reconstruction"));
            let parameters = |what| vectors.saelens_parameters(&config, &format!("step{s}.{what}."));
            worst.compare_each("grad", &run.gradients(), &parameters("grad"));
            worst.compare_each("after", &run.parameters(), &parameters("after"));
        }
        worst.report(&vectors.name);
    }
}

#[test]
fn golden_dictionary_learning_topk_steps_on_the_device() {
    for vectors in vectors::cases(|class| class.starts_with("dictionary_learning TopKTrainer")) {
        let clip = vectors.case["config"]["clip"].as_f64();
        let recipe = Recipe { clip, unit_norm_decoder: true, ..recipe(&vectors) };
        let config = dictionary_learning_config(&vectors);
        let mut initial = vectors.dictionary_learning_parameters(&config, "init.", "b_dec_initial");
        let first: Vec<f32> = batches(&vectors)[0].iter().map(|&value| value as f32).collect();
        let mut worst = Worst::new(TOLERANCE);
        let median = geometric_median(&first, config.d_in);
        worst.compare("b_dec_initial", &median, initial.of(Role::OutputBias));
        initial.of_mut(Role::OutputBias).copy_from_slice(&median);
        let mut run = Run::by_chunks(gpu(), &config, &initial, recipe).unwrap();
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.scalar(&format!("step{s}.{name}"));
            let results = run.step(x, golden("lr")).unwrap();
            worst.compare("loss", &[loss(&results)], &[golden("loss")]);
            worst.compare("norm", &[results.gradient_norm.into()], &[golden("grad_norm_before_clip")]);
            let after = format!("step{s}.after.");
            let expected = vectors.dictionary_learning_parameters(&config, &after, &format!("{after}b_dec"));
            worst.compare_each("after", &run.parameters(), &expected);
        }
        worst.report(&vectors.name);
    }
}

#[test]
fn golden_saelens_directories_on_the_device() {
    let architectures = ["standard", "topk", "jumprelu", "gated"];
    for directory in architectures.into_iter().flat_map(vectors::saelens_directories) {
        let sae = sae::load(&directory).unwrap();
        let expected = Vectors::open(&directory.join("expected.safetensors"));
        let x: Vec<f32> = expected.f64s("x").iter().map(|&value| value as f32).collect();
        let (d, n) = (sae.config.d_in, sae.config.features);
        let rows = x.len() / d;

        let codes = Encoder::new(gpu(), &sae, rows).unwrap().encode(&x).unwrap();
        let mut activations = vec![0.0; rows * n];
        for (row, ends) in codes.starts.windows(2).enumerate() {
            for at in ends[0]..ends[1] {
                activations[row * n + codes.features[at] as usize] = codes.values[at].into();
            }
        }
        let mut worst = Worst::new(TOLERANCE);
        worst.compare("feature_acts", &activations, &expected.f64s("feature_acts"));

        let reconstruction = expected.f64s("reconstruction");
        let squares = |difference: &dyn Fn(usize) -> f64| (0..rows * d).map(|i| difference(i).powi(2)).sum::<f64>();
        let error = squares(&|i| reconstruction[i] - f64::from(x[i]));
        let mut moments = RowStatistics::new(d);
        moments.add(&x);
        let batch = Batch::new(x, d);
        let result = evaluate(gpu(), &sae, rows, [Ok(batch)]).unwrap();
        worst.compare("mse", &[result.all.mse], &[error / rows as f64]);
        worst.compare("fvu", &[result.all.fvu], &[error / moments.total_variance()]);
        let active = expected.f64s("feature_acts").into_iter().filter(|value| *value > 0.0).count();
        assert_eq!(codes.values.len(), active);
        worst.compare("l0", &[result.all.l0], &[active as f64 / rows as f64]);
        worst.report(&directory.file_name().unwrap().to_string_lossy());
    }
}

fn recipe(vectors: &Vectors) -> Recipe {
    let [_, batch, _] = vectors.dims("x")[..] else { panic!("{}: x is not [steps, rows, d]", vectors.name) };
    let adam = &vectors.case["adam"];
    Recipe {
        beta1: number(adam, "beta1"),
        beta2: number(adam, "beta2"),
        epsilon: number(adam, "eps"),
        dead_window: DEAD_WINDOW as u64 * batch as u64,
        ..Recipe::top_k(1, batch, 100)
    }
}
