//! Runs that meet an error late: what they had is on the disk, and the same command ends with the same bits.

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use monosem::Error;
use monosem::apply::evaluate;
use monosem::data::{Activations, Batches};
use monosem::run::checkpoint::{CheckpointPolicy, Every};
use monosem::run::{End, Event, Job, Run, RunOptions, Validated};
use monosem::sae::{self, AuxK, AuxKForm, SaeConfig, TopK};
use monosem::train::Recipe;
use serde_json::Value;

use crate::kernels::gpu;
use crate::program::cli::{self, Files, noise};

const ROWS: usize = 500;

fn open(path: &str) -> Arc<Activations> {
    Arc::new(Activations::open(&[path.into()]).unwrap())
}

/// 9 steps of 50 rows, within the first epoch, so that a row is met once; with AuxK, whose state is the largest.
fn job(files: &Files) -> Job {
    let data = open(&files.data);
    let architecture = TopK { auxk: Some(AuxK::new(AuxKForm::Normalised)), ..TopK::new(4) }.into();
    let config = SaeConfig { architecture, ..SaeConfig::top_k(data.width(), 64, 4) };
    let recipe = Recipe { dead_window: 100, ..Recipe::top_k(64, 50, 9) };
    Job { seed: 7, ..Job::new(gpu(), config, recipe, data) }
}

/// No checkpoint but what an end leaves.
fn options() -> RunOptions {
    let checkpoints = CheckpointPolicy { every: Every::Steps(0), ..CheckpointPolicy::default() };
    RunOptions { checkpoints, log_every: NonZeroU64::MIN, ..RunOptions::default() }
}

/// What must not depend on how a run was interrupted.
#[derive(PartialEq)]
struct Left {
    sae: sae::Sae,
    metrics: Vec<Value>,
}

fn left(path: &Path) -> Left {
    Left { sae: sae::load(path).unwrap(), metrics: cli::metrics(path) }
}

/// Trains to the end, from wherever the run in `path` is.
fn finish(path: &Path, job: Job, options: RunOptions) -> Left {
    let run = Run::resume(gpu(), path, job, options, &mut |_| Ok(())).unwrap();
    assert!(matches!(run.train(&|_| false, &mut |_| Ok(())).unwrap(), End::Done { .. }));
    left(path)
}

/// What a run leaves that nothing happens to.
fn unbroken(files: &Files) -> Left {
    finish(&files.directory.path().join("unbroken"), job(files), options())
}

