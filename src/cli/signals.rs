//! Ctrl-C and its like: noticed, so that a run can save its state before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use monosem::{Error, Result};
#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What people, terminals and schedulers send before they take the machine away.
#[cfg(unix)]
const SIGNALS: &[i32] = &[SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU];
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// Sent from a keyboard: the second one means at once. The others come in pairs while the state is being saved, e.g.
/// SIGUSR1 and later SIGTERM from a scheduler.
#[cfg(unix)]
const IMPATIENT: &[i32] = &[SIGINT, SIGQUIT];
#[cfg(not(unix))]
const IMPATIENT: &[i32] = &[SIGINT];

/// The signals that ask a run to end.
pub struct Signals {
    /// The last one received, 0 if none was.
    received: Arc<AtomicUsize>,
    /// There is nothing to save.
    is_deadly: Arc<AtomicBool>,
}

impl Signals {
    /// From here on signals are only noted, but that a second one from the keyboard ends the process. A hang-up that is
    /// ignored, as under nohup, stays ignored.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn listen() -> Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let (is_second, is_deadly) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let listen = || -> std::io::Result<()> {
            for &signal in SIGNALS.iter().filter(|&&signal| !is_ignored_hang_up(signal)) {
                flag::register_conditional_default(signal, is_deadly.clone())?;
                if IMPATIENT.contains(&signal) {
                    // In this order: the first signal finds the flag down and raises it.
                    flag::register_conditional_default(signal, is_second.clone())?;
                    flag::register(signal, is_second.clone())?;
                }
                flag::register_usize(signal, received.clone(), signal as usize)?;
            }
            Ok(())
        };
        listen().map_err(Error::io("signals"))?;
        Ok(Self { received, is_deadly })
    }

    /// Does something that may wait for long and leaves nothing behind: a signal ends the process meanwhile.
    pub fn deadly_while<T>(&self, work: impl FnOnce() -> T) -> T {
        self.is_deadly.store(true, Ordering::Relaxed);
        let done = work();
        self.is_deadly.store(false, Ordering::Relaxed);
        done
    }

    /// Whether a signal asks the run to end.
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

#[cfg(unix)]
fn is_ignored_hang_up(signal: i32) -> bool {
    if signal != SIGHUP {
        return false;
    }
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one, of which zeros are a value.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn is_ignored_hang_up(_: i32) -> bool {
    false
}
