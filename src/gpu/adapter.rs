//! Adapters: which there are, what they offer, and the device opened on one.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use super::buffer::Account;
use super::readback::StagingPool;
use super::{AdapterChoice, DeviceMemory, Environment, Selection, choose, memory};
use crate::error::{Error, Result};

/// NVIDIA's PCI vendor id.
const NVIDIA: u32 = 0x10de;

/// What shaders with cooperative matrices need.
const MATRIX_FEATURES: wgpu::Features =
    wgpu::Features::SUBGROUP.union(wgpu::Features::SHADER_F16).union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// What an adapter is and offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterDescription {
    /// The driver's name for it.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// Identity of the maker: PCI's, where it has one.
    pub vendor: u32,
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
    /// The smallest and the largest size that a subgroup can have, if there are subgroups.
    pub subgroup_sizes: Option<(u32, u32)>,
    /// Whether f16 arithmetic is there.
    pub f16: bool,
    /// Rows and columns of the square matrices that it multiplies in f16 and sums in f32, if there are such.
    pub matrix_tile: Option<u32>,
    /// Rows, columns and depth of all matrices that it multiplies in f16 and sums in f32.
    pub matrix_shapes: Vec<[u32; 3]>,
    /// Whether dispatches can be timed on the device.
    pub timestamps: bool,
    /// How much memory it has, where that is known.
    pub memory: Option<DeviceMemory>,
}

