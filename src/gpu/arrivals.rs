//! Results on their way to the host, by the number under which they were asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

type HandOver = Box<dyn FnOnce() + Send>;

/// Results that were asked for on a device, and those that have arrived.
#[derive(Default)]
pub(super) struct Arrivals {
    asked_for: AtomicU64,
    arrived: AtomicU64,
    /// For tests of who waits for what: results that nobody has waited for yet, on a device that is as slow as can be.
    held: Option<Mutex<Vec<(u64, HandOver)>>>,
}

impl Arrivals {
    /// Those of a device that finishes nothing before it, or something after it, is waited for.
    pub fn slowest() -> Self {
        Self { held: Some(Mutex::default()), ..Self::default() }
    }

    /// The number of a result that is asked for now.
    pub fn ask(&self) -> u64 {
        self.asked_for.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a result over, at once or when it is waited for.
    pub fn arrive(&self, number: u64, hand_over: impl FnOnce() + Send + 'static) {
        match &self.held {
            None => {
                hand_over();
                self.arrived.fetch_add(1, Ordering::Relaxed);
            }
            Some(held) => held.lock().unwrap_or_else(PoisonError::into_inner).push((number, Box::new(hand_over))),
        }
    }

    /// What is known of the results up to this number, which have been waited for, is known to whoever asked for them.
    pub fn release(&self, last: u64) {
        let Some(held) = &self.held else { return };
        for (_, hand_over) in held.lock().unwrap_or_else(PoisonError::into_inner).extract_if(.., |(at, _)| *at <= last)
        {
            hand_over();
            self.arrived.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Results that were asked for and have not arrived.
    pub fn under_way(&self) -> u64 {
        self.asked_for.load(Ordering::Relaxed) - self.arrived.load(Ordering::Relaxed)
    }
}
