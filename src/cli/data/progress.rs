//! How many rows are done, for people: a bar on a terminal, else a line now and then.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar};

use crate::cli::output::{quiet, tell};
use crate::cli::progress::new_bar;
use crate::cli::stderr::{can_redraw, remove_bar};

const TELL_EVERY: Duration = Duration::from_secs(30);

/// Shows on stderr how far a pass over rows is.
pub struct RowProgress {
    /// What is done with the rows, e.g. `reading`.
    what: &'static str,
    /// In all, where that is known.
    rows: Option<u64>,
    row_bytes: u64,
    started: Instant,
    /// Rows that were done before.
    before: Option<u64>,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl RowProgress {
    /// Starts timing a pass over `rows` rows, or over a stream.
    pub fn new(what: &'static str, rows: impl Into<Option<u64>>, row_bytes: u64) -> Self {
        let now = Instant::now();
        Self { what, rows: rows.into(), row_bytes, started: now, before: None, told: now, bar: None }
    }

    /// Shows that `done` rows are done: in the bar at once, in lines every 30 s.
    pub fn show(&mut self, done: u64) {
        let before = *self.before.get_or_insert(done);
        if quiet() {
            return;
        }
        let rows_per_second = (done - before) as f64 / self.started.elapsed().as_secs_f64();
        // Encoding is slower than reading, and is better counted in rows.
        let speed = match rows_per_second * self.row_bytes as f64 / 1e6 {
            megabytes if megabytes < 1.0 => format!("{rows_per_second:.0} rows/s"),
            megabytes => format!("{megabytes:.0} MB/s"),
        };
        let what = self.what;
        if let (true, Some(rows)) = (can_redraw(), self.rows) {
            let bar = self.bar.get_or_insert_with(|| new_bar(rows, before));
            let left = HumanDuration(bar.eta());
            bar.set_message(format!("{what} {done}/{rows} rows  {left:#} left  {speed}"));
            bar.set_position(done);
        } else if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let of_all = self.rows.map(|rows| format!("/{rows}")).unwrap_or_default();
            tell(&format!("{what} {done}{of_all} rows  {speed}"));
        }
    }
}

impl Drop for RowProgress {
    fn drop(&mut self) {
        remove_bar();
    }
}
