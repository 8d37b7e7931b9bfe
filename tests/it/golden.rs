//! Training steps on the device against what SAELens and dictionary_learning computed in f64.

use monosem::data::{Batch, Moments, Provenance};
use monosem::gpu::Gpu;
use monosem::kernels::{BackwardKernels, ForwardKernels};
use monosem::reference::{Codes, Parameters};
use monosem::sae::{self, Sae, SaeConfig};
use monosem::train::{Encoder, Recipe, StepResults, TrainingStep, evaluate, geometric_median};

use crate::kernels::gpu;
use crate::vectors::{self, Vectors, Worst, batches, dense, flag, number};

/// Largest difference from a golden tensor, of that tensor's largest magnitude: f32 against f64 (3e-6 is usual).
const TOLERANCE: f64 = 1e-5;

#[test]
fn golden_saelens_topk_steps_on_the_device() {
    let mut tested = 0;
    for vectors in vectors::cases(|class| class == "TopKTrainingSAE") {
        if vectors.f64s("dead_mask").contains(&1.0) {
            println!("{}: not tested, it has an auxiliary loss", vectors.name);
            continue;
        }
        let config = &vectors.case["config"];
        let recipe = Recipe { clip: None, unit_norm_decoder: false, ..recipe(&vectors) };
        let mut run = Run::new(
            vectors.saelens_parameters("init"),
            number(config, "k") as usize,
            flag(config, "rescale_acts_by_decoder_norm"),
            flag(config, "apply_b_dec_to_input"),
            recipe,
        );
        let lr = number(&vectors.case["adam"], "lr");
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.f64s(&format!("step{s}.{name}"));
            let results = run.step(x, lr);
            worst.compare("loss", &[mean(&results.squared_errors)], &golden("loss"));
            worst.compare("feature_acts", &run.feature_acts(), &golden("feature_acts"));
            worst.compare("reconstruction", &run.reconstruction(), &golden("reconstruction"));
            worst.compare_each("grad", &run.gradients(), &vectors.saelens_parameters(&format!("step{s}.grad")));
            worst.compare_each("after", &run.parameters(), &vectors.saelens_parameters(&format!("step{s}.after")));
        }
        worst.report(&vectors.name);
        tested += 1;
    }
    assert!(tested > 0, "every case has an auxiliary loss");
}

#[test]
fn golden_dictionary_learning_topk_steps_on_the_device() {
    for vectors in vectors::cases(|class| class.starts_with("dictionary_learning TopKTrainer")) {
        let config = &vectors.case["config"];
        let recipe = Recipe { clip: config["clip"].as_f64(), unit_norm_decoder: true, ..recipe(&vectors) };
        let mut initial = vectors.dictionary_learning_parameters("init", "b_dec_initial");
        let first: Vec<f32> = batches(&vectors)[0].iter().map(|&value| value as f32).collect();
        let mut worst = Worst::new(TOLERANCE);
        let median = geometric_median(&first, initial.b_dec.len());
        worst.compare("b_dec_initial", &median, &initial.b_dec);
        initial.b_dec = median;
        let mut run = Run::new(initial, number(config, "k") as usize, false, true, recipe);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.scalar(&format!("step{s}.{name}"));
            let results = run.step(x, golden("lr"));
            worst.compare("loss", &[mean(&results.squared_errors)], &[golden("loss")]);
            worst.compare("norm", &[results.gradient_norm.into()], &[golden("grad_norm_before_clip")]);
            let after = format!("step{s}.after");
            let expected = vectors.dictionary_learning_parameters(&after, &format!("{after}.b_dec"));
            worst.compare_each("after", &run.parameters(), &expected);
        }
        worst.report(&vectors.name);
    }
}

#[test]
fn golden_saelens_topk_directory_on_the_device() {
    for directory in vectors::saelens_directories("topk") {
        let sae = sae::load(&directory).unwrap();
        let expected = Vectors::open(&directory.join("expected.safetensors"));
        let x: Vec<f32> = expected.f64s("x").iter().map(|&value| value as f32).collect();
        let (d, n, k) = (sae.config.d_in, sae.config.features, sae.config.k);
        let rows = x.len() / d;

        let codes = Encoder::new(gpu(), &sae, rows).unwrap().encode(&x).unwrap();
        let keys: Vec<f64> = codes.values.iter().map(|&value| value.into()).collect();
        let mut worst = Worst::new(TOLERANCE);
        let codes = Codes { k, features: codes.features, values: keys.clone(), keys };
        worst.compare("feature_acts", &dense(&codes, n), &expected.f64s("feature_acts"));

        let reconstruction = expected.f64s("reconstruction");
        let squares = |difference: &dyn Fn(usize) -> f64| (0..rows * d).map(|i| difference(i).powi(2)).sum::<f64>();
        let error = squares(&|i| reconstruction[i] - f64::from(x[i]));
        let mut moments = Moments::new(d);
        moments.add(&x);
        let batch = Batch { count: rows, variance: moments.total_variance(), rows: x };
        let result = evaluate(gpu(), &sae, rows, [Ok(batch)]).unwrap();
        worst.compare("mse", &[result.mse], &[error / rows as f64]);
        worst.compare("fvu", &[result.fvu], &[error / moments.total_variance()]);
        let active = expected.f64s("feature_acts").iter().filter(|&&value| value > 0.0).count();
        worst.compare("l0", &[result.l0], &[active as f64 / rows as f64]);
        worst.report(&directory.file_name().unwrap().to_string_lossy());
    }
}

