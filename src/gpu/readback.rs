//! Results on their way back to the host: copied into staging buffers that are used again, and never waited for
//! unless the caller says so.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::device::{Hardware, Submission, Wait};
use super::staging::{Mapped, StagingPool};
use super::{Buffer, Gpu};
use crate::error::{Error, Result};

/// Results that the device has been asked for.
pub struct Pending {
    /// None where there is nothing to read.
    staging: Option<Staging>,
    lengths: Vec<u64>,
    mapped: Mapped,
}

/// The buffer that the results are copied to.
struct Staging {
    buffer: Buffer,
    raw: wgpu::Buffer,
    /// The pool that it goes back to, if any.
    pool: Option<Arc<StagingPool>>,
    /// The submission that copies.
    submission: Submission,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(Staging { buffer, pool: Some(pool), .. }) = self.staging.take() {
            pool.abandon(buffer, self.mapped.clone());
        }
    }
}

/// Results on the host, in the order in which they were asked for.
pub struct Results {
    bytes: Vec<u8>,
    lengths: Vec<u64>,
}

impl Results {
    /// The `index`-th result as 32-bit words.
    pub fn get<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(&self, index: usize) -> Vec<T> {
        let start = self.lengths[..index].iter().sum::<u64>() as usize;
        bytemuck::pod_collect_to_vec(&self.bytes[start..start + self.lengths[index] as usize])
    }

    pub(super) fn words_as<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(&self) -> Vec<T> {
        bytemuck::pod_collect_to_vec(&self.bytes)
    }
}

impl Pending {
    /// Whether the results have arrived; never waits.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device has failed by now.
    pub fn is_ready(&self, gpu: &Gpu) -> Result<bool> {
        gpu.check()?;
        if self.staging.is_some() && self.mapped.get().is_none() {
            gpu.poll(Wait::Nothing)?;
        }
        Ok(self.staging.is_none() || self.mapped.get().is_some())
    }

    /// Waits for the results, and for nothing that was submitted after they were asked for.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device failed meanwhile.
    pub fn wait(mut self, gpu: &Gpu) -> Result<Results> {
        if let Some(Staging { submission, .. }) = &self.staging {
            while self.mapped.get().is_none() {
                gpu.poll(Wait::Result(submission))?;
                gpu.check()?;
            }
        }
        let lengths = std::mem::take(&mut self.lengths);
        let lost = |reason: String| Error::DeviceLost(format!("a result could not be read: {reason}"));
        if let Some(Err(refusal)) = self.mapped.get() {
            return Err(lost(refusal.to_string()));
        }
        let Some(Staging { buffer, raw, pool, .. }) = self.staging.take() else {
            return Ok(Results { bytes: Vec::new(), lengths });
        };
        let length: u64 = lengths.iter().sum();
        let bytes = raw.slice(..length).get_mapped_range().map_err(|error| lost(error.to_string()))?.to_vec();
        raw.unmap();
        if let Some(pool) = pool {
            pool.give_back(buffer);
        }
        Ok(Results { bytes, lengths })
    }
}

impl Gpu {
    /// Makes room for `count` readbacks of `bytes` bytes that are under way at once. Without it each makes its own
    /// room.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_staging(&self, bytes: u64, count: usize) -> Result<()> {
        for _ in 0..count {
            self.staging.give_back(self.allocate_staging(bytes)?);
        }
        Ok(())
    }

    /// The number of results that were asked for and have not arrived; never waits.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device has failed by now.
    #[doc(hidden)]
    pub fn results_under_way(&self) -> Result<u64> {
        self.poll(Wait::Nothing)?;
        Ok(self.arrivals.under_way())
    }

    /// Reads `buffer` once everything submitted so far has run.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for a staging copy, [`Error::DeviceLost`] if the device failed.
    pub fn read<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(&self, buffer: &Buffer) -> Result<Vec<T>> {
        Ok(self.read_all(&[buffer])?.wait(self)?.get(0))
    }

    /// Asks for a range of bytes of `buffer` as it is once everything submitted so far has run, without waiting.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for a staging copy.
    ///
    /// # Panics
    /// If the range reaches past the buffer's end: sizes are the caller's own.
    pub fn read_range(&self, buffer: &Buffer, range: Range<u64>) -> Result<Pending> {
        assert!(range.end <= buffer.bytes(), "{}: read past the end", buffer.name());
        self.read_ranges(&[(buffer, range)])
    }

    /// Asks for what the buffers hold once everything submitted so far has run, without waiting.
    pub(super) fn read_all(&self, buffers: &[&Buffer]) -> Result<Pending> {
        let ranges: Vec<_> = buffers.iter().map(|buffer| (*buffer, 0..buffer.bytes())).collect();
        self.read_ranges(&ranges)
    }

    fn read_ranges(&self, sources: &[(&Buffer, Range<u64>)]) -> Result<Pending> {
        let Hardware { device, queue, .. } = self.hardware()?;
        let lengths: Vec<u64> = sources.iter().map(|(_, range)| range.end - range.start).collect();
        let bytes = lengths.iter().sum();
        if bytes == 0 {
            return Ok(Pending { staging: None, lengths, mapped: Arc::default() });
        }
        let (buffer, pool) = match self.staging.take(bytes) {
            Some(buffer) => (buffer, Some(self.staging.clone())),
            // The next ones may be somewhat longer.
            None if self.staging.keeps => {
                (self.allocate_staging(bytes.next_power_of_two())?, Some(self.staging.clone()))
            }
            None => (self.allocate_staging(bytes)?, None),
        };
        let raw = buffer.raw()?.clone();
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut offset = 0;
        for ((source, range), length) in sources.iter().zip(&lengths) {
            encoder.copy_buffer_to_buffer(source.raw()?, range.start, &raw, offset, *length);
            offset += length;
        }
        let number = self.arrivals.ask();
        let submission = Submission { index: queue.submit([encoder.finish()]), number };
        let mapped = Arc::new(OnceLock::new());
        let (signal, arrivals) = (mapped.clone(), self.arrivals.clone());
        raw.slice(..).map_async(wgpu::MapMode::Read, move |outcome| {
            // Set once: a staging buffer is mapped once a readback.
            arrivals.arrive(number, move || drop(signal.set(outcome)));
        });
        Ok(Pending { staging: Some(Staging { buffer, raw, pool, submission }), lengths, mapped })
    }

    fn allocate_staging(&self, bytes: u64) -> Result<Buffer> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        self.for_part("readback").allocate("staging", bytes, usage)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::gpu::{AdapterChoice, Gpu};

    #[test]
    fn a_lost_device_is_an_error_wherever_it_is_met() {
        let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
        let buffer = gpu.buffer_from("values", &[1.0_f32; 4]).unwrap();
        assert_eq!(gpu.read::<f32>(&buffer).unwrap(), [1.0; 4]);
        gpu.hardware().unwrap().device.destroy();
        for met in [gpu.wait(), gpu.wait_for_uploads(), gpu.read::<f32>(&buffer).map(drop)] {
            let Err(error @ Error::DeviceLost(_)) = met else { panic!("{met:?}") };
            assert_eq!(error.exit_code(), 4);
        }
    }
}