impl AdapterDescription {
    fn new(adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let sizes = (info.subgroup_min_size, info.subgroup_max_size);
        let subgroup_sizes = features.contains(wgpu::Features::SUBGROUP).then_some(sizes);
        let subgroup_size = subgroup_sizes.filter(|(least, most)| least == most).map(|(size, _)| size);
        let matrix_shapes = matrix_shapes(adapter);
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
            vendor: info.vendor,
            driver: printable(format!("{} {}", info.driver, info.driver_info).trim()),
            pci_bus_id: info.device_pci_bus_id.clone(),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            subgroup_size,
            subgroup_sizes,
            f16: features.contains(wgpu::Features::SHADER_F16),
            // In software tiles of 8 x 8 are not there with subgroups of 4, and crash with 16 (Mesa 26.2).
            matrix_tile: square_tile(&matrix_shapes)
                .filter(|_| info.device_type != wgpu::DeviceType::Cpu || subgroup_size == Some(8)),
            matrix_shapes,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            memory: match (info.device_type, info.backend) {
                (wgpu::DeviceType::Cpu, _) => memory::host(),
                (_, wgpu::Backend::Vulkan) => memory::vulkan(adapter),
                _ => None,
            },
            name: printable(&info.name),
        }
    }

    /// Whether this is a processor that plays a GPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }

    /// Whether NVIDIA made it.
    pub fn is_nvidia(&self) -> bool {
        self.vendor == NVIDIA
    }

    /// The lower, the better.
    pub(super) fn rank(&self) -> usize {
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

/// Opens a device with everything that monosem can use, but matrix units only if they are asked for.
fn request_device(
    adapter: &wgpu::Adapter,
    matrix_units: bool,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    let mut wanted = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
    let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
    if matrix_units {
        wanted |= MATRIX_FEATURES;
        // SAFETY: wgpu does not check the use of cooperative matrices; one kernel has them, within bounds of its own, and nothing
        // that it computes is believed before it has been tried (`kernels::Selection::new`).
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

/// The shapes (m, n, k) that the adapter's matrix units take, of f16 and summed in f32.
fn matrix_shapes(adapter: &wgpu::Adapter) -> Vec<[u32; 3]> {
    if !adapter.features().contains(MATRIX_FEATURES) {
        return Vec::new();
    }
    let properties = adapter.cooperative_matrix_properties().into_iter().filter(|properties| {
        properties.ab_type == wgpu::CooperativeScalarType::F16 && properties.cr_type == wgpu::CooperativeScalarType::F32
    });
    let mut shapes: Vec<_> = properties.map(|shape| [shape.m_size, shape.n_size, shape.k_size]).collect();
    shapes.sort_unstable();
    shapes.dedup();
    shapes
}

/// The largest square tile that WGSL has.
fn square_tile(shapes: &[[u32; 3]]) -> Option<u32> {
    [16, 8].into_iter().find(|tile| shapes.contains(&[*tile; 3]))
}

/// What a driver calls something, without what would move a terminal's cursor.
fn printable(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).collect()
}

/// Domain, bus, device and function of `[domain:]bus:device.function`, all in hexadecimal.
pub(super) fn pci_address(text: &str) -> Option<[u32; 4]> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'));
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    Some([number(domain)?, number(bus)?, number(device)?, number(function)?])
}

/// Every adapter of this machine, in the order of their indices.
pub fn adapters() -> Vec<AdapterDescription> {
    enumerate().iter().map(AdapterDescription::new).collect()
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // The sizes of indirect dispatches are our own, and the validation layers are for those who write shaders.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
}

/// An open device, or one on paper.
pub struct Gpu {
    /// None on paper.
    pub(super) hardware: Option<Hardware>,
    pub(super) staging: Arc<StagingPool>,
    pub(super) account: Arc<Account>,
    description: AdapterDescription,
    notes: Vec<String>,
    failure: Arc<OnceLock<Failure>>,
}

/// What computes.
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
    /// [`Error::Device`] if no adapter fits the choice (see [`choose`]) or it cannot be opened.
    pub fn open(choice: &AdapterChoice) -> Result<Self> {
        let adapters = enumerate();
        let descriptions: Vec<_> = adapters.iter().map(AdapterDescription::new).collect();
        let Selection { index, notes } = choose(&descriptions, choice, &Environment::read())?;
        let (adapter, mut description) = (&adapters[index], descriptions[index].clone());
        let opened = if description.matrix_tile.is_some() { request_device(adapter, true).ok() } else { None };
        let (device, queue) = match opened {
            Some(opened) => opened,
            None => {
                description.matrix_tile = None;
                let refused = |problem| Error::Device(format!("{description} cannot be opened: {problem}"));
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
        Ok(Self { hardware: Some(Hardware { device, queue }), notes, failure, ..Self::on_paper(description) })
    }

    /// A device that would be like this, without the device: buffers, pipelines and programs can be made, take no memory
    /// and are accounted for as on the device itself; to run or read something is an error.
    pub fn on_paper(description: AdapterDescription) -> Self {
        Self {
            hardware: None,
            staging: Arc::default(),
            account: Arc::default(),
            description,
            notes: Vec::new(),
            failure: Arc::default(),
        }
    }

    /// The same device, pretending that no binding may exceed so many bytes: tests reach a shard's edge with little data.
    pub fn with_max_binding_bytes(&self, bytes: u64) -> Self {
        let mut description = self.description.clone();
        description.max_binding_bytes = description.max_binding_bytes.min(bytes);
        Self {
            hardware: self.hardware.clone(),
            notes: self.notes.clone(),
            failure: self.failure.clone(),
            ..Self::on_paper(description)
        }
    }

    /// What this device is and offers.
    pub fn description(&self) -> &AdapterDescription {
        &self.description
    }

    /// What should be known of a device that nobody chose: that it is software, or one of several; a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Largest binding in bytes, as the adapter or [`Gpu::with_max_binding_bytes`] bounds it.
    pub fn max_binding_bytes(&self) -> u64 {
        self.description.max_binding_bytes & !15
    }

    /// Whether it was made by [`Gpu::on_paper`].
    pub fn is_on_paper(&self) -> bool {
        self.hardware.is_none()
    }

    pub(super) fn hardware(&self) -> Result<&Hardware> {
        self.hardware.as_ref().ok_or_else(|| Error::Device("a device on paper computes nothing".into()))
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
