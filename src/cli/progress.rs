//! How far the training is, for people: a bar on a terminal, else a line now and then.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use monosem::train::{Progress, Validation};

use super::output::{quiet, tell};
use super::stderr::{can_redraw, remove_bar, show_bar};

const TELL_EVERY: Duration = Duration::from_secs(30);

/// Shows progress on stderr.
pub struct Display {
    steps: u64,
    steps_before: u64,
    features: usize,
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
    /// Starts timing a run of `steps` steps on `features` features that has already taken `steps_before` steps.
    pub fn new(steps: u64, steps_before: u64, features: usize) -> Self {
        let form = if quiet() {
            Form::Nothing
        } else if can_redraw() {
            Form::Bar(None)
        } else {
            Form::Lines { told: None }
        };
        Self { steps, steps_before, features, started: Instant::now(), validation: String::new(), form }
    }

    /// Shows a finished step: in the bar at once, in lines if it is the first or the last or 30 s have gone.
    pub fn show(&mut self, progress: &Progress, validation: Option<&Validation>) {
        if let Some(Validation { fvu, .. }) = validation {
            self.validation = format!("  val FVU {fvu:.4}");
        }
        let is_last = progress.step == self.steps;
        let share = (progress.step - self.steps_before) as f64 / progress.step as f64;
        let tokens_per_second = share * progress.tokens as f64 / self.started.elapsed().as_secs_f64();
        let Progress { step, loss, fvu, l0, dead, .. } = progress;
        // Before its window has passed no feature counts as dead.
        let dead = match dead {
            0 => String::new(),
            dead => format!("  dead {:.1} %", 100.0 * f64::from(*dead) / self.features as f64),
        };
        let validation = &self.validation;
        let words =
            format!("loss {loss:.4}  FVU {fvu:.4}  L0 {l0:.1}{dead}{validation}  {tokens_per_second:.0} tokens/s");
        let line = format!("step {step}/{}  {words}", self.steps);
        match &mut self.form {
            Form::Nothing => {}
            Form::Bar(_) if is_last => {
                remove_bar();
                tell(&line);
            }
            Form::Bar(bar) => {
                let bar = bar.get_or_insert_with(|| new_bar(self.steps, self.steps_before));
                let left = HumanDuration(bar.eta());
                bar.set_message(format!("{step}/{}  {left:#} left  {words}", self.steps));
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
}

impl Drop for Display {
    fn drop(&mut self) {
        remove_bar();
    }
}

/// A bar of `total` steps or rows, `done` of which were done before.
pub fn new_bar(total: u64, done: u64) -> ProgressBar {
    // All words are in the message, which is cut to the width of the terminal.
    let style = ProgressStyle::with_template("{bar:10} {wide_msg}");
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(done);
    bar.reset_eta();
    show_bar(&bar);
    bar
}
