//! Adapters as wgpu shows them.

use std::env;

use super::limits::{STORAGE_BUFFERS, WORKGROUP_BYTES};
use crate::adapters::{AdapterDescription, BoundsChecks, DeviceMemory, host_memory};
use crate::error::{Error, Result};

/// Features that shaders with cooperative matrices need.
pub(super) const MATRIX_FEATURES: wgpu::Features =
    wgpu::Features::SUBGROUP.union(wgpu::Features::SHADER_F16).union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// How devices are opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    pub bounds_checks: BoundsChecks,
    /// A device on the CPU takes the kernels of GPUs.
    pub cpu_as_gpu: bool,
}

impl Opening {
    /// What environment variables say (CONTRIBUTING.md).
    ///
    /// # Errors
    /// [`Error::Config`] if one has no value of its own.
    pub fn read() -> Result<Self> {
        let bounds_checks = BoundsChecks::read()?;
        let cpu_as_gpu = match &*env::var_os(CPU_AS_GPU).unwrap_or_default().to_string_lossy() {
            "" | "0" => false,
            "1" => true,
            other => {
                let other = other.escape_debug();
                return Err(Error::Config(format!("{CPU_AS_GPU} is '{other}': it takes 0 or 1")));
            }
        };
        Ok(Self { bounds_checks, cpu_as_gpu })
    }
}

const CPU_AS_GPU: &str = "MONOSEM_CPU_AS_GPU";

/// Every adapter of this machine, in the order of their indices.
///
/// # Errors
/// [`Error::Config`] if MONOSEM_BOUNDS_CHECKS or MONOSEM_CPU_AS_GPU has a value that it does not take.
pub fn adapters() -> Result<Vec<AdapterDescription>> {
    let opening = Opening::read()?;
    Ok(enumerate().iter().map(|adapter| describe(adapter, opening)).collect())
}

pub(super) fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // The sizes of indirect dispatches are our own, and the validation layers are for those who write shaders.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
}

/// The description of an adapter, as it would be opened.
pub(super) fn describe(adapter: &wgpu::Adapter, opening: Opening) -> AdapterDescription {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let sizes = (info.subgroup_min_size, info.subgroup_max_size);
    let subgroup_sizes = features.contains(wgpu::Features::SUBGROUP).then_some(sizes);
    let subgroup_size = subgroup_sizes.filter(|(least, most)| least == most).map(|(size, _)| size);
    let matrix_shapes = matrix_shapes(adapter);
    let description = AdapterDescription {
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
        unchecked: false,
        as_gpu: opening.cpu_as_gpu && info.device_type == wgpu::DeviceType::Cpu,
        lacks: lacks(&limits),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        memory: match (info.device_type, info.backend) {
            (wgpu::DeviceType::Cpu, _) => host_memory(),
            (_, wgpu::Backend::Vulkan) => vulkan_memory(adapter),
            _ => None,
        },
        name: printable(&info.name),
    };
    AdapterDescription { unchecked: opening.bounds_checks.are_left_out(&description), ..description }
}

/// What an adapter has less of than the shaders need.
fn lacks(limits: &wgpu::Limits) -> Option<String> {
    let needs = [
        ("storage buffers per shader", limits.max_storage_buffers_per_shader_stage, STORAGE_BUFFERS),
        ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size, WORKGROUP_BYTES),
    ];
    let lacking = needs.into_iter().filter(|(_, has, needed)| has < needed);
    let lacking: Vec<_> =
        lacking.map(|(what, has, needed)| format!("{has} {what} where {needed} are needed")).collect();
    (!lacking.is_empty()).then(|| lacking.join(" and "))
}

/// The matrices that the adapter's matrix units multiply in f16 and sum in f32: rows, columns, depth.
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

/// The memory of a GPU under Vulkan: the size of its largest own heap or, with VK_EXT_memory_budget, what other
/// programs leave of it. wgpu does not tell on Metal and DX12.
#[cfg(not(target_vendor = "apple"))]
fn vulkan_memory(adapter: &wgpu::Adapter) -> Option<DeviceMemory> {
    use ash::vk::{MemoryHeapFlags, PhysicalDeviceMemoryBudgetPropertiesEXT, PhysicalDeviceMemoryProperties2};

    // SAFETY: the adapter outlives the guard, and nothing of it is destroyed or changed.
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let (instance, device) = (adapter.shared_instance().raw_instance(), adapter.raw_physical_device());
    let mut budget = PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
    // SAFETY: the handles are the adapter's own. A device without the extension leaves the budget at zero.
    unsafe { instance.get_physical_device_memory_properties2(device, &mut properties) };
    let properties = properties.memory_properties;
    let heaps = properties.memory_heaps.iter().zip(budget.heap_budget.iter().zip(budget.heap_usage));
    let heaps = heaps.take(properties.memory_heap_count as usize);
    let local = heaps.filter(|(heap, _)| heap.flags.contains(MemoryHeapFlags::DEVICE_LOCAL));
    let (heap, (budget, usage)) = local.max_by_key(|(heap, _)| heap.size)?;
    Some(match budget.saturating_sub(usage) {
        0 => DeviceMemory { available: heap.size, source: "the size of the device's heap" },
        left => DeviceMemory { available: left, source: "what the driver has left (VK_EXT_memory_budget)" },
    })
}

#[cfg(target_vendor = "apple")]
fn vulkan_memory(_: &wgpu::Adapter) -> Option<DeviceMemory> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(lacks(&wgpu::Limits::default()), None);
        let limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::default() };
        assert_eq!(lacks(&limits).as_deref(), Some("4 storage buffers per shader where 8 are needed"));
        let limits = wgpu::Limits { max_compute_workgroup_storage_size: 8192, ..limits };
        let both =
            "4 storage buffers per shader where 8 are needed and 8192 bytes of workgroup memory where 16384 are needed";
        assert_eq!(lacks(&limits).as_deref(), Some(both));
    }
}
