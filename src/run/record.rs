//! `run.json`: what ran, on what, from when to when, and how it ended.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::directory::RunDirectory;
use super::job::Job;
use super::position::{Extension, MarkChange, StepsByPath};
use super::start::Start;
use crate::data::{Exclusion, FileIdentity, RowOrder};
use crate::engine::select::Tuning;
use crate::error::{Error, Result};
use crate::gpu::AdapterDescription;
use crate::train::Trainer;

/// The record, as it is in the file.
#[derive(Serialize)]
pub(super) struct RunRecord {
    state: &'static str,
    /// The failure: [`Error::to_json`].
    error: Option<Value>,
    /// XXH3 of the finished SAE's files.
    sae: BTreeMap<String, String>,
    version: &'static str,
    commit: Option<&'static str>,
    command_line: Vec<String>,
    seed: u64,
    /// Where it started.
    start: Start,
    adapter: String,
    adapter_kind: &'static str,
    backend: &'static str,
    driver: String,
    bounds_checks: &'static str,
    /// Kernels that the result does not depend on.
    #[serde(flatten)]
    tuning: Tuning,
    host: Host,
    data: Vec<FileIdentity>,
    order: RowOrder,
    /// What rows are multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    row_scale: Option<f32>,
    #[serde(flatten)]
    exclusion: Exclusion,
    /// The step after which the run was resumed; the times are then of what followed.
    resumed_from: Option<u64>,
    /// Where it resumed under other summation rules or shaders; empty for a run of one build.
    resumed_under: Vec<MarkChange>,
    /// Where it was planned for more steps.
    extended: Vec<Extension>,
    /// Steps by how they were computed, where that may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps_by_path: Option<StepsByPath>,
    start_time: String,
    end_time: Option<String>,
    wall_seconds: Option<f64>,
    #[serde(skip)]
    started: Instant,
}

/// The end of a run.
pub(super) enum Outcome<'a> {
    /// These are the checksums of the SAE's files.
    Done {
        checksums: &'a BTreeMap<String, String>,
    },
    Interrupted,
    Failed(&'a Error),
}

#[derive(Serialize)]
struct Host {
    os: &'static str,
    arch: &'static str,
}

/// UTC, RFC 3339.
fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

impl RunRecord {
    /// The record of a run that is under way since `started`, with a trainer that has taken no step since.
    pub fn new(
        started: Instant,
        job: &Job,
        data: &[FileIdentity],
        adapter: &AdapterDescription,
        trainer: &Trainer,
    ) -> Self {
        let step = trainer.submitted();
        Self {
            state: "running",
            error: None,
            sae: BTreeMap::new(),
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("MONOSEM_COMMIT"),
            command_line: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            seed: job.seed,
            start: job.start.clone(),
            adapter: adapter.name.clone(),
            adapter_kind: adapter.kind,
            backend: adapter.backend,
            driver: adapter.driver.clone(),
            bounds_checks: adapter.bounds_checks(),
            tuning: Tuning { method: trainer.method(), ..job.tuning },
            host: Host { os: std::env::consts::OS, arch: std::env::consts::ARCH },
            data: data.to_vec(),
            order: job.rows.order(),
            row_scale: job.recipe.row_scale,
            exclusion: job.rows.exclusion(),
            resumed_from: (step > 0).then_some(step),
            resumed_under: Vec::new(),
            extended: Vec::new(),
            steps_by_path: None,
            start_time: timestamp(SystemTime::now() - started.elapsed()),
            end_time: None,
            wall_seconds: None,
            started,
        }
    }

    /// Notes where the run resumed under other marks, and where it was planned for more steps.
    pub fn set_changes(&mut self, marks: &[MarkChange], extended: &[Extension]) {
        (self.resumed_under, self.extended) = (marks.to_vec(), extended.to_vec());
    }

    /// Notes how the steps of the whole run were computed.
    pub fn set_steps_by_path(&mut self, steps: StepsByPath) {
        self.steps_by_path = (steps != StepsByPath::default()).then_some(steps);
    }

    /// Notes the numbers of rows left out, which a stream tells only as it goes.
    pub fn set_exclusion(&mut self, exclusion: Exclusion) {
        self.exclusion = exclusion;
    }

    /// Notes the end of the run.
    pub fn end(&mut self, outcome: Outcome<'_>) {
        (self.state, self.error) = match outcome {
            Outcome::Done { checksums } => {
                self.sae = checksums.clone();
                ("done", None)
            }
            Outcome::Interrupted => ("interrupted", None),
            Outcome::Failed(error) => ("failed", Some(error.to_json())),
        };
        self.end_time = Some(timestamp(SystemTime::now()));
        self.wall_seconds = Some(self.started.elapsed().as_secs_f64());
    }

    /// Puts it into the run's directory, in place of what was there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, directory: &mut RunDirectory) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Error::io("run.json")(error.into()))?;
        text.push('\n');
        directory.write_record(&text)
    }
}