fn mean(squared_errors: &[f32]) -> f64 {
    squared_errors.iter().map(|&error| f64::from(error)).sum::<f64>() / squared_errors.len() as f64
}

fn recipe(vectors: &Vectors) -> Recipe {
    let [_, batch, _] = vectors.dims("x")[..] else { panic!("{}: x is not [steps, rows, d]", vectors.name) };
    let adam = &vectors.case["adam"];
    Recipe {
        beta1: number(adam, "beta1"),
        beta2: number(adam, "beta2"),
        epsilon: number(adam, "eps"),
        ..Recipe::top_k(1, batch, 100)
    }
}

/// A training run, read back after every step.
struct Run {
    step: TrainingStep,
    beta1: f64,
    moments: [Vec<f64>; 4],
    previous: [Vec<f64>; 4],
}

impl Run {
    fn new(initial: Parameters, k: usize, rescale: bool, input_centred: bool, recipe: Recipe) -> Self {
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
        let config = SaeConfig {
            d_in: initial.b_dec.len(),
            features: initial.b_enc.len(),
            k,
            rescale_acts_by_decoder_norm: rescale,
            apply_b_dec_to_input: input_centred,
        };
        let [w_enc, b_enc, w_dec, b_dec] = initial.each().map(single);
        let sae = Sae { config, w_enc, b_enc, w_dec, b_dec, provenance: Provenance::default() };
        let gpu: &Gpu = gpu();
        let forward = ForwardKernels::new(gpu, k as u32).unwrap();
        let backward = BackwardKernels::new(gpu).unwrap();
        let parameters = sae::Parameters::upload(gpu, &forward.norms, &sae).unwrap();
        let beta1 = recipe.beta1;
        let step = TrainingStep::new(gpu, (&forward, &backward), parameters, recipe).unwrap();
        let zeros = initial.each().map(|values| vec![0.0; values.len()]);
        Self { step, beta1, moments: zeros.clone(), previous: zeros }
    }

    fn step(&mut self, x: &[f64], lr: f64) -> StepResults {
        let rows: Vec<f32> = x.iter().map(|&value| value as f32).collect();
        let pending = self.step.submit(gpu(), &rows, lr).unwrap();
        let results = self.step.results(gpu(), pending).unwrap();
        let [w_enc, w_dec, b_enc, b_dec] = self.step.first_moments(gpu()).unwrap();
        let double = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        self.previous = std::mem::replace(&mut self.moments, [w_enc, b_enc, w_dec, b_dec].map(double));
        results
    }

    /// The gradients, out of Adam's first moments: m = beta1 m + (1 - beta1) g.
    fn gradients(&self) -> Parameters {
        let gradient = |at: usize| {
            let pairs = self.moments[at].iter().zip(&self.previous[at]);
            pairs.map(|(now, before)| (now - self.beta1 * before) / (1.0 - self.beta1)).collect()
        };
        Parameters { w_enc: gradient(0), b_enc: gradient(1), w_dec: gradient(2), b_dec: gradient(3) }
    }

    fn parameters(&self) -> Parameters {
        let sae = self.step.parameters().download(gpu()).unwrap();
        let double = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        Parameters {
            w_enc: double(sae.w_enc),
            b_enc: double(sae.b_enc),
            w_dec: double(sae.w_dec),
            b_dec: double(sae.b_dec),
        }
    }

    fn feature_acts(&self) -> Vec<f64> {
        let (config, codes) = (self.step.parameters().config(), &self.step.forward().codes);
        let keys: Vec<f64> = gpu().read::<f32>(&codes.keys).unwrap().into_iter().map(f64::from).collect();
        let features = gpu().read(&codes.features).unwrap();
        dense(&Codes { k: config.k, features, values: keys.clone(), keys }, config.features)
    }

    fn reconstruction(&self) -> Vec<f64> {
        let d = self.step.parameters().config().d_in;
        let padded: Vec<f32> = gpu().read(&self.step.forward().reconstruction).unwrap();
        let width = self.step.parameters().quads() as usize * 4;
        padded.chunks_exact(width).flat_map(|row| row[..d].iter().map(|&value| f64::from(value))).collect()
    }
}
