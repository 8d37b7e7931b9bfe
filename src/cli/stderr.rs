//! All that is written to stderr: lines for people, logs, and the progress bar, which keeps below them.

use std::io::{IsTerminal, Result, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};

/// The progress bar, while there is one.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Columns to the right of the bar. What the terminal echoes there, such as `^C`, goes with the bar's next redraw.
const MARGIN: u16 = 4;

/// Redraws per second.
const REDRAWS: u8 = 20;

/// Whether stderr is a terminal that can redraw a line.
pub fn can_redraw() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Shows a bar from here on.
pub fn show_bar(bar: &ProgressBar) {
    bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(Narrow(Term::buffered_stderr())), REDRAWS));
    *current() = Some(bar.clone());
}

/// Removes the bar, if there is one.
pub fn remove_bar() {
    if let Some(bar) = current().take() {
        bar.finish_and_clear();
    }
}

/// Does something that writes to the terminal, with the bar out of its way.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    match &*current() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Writes a line. A closed stderr is no reason to stop.
pub fn write_line(line: &str) {
    aside(|| {
        let _ = stderr().write_all(format!("{line}\n").as_bytes());
    });
}

/// Leaves the line on which the terminal may have echoed `^C`.
pub fn start_line() {
    if stderr().is_terminal() {
        aside(|| {
            let _ = stderr().write_all(if can_redraw() { b"\r\x1b[2K" } else { b"\n" });
        });
    }
}

fn current() -> MutexGuard<'static, Option<ProgressBar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where logs go.
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        aside(|| stderr().write(bytes))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The terminal without its margin. Each redraw is one write.
#[derive(Debug)]
struct Narrow(Term);

impl TermLike for Narrow {
    fn width(&self) -> u16 {
        self.0.size().1.saturating_sub(MARGIN).max(1)
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, line: &str) -> Result<()> {
        self.0.write_line(line)
    }

    fn write_str(&self, text: &str) -> Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
}
