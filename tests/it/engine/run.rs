//! Runs as a library has them: no process, no terminal.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use monosem::Error;
use monosem::data::Activations;
use monosem::engine::select::{SelectionMethod, Tuning};
use monosem::kernels::EncodeVariant;
use monosem::run::checkpoint::{self, CheckpointPolicy, Every, Manifest, Marks};
use monosem::run::{self, End, Event, Job, Run, RunOptions};
use monosem::sae::{self, SaeConfig};
use monosem::storage;
use monosem::train::Recipe;
use serde_json::{Value, json};

use crate::kernels::gpu;
use crate::program::cli::{self, Files};

// Its main is not called here.
#[allow(dead_code)]
#[path = "../../../examples/resume.rs"]
mod example;

#[test]
fn the_example_resumes_to_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    example::resume(gpu(), directory.path()).unwrap();
}

/// 12 steps on the 500 rows of the files.
fn job(files: &Files) -> Job {
    let data = Arc::new(Activations::open(&[files.data.clone().into()]).unwrap());
    let config = SaeConfig::top_k(data.width(), 64, 4);
    Job { seed: 7, ..Job::new(gpu(), config, Recipe::top_k(64, 50, 12), data) }
}

fn options() -> RunOptions {
    let checkpoints = CheckpointPolicy { every: Every::Steps(4), ..CheckpointPolicy::default() };
    RunOptions { checkpoints, ..RunOptions::default() }
}

/// Runs until `last` steps are taken, and gives the end and the names of the events but for steps.
fn train(path: &Path, job: &Job, last: u64) -> monosem::Result<(End, Vec<String>)> {
    let mut events = Vec::new();
    let mut listen = |event: &Event<'_>| {
        let name = format!("{event:?}").split([' ', '(']).next().unwrap().to_owned();
        match event {
            Event::Step { .. } => {}
            Event::CheckpointSaved { step, .. } | Event::Resumed { step, .. } => events.push(format!("{name} {step}")),
            _ => events.push(name),
        }
        Ok(())
    };
    let run = Run::resume(gpu(), path, job.clone(), options(), &mut listen)?;
    let end = run.train(&|taken| taken >= last, &mut listen)?;
    Ok((end, events))
}

fn record(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path.join("run.json")).unwrap()).unwrap()
}

/// The weights after the whole job.
fn unbroken(files: &Files) -> sae::Sae {
    let path = files.directory.path().join("unbroken");
    train(&path, &job(files), u64::MAX).unwrap();
    sae::load(&path).unwrap()
}

#[test]
fn a_run_is_stopped_resumed_and_done() {
    let files = Files::new();
    let (path, job) = (files.directory.path().join("run"), job(&files));
    assert!(!run::exists(&path).unwrap());
    let (end, events) = train(&path, &job, 6).unwrap();
    assert_eq!(end, End::Interrupted { checkpoint: Some(path.join("checkpoints/step-6")) });
    // Checkpoints are saved in the background: when they are reported is left to the disk.
    let saved = |events: &[String]| -> Vec<String> {
        events.iter().filter(|event| event.starts_with("CheckpointSaved")).cloned().collect()
    };
    let rest = |events: &[String]| -> Vec<String> {
        events.iter().filter(|event| !event.starts_with("CheckpointSaved")).cloned().collect()
    };
    assert_eq!(rest(&events), ["Started", "StepsFinished", "Interrupted"]);
    assert_eq!(saved(&events), ["CheckpointSaved 4", "CheckpointSaved 6"]);
    assert_eq!(record(&path)["state"], "interrupted");
    assert!(run::exists(&path).unwrap() && !run::is_done(&path).unwrap());

    // What is not this job is refused.
    for other in [Job { seed: 8, ..job.clone() }, Job { recipe: Recipe::top_k(64, 50, 13), ..job.clone() }] {
        let error = train(&path, &other, u64::MAX).err().unwrap();
        assert!(error.to_string().contains("is of another run"), "{error}");
    }
    let (end, events) = train(&path, &job, u64::MAX).unwrap();
    assert_eq!(end, End::Done { sae: path.join("sae") });
    assert_eq!(rest(&events), ["Resumed 6", "StepsFinished", "Saved"]);
    assert_eq!(saved(&events), ["CheckpointSaved 8"]);
    assert_eq!((&record(&path)["state"], &record(&path)["resumed_from"]), (&json!("done"), &json!(6)));
    assert_eq!(record(&path)["resumed_under"], json!([]));
    assert!(sae::load(&path).unwrap() == unbroken(&files));
    let error = train(&path, &job, u64::MAX).err().unwrap();
    assert!(run::is_done(&path).unwrap() && error.to_string().contains("is already complete"), "{error}");
    let steps = fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let steps: Vec<Value> =
        steps.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].take()).collect();
    assert_eq!(steps, [1, 10, 12]);
}

