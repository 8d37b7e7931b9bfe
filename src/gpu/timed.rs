//! Programs run with every dispatch timed.

use super::device::Hardware;
use super::operation::Operation;
use super::{Buffer, Gpu, Pending, Program, Span, Timing};
use crate::error::{Error, Result};

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
        let timing = self.submit_timed(program)?;
        Ok((self.read_all(results)?, timing))
    }

    /// Runs a program with each dispatch a pass of its own, and a submission of its own until its time is known.
    pub(super) fn submit_timed(&self, program: &Program) -> Result<Timing> {
        let Hardware { device, queue, .. } = self.hardware()?;
        let labels = program.operations.iter().filter_map(Operation::dispatch).map(|dispatch| dispatch.label.clone());
        let labels: Vec<_> = labels.collect();
        if labels.is_empty() {
            self.submit_operations(program, 0..program.operations.len())?;
            return Ok(Timing { ticks: self.read_all(&[])?, labels });
        }
        let count = labels.len() as u64;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let timestamps = self.allocate("timestamps", 16 * count, usage)?;
        let submissions = program.submissions(self)?;
        let submissions = submissions.as_deref().unwrap_or(&program.dispatches);
        let mut ends = submissions.iter().map(|submission| submission.end).peekable();
        for (set, dispatches) in program.dispatches.chunks(TIMED_DISPATCHES).enumerate() {
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * dispatches.len() as u32,
            });
            let mut encoder = device.create_command_encoder(&Default::default());
            for (number, operations) in (0..).zip(dispatches) {
                for operation in &program.operations[operations.clone()] {
                    match operation {
                        Operation::Transfer(transfer) => transfer.run(&mut encoder)?,
                        Operation::Dispatch(dispatch) => {
                            dispatch.run(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                                label: Some(&dispatch.label),
                                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                                    query_set: &queries,
                                    beginning_of_pass_write_index: Some(2 * number),
                                    end_of_pass_write_index: Some(2 * number + 1),
                                }),
                            }));
                        }
                    }
                }
                if ends.next_if(|end| *end <= operations.end).is_some() {
                    let next = device.create_command_encoder(&Default::default());
                    queue.submit([std::mem::replace(&mut encoder, next).finish()]);
                }
            }
            let offset = (set * TIMED_DISPATCHES * 16) as u64;
            encoder.resolve_query_set(&queries, 0..2 * dispatches.len() as u32, timestamps.raw()?, offset);
            queue.submit([encoder.finish()]);
        }
        Ok(Timing { ticks: self.read_range(&timestamps, 0..16 * count)?, labels })
    }
}
