//! The steps of a run, and what is saved however they end.

use std::path::PathBuf;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Run;
use crate::data::{Batch, Batches, blame_row};
use crate::error::{Divergence, Error, Result};
use crate::run::checkpoint;
use crate::run::directory::CHECKPOINTS;
use crate::run::events::{Event, Listener};
use crate::run::metrics::metrics_json;
use crate::run::options::End;
use crate::sae::{as_trained, save};
use crate::train::{FeatureStatistics, Progress, Validation};

/// How often to ask whether to stop, while waiting for rows.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long to wait for rows before saying so, and between two such lines.
const WAITING_SECONDS: u64 = 30;

/// An evaluation of the SAE between two steps.
struct Measured {
    validation: Option<Validation>,
    features: FeatureStatistics,
}

impl Run {
    pub(super) fn take_steps(&mut self, stop: &dyn Fn(u64) -> bool, events: &mut Listener<'_>) -> Result<End> {
        let (first, steps) = (self.step(), self.job.recipe.steps);
        events(&match first {
            0 => Event::Started { job: &self.job },
            step => Event::Resumed { job: &self.job, step },
        })?;
        while let Some(batch) = self.next_batch(stop, events)? {
            if let Some(progress) = self.take_step(&batch, events)? {
                self.finish_step(&progress, events)?;
            }
            if self.is_validated(self.step()) {
                self.finish_all(events)?;
            }
        }
        self.finish_all(events)?;
        events(&Event::StepsFinished {
            steps: self.trainer.finished(),
            uncertain_steps: self.uncertain_steps,
            selection: &self.trainer.method().to_string(),
            profile: self.trainer.profile(),
        })?;
        if self.trainer.finished() == steps { self.save(events) } else { self.suspend(events) }
    }

    /// Takes a step, and begins a checkpoint of the state before it if one is due.
    fn take_step(&mut self, batch: &Batch, events: &mut Listener<'_>) -> Result<Option<Progress>> {
        let taken = self.step();
        if !self.checkpoints.is_due(taken) {
            return self.trainer.step(batch);
        }
        self.commit_checkpoint(events)?;
        let is_sound = !self.trainer.is_ahead();
        let made = self.directory.create_directory(CHECKPOINTS);
        let writer = match made.and_then(|()| self.checkpoints.begin(taken)) {
            Ok(writer) => writer,
            Err(error) => {
                events(&Event::CheckpointFailed { error: &error })?;
                return self.trainer.step(batch);
            }
        };
        let finished = self.trainer.step_and_copy(batch, writer)?;
        if is_sound {
            let manifest = self.manifest(taken);
            self.checkpoints.commit(manifest);
        }
        Ok(finished)
    }

