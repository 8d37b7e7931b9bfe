//! Checkpoints: that a run resumes from them bit for bit, and that damage is found and named.

use std::fs;
use std::path::{Path, PathBuf};

use monosem::Error;
use monosem::engine::select::{Screening, Tuning};
use monosem::engine::state::{StateSink, Tile, state_tensors};
use monosem::gpu::Gpu;
use monosem::run::checkpoint::{self, Manifest, Reader, Writer, verify};
use monosem::run::open_sae;
use monosem::sae::SaeConfig;
use monosem::train::{MomentPrecision, Recipe, Trainer, initialize};
use serde_json::json;

use crate::engine::training::{BATCH, D, FEATURES, batches, config, hash, recipe, trained};
use crate::kernels::gpu;

const STEPS: u64 = 8;

fn trainer(gpu: &Gpu, recipe: &Recipe) -> Trainer {
    let initial = initialize(&config(FEATURES), 3, &batches(3, 1)[0].rows.to_f32()).unwrap();
    Trainer::new(gpu, &initial, recipe.clone()).unwrap()
}

/// Takes the steps from where the trainer is up to `end`.
fn take_steps(trainer: &mut Trainer, end: u64) {
    for batch in &batches(3, STEPS)[trainer.submitted() as usize..end as usize] {
        trainer.step(batch).unwrap();
    }
}

/// Writes the checkpoint after as many steps as the trainer has taken.
fn save(trainer: &mut Trainer, recipe: &Recipe, directory: &Path) -> PathBuf {
    let step = trainer.submitted();
    let mut writer = Writer::create(directory, &config(FEATURES), recipe.moments, step).unwrap();
    trainer.copy_state(&mut writer).unwrap();
    writer.commit(Manifest::new(step, &config(FEATURES), recipe));
    writer.finish().unwrap();
    checkpoint::path(directory, step)
}

fn resume(gpu: &Gpu, recipe: &Recipe, reader: &mut Reader) -> monosem::Result<Trainer> {
    let step = reader.manifest().step;
    let config = config(FEATURES);
    let tuning = Tuning::estimated(gpu.description(), &config, recipe.batch, Screening::Auto);
    Trainer::resume(gpu, &config, recipe.clone(), tuning, step, reader)
}

/// One shard, three and five of the features of these tests, whose rows are stored as 16 values.
fn shardings() -> [Gpu; 3] {
    [8192, 2048, 1024].map(|features| gpu().with_max_binding_bytes(features * 16 * 4))
}

#[test]
fn a_resumed_run_ends_with_the_same_bits_whatever_the_shards() {
    for moments in [MomentPrecision::F32, MomentPrecision::Bf16 { seed: 3 }] {
        resumed_runs_end_with_the_same_bits(Recipe { moments, ..recipe(FEATURES, STEPS) });
    }
}

fn resumed_runs_end_with_the_same_bits(recipe: Recipe) {
    let mut whole = trainer(gpu(), &recipe);
    take_steps(&mut whole, STEPS);
    let expected = hash(&trained(&whole));

    let directory = tempfile::tempdir().unwrap();
    let mut half = trainer(gpu(), &recipe);
    take_steps(&mut half, STEPS / 2);
    let path = save(&mut half, &recipe, directory.path());
    for gpu in &shardings() {
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.manifest().data_position, STEPS / 2 * BATCH as u64);
        let mut resumed = resume(gpu, &recipe, &mut reader).unwrap();
        take_steps(&mut resumed, STEPS);
        assert_eq!(hash(&trained(&resumed)), expected);
    }
}

/// A state in memory.
#[derive(Default, PartialEq)]
struct Copy(Vec<Tile>);

impl StateSink for Copy {
    fn offer(&mut self, tile: Tile) -> monosem::Result<Option<Tile>> {
        self.put(tile).map(|()| None)
    }

    fn put(&mut self, tile: Tile) -> monosem::Result<()> {
        self.0.push(tile);
        Ok(())
    }
}

