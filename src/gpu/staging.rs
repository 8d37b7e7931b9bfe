//! Buffers that the host reads results from, used again and again.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Buffer;
use super::handle::Handle;

/// Staging buffers that were reserved or kept, and that no readback uses at the moment.
#[derive(Default)]
pub(super) struct StagingPool {
    stock: Mutex<Stock>,
    /// Whether a buffer that is made for lack of another is kept.
    pub keeps: bool,
}

#[derive(Default)]
struct Stock {
    free: Vec<Buffer>,
    /// Of readbacks that nobody waited for: free once they are mapped, because only then they can be unmapped.
    abandoned: Vec<(Buffer, Mapped)>,
}

/// The outcome of mapping a buffer, once known.
pub(super) type Mapped = Arc<OnceLock<std::result::Result<(), wgpu::BufferAsyncError>>>;

impl StagingPool {
    /// One that keeps what is made for lack of a buffer.
    pub fn keeping() -> Self {
        Self { keeps: true, ..Self::default() }
    }

    /// The smallest that holds so many bytes.
    pub fn take(&self, bytes: u64) -> Option<Buffer> {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let Stock { free, abandoned } = &mut *stock;
        for (buffer, mapped) in abandoned.extract_if(.., |(_, mapped)| mapped.get().is_some()) {
            if let (Some(Ok(())), Handle::Device(raw)) = (mapped.get(), &buffer.memory) {
                raw.unmap();
            }
            free.push(buffer);
        }
        let fitting = free.iter().enumerate().filter(|(_, buffer)| buffer.bytes() >= bytes);
        let (at, _) = fitting.min_by_key(|(_, buffer)| buffer.bytes())?;
        Some(free.swap_remove(at))
    }

    pub fn give_back(&self, buffer: Buffer) {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner).free.push(buffer);
    }

    pub fn abandon(&self, buffer: Buffer, mapped: Mapped) {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner).abandoned.push((buffer, mapped));
    }
}
