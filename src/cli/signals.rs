//! Ctrl-C and its like: noticed, so that a run can save its state before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use monosem::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGUSR1];
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// The signals that ask a run to end.
pub struct Signals {
    /// The last one received, 0 if none was.
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// From here on the first signal is only noted; the second ends the process, as if nobody listened.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn listen() -> Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let is_second = Arc::new(AtomicBool::new(false));
        let listen = || -> std::io::Result<()> {
            for &signal in SIGNALS {
                // In this order: the first signal finds the flag down and raises it.
                flag::register_conditional_default(signal, is_second.clone())?;
                flag::register(signal, is_second.clone())?;
                flag::register_usize(signal, received.clone(), signal as usize)?;
            }
            Ok(())
        };
        listen().map_err(Error::io("signals"))?;
        Ok(Self { received })
    }

    /// Tells if the run is asked to end.
    pub fn received(&self) -> bool {
        self.signal() != 0
    }

    /// The exit status of a process that ends because of the signal: 128 more than its number.
    pub fn exit_code(&self) -> u8 {
        128 + self.signal() as u8
    }

    fn signal(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}