impl Copy {
    /// The bytes of each tensor.
    fn tensors(self) -> Vec<Vec<u8>> {
        let tensors = state_tensors(&config(FEATURES), MomentPrecision::F32);
        let mut bytes = vec![Vec::new(); tensors.len()];
        for tile in self.0 {
            assert_eq!(tile.first * tensors[tile.tensor].row_bytes(), bytes[tile.tensor].len() as u64);
            bytes[tile.tensor].extend(tile.bytes);
        }
        bytes
    }
}

#[test]
fn a_copy_taken_during_a_step_is_the_state_before_it() {
    let recipe = recipe(FEATURES, STEPS);
    for gpu in &shardings() {
        let mut trainer = trainer(gpu, &recipe);
        take_steps(&mut trainer, 3);
        let (mut still, mut moving, mut after) = (Copy::default(), Copy::default(), Copy::default());
        trainer.copy_state(&mut still).unwrap();
        trainer.step_and_copy(&batches(3, STEPS)[3], &mut moving).unwrap();
        trainer.copy_state(&mut after).unwrap();
        let (still, moving, after) = (still.tensors(), moving.tensors(), after.tensors());
        for (at, tensor) in state_tensors(&config(FEATURES), MomentPrecision::F32).iter().enumerate() {
            assert_eq!(still[at].len(), tensor.shape[0] * tensor.row_bytes() as usize, "{}", tensor.name);
            assert!(still[at] == moving[at], "{} is not as it was before the step", tensor.name);
            assert!(still[at] != after[at], "{} is as it was before the step", tensor.name);
        }
    }
}

#[test]
fn damage_is_named() {
    let recipe = recipe(FEATURES, STEPS);
    let directory = tempfile::tempdir().unwrap();
    let mut trainer = trainer(gpu(), &recipe);
    take_steps(&mut trainer, 2);
    let path = save(&mut trainer, &recipe, directory.path());
    assert!(verify(&path).unwrap().is_empty());

    let (state, manifest) = (path.join("state.safetensors"), path.join("manifest.json"));
    let (sound_state, sound_manifest) = (fs::read(&state).unwrap(), fs::read_to_string(&manifest).unwrap());
    let named = |words: &[&str]| {
        let damage: Vec<String> = verify(&path).unwrap().iter().map(Error::to_string).collect();
        assert_eq!(damage.len(), words.len(), "{damage:?}");
        assert!(damage.iter().zip(words).all(|(damage, words)| damage.contains(words)), "{damage:?}");
    };

    let mut damaged = sound_state.clone();
    // b_dec and its moments lie before the two counters of each feature.
    let end = sound_state.len() - 8 * FEATURES;
    for at in [end - 12 * D, end - 1] {
        damaged[at] ^= 1;
    }
    fs::write(&state, &damaged).unwrap();
    named(&["tensor b_dec is damaged", "tensor b_dec.v is damaged"]);
    let mut reader = Reader::open(&path).unwrap();
    assert!(matches!(resume(gpu(), &recipe, &mut reader), Err(Error::Data { .. })));

    fs::write(&state, &sound_state[..sound_state.len() - 1]).unwrap();
    named(&["cut short"]);
    fs::write(&state, &sound_state).unwrap();
    fs::write(&manifest, sound_manifest.replace("\"step\": 2", "\"step\": 3")).unwrap();
    named(&["its checksum does not match"]);
    fs::write(&manifest, &sound_manifest[..200]).unwrap();
    named(&["is damaged: "]);
    fs::write(&manifest, sound_manifest.replace("\"format\": 6", "\"format\": 7")).unwrap();
    named(&["was written by a newer monosem (format 7"]);
    fs::write(&manifest, sound_manifest).unwrap();
    named(&[]);
}