    /// The next batch; none after the last, or if the run is to stop.
    fn next_batch(&mut self, stop: &dyn Fn(u64) -> bool, events: &mut Listener<'_>) -> Result<Option<Batch>> {
        let (since, mut told) = (Instant::now(), 0);
        while !stop(self.step()) {
            match self.batches.poll(PATIENCE) {
                Poll::Ready(Some(batch)) => return batch.map(Some),
                Poll::Ready(None) if self.step() == self.job.recipe.steps => return Ok(None),
                Poll::Ready(None) => {
                    self.has_no_more_rows = true;
                    return Err(self.job.rows.ended(self.step(), self.job.recipe.steps));
                }
                Poll::Pending => {
                    let seconds = since.elapsed().as_secs();
                    if seconds >= told + WAITING_SECONDS {
                        told = seconds;
                        events(&Event::Waiting { seconds })?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Saves the state after an error that left it sound, so that the run can resume from the step before it.
    pub(super) fn rescue(&mut self, error: &Error, events: &mut Listener<'_>) {
        if !leaves_state(error) {
            return;
        }
        let saved = self.save_sound_state();
        // The error that led here is the one to report; a listener that fails again changes nothing.
        let _ = match &saved {
            Ok(None) => Ok(()),
            Ok(Some(path)) => events(&Event::Rescued { checkpoint: path }),
            Err(error) => {
                // Only if nothing is in it.
                let _ = std::fs::remove_dir(self.directory.join(CHECKPOINTS));
                events(&Event::CheckpointFailed { error })
            }
        };
    }

    fn save_sound_state(&mut self) -> Result<Option<PathBuf>> {
        let silent = &mut |_: &Event<'_>| Ok(());
        match self.finish_all(silent) {
            Ok(()) | Err(Error::Diverged { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.trainer.is_ahead() {
            // A step that diverged, and those after it, changed nothing.
            self.trainer.take_back()?;
        }
        self.save_checkpoint(silent)
    }

    /// Finishes the steps that are under way.
    fn finish_all(&mut self, events: &mut Listener<'_>) -> Result<()> {
        while let Some(progress) = self.trainer.next_finished()? {
            self.finish_step(&progress, events)?;
        }
        Ok(())
    }

    fn finish_step(&mut self, progress: &Progress, events: &mut Listener<'_>) -> Result<()> {
        self.directory.keep();
        self.uncertain_steps += u64::from(progress.uncertain_rows > 0);
        if let Some(path) = progress.path {
            self.path = path;
            self.steps_by_path.add(path);
        }
        let measured = self.measure(progress.step);
        let (measured, failure) = measured.map_or_else(|error| (None, Some(error)), |measured| (measured, None));
        let validation = measured.as_ref().and_then(|measured| measured.validation.as_ref());
        let metrics = metrics_json(&self.job, progress, validation, &self.pace());
        let is_logged = self.log.includes(progress.step) || validation.is_some();
        if is_logged {
            let features = measured.as_ref().map(|measured| &measured.features);
            let written = [self.metrics.append(&metrics), self.event_file.append(&metrics, features)];
            for error in written.iter().filter_map(|written| written.as_ref().err()) {
                events(&Event::MetricsDelayed { error })?;
            }
        }
        events(&Event::Step { progress, validation, metrics: &metrics, is_logged })?;
        if self.checkpoints.is_ready_for(progress.step) {
            let manifest = self.manifest(progress.step);
            self.checkpoints.commit(manifest);
        }
        let finished = self.checkpoints.finish_if_written();
        self.report_checkpoint(finished, events)?;
        failure.map_or(Ok(()), Err)
    }

    /// Whether the SAE is evaluated on held-out rows after `step` steps.
    fn is_validated(&self, step: u64) -> bool {
        let is_last = step == self.job.recipe.steps;
        self.validation.as_ref().is_some_and(|validation| is_last || step.is_multiple_of(validation.every.get()))
    }

    /// What an evaluation after `step` steps measures, if one is due and nothing is under way that has changed the SAE
    /// further.
    fn measure(&mut self, step: u64) -> Result<Option<Measured>> {
        let is_due = self.is_validated(step) || step == self.job.recipe.steps;
        if !is_due || self.trainer.is_ahead() {
            return Ok(None);
        }
        Ok(Some(Measured { validation: self.validate()?, features: self.trainer.feature_statistics()? }))
    }

    /// The quality on held-out rows, if there are any.
    fn validate(&mut self) -> Result<Option<Validation>> {
        let Some(validation) = &self.validation else { return Ok(None) };
        let rows = &validation.rows;
        let batch = self.job.recipe.batch.min(usize::try_from(rows.rows()).unwrap_or(usize::MAX));
        let measured = self.trainer.validate(Batches::in_order(rows.clone(), batch)?);
        measured.map(Some).map_err(|error| match error {
            Error::Diverged { step, row: Some(place), file: None, what } => {
                blame_row(rows.data(), rows.row(place), step, what)
            }
            other => other,
        })
    }

    /// Finishes steps until the checkpoint that is being written is known to be sound, and waits until it is on the
    /// disk.
    fn commit_checkpoint(&mut self, events: &mut Listener<'_>) -> Result<()> {
        while self.checkpoints.is_uncommitted()
            && let Some(progress) = self.trainer.next_finished()?
        {
            self.finish_step(&progress, events)?;
        }
        let finished = self.checkpoints.finish();
        self.report_checkpoint(finished, events)
    }

    /// Reports checkpoints that are on the disk, or that one could not be written: the run continues without it, and
    /// the next is tried in its turn.
    fn report_checkpoint(&mut self, finished: Result<()>, events: &mut Listener<'_>) -> Result<()> {
        if let Err(error) = finished {
            events(&Event::CheckpointFailed { error: &error })?;
        }
        for step in self.checkpoints.take_saved() {
            let path = checkpoint::path(&self.directory.join(CHECKPOINTS), step);
            events(&Event::CheckpointSaved { step, path: &path })?;
        }
        Ok(())
    }

    /// Saves the SAE.
    fn save(&mut self, events: &mut Listener<'_>) -> Result<End> {
        self.commit_checkpoint(events)?;
        self.metrics.flush()?;
        self.event_file.flush()?;
        let path = self.directory.join("sae");
        if path.exists() {
            // A run that was killed before it could record that it was done; this one ends with the same.
            checkpoint::remove(&path)?;
        }
        let threshold = self.trainer.threshold()?;
        let weights = self.trainer.weights(self.provenance.clone());
        save(&*as_trained(weights, threshold, self.job.recipe.row_scale)?, &path)?;
        events(&Event::Saved { path: &path })?;
        Ok(End::Done { sae: path })
    }

    /// Saves a checkpoint, unless no step was taken yet.
    fn suspend(&mut self, events: &mut Listener<'_>) -> Result<End> {
        let checkpoint = self.save_checkpoint(events)?;
        events(&Event::Interrupted { checkpoint: checkpoint.as_deref() })?;
        Ok(End::Interrupted { checkpoint })
    }

    fn save_checkpoint(&mut self, events: &mut Listener<'_>) -> Result<Option<PathBuf>> {
        self.commit_checkpoint(events)?;
        let step = self.trainer.finished();
        if step == 0 {
            return Ok(None);
        }
        let manifest = self.manifest(step);
        let path = self.checkpoints.save(&mut self.trainer, manifest)?;
        self.report_checkpoint(Ok(()), events)?;
        Ok(Some(path))
    }
}

/// Whether the state on the device is sound after an error, once the steps that failed are taken back.
fn leaves_state(error: &Error) -> bool {
    match error {
        Error::Diverged { what, .. } => *what != Divergence::ParameterNotFinite,
        Error::Device(_) | Error::DeviceLost(_) | Error::OutOfMemory { .. } | Error::Shader { .. } => false,
        _ => true,
    }
}