#[test]
fn a_run_that_is_stopped_before_its_first_step_leaves_nothing() {
    let files = Files::new();
    let path = files.directory.path().join("run");
    let (end, events) = train(&path, &job(&files), 0).unwrap();
    assert_eq!((end, path.exists()), (End::Interrupted { checkpoint: None }, false));
    assert_eq!(events, ["Started", "StepsFinished", "Interrupted"]);
}

#[test]
fn an_error_of_the_listener_ends_the_run() {
    let files = Files::new();
    let path = files.directory.path().join("run");
    let run = Run::create(gpu(), &path, job(&files), options()).unwrap();
    let error = run.train(&|_| false, &mut |event| match event {
        Event::Step { progress, .. } if progress.step == 3 => Err(Error::Config("enough".into())),
        _ => Ok(()),
    });
    assert_eq!(error.unwrap_err().to_string(), "enough");
    assert_eq!((&record(&path)["state"], &record(&path)["error"]["error"]), (&json!("failed"), &json!("enough")));
}

/// Runs a job with a checkpoint as often as `every` says, and gives the steps of those that are reported as saved.
fn saved_steps(path: &Path, job: &Job, every: Every) -> monosem::Result<Vec<u64>> {
    let checkpoints = CheckpointPolicy { every, keep: NonZeroUsize::new(20).unwrap() };
    let run = Run::create(gpu(), path, job.clone(), RunOptions { checkpoints, ..RunOptions::default() })?;
    let mut saved = Vec::new();
    run.train(&|_| false, &mut |event| {
        if let Event::CheckpointSaved { step, path } = event {
            assert!(path.join("manifest.json").exists(), "{}", path.display());
            saved.push(*step);
        }
        Ok(())
    })?;
    Ok(saved)
}

#[test]
fn each_checkpoint_that_is_due_is_saved_before_the_next() {
    let files = Files::new();
    let job = job(&files);
    let every_second: Vec<u64> = (1..6).map(|step| 2 * step).collect();
    let cases = [
        ("each", Every::Steps(1), (1..12).collect()),
        ("second", Every::Steps(2), every_second),
        // An interval that is over before a step is.
        ("time", Every::Time(Duration::from_nanos(1)), (1..12).collect()),
    ];
    for (name, every, due) in cases {
        let path = files.directory.path().join(name);
        assert_eq!(saved_steps(&path, &job, every).unwrap(), due, "{every:?}");
        let found = checkpoint::list(&path.join("checkpoints")).unwrap();
        assert_eq!(found.iter().map(|(step, _)| *step).collect::<Vec<_>>(), due, "{every:?}");
        for (_, checkpoint) in found {
            assert!(checkpoint::verify(&checkpoint).unwrap().is_empty(), "{}", checkpoint.display());
        }
        assert!(sae::load(&path).unwrap() == unbroken(&files));
        fs::remove_dir_all(files.directory.path().join("unbroken")).unwrap();
    }
}

#[test]
fn a_run_whose_first_step_fails_leaves_nothing_though_a_checkpoint_is_due() {
    let files = Files::new();
    // The squared errors of such rows are infinite.
    let huge = cli::write(&files.directory.path().join("huge.safetensors"), 500, |at| 1e25 * cli::noise(at));
    let data = Arc::new(Activations::open(&[huge.into()]).unwrap());
    let job = Job { rows: data.into(), ..job(&files) };
    let path = files.directory.path().join("new/run");
    let error = saved_steps(&path, &job, Every::Steps(1)).unwrap_err();
    assert!(matches!(error, Error::Data { .. }), "{error}");
    assert!(!path.parent().unwrap().exists(), "{:?}", fs::read_dir(&path).unwrap().collect::<Vec<_>>());
}