/// The step of the one checkpoint, and the error.
fn fail(path: &Path, job: Job, events: &mut monosem::run::Listener<'_>) -> (u64, Error) {
    let run = Run::create(gpu(), path, job, options()).unwrap();
    let error = run.train(&|_| false, events).unwrap_err();
    let record: Value = serde_json::from_slice(&fs::read(path.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["state"], "failed");
    let saved = monosem::run::checkpoint::list(&path.join("checkpoints")).unwrap();
    let [(step, _)] = saved[..] else { panic!("{saved:?}") };
    (step, error)
}

/// A row that the job meets neither first nor last, and the steps before the one that meets it.
fn late_row(files: &Files) -> (usize, u64) {
    let marked = open(&files.data);
    let mut row = vec![0.0; marked.width()];
    marked.read(&[123], &mut row).unwrap();
    let holds = |rows: &[f32]| rows.chunks(row.len()).any(|other| other == row);
    let batches = &mut job(files).batches(0..9).unwrap();
    let steps = batches.position(|batch| holds(&batch.unwrap().rows.to_f32())).unwrap();
    assert!((1..9).contains(&steps), "choose another row: it is in step {}", steps + 1);
    (123, steps as u64)
}

#[test]
fn a_bad_row_far_into_an_epoch_costs_no_step() {
    let files = Files::new();
    let unbroken = unbroken(&files);
    let width = job(&files).config.d_in;
    let (row, steps) = late_row(&files);
    for (name, bad) in [("nan", f32::NAN), ("huge", 1e25), ("square", 3e19)] {
        let path = files.directory.path().join(name);
        cli::write(Path::new(&files.data), ROWS, |at| if at == row * width + 1 { bad } else { noise(at) });
        let (step, error) = fail(&path, job(&files), &mut |_| Ok(()));
        assert_eq!(step, steps, "{name}: {error}");
        assert!(matches!(error, Error::Data { .. }), "{name}: {error}");
        assert!(error.to_string().contains(&format!("row {row}")), "{name}: {error}");
        cli::write(Path::new(&files.data), ROWS, noise);
        assert!(finish(&path, job(&files), options()) == unbroken, "{name}");
    }
}

#[test]
fn a_listener_that_fails_costs_no_step() {
    let files = Files::new();
    let unbroken = unbroken(&files);
    let path = files.directory.path().join("run");
    let mut rescued = None;
    let (step, error) = fail(&path, job(&files), &mut |event| match event {
        Event::Step { progress, .. } if progress.step == 3 => Err(Error::Config("enough".into())),
        Event::Rescued { checkpoint } => {
            rescued = Some(checkpoint.to_path_buf());
            Ok(())
        }
        _ => Ok(()),
    });
    assert_eq!(error.to_string(), "enough");
    assert!((3..=5).contains(&step), "{step}");
    assert_eq!(rescued, Some(path.join(format!("checkpoints/step-{step}"))));
    assert!(finish(&path, job(&files), options()) == unbroken);
}

#[test]
fn a_file_that_is_cut_short_while_it_is_read_costs_no_step() {
    let files = Files::new();
    let unbroken = unbroken(&files);
    let path = files.directory.path().join("run");
    let whole = fs::read(&files.data).unwrap();
    let (step, error) = fail(&path, job(&files), &mut |event| {
        if matches!(event, Event::Step { progress, .. } if progress.step == 1) {
            // No batch is without one of the rows that are gone; what was read ahead is trained on.
            fs::File::options().write(true).open(&files.data).unwrap().set_len(whole.len() as u64 / 2).unwrap();
        }
        Ok(())
    });
    assert!(matches!(error, Error::Data { .. }) && error.to_string().contains("cut short"), "{error}");
    fs::write(&files.data, whole).unwrap();
    assert!((1..9).contains(&step), "{step}");
    assert!(finish(&path, job(&files), options()) == unbroken);
}

#[test]
fn a_checkpoint_that_cannot_be_written_costs_only_itself() {
    let files = Files::new();
    let unbroken = unbroken(&files);
    let path = files.directory.path().join("run");
    // A file in the place of its directory, until step 5.
    let every_step = CheckpointPolicy { every: Every::Steps(1), ..CheckpointPolicy::default() };
    let run = Run::create(gpu(), &path, job(&files), RunOptions { checkpoints: every_step, ..options() }).unwrap();
    fs::write(path.join("checkpoints"), "in the way").unwrap();
    let (mut failed, mut saved) = (0, Vec::new());
    let end = run.train(&|_| false, &mut |event| {
        match event {
            Event::CheckpointFailed { error: Error::Io { .. } } => failed += 1,
            Event::CheckpointSaved { step, .. } => saved.push(*step),
            Event::Step { progress, .. } if progress.step == 5 => fs::remove_file(path.join("checkpoints")).unwrap(),
            _ => {}
        }
        Ok(())
    });
    assert!(matches!(end.unwrap(), End::Done { .. }));
    assert!(failed > 0 && saved.last() == Some(&8), "{failed} failed, {saved:?} saved");
    assert!(left(&path) == unbroken);
}

#[test]
fn held_out_rows_are_measured_and_change_nothing() {
    let files = Files::new();
    let held_out = files.path("held-out.safetensors");
    // Not a multiple of the batch.
    cli::write(Path::new(&held_out), 130, |at| noise(at + 1_000_003));
    let validated = |every| RunOptions {
        validation: Some(Validated { rows: open(&held_out).into(), every: NonZeroU64::new(every).unwrap() }),
        log_every: NonZeroU64::new(100).unwrap(),
        // In the step after an evaluation, too.
        checkpoints: CheckpointPolicy { every: Every::Steps(2), keep: 9.try_into().unwrap() },
        ..options()
    };
    let unbroken = unbroken(&files);
    let path = files.directory.path().join("run");
    let run = Run::create(gpu(), &path, job(&files), validated(4)).unwrap();
    assert!(matches!(run.train(&|taken| taken == 6, &mut |_| Ok(())).unwrap(), End::Interrupted { .. }));
    let steps: Vec<u64> =
        monosem::run::checkpoint::list(&path.join("checkpoints")).unwrap().iter().map(|c| c.0).collect();
    assert_eq!(steps, [2, 4, 6]);
    let resumed = finish(&path, job(&files), validated(4));
    assert!(resumed.sae == unbroken.sae);
    let measured: Vec<_> =
        resumed.metrics.iter().map(|line| (line["step"].as_u64().unwrap(), line["val_fvu"].as_f64())).collect();
    let [(1, None), (4, Some(_)), (8, Some(_)), (9, Some(fvu))] = measured[..] else { panic!("{measured:?}") };
    let all = evaluate(gpu(), &resumed.sae, 64, Batches::in_order(open(&held_out), 64).unwrap()).unwrap().all;
    assert!((fvu - all.fvu).abs() <= 1e-6 * all.fvu, "{fvu} and {}", all.fvu);
    let last = resumed.metrics.last().unwrap();
    assert_eq!(last["val_l0"].as_f64(), Some(all.l0));
    assert_eq!(last["epoch"].as_f64(), Some(0.9));
}
