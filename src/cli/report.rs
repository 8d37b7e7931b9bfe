//! Shows a run: notes and progress on stderr, metrics and the result as JSON on stdout.

use std::path::Path;

use monosem::Result;
use monosem::data::RowOrder;
use monosem::run::{Event, Job};
use monosem::sae::{Architecture, SaeConfig};
use monosem::train::{Profile, Recipe, Validation};
use monosem::units::readable_bytes;
use serde_json::{Value, json};

use super::output::{self, print, tell, warn};
use super::progress::Display;
use super::stderr::start_line;

/// Receives the events of a run.
#[derive(Default)]
pub struct RunReport {
    /// From the first step on.
    display: Option<Display>,
    summary: Value,
    /// The newest quality on held-out rows.
    validation: Option<Validation>,
}

impl RunReport {
    /// The result for programs: the last finished step's metrics, and what became of the run.
    pub fn summary(&mut self) -> &mut Value {
        &mut self.summary
    }

    /// Shows an event.
    ///
    /// # Errors
    /// [`monosem::Error::Io`] when stdout cannot be written.
    pub fn show(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::TuningCacheUnusable { path, problem } => {
                tell(&format!("note: {}: {problem}", path.to_string_lossy().escape_debug()));
            }
            Event::Tuned { tuning, seconds } => tell(&format!("tuned in {seconds:.1} s: {tuning}")),
            Event::CheckpointSkipped { error } => tell(&format!("note: skipping a damaged checkpoint: {error}")),
            Event::ResumedUnderOtherMarks { before, now } => {
                let differ = if before.rules == now.rules { "shaders" } else { "summation rules" };
                tell(&format!(
                    "note: resuming under other {differ} (rules {}, shaders {}) than the checkpoint's (rules {}, \
                     shaders {}): the result will differ from an uninterrupted run's in its last bits",
                    now.rules, now.shaders, before.rules, before.shaders
                ));
            }
            Event::Started { job } => {
                tell(&announcement(job));
                warn_of_epochs(job);
                self.display = Some(Display::new(job.recipe.steps, 0, job.config.features));
            }
            Event::Resumed { job, step } => {
                let steps = job.recipe.steps;
                tell(&format!("resuming from step {step} of {steps}"));
                self.display = Some(Display::new(steps, *step, job.config.features));
            }
            Event::Step { progress, validation, metrics, is_logged } => {
                if *is_logged && output::json() {
                    let mut line = (*metrics).clone();
                    line["type"] = "step".into();
                    print(&line.to_string())?;
                }
                if let Some(display) = &mut self.display {
                    display.show(progress, *validation);
                }
                self.summary = (*metrics).clone();
                if let Some(validation) = validation {
                    self.validation = Some((*validation).clone());
                }
            }
            Event::Waiting { seconds } => tell(&format!("waiting for rows for {seconds} s")),
            Event::MetricsDelayed { error } => warn(&format!("a line of metrics has to wait: {error}")),
            Event::CheckpointFailed { error } => warn(&format!("no checkpoint was saved: {error}")),
            Event::Rescued { checkpoint } => tell(&format!(
                "saved {} before the error below; once its cause is mended, continue with --resume",
                checkpoint.to_string_lossy().escape_debug()
            )),
            Event::CheckpointSaved { step, path } => {
                log::info!("checkpoint of step {step} saved: {}", path.to_string_lossy().escape_debug());
                if output::json() {
                    let path = path.to_string_lossy();
                    print(&json!({ "type": "checkpoint", "step": step, "path": path }).to_string())?;
                }
            }
            Event::StepsFinished { steps, uncertain_steps, selection, profile } => {
                self.display = None;
                start_line();
                self.warn_of_fvu();
                self.summary["selection"] = (*selection).into();
                self.summary["uncertain_steps"] = (*uncertain_steps).into();
                if *uncertain_steps > 0 {
                    tell(&format!(
                        "note: f16 screening was not sure of some rows in {uncertain_steps} of {steps} steps: their \
                         features were found in f32, which takes longer and changes nothing"
                    ));
                }
                if let Some(profile) = profile {
                    tell_profile(profile);
                    self.summary["profile"] = profile_json(profile);
                }
            }
            Event::Saved { path } => {
                let path = path.to_string_lossy();
                tell(&format!("saved {}", path.escape_debug()));
                self.summary["state"] = "done".into();
                self.summary["sae"] = path.into();
            }
            Event::Interrupted { checkpoint } => {
                self.summary["state"] = "interrupted".into();
                if let Some(path) = checkpoint {
                    let path = path.to_string_lossy();
                    tell(&format!("interrupted: saved {}; continue with --resume", path.escape_debug()));
                    self.summary["checkpoint"] = path.into();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl RunReport {
    /// A last batch, or held-out rows, that the mean row would reconstruct better.
    fn warn_of_fvu(&mut self) {
        let fvu = self.validation.as_ref().map_or(self.summary["fvu"].as_f64(), |validation| Some(validation.fvu));
        if let Some(fvu) = fvu.filter(|&fvu| fvu >= 1.0) {
            tell(&format!(
                "warning: FVU is {fvu:.4}: the SAE reconstructs worse than the mean of the rows; lower --lr, or train \
                 for longer"
            ));
        }
        if let Some(Validation { fvu, l0, .. }) = &self.validation {
            // The last step is evaluated; an interrupted run has an older one.
            (self.summary["val_fvu"], self.summary["val_l0"]) = ((*fvu).into(), (*l0).into());
        }
    }
}

/// The summary of a run that is done, from what it left.
pub fn summary_of(out: &Path) -> Value {
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_default();
    let record: Value = serde_json::from_str(&read("run.json")).unwrap_or_default();
    let metrics = read("metrics.jsonl");
    let last = metrics.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    let mut summary = last.unwrap_or_else(|| json!({}));
    let paths = record["data"].as_array().into_iter().flatten().map(|file| file["path"].clone());
    summary["data"] = paths.collect();
    summary["device"] = record["adapter"].clone();
    summary["state"] = "done".into();
    summary["sae"] = out.join("sae").to_string_lossy().into();
    summary
}

/// From here on held-out quality is what counts.
const MANY_EPOCHS: f64 = 3.0;

fn warn_of_epochs(job: &Job) {
    if epochs(job).is_some_and(|epochs| epochs > MANY_EPOCHS) {
        tell(
            "warning: every row is seen more than three times, so the SAE will fit these rows better than others of \
             their kind; --val measures how much",
        );
    }
}

/// The number of epochs; none of a stream.
fn epochs(job: &Job) -> Option<f64> {
    Some(job.recipe.batch as f64 * job.recipe.steps as f64 / job.rows.rows()? as f64)
}

fn announcement(job: &Job) -> String {
    let (SaeConfig { d_in, features, .. }, Recipe { batch, steps, .. }) = (&job.config, &job.recipe);
    let kind = match &job.config.architecture {
        Architecture::TopK(topk) => format!("topk with k {}", topk.k),
        Architecture::BatchTopK(batch_topk) => format!("batchtopk with k {} on average", batch_topk.k),
        Architecture::Matryoshka(matryoshka) => {
            format!("matryoshka with k {} on average at widths {:?}", matryoshka.k, matryoshka.widths)
        }
        Architecture::Relu(relu) => format!("relu with an L1 coefficient of {}", relu.l1),
        Architecture::JumpRelu(jumprelu) => format!("jumprelu with an L0 coefficient of {}", jumprelu.l0),
        Architecture::Gated(gated) => format!("gated with an L1 coefficient of {}", gated.l1),
    };
    let epochs = match (job.rows.rows(), epochs(job)) {
        (Some(rows), Some(epochs)) if epochs < 10.0 => format!("{epochs:.1} epochs of {rows} rows"),
        (Some(rows), Some(epochs)) => format!("{epochs:.0} epochs of {rows} rows"),
        _ => "of a stream".to_owned(),
    };
    let order = order(job);
    format!("training: d_sae {features}, d_in {d_in}, {kind}; {steps} steps x {batch} rows ({epochs}, {order})")
}

/// The order of the rows, in words.
fn order(job: &Job) -> String {
    let what = if job.rows.rows().is_some() { "blocks" } else { "rows" };
    match job.rows.order() {
        RowOrder::Rows => "in random order".to_owned(),
        RowOrder::Mixed { block, blocks } => {
            let (rows, bytes) = (block.saturating_mul(blocks), readable_bytes(job.rows.buffer_bytes()));
            format!("{what} through a mixing buffer of {bytes}, {rows} rows at a time")
        }
        RowOrder::Sequential { .. } if job.rows.rows().is_none() => "as they come".to_owned(),
        RowOrder::Sequential { block } => format!("sequentially, blocks of {block} in random order"),
    }
}

/// Milliseconds per step, the longest first.
fn tell_profile(profile: &Profile) {
    let milliseconds = |seconds: f64| 1e3 * seconds / profile.steps.max(1) as f64;
    let mut operations: Vec<_> = profile.operations.iter().collect();
    operations.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    tell(&format!("{:18}{:>12}{:>9}", "kernel", "ms per step", "share"));
    let all = profile.busy() + profile.idle;
    let idle = ("idle".to_owned(), profile.idle);
    for (name, seconds) in operations.into_iter().chain([(&idle.0, &idle.1)]) {
        let share = format!("{:.1} %", 100.0 * seconds / all);
        tell(&format!("{name:18}{:>12.3}{share:>9}", milliseconds(*seconds)));
    }
}

fn profile_json(profile: &Profile) -> Value {
    json!({
        "steps": profile.steps,
        "kernels": profile.operations,
        "idle_seconds": profile.idle,
        "idle_share": profile.idle_share(),
    })
}