/// The first format had neither marks nor provenance, the second another state.
#[test]
fn a_checkpoint_of_an_older_format_is_refused_by_name() {
    let recipe = recipe(FEATURES, STEPS);
    let directory = tempfile::tempdir().unwrap();
    let path = save(&mut trainer(gpu(), &recipe), &recipe, directory.path());
    let manifest = json!({ "manifest": { "format": 2, "version": "0.1.0", "step": 0 }, "checksum": "0" });
    fs::write(path.join("manifest.json"), manifest.to_string()).unwrap();
    let words = "step-0 was written by monosem before format 6 (format 2, version 0.1.0); it cannot be resumed, start \
                 again, or use the commit that wrote it";
    for error in [Reader::open(&path).err().unwrap(), open_sae(&path).err().unwrap()] {
        assert!(matches!(&error, Error::Config(message) if message.ends_with(words)), "{error}");
    }
    assert!(verify(&path).unwrap()[0].to_string().ends_with(words));
}

#[test]
fn a_checkpoint_is_there_as_a_whole_or_not_at_all() {
    let recipe = recipe(FEATURES, STEPS);
    let directory = tempfile::tempdir().unwrap();
    let here = || -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut trainer = trainer(gpu(), &recipe);
    let create = || Writer::create(directory.path(), &config(FEATURES), recipe.moments, 7).unwrap();

    let mut unwanted = create();
    trainer.copy_state(&mut unwanted).unwrap();
    assert_eq!(here().len(), 1);
    drop(unwanted);
    assert_eq!(here(), Vec::<String>::new());

    let mut incomplete = create();
    incomplete.commit(Manifest::new(7, &config(FEATURES), &recipe));
    let error = incomplete.finish().unwrap_err();
    assert!(error.to_string().contains("W_enc is incomplete"), "{error}");
    assert_eq!(here(), Vec::<String>::new());

    save(&mut trainer, &recipe, directory.path());
    fs::create_dir(directory.path().join(".step-9.1-0.tmp")).unwrap();
    for step in [30, 4, 200] {
        fs::create_dir(checkpoint::path(directory.path(), step)).unwrap();
    }
    fs::create_dir(directory.path().join("step-007")).unwrap();
    let steps = || -> Vec<u64> { checkpoint::list(directory.path()).unwrap().iter().map(|(step, _)| *step).collect() };
    assert_eq!(steps(), [0, 4, 30, 200]);
    checkpoint::prune(directory.path(), 2).unwrap();
    assert_eq!(steps(), [30, 200]);
    assert_eq!(here().len(), 3, "what has another name stays: {:?}", here());
    assert_eq!(checkpoint::list(&directory.path().join("nowhere")).unwrap(), []);
}

#[test]
fn other_sizes_are_refused() {
    let recipe = recipe(FEATURES, STEPS);
    let directory = tempfile::tempdir().unwrap();
    let path = save(&mut trainer(gpu(), &recipe), &recipe, directory.path());
    let manifest = path.join("manifest.json");
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.manifest().sae, config(FEATURES));
    assert_eq!(reader.manifest().recipe, recipe);

    // The manifest of another SAE, with a checksum of its own.
    let other = SaeConfig { features: FEATURES - 1, ..config(FEATURES) };
    let initial = initialize(&other, 3, &batches(3, 1)[0].rows.to_f32()).unwrap();
    let mut smaller = Trainer::new(gpu(), &initial, recipe.clone()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(elsewhere.path(), &other, recipe.moments, 0).unwrap();
    smaller.copy_state(&mut writer).unwrap();
    writer.commit(Manifest::new(0, &other, &recipe));
    writer.finish().unwrap();
    fs::copy(checkpoint::path(elsewhere.path(), 0).join("manifest.json"), &manifest).unwrap();
    let error = Reader::open(&path).err().unwrap();
    assert!(error.to_string().contains("has no tensor W_enc of F32 [4999, 13]"), "{error}");
    // What was opened before is what it was.
    resume(gpu(), &recipe, &mut reader).unwrap();
}
