//! Training steps on the device against what SAELens and dictionary_learning computed in f64.

use monosem::data::{Batch, RowStatistics};
use monosem::reference::Codes;
use monosem::sae;
use monosem::selftest::step::{Run, TOLERANCE, loss};
use monosem::train::{Encoder, Recipe, evaluate, geometric_median};

use crate::kernels::gpu;
use crate::oracle::vectors::{self, Vectors, Worst, batches, dense, flag, number};

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
            gpu(),
            &vectors.saelens_parameters("init"),
            number(config, "k") as usize,
            flag(config, "rescale_acts_by_decoder_norm"),
            flag(config, "apply_b_dec_to_input"),
            recipe,
        )
        .unwrap();
        let lr = number(&vectors.case["adam"], "lr");
        let mut worst = Worst::new(TOLERANCE);
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.f64s(&format!("step{s}.{name}"));
            let results = run.step(x, lr).unwrap();
            worst.compare("loss", &[loss(&results)], &golden("loss"));
            worst.compare("feature_acts", &dense(&run.codes().unwrap(), run.features()), &golden("feature_acts"));
            worst.compare("reconstruction", &run.reconstruction().unwrap(), &golden("reconstruction"));
            worst.compare_each("grad", &run.gradients(), &vectors.saelens_parameters(&format!("step{s}.grad")));
            worst.compare_each(
                "after",
                &run.parameters().unwrap(),
                &vectors.saelens_parameters(&format!("step{s}.after")),
            );
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
        let mut run = Run::new(gpu(), &initial, number(config, "k") as usize, false, true, recipe).unwrap();
        for (s, x) in batches(&vectors).iter().enumerate() {
            let golden = |name: &str| vectors.scalar(&format!("step{s}.{name}"));
            let results = run.step(x, golden("lr")).unwrap();
            worst.compare("loss", &[loss(&results)], &[golden("loss")]);
            worst.compare("norm", &[results.gradient_norm.into()], &[golden("grad_norm_before_clip")]);
            let after = format!("step{s}.after");
            let expected = vectors.dictionary_learning_parameters(&after, &format!("{after}.b_dec"));
            worst.compare_each("after", &run.parameters().unwrap(), &expected);
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
        let mut moments = RowStatistics::new(d);
        moments.add(&x);
        let batch = Batch { count: rows, variance: moments.total_variance(), rows: x };
        let result = evaluate(gpu(), &sae, rows, [Ok(batch)]).unwrap();
        worst.compare("mse", &[result.all.mse], &[error / rows as f64]);
        worst.compare("fvu", &[result.all.fvu], &[error / moments.total_variance()]);
        let active = expected.f64s("feature_acts").iter().filter(|&&value| value > 0.0).count();
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
        ..Recipe::top_k(1, batch, 100)
    }
}
