//! What an adapter is and offers, as plain data: made from a graphics API's answer, or by hand.

use std::fmt;

use super::DeviceMemory;

/// NVIDIA's PCI vendor id.
const NVIDIA: u32 = 0x10de;

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
    /// Whether the driver leaves accesses to buffers unchecked: the kernels bound every index.
    pub unchecked: bool,
    /// Whether it is on the CPU and takes the kernels of GPUs all the same, to try them without one.
    pub as_gpu: bool,
    /// What it has too little of to run every kernel, if anything.
    pub lacks: Option<String>,
    /// How much memory it has, where that is known.
    pub memory: Option<DeviceMemory>,
}

impl AdapterDescription {
    /// True if the CPU plays the GPU (lavapipe, SwiftShader, WARP).
    pub fn is_on_cpu(&self) -> bool {
        self.kind == "software"
    }

    /// True if it takes the kernels, and the shares of work, that are for the CPU.
    pub fn takes_cpu_kernels(&self) -> bool {
        self.is_on_cpu() && !self.as_gpu
    }

    /// True if NVIDIA made it.
    pub fn is_nvidia(&self) -> bool {
        self.vendor == NVIDIA
    }

    /// Who checks accesses to buffers: `driver` or `none`.
    pub fn bounds_checks(&self) -> &'static str {
        if self.unchecked { "none" } else { "driver" }
    }

    /// Rank among adapters; the lowest is taken.
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

/// Domain, bus, device and function of `[domain:]bus:device.function`, all in hexadecimal.
pub(super) fn pci_address(text: &str) -> Option<[u32; 4]> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'));
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    Some([number(domain)?, number(bus)?, number(device)?, number(function)?])
}
