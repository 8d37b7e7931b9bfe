//! A run under way: from where it starts or resumes to the SAE, or to the checkpoint that it resumes from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::checkpoint::{self, Checkpoints, Manifest, Marks};
use super::directory::{self, CHECKPOINTS, RunDirectory};
use super::events::{Event, Listener};
use super::job::Job;
use super::metrics::{LogSchedule, MetricsFile, metrics_json};
use super::options::{End, RunOptions};
use super::position::{MarkChange, Position};
use super::record::{Outcome, RunRecord};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::save;
use crate::storage::checksum_file;
use crate::train::{Progress, Trainer};

/// A job under way in its directory: config.toml, run.json, metrics.jsonl, checkpoints/ and at the end sae/.
///
/// A new directory is removed again if the run ends before its first step is finished.
pub struct Run {
    job: Job,
    trainer: Trainer,
    /// Before the directory, which is removed only when it is empty: dropping it waits for its writer.
    checkpoints: Checkpoints,
    directory: RunDirectory,
    metrics: MetricsFile,
    log: LogSchedule,
    record: RunRecord,
    provenance: Provenance,
    started: Instant,
    /// Seconds that the run took before it was resumed.
    seconds_before: f64,
    resumed_under: Vec<MarkChange>,
    uncertain_steps: u64,
}

impl Run {
    /// A new run in the directory `path`, which must not exist or be empty.
    ///
    /// # Errors
    /// As [`check_new`](super::check_new), and those of the data and the device.
    pub fn create(gpu: &Gpu, path: &Path, job: Job, options: RunOptions) -> Result<Self> {
        let mut directory = RunDirectory::create(path)?;
        // First, because it must be new: of two runs that start in one directory, the second creates nothing.
        let metrics = MetricsFile::create(&mut directory)?;
        Self::prepare(gpu, directory, metrics, job, options, &mut |_| Ok(()))
    }

    /// The run in the directory `path`, resumed from its newest intact checkpoint; from the beginning if there is no
    /// checkpoint or no run yet. It ends with the bits of an unbroken run if the same build resumes it on the same
    /// device.
    ///
    /// # Errors
    /// As [`Run::create`]; [`Error::Config`] when the run is done, another process is training it, or its checkpoint is
    /// of another job or format; [`Error::Data`] when all of its checkpoints are damaged; those of the listener.
    pub fn resume(gpu: &Gpu, path: &Path, job: Job, options: RunOptions, events: &mut Listener<'_>) -> Result<Self> {
        if !directory::exists(path)? {
            return Self::create(gpu, path, job, options);
        }
        if directory::is_done(path)? {
            let name = path.to_string_lossy();
            return Err(Error::Config(format!(
                "the run in {} is already complete: name a new directory",
                name.escape_debug()
            )));
        }
        let directory = RunDirectory::open(path);
        let metrics = MetricsFile::open(&directory)?;
        directory.remove_leftovers()?;
        Self::prepare(gpu, directory, metrics, job, options, events)
    }

    fn prepare(
        gpu: &Gpu,
        mut directory: RunDirectory,
        mut metrics: MetricsFile,
        job: Job,
        options: RunOptions,
        events: &mut Listener<'_>,
    ) -> Result<Self> {
        let below = directory.join(CHECKPOINTS);
        let mut checkpoints = Checkpoints::new(below, job.config.clone(), job.recipe.moments, options.checkpoints);
        let skipped = |error: &Error| events(&Event::CheckpointSkipped { error });
        let restored = checkpoints.restore(|checkpoint| job.resume(gpu, checkpoint), skipped)?;
        // Not before the job is known to be that of the checkpoint.
        if let Some(text) = &options.config_toml {
            directory.write_config(text)?;
        }
        let (mut trainer, position) = match restored {
            Some(restored) => {
                let position = position_of(&restored.manifest, events)?;
                (restored.state, position)
            }
            None => (job.begin(gpu)?, Position::default()),
        };
        metrics.rewind(position.metrics_bytes)?;
        if options.profile {
            trainer.start_profile()?;
        }
        let mut record = RunRecord::new(options.started, &job, gpu.description(), &trainer);
        record.set_resumed_under(&position.resumed_under);
        record.write(&mut directory)?;
        Ok(Self {
            log: LogSchedule { every: options.log_every, steps: job.recipe.steps },
            provenance: options.provenance.unwrap_or_else(|| job.rows.data().provenance().clone()),
            job,
            trainer,
            directory,
            metrics,
            checkpoints,
            record,
            started: Instant::now(),
            seconds_before: position.seconds,
            resumed_under: position.resumed_under,
            uncertain_steps: 0,
        })
    }

    /// Steps taken so far.
    pub fn step(&self) -> u64 {
        self.trainer.submitted()
    }

    /// Takes the steps that are left and saves the SAE. Before each step `stop` is called with the number of steps
    /// taken; if it returns true, the run saves a checkpoint instead and ends. Either way, and after a failure,
    /// run.json says so.
    ///
    /// # Errors
    /// Those of the data, the device, the file system and the listener.
    pub fn train(mut self, stop: &dyn Fn(u64) -> bool, events: &mut Listener<'_>) -> Result<End> {
        let result = self.take_steps(stop, events);
        let recorded = match &result {
            Ok(End::Done { sae }) => checksums(sae).map(|checksums| {
                self.record.end(Outcome::Done { checksums: &checksums });
            }),
            Ok(End::Interrupted { .. }) => {
                self.record.end(Outcome::Interrupted);
                Ok(())
            }
            Err(error) => {
                self.record.end(Outcome::Failed(error));
                Ok(())
            }
        };
        let recorded = recorded.and_then(|()| self.record.write(&mut self.directory));
        // What stopped the training matters more than a failure to record it.
        let end = result?;
        recorded.map(|()| end)
    }

