//! Results on their way back to the host: copied into staging buffers that are used again, and never waited for
//! unless the caller says so.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::adapter::Hardware;
use super::{Buffer, Gpu};
use crate::error::{Error, Result};

/// Staging buffers that were reserved and that no readback uses at the moment.
#[derive(Default)]
pub(super) struct StagingPool(Mutex<Stock>);

#[derive(Default)]
struct Stock {
    free: Vec<Buffer>,
    /// Of readbacks that nobody waited for: free once they are mapped, because only then they can be unmapped.
    abandoned: Vec<(Buffer, Mapped)>,
}

/// What came of mapping a buffer, once that is known.
type Mapped = Arc<OnceLock<std::result::Result<(), wgpu::BufferAsyncError>>>;

impl StagingPool {
    /// The smallest that holds so many bytes.
    fn take(&self, bytes: u64) -> Option<Buffer> {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Stock { free, abandoned } = &mut *stock;
        for (buffer, mapped) in abandoned.extract_if(.., |(_, mapped)| mapped.get().is_some()) {
            if let (Some(Ok(())), Some(raw)) = (mapped.get(), &buffer.raw) {
                raw.unmap();
            }
            free.push(buffer);
        }
        let fitting = free.iter().enumerate().filter(|(_, buffer)| buffer.bytes() >= bytes);
        let (at, _) = fitting.min_by_key(|(_, buffer)| buffer.bytes())?;
        Some(free.swap_remove(at))
    }

    fn give_back(&self, buffer: Buffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).free.push(buffer);
    }

    fn abandon(&self, buffer: Buffer, mapped: Mapped) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abandoned.push((buffer, mapped));
    }
}

/// Results that the device has been asked for.
pub struct Pending {
    staging: Option<Staging>,
    lengths: Vec<u64>,
    mapped: Mapped,
}

/// What the results are copied to on their way.
struct Staging {
    buffer: Buffer,
    raw: wgpu::Buffer,
    /// Where it is reserved.
    pool: Option<Arc<StagingPool>>,
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
            gpu.poll(wgpu::PollType::Poll)?;
        }
        Ok(self.staging.is_none() || self.mapped.get().is_some())
    }

    /// Waits for the results.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device failed meanwhile.
    pub fn wait(mut self, gpu: &Gpu) -> Result<Results> {
        if self.staging.is_some() {
            while self.mapped.get().is_none() {
                gpu.poll(wgpu::PollType::wait_indefinitely())?;
                gpu.check()?;
            }
        }
        let lengths = std::mem::take(&mut self.lengths);
        let lost = |reason: String| Error::DeviceLost(format!("a result could not be read: {reason}"));
        if let Some(Err(refusal)) = self.mapped.get() {
            return Err(lost(refusal.to_string()));
        }
        let Some(Staging { buffer, raw, pool }) = self.staging.take() else {
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

const STAGING: wgpu::BufferUsages = wgpu::BufferUsages::MAP_READ.union(wgpu::BufferUsages::COPY_DST);

impl Gpu {
    /// Makes room for `count` readbacks of `bytes` bytes that are under way at once. Without it each makes its own room.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_staging(&self, bytes: u64, count: usize) -> Result<()> {
        for _ in 0..count {
            self.staging.give_back(self.allocate("staging", bytes, STAGING)?);
        }
        Ok(())
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
        let Hardware { device, queue } = self.hardware()?;
        let lengths: Vec<u64> = sources.iter().map(|(_, range)| range.end - range.start).collect();
        let Some(staging) = self.staging_for(lengths.iter().sum())? else {
            return Ok(Pending { staging: None, lengths, mapped: Arc::default() });
        };
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut offset = 0;
        for ((source, range), length) in sources.iter().zip(&lengths) {
            if let Some(source) = &source.raw {
                encoder.copy_buffer_to_buffer(source, range.start, &staging.raw, offset, *length);
            }
            offset += length;
        }
        queue.submit([encoder.finish()]);
        let mapped = Arc::new(OnceLock::new());
        let signal = mapped.clone();
        staging.raw.slice(..).map_async(wgpu::MapMode::Read, move |outcome| {
            // Set once: a staging buffer is mapped once a readback.
            let _ = signal.set(outcome);
        });
        Ok(Pending { staging: Some(staging), lengths, mapped })
    }

    /// None where there is nothing to read.
    fn staging_for(&self, bytes: u64) -> Result<Option<Staging>> {
        if bytes == 0 {
            return Ok(None);
        }
        let (buffer, pool) = match self.staging.take(bytes) {
            Some(buffer) => (buffer, Some(self.staging.clone())),
            None => (self.allocate("staging", bytes, STAGING)?, None),
        };
        Ok(buffer.raw.clone().map(|raw| Staging { buffer, raw, pool }))
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
