//! Whole training runs: what they promise of bits, and what they do when something is not finite.

use monosem::apply::{Encoder, evaluate};
use monosem::data::{Batch, Provenance};
use monosem::engine::state::{StateSink, Tile, state_tensors};
use monosem::gpu::Gpu;
use monosem::reference::{self, Clock, Parameters, forward};
use monosem::rng::{Purpose, Rng, symmetric};
use monosem::sae::{AuxK, AuxKForm, Sae, SaeConfig, TopK};
use monosem::train::{MomentPrecision, Progress, Recipe, Trainer, initialize, train};
use monosem::{Divergence, Error};
use sha2::{Digest, Sha256};

use crate::kernels::gpu;

/// d is no multiple of 4, n neither of 1,024, and the batch is more than one block of rows.
pub const D: usize = 13;
pub const FEATURES: usize = 5000;
pub const BATCH: usize = 300;

pub fn config(features: usize) -> SaeConfig {
    SaeConfig::top_k(D, features, 7)
}

pub fn recipe(features: usize, steps: u64) -> Recipe {
    Recipe { learning_rate: 3e-3, ..Recipe::top_k(features, BATCH, steps) }
}

/// Rows that are sums of 3 of 40 fixed directions, so that there is something to learn.
pub fn batches(seed: u64, steps: u64) -> Vec<Batch> {
    let (atoms, draws) = (Rng::new(99, Purpose::Weights), Rng::new(seed, Purpose::Shuffle));
    let atom = |atom: u32, at: usize| symmetric(atoms.block(u64::from(atom % 40), at as u32)[0]);
    let row = |index: u64| -> Vec<f32> {
        let terms: Vec<_> = (0..3).map(|term| draws.block(index, term)).collect();
        let value = |at: usize| terms.iter().map(|t| atom(t[0], at) * (2.0 + symmetric(t[1]))).sum::<f32>() + 0.5;
        (0..D).map(value).collect()
    };
    let batch = |step: u64| {
        let rows: Vec<f32> = (0..BATCH as u64).flat_map(|at| row(step * BATCH as u64 + at)).collect();
        Batch::new(rows, D)
    };
    (0..steps).map(batch).collect()
}

/// With an auxiliary loss of each form, and a window that leaves some features dead within a few steps.
pub fn with_auxk(form: AuxKForm, config: SaeConfig, recipe: Recipe) -> (SaeConfig, Recipe) {
    let architecture = TopK { auxk: Some(AuxK::new(form)), ..TopK::new(config.usual_l0()) }.into();
    (SaeConfig { architecture, ..config }, Recipe { dead_window: 2 * BATCH as u64, ..recipe })
}

pub fn run(gpu: &Gpu, seed: u64, config: &SaeConfig, recipe: Recipe) -> (Sae, Vec<Progress>) {
    let batches = batches(seed, recipe.steps);
    let initial = initialize(config, seed, &batches[0].rows.to_f32()).unwrap();
    let mut progress = Vec::new();
    let sae = train(gpu, &initial, recipe, batches.into_iter().map(Ok), |step| {
        progress.push(step.clone());
        Ok(())
    });
    (sae.unwrap(), progress)
}

/// What a trainer has made of its SAE.
pub fn trained(trainer: &Trainer) -> Sae {
    Sae::read(&trainer.weights(Provenance::default())).unwrap()
}

