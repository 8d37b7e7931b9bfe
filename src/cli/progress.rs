//! How far the training is, for people: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use monosem::train::{Progress, Validation};

use super::output::{quiet, tell};

const TELL_EVERY: Duration = Duration::from_secs(30);

/// Shows progress on stderr.
pub struct Display {
    steps: u64,
    steps_before: u64,
    started: Instant,
    /// The newest held-out quality, once there is one.
    validation: String,
    form: Form,
}

enum Form {
    Nothing,
    /// Drawn from the first step on.
    Bar(Option<ProgressBar>),
    Lines {
        told: Option<Instant>,
    },
}

impl Display {
    /// Starts the clock of tokens/s, after `steps_before` of `steps` steps.
    pub fn new(steps: u64, steps_before: u64) -> Self {
        let form = if quiet() {
            Form::Nothing
        } else if std::io::stderr().is_terminal() {
            Form::Bar(None)
        } else {
            Form::Lines { told: None }
        };
        Self { steps, steps_before, started: Instant::now(), validation: String::new(), form }
    }

    /// Shows a finished step: in the bar at once, in lines if it is the first or the last or 30 s have gone.
    pub fn show(&mut self, progress: &Progress, validation: Option<&Validation>) {
        if let Some(Validation { fvu, .. }) = validation {
            self.validation = format!("  val FVU {fvu:.4}");
        }
        let is_last = progress.step == self.steps;
        let share = (progress.step - self.steps_before) as f64 / progress.step as f64;
        let tokens_per_second = share * progress.tokens as f64 / self.started.elapsed().as_secs_f64();
        let Progress { step, loss, fvu, l0, .. } = progress;
        let words =
            format!("loss {loss:.4}  FVU {fvu:.4}  L0 {l0:.1}{}  {tokens_per_second:.0} tokens/s", self.validation);
        let line = format!("step {step}/{}  {words}", self.steps);
        match &mut self.form {
            Form::Nothing => {}
            Form::Bar(bar) if is_last => {
                bar.take().iter().for_each(ProgressBar::finish_and_clear);
                tell(&line);
            }
            Form::Bar(bar) => {
                let bar = bar.get_or_insert_with(|| new_bar(self.steps, self.steps_before));
                bar.set_message(words);
                bar.set_position(*step);
            }
            Form::Lines { told } => {
                if is_last || told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    *told = Some(Instant::now());
                    tell(&line);
                }
            }
        }
    }

    /// Does something that writes to the terminal, with the bar out of its way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.form {
            Form::Bar(Some(bar)) => bar.suspend(write),
            _ => write(),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // An error's words start on a line of their own.
        if let Form::Bar(Some(bar)) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(steps: u64, steps_before: u64) -> ProgressBar {
    // The message is cut to the width of the terminal.
    let style = ProgressStyle::with_template("{bar:10} {pos}/{len}  {eta} left  {wide_msg}");
    let bar = ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(steps_before);
    bar.reset_eta();
    bar
}
