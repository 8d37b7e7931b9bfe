//! A forward pass over rows that are not trained on, between steps.

use super::{TrainingStep, check_guard};
use crate::data::RowsView;
use crate::engine::forward::{Finding, count_rows};
use crate::engine::select::ScreenMode;
use crate::error::Result;
use crate::gpu::shaders::Guard;
use crate::gpu::{Gpu, Program, Recording};

impl TrainingStep {
    /// The program of a forward pass over `rows` rows, at most a batch, with the k of the last step.
    ///
    /// # Errors
    /// [`crate::Error::Shader`].
    pub fn held_out_program(&self, gpu: &Gpu, rows: u32) -> Result<Program> {
        let &Self { ref parameters, ref forward, finding, .. } = self;
        let finding = Finding { screen: ScreenMode::Complete, ..finding };
        let mut recording = Recording::default();
        forward.record_center(&mut recording, parameters, rows);
        forward.record_codes(&mut recording, parameters, rows, finding);
        forward.record_decode(&mut recording, parameters, rows);
        forward.record_residual(&mut recording, parameters, rows);
        gpu.program(recording)
    }

    /// (squared error, -, -, active features) of each of `[rows, d]` rows, by the program of as many. No step may be
    /// under way.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the rows are no whole rows or too many, [`crate::Error::Diverged`] if one is not
    /// finite or too large; training can continue either way.
    pub fn run_held_out(&mut self, gpu: &Gpu, program: &Program, rows: RowsView<'_>) -> Result<Vec<[f32; 4]>> {
        let d = self.parameters.config().d_in;
        let count = count_rows(rows.len(), d, self.forward.rows())?;
        self.forward.upload(gpu, rows, d)?;
        let results = gpu.submit_and_read(program, &[&self.forward.row_statistics, &self.forward.guard])?.wait(gpu)?;
        let guard: Guard = results.get(1)[0];
        check_guard(guard).inspect_err(|_| gpu.upload(&self.forward.guard, 0, &[Guard { status: 0, row: 0 }]))?;
        let mut statistics: Vec<[f32; 4]> = results.get(0);
        statistics.truncate(count as usize);
        Ok(statistics)
    }
}
