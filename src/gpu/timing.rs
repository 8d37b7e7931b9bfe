//! How long dispatches take, on the device's own clock.

use std::sync::Arc;

use super::adapter::Hardware;
use super::program::Operation;
use super::submission::{run_dispatch, run_transfer};
use super::{Buffer, Gpu, Pending, Program};
use crate::error::{Error, Result};

/// The time that a dispatch took.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The operation and its entry point, as `encode.main`.
    pub kernel: Arc<str>,
    /// Seconds on the device's clock.
    pub begin: f64,
    /// Seconds on the device's clock.
    pub end: f64,
}

impl Span {
    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.end - self.begin
    }

    /// The operation alone, as `encode`.
    pub fn operation(&self) -> &str {
        self.kernel.split('.').next().unwrap_or_default()
    }
}

/// The times of a program's dispatches, on their way.
pub struct Timing {
    ticks: Pending,
    labels: Vec<Arc<str>>,
}

impl Timing {
    /// Whether they have arrived; never waits.
    pub(super) fn is_ready(&self, gpu: &Gpu) -> Result<bool> {
        self.ticks.is_ready(gpu)
    }

    /// Waits for them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device has failed.
    pub fn wait(self, gpu: &Gpu) -> Result<Vec<Span>> {
        let ticks: Vec<[u64; 2]> = self.ticks.wait(gpu)?.words_as();
        let period = f64::from(gpu.hardware()?.queue.get_timestamp_period()) * 1e-9;
        let spans = self.labels.into_iter().zip(ticks).map(|(kernel, [begin, end])| Span {
            kernel,
            begin: begin as f64 * period,
            end: end.max(begin) as f64 * period,
        });
        Ok(spans.collect())
    }
}

/// Dispatches whose timestamps one query set holds; it has room for 4,096.
const TIMED_DISPATCHES: usize = 2048;

impl Gpu {
    /// Runs a program once and waits, timing each dispatch on the device, in order.
    ///
    /// # Errors
    /// As [`Gpu::submit_and_time`].
    pub fn profile(&self, program: &Program) -> Result<Vec<Span>> {
        let (_, timing) = self.submit_and_time(program, &[])?;
        timing.wait(self)
    }

    /// As [`Gpu::submit_and_read`], but times each dispatch.
    ///
    /// # Errors
    /// As [`Gpu::submit_and_read`], and [`Error::Device`] if the device has no timestamps.
    pub fn submit_and_time(&self, program: &Program, results: &[&Buffer]) -> Result<(Pending, Timing)> {
        self.check()?;
        if !self.has_timestamps() {
            return Err(Error::Device(format!("{} has no timestamps", self.description().name)));
        }
        let timing = match program.has_dispatches() {
            true => self.submit_timed(program)?,
            false => Timing { ticks: self.submit_and_read(program, &[])?, labels: Vec::new() },
        };
        Ok((self.read_all(results)?, timing))
    }

    /// Runs a program with each dispatch a pass of its own, and a submission of its own as long as it is not known how long it takes.
    pub(super) fn submit_timed(&self, program: &Program) -> Result<Timing> {
        let Hardware { device, queue } = self.hardware()?;
        let labels: Vec<_> = program.operations.iter().filter_map(Operation::label).collect();
        let count = labels.len() as u64;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let timestamps = self.allocate("timestamps", (16 * count).max(16), usage)?;
        let submissions = program.pace.submissions(self, program)?.unwrap_or_else(|| program.dispatches.clone());
        let mut ends = submissions.into_iter().map(|submission| submission.end).peekable();
        for (set, dispatches) in program.dispatches.chunks(TIMED_DISPATCHES).enumerate() {
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * dispatches.len() as u32,
            });
            let mut encoder = device.create_command_encoder(&Default::default());
            for (number, operations) in (0..).zip(dispatches) {
                for operation in &program.operations[operations.clone()] {
                    let Operation::Dispatch { label, .. } = operation else {
                        run_transfer(&mut encoder, operation);
                        continue;
                    };
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: Some(label),
                        timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                            query_set: &queries,
                            beginning_of_pass_write_index: Some(2 * number),
                            end_of_pass_write_index: Some(2 * number + 1),
                        }),
                    });
                    run_dispatch(&mut pass, operation);
                }
                if ends.next_if(|end| *end <= operations.end).is_some() {
                    let next = device.create_command_encoder(&Default::default());
                    queue.submit([std::mem::replace(&mut encoder, next).finish()]);
                }
            }
            let offset = (set * TIMED_DISPATCHES * 16) as u64;
            if let Some(timestamps) = &timestamps.raw {
                encoder.resolve_query_set(&queries, 0..2 * dispatches.len() as u32, timestamps, offset);
            }
            queue.submit([encoder.finish()]);
        }
        Ok(Timing { ticks: self.read_range(&timestamps, 0..16 * count)?, labels })
    }
}
