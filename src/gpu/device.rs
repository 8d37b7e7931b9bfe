//! An open device.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use super::Pipeline;
use super::account::Account;
use super::adapter::{MATRIX_FEATURES, Opening, describe, enumerate};
use super::arrivals::Arrivals;
use super::compile::Pipelines;
use super::handle::Handle;
use super::shaders::gate;
use super::staging::StagingPool;
use super::unchecked::{probe, request_unchecked_device};
use crate::adapters::{AdapterChoice, AdapterDescription, BoundsChecks, ChosenAdapter, Environment, choose};
use crate::error::{Error, Result};

/// Opens a device with everything that monosem can use, but matrix units and a lack of bounds checks only if described.
fn request_device(
    adapter: &wgpu::Adapter,
    description: &AdapterDescription,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    let mut wanted = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
    let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
    if description.matrix_tile.is_some() {
        wanted |= MATRIX_FEATURES;
        // SAFETY: wgpu does not check the use of cooperative matrices; one kernel has them, within bounds of its own,
        // and nothing that it computes is believed before it has been tried (`kernels::Selection::new`).
        experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    }
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("monosem"),
        required_features: adapter.features() & wanted,
        required_limits: adapter.limits(),
        experimental_features,
        // Weights have blocks of their own; the rest is small, and what a block has left is lost.
        memory_hints: wgpu::MemoryHints::Manual { suballocated_device_memory_block_size: 4 << 20..8 << 20 },
        ..Default::default()
    };
    let open = || match description.unchecked {
        false => pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| error.to_string()),
        // SAFETY: kernels bound every index, which tests/portability/bounds has a validation layer watch.
        true => unsafe { request_unchecked_device(adapter, &descriptor) },
    };
    // wgpu panics where a driver has the extension of cooperative matrices and not the feature.
    catch_unwind(AssertUnwindSafe(open)).map_err(|_| "the driver lacks what it announces".to_owned())?
}

/// Opens the best device that an adapter may have, or else one that has less: matrix units are worth more than what the
/// driver's bounds checks cost.
fn open_best<T>(
    best: &AdapterDescription,
    bounds_checks: BoundsChecks,
    open: impl Fn(AdapterDescription) -> Result<T>,
) -> Result<T> {
    let checked = |description: &AdapterDescription| AdapterDescription { unchecked: false, ..description.clone() };
    let plain = AdapterDescription { matrix_tile: None, ..best.clone() };
    let mut others = vec![checked(best), plain.clone(), checked(&plain)];
    others.retain(|other| other != best && (other.unchecked == best.unchecked || bounds_checks != BoundsChecks::None));
    others.dedup();
    others.into_iter().fold(open(best.clone()), |opened, next| {
        opened.or_else(|refusal| {
            log::info!("{refusal}");
            open(next)
        })
    })
}

/// An open device, or a dry run of one. Clones are the same device.
#[derive(Clone)]
pub struct Gpu {
    pub(super) hardware: Handle<Hardware>,
    pub(super) staging: Arc<StagingPool>,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) account: Account,
    /// The part that its buffers are accounted under.
    pub(super) part: &'static str,
    /// Compiled for the first program that needs it.
    pub(super) gate: Arc<OnceLock<Pipeline<gate::main::Kernel>>>,
    description: Arc<AdapterDescription>,
    notes: Arc<[String]>,
    failure: Arc<OnceLock<Failure>>,
}

/// The device and its queue.
#[derive(Clone)]
pub(super) struct Hardware {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pipelines: Pipelines,
}

/// A submission of a readback, and the number of its result.
pub(super) struct Submission {
    pub index: wgpu::SubmissionIndex,
    pub number: u64,
}

/// What a call that looks after the device waits for.
pub(super) enum Wait<'a> {
    Nothing,
    Result(&'a Submission),
    Everything,
}

/// The first failure that no call was there to receive: whatever comes after it is its consequence.
#[derive(Clone, Debug)]
enum Failure {
    Lost(String),
    Uncaptured(String),
}

