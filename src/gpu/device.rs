//! An open device.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use super::Pipeline;
use super::account::Account;
use super::adapter::{MATRIX_FEATURES, describe, enumerate};
use super::handle::Handle;
use super::shaders::gate;
use super::staging::StagingPool;
use crate::adapters::{AdapterChoice, AdapterDescription, ChosenAdapter, Environment, choose};
use crate::error::{Error, Result};

/// Opens a device with everything that monosem can use, but matrix units only if they are asked for.
fn request_device(
    adapter: &wgpu::Adapter,
    matrix_units: bool,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    let mut wanted = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
    let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
    if matrix_units {
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
    // wgpu panics where a driver has the extension of cooperative matrices and not the feature.
    let opened = catch_unwind(AssertUnwindSafe(|| pollster::block_on(adapter.request_device(&descriptor))));
    opened.map_err(|_| "the driver lacks what it announces".to_owned())?.map_err(|error| error.to_string())
}

/// An open device, or a dry run of one. Clones are the same device.
#[derive(Clone)]
pub struct Gpu {
    pub(super) hardware: Handle<Hardware>,
    pub(super) staging: Arc<StagingPool>,
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
    /// As [`choose`], and [`Error::DeviceRefused`] if the adapter cannot be opened.
    pub fn open(choice: &AdapterChoice) -> Result<Self> {
        let adapters = enumerate();
        let descriptions: Vec<_> = adapters.iter().map(describe).collect();
        let ChosenAdapter { index, notes } = choose(&descriptions, choice, &Environment::read())?;
        let (adapter, mut description) = (&adapters[index], descriptions[index].clone());
        if let Some(lacking) = &description.lacks {
            let (device, problem) = (description.to_string(), format!("it has {lacking}"));
            return Err(Error::DeviceRefused { device, problem });
        }
        let opened = if description.matrix_tile.is_some() { request_device(adapter, true).ok() } else { None };
        let (device, queue) = match opened {
            Some(opened) => opened,
            None => {
                description.matrix_tile = None;
                let device = description.to_string();
                let refused = |problem| Error::DeviceRefused { device, problem };
                request_device(adapter, false).map_err(refused)?
            }
        };
        let failure = Arc::new(OnceLock::new());
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            let _ = lost.set(Failure::Lost(format!("{message} ({reason:?})")));
        });
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = uncaptured.set(Failure::Uncaptured(error.to_string()));
        }));
        let hardware = Handle::Device(Hardware { device, queue });
        Ok(Self { hardware, notes: notes.into(), failure, ..Self::dry_run(description) })
    }

    /// A dry run of such a device, without the device: buffers, pipelines and programs can be made, take no memory and
    /// are accounted for as on the device; to run or read something is an error.
    pub fn dry_run(description: AdapterDescription) -> Self {
        Self {
            hardware: Handle::DryRun,
            staging: Arc::default(),
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

    pub(super) fn poll(&self, how: wgpu::PollType) -> Result<()> {
        match self.hardware()?.device.poll(how) {
            Ok(_) => Ok(()),
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
        self.poll(wgpu::PollType::wait_indefinitely())?;
        self.check()
    }
}
