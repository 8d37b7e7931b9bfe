//! A device with what wgpu would ask of it, and with what a driver tells of its pipelines.

use std::ffi::CStr;

use ash::{Entry, Instance, khr, vk};
use serde_json::{Value, json};

use crate::Result;

/// NVIDIA's PCI vendor id.
const NVIDIA: u32 = 0x10de;

pub struct Device {
    /// The loader, which must outlive what it loaded.
    _entry: Entry,
    pub raw: ash::Device,
    pub executables: khr::pipeline_executable_properties::Device,
    description: Value,
}

impl Device {
    /// The first that tells of its pipelines.
    pub fn open() -> Result<Self> {
        // SAFETY: the loader is kept with what is loaded by it.
        let entry = unsafe { Entry::load()? };
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: as `create` says; it is destroyed with the process.
        let instance = unsafe { entry.create_instance(&create, None)? };
        // SAFETY: the instance is open, here and below.
        for physical in unsafe { instance.enumerate_physical_devices()? } {
            let extensions = unsafe { instance.enumerate_device_extension_properties(physical)? };
            let has = |name: &CStr| extensions.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name));
            if has(khr::pipeline_executable_properties::NAME) {
                return Self::open_physical(entry, &instance, physical, &has);
            }
        }
        Err("no Vulkan device with VK_KHR_pipeline_executable_properties".into())
    }

    fn open_physical(
        entry: Entry,
        instance: &Instance,
        physical: vk::PhysicalDevice,
        has: &dyn Fn(&CStr) -> bool,
    ) -> Result<Self> {
        let matrices = has(khr::cooperative_matrix::NAME);
        // SAFETY: the physical device is the instance's.
        let is_checked = unsafe { instance.get_physical_device_properties(physical) }.vendor_id != NVIDIA;
        let robust = is_checked && has(ash::ext::robustness2::NAME);
        let mut names = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
        names.extend(matrices.then_some(khr::cooperative_matrix::NAME.as_ptr()));
        names.extend(robust.then_some(ash::ext::robustness2::NAME.as_ptr()));
        let mut features_1_1 = vk::PhysicalDeviceVulkan11Features::default();
        let mut features_1_2 = vk::PhysicalDeviceVulkan12Features::default();
        let mut features_1_3 = vk::PhysicalDeviceVulkan13Features::default();
        let mut of_matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
        let mut of_robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut of_executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let mut features = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut features_1_1)
            .push_next(&mut features_1_2)
            .push_next(&mut features_1_3)
            .push_next(&mut of_executables);
        if matrices {
            features = features.push_next(&mut of_matrices);
        }
        if robust {
            features = features.push_next(&mut of_robustness);
        }
        // All that it has, robust access to buffers included, as wgpu asks for it; monosem has NVIDIA's without that.
        // SAFETY: every structure of the chain lives until the device is made.
        unsafe { instance.get_physical_device_features2(physical, &mut features) };
        features.features.robust_buffer_access &= vk::Bool32::from(is_checked);
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        let create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features);
        // SAFETY: as above.
        let raw = unsafe { instance.create_device(physical, &create, None)? };
        let executables = khr::pipeline_executable_properties::Device::new(instance, &raw);
        let mut description = describe(instance, physical);
        description["matrix_shapes"] = if matrices { matrix_shapes(&entry, instance, physical)? } else { json!([]) };
        Ok(Self { _entry: entry, raw, executables, description })
    }

    pub fn description(&self) -> &Value {
        &self.description
    }
}

fn describe(instance: &Instance, physical: vk::PhysicalDevice) -> Value {
    let mut sizes = vk::PhysicalDeviceSubgroupSizeControlProperties::default();
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut sizes).push_next(&mut driver);
    // SAFETY: the chain lives until the call returns.
    unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
    let properties = properties.properties;
    let text = |name: std::result::Result<&CStr, _>| name.map(|name| name.to_string_lossy().trim().to_owned()).ok();
    json!({
        "device": text(properties.device_name_as_c_str()),
        "driver": text(driver.driver_name_as_c_str()),
        "driver_version": text(driver.driver_info_as_c_str()),
        "vendor": properties.vendor_id,
        "subgroups": [sizes.min_subgroup_size, sizes.max_subgroup_size],
        "workgroup_bytes": properties.limits.max_compute_shared_memory_size,
    })
}

/// The matrices that are multiplied in f16 and summed in f32: rows, columns, depth.
fn matrix_shapes(entry: &Entry, instance: &Instance, physical: vk::PhysicalDevice) -> Result<Value> {
    let loader = khr::cooperative_matrix::Instance::new(entry, instance);
    // SAFETY: the device has the extension.
    let all = unsafe { loader.get_physical_device_cooperative_matrix_properties(physical)? };
    let (f16, f32) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
    let of_halves = all.iter().filter(|shape| shape.a_type == f16 && shape.c_type == f32);
    let mut shapes: Vec<_> = of_halves.map(|shape| [shape.m_size, shape.n_size, shape.k_size]).collect();
    shapes.sort_unstable();
    shapes.dedup();
    Ok(json!(shapes))
}
