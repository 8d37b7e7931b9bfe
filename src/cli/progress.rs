//! How far the training is, for people: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use monosem::train::Progress;

use super::output::{quiet, tell};

const TELL_EVERY: Duration = Duration::from_secs(30);

/// Shows progress on stderr.
pub struct Display {
    steps: u64,
    steps_before: u64,
    started: Instant,
    form: Form,
}

enum Form {
    Nothing,
    Bar(ProgressBar),
    Lines { told: Option<Instant> },
}

impl Display {
    /// Starts the clock of tokens/s.
    pub fn new(steps: u64) -> Self {
        let form = if quiet() {
            Form::Nothing
        } else if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:20} {pos}/{len}  {msg}  {eta} left");
            Form::Bar(ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
        } else {
            Form::Lines { told: None }
        };
        Self { steps, steps_before: 0, started: Instant::now(), form }
    }

    /// The steps from here on are what takes time.
    pub fn resume_from(&mut self, steps: u64) {
        self.steps_before = steps;
        if let Form::Bar(bar) = &self.form {
            bar.set_position(steps);
            bar.reset_eta();
        }
    }

    /// Shows a finished step: in the bar at once, in lines if it is the first or the last or 30 s have gone.
    pub fn show(&mut self, progress: &Progress) {
        let is_last = progress.step == self.steps;
        let share = (progress.step - self.steps_before) as f64 / progress.step as f64;
        let tokens_per_second = share * progress.tokens as f64 / self.started.elapsed().as_secs_f64();
        let Progress { step, loss, fvu, l0, .. } = progress;
        let words = format!("loss {loss:.4}  FVU {fvu:.4}  L0 {l0:.1}  {tokens_per_second:.0} tokens/s");
        let line = format!("step {step}/{}  {words}", self.steps);
        match &mut self.form {
            Form::Nothing => {}
            Form::Bar(bar) if is_last => {
                bar.finish_and_clear();
                tell(&line);
            }
            Form::Bar(bar) => {
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
            Form::Bar(bar) => bar.suspend(write),
            _ => write(),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // An error's words start on a line of their own.
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}
