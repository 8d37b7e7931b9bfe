//! A run under way: from where it starts or resumes to the SAE, or to the checkpoint that it resumes from.

mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::checkpoint::{self, Checkpoints, Manifest, Marks};
use super::directory::{self, CHECKPOINTS, RunDirectory};
use super::events::{Event, Listener};
use super::job::Job;
use super::metrics::{LogSchedule, MetricsFile, Pace};
use super::options::{End, RunOptions, Validated};
use super::position::{Extension, MarkChange, Position, StepsByPath};
use super::record::{Outcome, RunRecord};
use super::tensorboard::EventFile;
use crate::data::{Batches, FileIdentity, Provenance};
use crate::engine::path::StepPath;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::storage::checksum_file;
use crate::train::Trainer;

/// A job under way in its directory: config.toml, run.json, metrics.jsonl, TensorBoard's event files, checkpoints/ and
/// at the end sae/.
///
/// A new directory is removed again if the run ends before its first step is finished.
pub struct Run {
    job: Job,
    trainer: Trainer,
    /// Of the steps that are left.
    batches: Batches,
    /// Before the directory, which is removed only when it is empty: dropping it waits for its writer.
    checkpoints: Checkpoints,
    directory: RunDirectory,
    metrics: MetricsFile,
    event_file: EventFile,
    log: LogSchedule,
    record: RunRecord,
    validation: Option<Validated>,
    /// The files of the data, by content.
    data: Vec<FileIdentity>,
    provenance: Provenance,
    started: Instant,
    /// Steps that the run had taken when it was resumed.
    first_step: u64,
    /// Seconds that the run took before it was resumed.
    seconds_before: f64,
    resumed_under: Vec<MarkChange>,
    extended: Vec<Extension>,
    uncertain_steps: u64,
    /// Of the last finished step.
    path: StepPath,
    steps_by_path: StepsByPath,
    /// The rows ended before the steps did.
    has_no_more_rows: bool,
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
            let name = name.escape_debug();
            if !options.extend {
                return Err(Error::Config(format!("the run in {name} is already complete: name a new directory")));
            }
            if checkpoint::list(&path.join(CHECKPOINTS))?.is_empty() {
                return Err(Error::Config(format!(
                    "the run in {name} is complete and has no checkpoint that it could go on from: start a new run from \
                     its SAE (--init)"
                )));
            }
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
        let restored = checkpoints.restore(|checkpoint| job.resume(gpu, checkpoint, options.extend), skipped)?;
        // Not before the job is known to be that of the checkpoint.
        let config_toml = |directory: &mut RunDirectory| match &options.config_toml {
            Some(text) => directory.write_config(text),
            None => Ok(()),
        };
        if !options.extend {
            config_toml(&mut directory)?;
        }
        let mut batches =
            job.batches(restored.as_ref().map_or(0, |restored| restored.manifest.step)..job.recipe.steps)?;
        let (mut trainer, mut position) = match restored {
            Some(restored) => {
                let position = position_of(&restored.manifest, job.recipe.steps, events)?;
                let mut trainer = restored.state;
                trainer.set_path(position.path);
                (trainer, position)
            }
            None => (job.begin(gpu, &mut batches)?, Position::default()),
        };
        let unwritten = std::mem::take(&mut position.unwritten_metrics);
        metrics.rewind(position.metrics_bytes, unwritten.clone())?;
        if options.profile {
            trainer.start_profile()?;
        }
        let data = job.rows.identity()?;
        let mut record = RunRecord::new(options.started, &job, &data, gpu.description(), &trainer);
        record.set_changes(&position.resumed_under, &position.extended);
        record.write(&mut directory)?;
        if options.extend {
            // Nor before the run is known to be no longer done.
            config_toml(&mut directory)?;
        }
        let event_file = EventFile::create(&mut directory, trainer.submitted(), &unwritten)?;
        Ok(Self {
            log: LogSchedule { every: options.log_every, steps: job.recipe.steps },
            validation: options.validation,
            data,
            provenance: options.provenance.unwrap_or_else(|| job.rows.provenance().clone()),
            first_step: trainer.submitted(),
            job,
            trainer,
            batches,
            directory,
            metrics,
            event_file,
            checkpoints,
            record,
            started: Instant::now(),
            seconds_before: position.seconds,
            resumed_under: position.resumed_under,
            extended: position.extended,
            uncertain_steps: 0,
            path: position.path,
            steps_by_path: position.steps_by_path,
            has_no_more_rows: false,
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
        let result = result.map_err(|error| self.job.locate(error)).inspect_err(|error| self.rescue(error, events));
        self.record.set_exclusion(self.job.rows.exclusion());
        self.record.set_steps_by_path(self.steps_by_path);
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

    /// How far the run is, and how fast.
    fn pace(&self) -> Pace {
        Pace {
            seconds: self.seconds(),
            seconds_here: self.started.elapsed().as_secs_f64(),
            first_step: self.first_step,
        }
    }

    /// Seconds that the run has taken.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn manifest(&self, step: u64) -> Manifest {
        let position = Position {
            metrics_bytes: self.metrics.bytes(),
            unwritten_metrics: self.metrics.unwritten(),
            seconds: self.seconds(),
            rows: self.job.rows.rows(),
            data: self.data.clone(),
            order: self.job.rows.order(),
            is_at_end: self.has_no_more_rows && !self.job.rows.can_go_on(),
            seed: self.job.seed,
            start: self.job.start.clone(),
            resumed_under: self.resumed_under.clone(),
            extended: self.extended.clone(),
            path: self.path,
            steps_by_path: self.steps_by_path,
        };
        Manifest {
            provenance: self.provenance.clone(),
            run: json!(position),
            ..Manifest::new(step, &self.job.config, &self.job.recipe)
        }
    }
}

/// Where a checkpoint resumes, this resume included if it is by a build of other marks or for more steps.
fn position_of(manifest: &Manifest, steps: u64, events: &mut Listener<'_>) -> Result<Position> {
    let mut position = Position::of(manifest)?;
    let (before, now) = (manifest.marks(), Marks::current());
    if before != now {
        events(&Event::ResumedUnderOtherMarks { before: &before, now: &now })?;
        position.resumed_under.push(MarkChange { step: manifest.step, before, now });
    }
    if manifest.recipe.steps != steps {
        position.extended.push(Extension { step: manifest.step, before: manifest.recipe.steps, now: steps });
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
