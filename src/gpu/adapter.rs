//! Adapters: which there are, which one is taken, and the device opened on it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use super::readback::StagingPool;
use crate::error::{Error, Result};

/// Which adapter to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The first discrete GPU, else integrated, virtual, other, and last a software adapter.
    #[default]
    Best,
    /// The adapter at this place of [`adapters`].
    Index(usize),
    /// The one adapter with this PCI bus id, or whose name contains this text, case ignored.
    Named(String),
    /// The first software adapter.
    Cpu,
}

impl FromStr for AdapterChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match (text, text.parse()) {
            ("cpu", _) => Self::Cpu,
            (_, Ok(index)) => Self::Index(index),
            _ => Self::Named(text.to_owned()),
        })
    }
}

/// What an adapter is and offers.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterDescription {
    /// The driver's name for it.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// Driver and version.
    pub driver: String,
    /// PCI bus id, empty where there is none.
    pub pci_bus_id: String,
    /// Largest binding that a shader can have, in bytes: the upper bound of a shard.
    pub max_binding_bytes: u64,
    /// Largest buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    /// Invocations a subgroup, if it has subgroups and their size never varies.
    pub subgroup_size: Option<u32>,
    /// Whether f16 arithmetic is there.
    pub f16: bool,
    /// Whether dispatches can be timed on the device.
    pub timestamps: bool,
}

impl AdapterDescription {
    fn new(adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let fixed_subgroups =
            features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
        Self {
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "software",
                wgpu::DeviceType::Other => "other",
            },
            backend: match info.backend {
                wgpu::Backend::Vulkan => "vulkan",
                wgpu::Backend::Metal => "metal",
                wgpu::Backend::Dx12 => "dx12",
                _ => "other",
            },
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            pci_bus_id: info.device_pci_bus_id.clone(),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            subgroup_size: fixed_subgroups.then_some(info.subgroup_min_size),
            f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            name: info.name,
        }
    }

    /// Whether this is a processor that plays a GPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }

    fn rank(&self) -> usize {
        ["discrete", "integrated", "virtual", "other", "software"]
            .iter()
            .position(|kind| *kind == self.kind)
            .unwrap_or(usize::MAX)
    }
}

impl fmt::Display for AdapterDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.backend, self.driver)
    }
}

/// Every adapter of this machine, in the order of their indices.
pub fn adapters() -> Vec<AdapterDescription> {
    enumerate().iter().map(AdapterDescription::new).collect()
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // Indirect dispatches are not used, and the validation layers are for those who write shaders.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
}

fn choose(found: &[AdapterDescription], choice: &AdapterChoice) -> Result<usize> {
    let list = || {
        let lines: Vec<_> = found.iter().enumerate().map(|(index, adapter)| format!("  {index}: {adapter}")).collect();
        lines.join("\n")
    };
    if found.is_empty() {
        return Err(Error::Device(
            "no Vulkan, Metal or DX12 adapter was found; on Linux install a driver: the GPU's own, or \
             `apt-get install mesa-vulkan-drivers` for one in software"
                .into(),
        ));
    }
    match choice {
        AdapterChoice::Best => Ok((0..found.len()).min_by_key(|at| found[*at].rank()).unwrap_or(0)),
        AdapterChoice::Index(index) if *index < found.len() => Ok(*index),
        AdapterChoice::Index(index) => Err(Error::Device(format!("there is no device {index}:\n{}", list()))),
        AdapterChoice::Cpu => found
            .iter()
            .position(AdapterDescription::is_software)
            .ok_or_else(|| Error::Device(format!("there is no software adapter:\n{}", list()))),
        AdapterChoice::Named(text) => {
            let wanted = text.to_lowercase();
            let fits = |adapter: &AdapterDescription| {
                adapter.pci_bus_id.eq_ignore_ascii_case(&wanted) || adapter.name.to_lowercase().contains(&wanted)
            };
            let fitting: Vec<_> = (0..found.len()).filter(|at| fits(&found[*at])).collect();
            match fitting[..] {
                [only] => Ok(only),
                [] => Err(Error::Device(format!("no device is called '{}':\n{}", text.escape_debug(), list()))),
                _ => Err(Error::Device(format!(
                    "'{}' fits several devices; give an index or a PCI bus id:\n{}",
                    text.escape_debug(),
                    list()
                ))),
            }
        }
    }
}

/// An open device.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) staging: StagingPool,
    description: AdapterDescription,
    failure: Arc<OnceLock<Failure>>,
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
    /// [`Error::Device`] if no adapter fits the choice or it cannot be opened.
    pub fn open(choice: &AdapterChoice) -> Result<Self> {
        let adapters = enumerate();
        let descriptions: Vec<_> = adapters.iter().map(AdapterDescription::new).collect();
        let at = choose(&descriptions, choice)?;
        let (adapter, description) = (&adapters[at], descriptions[at].clone());
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("monosem"),
            required_features: adapter.features() & wanted,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        }))
        .map_err(|error| Error::Device(format!("{description} cannot be opened: {error}")))?;

        let failure = Arc::new(OnceLock::new());
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            let _ = lost.set(Failure::Lost(format!("{message} ({reason:?})")));
        });
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = uncaptured.set(Failure::Uncaptured(error.to_string()));
        }));
        Ok(Self { device, queue, staging: StagingPool::default(), description, failure })
    }

    /// The same device, pretending that no binding may exceed so many bytes: tests reach a shard's edge with little data.
    pub fn with_max_binding_bytes(&self, bytes: u64) -> Self {
        let mut description = self.description.clone();
        description.max_binding_bytes = description.max_binding_bytes.min(bytes);
        Self {
            device: self.device.clone(),
            queue: self.queue.clone(),
            staging: StagingPool::default(),
            description,
            failure: self.failure.clone(),
        }
    }

    /// What this device is and offers.
    pub fn description(&self) -> &AdapterDescription {
        &self.description
    }

    /// Largest binding in bytes, as the adapter or [`Gpu::with_max_binding_bytes`] bounds it.
    pub fn max_binding_bytes(&self) -> u64 {
        self.description.max_binding_bytes & !15
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
        match self.device.poll(how) {
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
        self.queue.submit([]);
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