pub fn hash(sae: &Sae) -> String {
    let mut hash = Sha256::new();
    for tensor in &sae.tensors {
        hash.update(bytemuck::cast_slice::<f32, u8>(tensor));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let weights = |seed| hash(&run(gpu(), seed, &config(FEATURES), recipe(FEATURES, 6)).0);
    let first = weights(3);
    assert_eq!(first, weights(3));
    assert_ne!(first, weights(4));
}

#[test]
fn any_number_of_shards_gives_the_same_bits() {
    let (whole, _) = run(gpu(), 3, &config(FEATURES), recipe(FEATURES, 6));
    // Rows are stored as 16 values: 1,024 and 2,048 features per shard, five and three shards.
    for features in [1024, 2048] {
        let limited = gpu().with_max_binding_bytes(features * 16 * 4);
        let (sharded, _) = run(&limited, 3, &config(FEATURES), recipe(FEATURES, 6));
        assert_eq!(hash(&whole), hash(&sharded), "{features} features per shard");
    }
}

/// The bytes of a state, by tensor.
struct StateHashes(Vec<Sha256>);

impl StateSink for StateHashes {
    fn offer(&mut self, tile: Tile) -> monosem::Result<Option<Tile>> {
        self.put(tile).map(|()| None)
    }

    fn put(&mut self, tile: Tile) -> monosem::Result<()> {
        self.0[tile.tensor].update(&tile.bytes);
        Ok(())
    }
}

/// The hash of each tensor of the state after all steps, the number of shards, and the most dead features of a step.
fn last_state(gpu: &Gpu, config: &SaeConfig, recipe: &Recipe) -> (Vec<(String, String)>, usize, u32) {
    let batches = batches(3, recipe.steps);
    let initial = initialize(config, 3, &batches[0].rows.to_f32()).unwrap();
    let mut trainer = Trainer::new(gpu, &initial, recipe.clone()).unwrap();
    let mut finished: Vec<Progress> = batches.iter().filter_map(|batch| trainer.step(batch).unwrap()).collect();
    while let Some(progress) = trainer.next_finished().unwrap() {
        finished.push(progress);
    }
    let has_auxk = config.describe().lists.len() > 1;
    for progress in &finished {
        let losses: Vec<_> = progress.losses.iter().map(|(name, loss)| (name.as_str(), *loss > 0.0)).collect();
        let has_dead = progress.tokens > recipe.dead_window + BATCH as u64;
        assert!(!has_dead || losses == if has_auxk { vec![("auxk", true)] } else { vec![] }, "{progress:?}");
    }
    let tensors = state_tensors(config, recipe.moments);
    let mut hashes = StateHashes(tensors.iter().map(|_| Sha256::new()).collect());
    trainer.copy_state(&mut hashes).unwrap();
    let hex = |hash: Sha256| hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let by_name = tensors.into_iter().zip(hashes.0).map(|(tensor, hash)| (tensor.name, hex(hash))).collect();
    (by_name, trainer.shards(), finished.iter().map(|progress| progress.dead).max().unwrap())
}

#[test]
fn no_tensor_of_the_state_depends_on_the_shards() {
    let features = 17 * 1024 - 5;
    let (f32, bf16) = (MomentPrecision::F32, MomentPrecision::Bf16 { seed: 3 });
    let (normalised, saelens) = (Some(AuxKForm::Normalised), Some(AuxKForm::SaeLens));
    for (moments, form) in [(f32, None), (bf16, None), (f32, normalised), (bf16, saelens)] {
        let recipe = Recipe { moments, ..recipe(features, 6) };
        let plain = (config(features), recipe.clone());
        let (config, recipe) = form.map_or(plain, |form| with_auxk(form, config(features), recipe.clone()));
        // Two steps with dead features, and fewer shards: in small bindings few are encoded at a time.
        let recipe = Recipe { dead_window: 4 * BATCH as u64, ..recipe };
        let mut whole = None;
        for shards in if form.is_some() { [1, 3, 5] } else { [1, 3, 17] } {
            let rows = features.div_ceil(shards).next_multiple_of(1024);
            let gpu = gpu().with_max_binding_bytes((rows * 16 * 4) as u64);
            let (state, found, dead) = last_state(&gpu, &config, &recipe);
            assert_eq!((found, dead > 0), (shards, true));
            let whole = whole.get_or_insert_with(|| state.clone());
            assert_eq!(&state, whole, "{shards} shards, {moments:?}, AuxK {form:?}");
        }
    }
}

#[test]
fn free_decoder_norms_are_sharded_alike() {
    let config = SaeConfig {
        architecture: TopK { rescale_acts_by_decoder_norm: true, ..TopK::new(7) }.into(),
        apply_b_dec_to_input: false,
        ..config(FEATURES)
    };
    let recipe = Recipe { unit_norm_decoder: false, clip: None, ..recipe(FEATURES, 6) };
    let (whole, _) = run(gpu(), 3, &config, recipe.clone());
    let (sharded, _) = run(&gpu().with_max_binding_bytes(1024 * 16 * 4), 3, &config, recipe);
    assert_eq!(hash(&whole), hash(&sharded));
}

#[test]
fn training_explains_the_variance() {
    let (sae, progress) = run(gpu(), 1, &config(256), recipe(256, 150));
    let steps: Vec<u64> = progress.iter().map(|step| step.step).collect();
    assert_eq!(steps, (1..=150).collect::<Vec<_>>());
    let (first, last) = (&progress[0], &progress[149]);
    assert!(last.fvu < first.fvu / 4.0, "FVU {} after {}", last.fvu, first.fvu);
    assert_eq!((last.tokens, last.l0 <= 7.0), (150 * BATCH as u64, true));
    for norm in reference::norms(&sae.tensor("W_dec").iter().map(|&value| value.into()).collect::<Vec<f64>>(), D) {
        assert!((norm - 1.0).abs() < 1e-6, "a decoder row of norm {norm}");
    }
}

/// The device takes the variance in f32; the rows' mean lies ten times their spread from the origin (gamma = 10).
#[test]
fn fvu_is_about_the_mean_of_the_batch_however_far_that_lies() {
    let mut all = batches(3, 4);
    for batch in &mut all {
        let rows: Vec<f64> = batch.rows.to_f32().iter().map(|&value| value.into()).collect();
        let offset = 10.0 * (reference::variance(&rows, D) / D as f64).sqrt();
        *batch = Batch::new(rows.iter().map(|value| (value + offset) as f32).collect::<Vec<_>>(), D);
    }
    let initial = initialize(&config(200), 1, &all[0].rows.to_f32()).unwrap();
    let mut progress = Vec::new();
    train(gpu(), &initial, recipe(200, 4), all.clone().into_iter().map(Ok), |step| {
        progress.push(step.clone());
        Ok(())
    })
    .unwrap();
    for (batch, Progress { loss, fvu, .. }) in all.iter().zip(&progress) {
        let rows: Vec<f64> = batch.rows.to_f32().iter().map(|&value| value.into()).collect();
        let difference = (fvu * reference::variance(&rows, D) / loss - 1.0).abs();
        println!("relative difference {difference:.1e}");
        assert!(difference < 5e-7, "{fvu} is off by {difference:e}");
    }
}

#[test]
fn evaluation_is_that_of_the_reference_whatever_the_batch() {
    let (sae, _) = run(gpu(), 1, &config(200), recipe(200, 20));
    let data = batches(7, 1).remove(0);
    let double = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let rows = data.rows.to_f32();
    let x = double(&rows);
    let parameters = Parameters::new(&sae.config, |tensor| double(sae.tensor(tensor.name)));
    let clock = Clock { last_fired: &[], step: 0, window: 1 };
    let pass = forward(&sae.config, &parameters, &x, clock);
    let residual = reference::residual(&pass.fields[0].values, &x, D, BATCH);
    let error: f64 = residual.squared_error.iter().sum();
    let mut fired = vec![false; sae.config.features];
    for entry in pass.lists[0].iter().flatten() {
        fired[entry.feature] |= entry.decoded > 0.0;
    }
    let unfired = fired.iter().filter(|fired| !**fired).count() as f64 / fired.len() as f64;
    // 77 leaves a shorter last batch.
    for size in [BATCH, 77] {
        let parts = rows.chunks(size * D).map(|rows| Ok(Batch::new(rows.to_vec(), D)));
        let result = evaluate(gpu(), &sae, size, parts).unwrap();
        let close = |name: &str, actual: f64, expected: f64| {
            assert!((actual - expected).abs() <= 1e-5 * expected.abs(), "{name}: {actual}, not {expected}");
        };
        assert_eq!(result.all.tokens, BATCH as u64);
        close("mse", result.all.mse, error / BATCH as f64);
        close("mse_per_dim", result.all.mse_per_dim, error / (BATCH * D) as f64);
        close("fvu", result.all.fvu, error / (reference::variance(&x, D) * BATCH as f64));
        let active = pass.lists[0].iter().flatten().filter(|entry| entry.decoded > 0.0).count();
        close("l0", result.all.l0, active as f64 / BATCH as f64);
        close("unfired_fraction", result.unfired_fraction, unfired);
        let cosines = x.chunks(D).zip(residual.dot.iter().zip(&residual.squared_norm));
        let cosine = |(row, (dot, square)): (&[f64], (&f64, &f64))| {
            dot / (row.iter().map(|value| value * value).sum::<f64>() * square).sqrt()
        };
        close("cosine", result.all.cosine, cosines.map(cosine).sum::<f64>() / BATCH as f64);
    }
}

#[test]
fn batches_that_do_not_fit_an_evaluation_are_refused() {
    let (sae, data) = (run(gpu(), 1, &config(200), recipe(200, 1)).0, batches(7, 1).remove(0));
    let evaluated = |rows: &[f32], size| {
        let batch = Batch { rows: rows.to_vec().into(), ..Batch::new(rows[..rows.len() / D * D].to_vec(), D) };
        evaluate(gpu(), &sae, size, [Ok(batch)])
    };
    let all = data.rows.to_f32();
    assert!(evaluated(&all, BATCH).is_ok());
    for (rows, size) in [(&all[..], BATCH - 1), (&all[1..], BATCH)] {
        assert!(matches!(evaluated(rows, size), Err(Error::Config(_))));
    }
}

#[test]
fn what_is_not_finite_stops_the_run_and_changes_nothing() {
    let mut bad = batches(1, 4);
    let mut rows = bad[2].rows.to_f32().into_owned();
    rows[5 * D + 1] = f32::NAN;
    bad[2] = Batch::new(rows, D);
    let initial = initialize(&config(256), 1, &bad[0].rows.to_f32()).unwrap();
    let mut trainer = Trainer::new(gpu(), &initial, recipe(256, 4)).unwrap();
    let mut outcome = Ok(None);
    let mut before = None;
    for (step, batch) in bad.iter().enumerate() {
        if step == 2 {
            before = Some(hash(&trained(&trainer)));
        }
        outcome = trainer.step(batch);
        if outcome.is_err() {
            break;
        }
    }
    while let Ok(Some(_)) = outcome {
        outcome = trainer.next_finished();
    }
    let Err(Error::Diverged { step: Some(3), row: Some(5), file: None, what: Divergence::InputNotFinite }) = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(before, Some(hash(&trained(&trainer))));
}

#[test]
fn codes_are_those_of_the_training_selection() {
    let (sae, _) = run(gpu(), 1, &config(200), recipe(200, 5));
    let data = batches(7, 1).remove(0);
    let mut encoder = Encoder::new(gpu(), &sae, BATCH).unwrap();
    let all = encoder.encode(&data.rows).unwrap();
    let few = encoder.encode(&data.rows.to_f32()[..3 * D]).unwrap();
    assert_eq!(few.features, all.features[..3 * 7]);
    assert_eq!(few.values, all.values[..3 * 7]);
    assert!(encoder.encode(&[]).unwrap().features.is_empty());
    assert!(matches!(encoder.encode(&[0.0; D + 1]), Err(Error::Config(_))));
}