impl Gpu {
    /// Opens a device with everything that its adapter offers and monosem can use.
    ///
    /// # Errors
    /// As [`choose`] and [`adapters`](super::adapters), and [`Error::DeviceRefused`] if the adapter cannot be opened.
    pub fn open(choice: &AdapterChoice) -> Result<Self> {
        let opening = Opening::read()?;
        let adapters = enumerate();
        let descriptions: Vec<_> = adapters.iter().map(|adapter| describe(adapter, opening)).collect();
        let ChosenAdapter { index, notes } = choose(&descriptions, choice, &Environment::read())?;
        let (adapter, description) = (&adapters[index], &descriptions[index]);
        if let Some(lacking) = &description.lacks {
            let (device, problem) = (description.to_string(), format!("it has {lacking}"));
            return Err(Error::DeviceRefused { device, problem });
        }
        let gpu = open_best(description, opening.bounds_checks, |description| Self::on(adapter, description))?;
        Ok(Self { notes: notes.into(), ..gpu })
    }

    /// Opens what is described on its adapter.
    fn on(adapter: &wgpu::Adapter, description: AdapterDescription) -> Result<Self> {
        let refused = |problem| {
            let how = if description.unchecked { " without the driver's bounds checks" } else { "" };
            Error::DeviceRefused { device: format!("{description}{how}"), problem }
        };
        let (device, queue) = request_device(adapter, &description).map_err(refused)?;
        let failure = Arc::new(OnceLock::new());
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            let _ = lost.set(Failure::Lost(format!("{message} ({reason:?})")));
        });
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = uncaptured.set(Failure::Uncaptured(error.to_string()));
        }));
        let hardware = Handle::Device(Hardware { device, queue, pipelines: Pipelines::default() });
        let gpu = Self { hardware, failure, ..Self::dry_run(description.clone()) };
        if description.unchecked {
            probe(&gpu).map_err(|error| refused(error.to_string()))?;
        }
        Ok(gpu)
    }

    /// A dry run of such a device, without the device: buffers, pipelines and programs can be made, take no memory and
    /// are accounted for as on the device; to run or read something is an error.
    pub fn dry_run(description: AdapterDescription) -> Self {
        Self {
            hardware: Handle::DryRun,
            staging: Arc::default(),
            arrivals: Arc::default(),
            account: Account::default(),
            part: "other",
            gate: Arc::default(),
            description: Arc::new(description),
            notes: Arc::default(),
            failure: Arc::default(),
        }
    }

    /// The same device with an account of its own, as if no binding could exceed so many bytes: tests reach the edge of
    /// a shard with little data.
    pub fn with_max_binding_bytes(&self, bytes: u64) -> Self {
        let mut description = AdapterDescription::clone(&self.description);
        description.max_binding_bytes = description.max_binding_bytes.min(bytes);
        Self {
            staging: Arc::default(),
            account: Account::default(),
            description: Arc::new(description),
            ..self.clone()
        }
    }

    /// The same device with an account of its own, as if it were so slow that nothing is done before it, or something
    /// after it, is waited for: tests see what waits for what.
    #[doc(hidden)]
    pub fn slowest(&self) -> Self {
        Self {
            staging: Arc::default(),
            arrivals: Arc::new(Arrivals::slowest()),
            account: Account::default(),
            ..self.clone()
        }
    }

    /// The same device, whose readbacks keep the room that they make for later ones, as long as this handle exists.
    pub fn keeping_staging(&self) -> Self {
        Self { staging: Arc::new(StagingPool::keeping()), ..self.clone() }
    }

    /// The same device, with the buffers made through this handle accounted under `part`.
    pub fn for_part(&self, part: &'static str) -> Self {
        Self { part, ..self.clone() }
    }

    /// The adapter that it was opened on.
    pub fn description(&self) -> &AdapterDescription {
        &self.description
    }

    /// Notes for a user who did not choose the device: that it is software, or one of several; one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Largest binding in bytes, as the adapter or [`Gpu::with_max_binding_bytes`] bounds it.
    pub fn max_binding_bytes(&self) -> u64 {
        self.description.max_binding_bytes & !15
    }

    /// True if it was made by [`Gpu::dry_run`].
    pub fn is_dry_run(&self) -> bool {
        matches!(self.hardware, Handle::DryRun)
    }

    pub(super) fn hardware(&self) -> Result<&Hardware> {
        self.hardware.get()
    }

    pub(super) fn has_timestamps(&self) -> bool {
        self.description.timestamps
    }

    /// Fails if the device has failed since it was opened; nothing works after that.
    pub(super) fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(Failure::Lost(reason)) => Err(Error::DeviceLost(reason.clone())),
            Some(Failure::Uncaptured(message)) => Err(Error::Device(format!("the device reports: {message}"))),
        }
    }

    pub(super) fn poll(&self, wait: Wait<'_>) -> Result<()> {
        let (how, waited_for) = match wait {
            Wait::Nothing => (wgpu::PollType::Poll, None),
            Wait::Result(Submission { index, number }) => {
                (wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout: None }, Some(*number))
            }
            Wait::Everything => (wgpu::PollType::wait_indefinitely(), Some(u64::MAX)),
        };
        match self.hardware()?.device.poll(how) {
            Ok(_) => {
                waited_for.into_iter().for_each(|number| self.arrivals.release(number));
                Ok(())
            }
            Err(error) => {
                self.check()?;
                Err(Error::DeviceLost(error.to_string()))
            }
        }
    }

    /// Runs what was uploaded so far, and waits for it.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn wait_for_uploads(&self) -> Result<()> {
        self.hardware()?.queue.submit([]);
        self.wait()
    }

    /// Waits until everything submitted so far has run.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device failed meanwhile.
    pub fn wait(&self) -> Result<()> {
        self.poll(Wait::Everything)?;
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Matrix units and the lack of checks of each device that is tried where none opens.
    fn tried(matrix_tile: Option<u32>, unchecked: bool, bounds_checks: BoundsChecks) -> Vec<(bool, bool)> {
        let best = AdapterDescription { matrix_tile, unchecked, ..Default::default() };
        let tried = RefCell::new(Vec::new());
        let refused = open_best(&best, bounds_checks, |description| {
            tried.borrow_mut().push((description.matrix_tile.is_some(), description.unchecked));
            Err::<(), _>(Error::Device(format!("refusal {}", tried.borrow().len())))
        });
        let tried = tried.into_inner();
        assert_eq!(refused.unwrap_err().to_string(), format!("refusal {}", tried.len()));
        tried
    }

    #[test]
    fn matrix_units_come_first_and_bounds_checks_are_the_fall_back_unless_ruled_out() {
        use BoundsChecks::{Auto, Driver, None as Without};
        assert_eq!(tried(Some(16), true, Auto), [(true, true), (true, false), (false, true), (false, false)]);
        assert_eq!(tried(Some(16), true, Without), [(true, true), (false, true)]);
        assert_eq!(tried(None, true, Auto), [(false, true), (false, false)]);
        assert_eq!(tried(None, true, Without), [(false, true)]);
        for bounds_checks in [Auto, Driver, Without] {
            assert_eq!(tried(Some(16), false, bounds_checks), [(true, false), (false, false)]);
            assert_eq!(tried(None, false, bounds_checks), [(false, false)]);
        }
    }

    #[test]
    fn a_device_that_fails_its_probe_is_replaced_by_a_checked_one() {
        let adapter = &enumerate()[0];
        let best = AdapterDescription { unchecked: true, ..describe(adapter, Opening::default()) };
        let gpu = open_best(&best, BoundsChecks::Auto, |description| {
            let gpu = Gpu::on(adapter, description)?;
            if gpu.description.unchecked {
                gpu.hardware()?.device.destroy();
                probe(&gpu)?;
            }
            Ok(gpu)
        });
        let gpu = gpu.unwrap();
        assert!(!gpu.description().unchecked);
        probe(&gpu).unwrap();
    }
}