#[test]
fn the_settings_of_a_run_stay_when_another_job_is_refused() {
    let files = Files::new();
    let (path, job) = (files.directory.path().join("run"), job(&files));
    let resume = |job: &Job, text: &str, last: u64| {
        let options = RunOptions { config_toml: Some(text.into()), ..options() };
        let run = Run::resume(gpu(), &path, job.clone(), options, &mut |_| Ok(()))?;
        run.train(&|taken| taken >= last, &mut |_| Ok(()))
    };
    let settings = || fs::read_to_string(path.join("config.toml")).unwrap();
    resume(&job, "seed = 7\n", 3).unwrap();
    for other in [Job { seed: 9, ..job.clone() }, Job { recipe: Recipe::top_k(50, 40, 12), ..job.clone() }] {
        let error = resume(&other, "seed = 9\n", 6).unwrap_err();
        assert!(error.to_string().contains("is of another run"), "{error}");
        assert_eq!(settings(), "seed = 7\n");
    }
    // Settings that the result does not depend on may change.
    resume(&job, "seed = 7 # resumed\n", 6).unwrap();
    assert_eq!(settings(), "seed = 7 # resumed\n");
}

#[test]
fn the_record_names_the_selection_that_ran() {
    let files = Files::new();
    let path = files.directory.path().join("run");
    let mut job = job(&files);
    // The variant's groups are of another size, so chunks take over.
    let encode = EncodeVariant::best(gpu().description());
    job.tuning = Tuning { encode, method: SelectionMethod::Grouped { group: 2 * encode.group() } };
    let run = Run::create(gpu(), &path, job.clone(), options()).unwrap();
    let mut selections = Vec::new();
    run.train(&|_| false, &mut |event| {
        if let Event::StepsFinished { selection, .. } = event {
            selections.push(json!(selection));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(selections, [json!("chunked")]);
    assert_eq!(record(&path)["selection"], "chunked");
    assert_eq!(record(&path)["encode"], job.tuning.encode.to_string());
}

#[test]
fn no_field_of_a_runs_manifest_is_empty() {
    let files = Files::new();
    let path = files.directory.path().join("run");
    train(&path, &job(&files), 5).unwrap();
    let text = fs::read(path.join("checkpoints/step-5/manifest.json")).unwrap();
    let sealed: Value = serde_json::from_slice(&text).unwrap();
    let fields = sealed["manifest"].as_object().unwrap();
    let empty: Vec<_> = fields.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name).collect();
    assert!(empty.is_empty(), "{empty:?}");
}

/// As if another build had written the checkpoint.
pub fn change_marks(checkpoint: &Path, marks: &Marks) {
    let path = checkpoint.join("manifest.json");
    let sealed: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut manifest: Manifest = serde_json::from_value(sealed["manifest"].clone()).unwrap();
    (manifest.rules, manifest.shaders) = (marks.rules.clone(), marks.shaders.clone());
    let checksum = storage::checksum(&serde_json::to_vec(&manifest).unwrap());
    fs::write(path, json!({ "manifest": manifest, "checksum": checksum }).to_string()).unwrap();
}

#[test]
fn a_resume_under_other_marks_says_so_and_continues() {
    let files = Files::new();
    let (path, job) = (files.directory.path().join("run"), job(&files));
    train(&path, &job, 6).unwrap();
    let now = Marks::current();
    let before = Marks { shaders: "0123456789abcdef".into(), ..now.clone() };
    change_marks(&path.join("checkpoints/step-6"), &before);
    let (_, events) = train(&path, &job, 8).unwrap();
    assert_eq!(events[..2], ["ResumedUnderOtherMarks", "Resumed 6"]);
    let change = json!([{ "step": 6, "before": before, "now": now }]);
    assert_eq!(record(&path)["resumed_under"], change);
    // It is not forgotten by what follows under these marks.
    let (end, events) = train(&path, &job, u64::MAX).unwrap();
    assert_eq!((end, &*events[0]), (End::Done { sae: path.join("sae") }, "Resumed 8"));
    assert_eq!(record(&path)["resumed_under"], change);
    assert!(sae::load(&path).unwrap() == unbroken(&files));
}
