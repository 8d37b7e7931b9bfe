//! A training run under way: from where it begins or goes on to the SAE, or to the state that it is resumed from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use monosem::checkpoint::{self, Manifest, Reader};
use monosem::data::{Batches, Provenance, Selection};
use monosem::engine::select::Tuning;
use monosem::gpu::Gpu;
use monosem::sae::{SaeConfig, save};
use monosem::train::{Profile, Progress, Recipe, Trainer, initialize};
use monosem::{Error, Result};
use serde_json::{Value, json};

use super::checkpoints::{CheckpointSettings, Checkpoints};
use super::metrics_log::{Log, Position};
use super::output::tell;
use super::run_directory::RunDirectory;
use super::signals::Signals;

/// How a run ended that did not fail.
pub enum End {
    /// The SAE is there, and these are the checksums of its files.
    Done { checksums: BTreeMap<String, String> },
    /// Asked to end; the state is there.
    Interrupted,
}

/// What is to be trained, on what.
pub struct Job {
    pub config: SaeConfig,
    pub recipe: Recipe,
    pub tuning: Tuning,
    pub seed: u64,
    pub rows: Selection,
}

impl Job {
    fn batches(&self, first: u64, steps: u64) -> Result<Batches> {
        Batches::shuffled(self.rows.clone(), self.recipe.batch, self.seed, first, steps)
    }

    /// The training before its first step.
    fn begin<'a>(&self, gpu: &'a Gpu) -> Result<Trainer<'a>> {
        let first_batch = self.batches(0, 1)?.next().transpose()?;
        let first_batch = first_batch.ok_or_else(|| Error::Config("there is no row to train on".into()))?;
        let initial = initialize(&self.config, self.seed, &first_batch.rows)?;
        Trainer::with_tuning(gpu, &initial, self.recipe.clone(), self.tuning)
    }

    /// The training as a checkpoint has it.
    fn resume<'a>(&self, gpu: &'a Gpu, checkpoint: &mut Reader) -> Result<Trainer<'a>> {
        let step = checkpoint.manifest().step;
        self.check(checkpoint.manifest())?;
        Trainer::resume(gpu, &self.config, self.recipe.clone(), self.tuning, step, checkpoint)
    }

    /// Fails if a checkpoint is not one of this job: what `config.toml` cannot show.
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let (before, now) = (Position::of(manifest)?.rows, self.rows.rows());
        if before != now {
            return Err(Error::Config(format!(
                "the data have {now} rows, and had {before} when the run began: give it the same, or name a new --out"
            )));
        }
        if (&manifest.sae, &manifest.recipe) != (&self.config, &self.recipe) {
            let step = manifest.step;
            return Err(Error::Config(format!(
                "the checkpoint of step {step} is of another run than config.toml beside it: restore one of them"
            )));
        }
        Ok(())
    }

    fn manifest(&self, step: u64, log: &Log) -> Manifest {
        Manifest::new(step, &self.config, &self.recipe, json!(log.position(self.rows.rows())))
    }
}

/// A job under way.
pub struct Run<'a> {
    job: &'a Job,
    trainer: Trainer<'a>,
    directory: &'a mut RunDirectory,
    log: Log,
    checkpoints: Checkpoints,
    /// The last finished step's metrics, and at the end what became of the run.
    summary: Value,
    /// Steps that were selected twice, because screening had left a row uncertain.
    uncertain_steps: u64,
}

impl<'a> Run<'a> {
    /// Puts the newest whole checkpoint in the directory on the device, or if there is none initial weights.
    ///
    /// # Errors
    /// Those of the checkpoints, the data and the device.
    pub fn start(
        job: &'a Job,
        gpu: &'a Gpu,
        directory: &'a mut RunDirectory,
        mut log: Log,
        settings: CheckpointSettings,
    ) -> Result<Self> {
        let below = directory.join("checkpoints");
        let mut checkpoints = Checkpoints::new(below, job.config.clone(), job.recipe.moments, settings);
        let (trainer, position) = match checkpoints.restore(|checkpoint| job.resume(gpu, checkpoint))? {
            Some((trainer, manifest)) => (trainer, Position::of(&manifest)?),
            None => (job.begin(gpu)?, Position::default()),
        };
        log.rewind(trainer.submitted(), &position)?;
        Ok(Self { job, trainer, directory, log, checkpoints, summary: json!({}), uncertain_steps: 0 })
    }

    /// Times the kernels from here on.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no timestamps.
    pub fn start_profile(&mut self) -> Result<()> {
        self.trainer.start_profile()
    }

    /// Steps taken so far.
    pub fn step(&self) -> u64 {
        self.trainer.submitted()
    }

    /// Where it leaves its files.
    pub fn directory(&mut self) -> &mut RunDirectory {
        self.directory
    }

    /// What `--json` prints last.
    pub fn summary(&self) -> &Value {
        &self.summary
    }