    fn take_steps(&mut self, stop: &dyn Fn(u64) -> bool, events: &mut Listener<'_>) -> Result<End> {
        let (first, steps) = (self.step(), self.job.recipe.steps);
        events(&match first {
            0 => Event::Started { job: &self.job },
            step => Event::Resumed { step, steps },
        })?;
        for batch in self.job.batches(first..steps)? {
            if stop(self.step()) {
                break;
            }
            let batch = batch?;
            let taken = self.step();
            let finished = if self.checkpoints.is_due(taken) {
                self.commit_checkpoint(events)?;
                self.directory.create_directory(CHECKPOINTS)?;
                self.trainer.step_and_copy(&batch, self.checkpoints.begin(taken)?)
            } else {
                self.trainer.step(&batch)
            };
            if let Some(progress) = finished? {
                self.finish_step(&progress, events)?;
            }
        }
        while let Some(progress) = self.trainer.next_finished()? {
            self.finish_step(&progress, events)?;
        }
        events(&Event::StepsFinished {
            steps: self.trainer.finished(),
            uncertain_steps: self.uncertain_steps,
            selection: &self.trainer.method().to_string(),
            profile: self.trainer.profile(),
        })?;
        if self.trainer.finished() == steps { self.save(events) } else { self.suspend(events) }
    }

    fn finish_step(&mut self, progress: &Progress, events: &mut Listener<'_>) -> Result<()> {
        self.directory.keep();
        self.uncertain_steps += u64::from(progress.uncertain_rows > 0);
        let metrics = metrics_json(progress, self.seconds());
        let is_logged = self.log.includes(progress.step);
        if is_logged {
            self.metrics.append(&metrics)?;
        }
        events(&Event::Step { progress, metrics: &metrics, is_logged })?;
        if self.checkpoints.is_ready_for(progress.step) {
            let manifest = self.manifest(progress.step);
            self.checkpoints.commit(manifest);
        }
        self.checkpoints.finish_if_written()?;
        self.report_saved(events)
    }

    /// Finishes steps until the checkpoint that is being written is known to be sound, and waits until it is on the
    /// disk.
    fn commit_checkpoint(&mut self, events: &mut Listener<'_>) -> Result<()> {
        while self.checkpoints.is_uncommitted()
            && let Some(progress) = self.trainer.next_finished()?
        {
            self.finish_step(&progress, events)?;
        }
        self.checkpoints.finish()?;
        self.report_saved(events)
    }

    /// Saves the SAE.
    fn save(&mut self, events: &mut Listener<'_>) -> Result<End> {
        self.commit_checkpoint(events)?;
        let path = self.directory.join("sae");
        if path.exists() {
            // A run that was killed before it could record that it was done; this one ends with the same.
            checkpoint::remove(&path)?;
        }
        save(&self.trainer.weights(self.provenance.clone()), &path)?;
        events(&Event::Saved { path: &path })?;
        Ok(End::Done { sae: path })
    }

    /// Saves a checkpoint, unless no step was taken yet.
    fn suspend(&mut self, events: &mut Listener<'_>) -> Result<End> {
        self.commit_checkpoint(events)?;
        let checkpoint = match self.trainer.finished() {
            0 => None,
            step => {
                let manifest = self.manifest(step);
                Some(self.checkpoints.save(&mut self.trainer, manifest)?)
            }
        };
        self.report_saved(events)?;
        events(&Event::Interrupted { checkpoint: checkpoint.as_deref() })?;
        Ok(End::Interrupted { checkpoint })
    }

    fn report_saved(&mut self, events: &mut Listener<'_>) -> Result<()> {
        for step in self.checkpoints.take_saved() {
            let path = checkpoint::path(&self.directory.join(CHECKPOINTS), step);
            events(&Event::CheckpointSaved { step, path: &path })?;
        }
        Ok(())
    }

    /// Seconds that the run has taken.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn manifest(&self, step: u64) -> Manifest {
        let position = Position {
            metrics_bytes: self.metrics.bytes(),
            seconds: self.seconds(),
            rows: self.job.rows.rows(),
            seed: self.job.seed,
            resumed_under: self.resumed_under.clone(),
        };
        Manifest {
            provenance: self.provenance.clone(),
            run: json!(position),
            ..Manifest::new(step, &self.job.config, &self.job.recipe)
        }
    }
}

/// Where a checkpoint resumes, this resume included if it is by a build of other marks.
fn position_of(manifest: &Manifest, events: &mut Listener<'_>) -> Result<Position> {
    let mut position = Position::of(manifest)?;
    let (before, now) = (manifest.marks(), Marks::current());
    if before != now {
        events(&Event::ResumedUnderOtherMarks { before: &before, now: &now })?;
        position.resumed_under.push(MarkChange { step: manifest.step, before, now });
    }
    Ok(position)
}

/// The checksum of each file in a directory.
fn checksums(directory: &Path) -> Result<BTreeMap<String, String>> {
    let entries = fs::read_dir(directory).map_err(Error::io(directory))?;
    let sum = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.map_err(Error::io(directory))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), checksum_file(&entry.path())?))
    };
    entries.map(sum).collect()
}