    /// Takes the steps that are left, or as many as the signals allow, and leaves the SAE or the state.
    ///
    /// # Errors
    /// Those of the data, the device and the file system.
    pub fn train(&mut self, signals: &Signals, provenance: Provenance) -> Result<End> {
        self.announce();
        let Recipe { batch, steps, .. } = self.job.recipe;
        for rows in self.job.batches(self.step() * batch as u64, steps - self.step())? {
            if signals.received() {
                break;
            }
            let rows = rows?;
            let finished = match self.checkpoints.due(self.trainer.submitted())? {
                Some(writer) => self.trainer.step_and_copy(&rows, writer),
                None => self.trainer.step(&rows),
            };
            self.tell_of(finished?)?;
        }
        while let Some(progress) = self.trainer.next_finished()? {
            self.tell_of(Some(progress))?;
        }
        self.summary["selection"] = self.trainer.method().to_string().into();
        self.summary["uncertain_steps"] = self.uncertain_steps.into();
        if self.uncertain_steps > 0 {
            let (steps, all) = (self.uncertain_steps, self.trainer.finished());
            tell(&format!(
                "note: in {steps} of {all} steps f16 left rows uncertain, and all were selected in f32: --screening f32 may be faster"
            ));
        }
        if let Some(profile) = self.trainer.profile() {
            tell_of_profile(profile);
            self.summary["profile"] = json!({
                "steps": profile.steps,
                "kernels": profile.operations,
                "idle_seconds": profile.idle,
                "idle_share": profile.idle_share(),
            });
        }
        if self.trainer.finished() == steps { self.save(provenance) } else { self.suspend(signals) }
    }

    fn announce(&self) {
        let (SaeConfig { d_in, features, k, .. }, Recipe { batch, steps, .. }) = (&self.job.config, &self.job.recipe);
        tell(&match self.step() {
            0 => {
                let rows = self.job.rows.rows();
                format!(
                    "training {features} features of {d_in} values, {k} a row: {steps} steps of {batch} rows, out of {rows}"
                )
            }
            step => format!("going on after step {step} of {steps}"),
        });
    }

    fn tell_of(&mut self, finished: Option<Progress>) -> Result<()> {
        let Some(progress) = finished else { return Ok(()) };
        self.directory.keep();
        self.summary = self.log.write(&progress)?;
        self.uncertain_steps += u64::from(progress.uncertain_rows > 0);
        self.checkpoints.finished(progress.step, || self.job.manifest(progress.step, &self.log))
    }

    /// Leaves the SAE.
    fn save(&mut self, provenance: Provenance) -> Result<End> {
        self.checkpoints.finish()?;
        let path = self.directory.join("sae");
        if path.exists() {
            // A run that was killed before it could record that it was done; this one ends with the same.
            checkpoint::remove(&path)?;
        }
        save(&self.trainer.weights(provenance), &path)?;
        tell(&format!("saved {}", path.to_string_lossy().escape_debug()));
        self.summary["state"] = "done".into();
        self.summary["sae"] = path.to_string_lossy().into();
        Ok(End::Done { checksums: checksums(&path)? })
    }

    /// Leaves the state, unless no step was taken yet.
    fn suspend(&mut self, signals: &Signals) -> Result<End> {
        let step = self.trainer.finished();
        self.summary["state"] = "interrupted".into();
        self.summary["exit_code"] = signals.exit_code().into();
        if step > 0 {
            let path = self.checkpoints.save(&self.trainer, self.job.manifest(step, &self.log))?;
            let path = path.to_string_lossy();
            tell(&format!("asked to end: saved {}; with --resume the run goes on", path.escape_debug()));
            self.summary["checkpoint"] = path.into();
        }
        Ok(End::Interrupted)
    }
}

/// Seconds a step, the longest first.
fn tell_of_profile(profile: &Profile) {
    let milliseconds = |seconds: f64| 1e3 * seconds / profile.steps.max(1) as f64;
    let mut operations: Vec<_> = profile.operations.iter().collect();
    operations.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    tell(&format!("{:18}{:>12}{:>9}", "kernel", "ms a step", "of time"));
    let all = profile.busy() + profile.idle;
    let idle = ("idle".to_owned(), profile.idle);
    for (name, seconds) in operations.into_iter().chain([(&idle.0, &idle.1)]) {
        let share = format!("{:.1} %", 100.0 * seconds / all);
        tell(&format!("{name:18}{:>12.3}{share:>9}", milliseconds(*seconds)));
    }
}

/// The checksum of each file in a directory.
fn checksums(directory: &Path) -> Result<BTreeMap<String, String>> {
    let entries = fs::read_dir(directory).map_err(Error::io(directory))?;
    let sum = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.map_err(Error::io(directory))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), checkpoint::checksum(&entry.path())?))
    };
    entries.map(sum).collect()
}
