//! Devices without the driver's bounds checks. wgpu always asks for robustBufferAccess, by which some compilers guard
//! every access to a buffer; the kernels bound their indices themselves (tests/portability/bounds).

use super::shaders::gate::{Params, main};
use super::{EntryPoint, Gpu, Recording, grid};
use crate::error::{Error, Result};

/// Opens a device as `adapter.request_device(descriptor)` does, without robustBufferAccess and robustBufferAccess2. The
/// descriptor asks for no more than the adapter has.
///
/// # Safety
/// No shader may index a buffer outside its binding on it, for wgpu adds no checks of its own either: it relies on the
/// two features.
#[cfg(not(target_vendor = "apple"))]
pub(super) unsafe fn request_unchecked_device(
    adapter: &wgpu::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    use ash::ext::robustness2;
    use ash::vk::{DeviceCreateInfo, DeviceQueueCreateInfo};
    use wgpu::hal::api::Vulkan;

    let (wanted, limits, hints) = (descriptor.required_features, &descriptor.required_limits, &descriptor.memory_hints);
    let open = {
        // SAFETY: the adapter outlives the guard, and nothing of it is destroyed or changed.
        let adapter = unsafe { adapter.as_hal::<Vulkan>() }.ok_or("it is not Vulkan's")?;
        let extensions = adapter.required_device_extensions(wanted);
        // Features of an extension that is not named are not asked for; on its own the extension changes nothing.
        let named: Vec<_> = extensions.iter().copied().filter(|name| *name != robustness2::NAME).collect();
        let mut features = adapter.physical_device_features(&named, wanted);
        let core = features.get_core().robust_buffer_access(false);
        let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
        let queues = [DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        let info = DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
        let info = features.add_to_device_create(info).enabled_features(&core);
        let (instance, device) = (adapter.shared_instance().raw_instance(), adapter.raw_physical_device());
        // SAFETY: it is what wgpu itself would pass, less two features, and all that `info` points to is still there.
        let raw = unsafe { instance.create_device(device, &info, None) }.map_err(|refusal| refusal.to_string())?;
        // SAFETY: the device is this adapter's, with these extensions and this queue, and wgpu's own from here on; the
        // caller answers for the two features.
        unsafe { adapter.device_from_raw(raw, None, &extensions, wanted, limits, hints, 0, 0) }
            .map_err(|refusal| refusal.to_string())?
    };
    // SAFETY: it was opened from this adapter, with this descriptor's features and limits.
    unsafe { adapter.create_device_from_hal::<Vulkan>(open, descriptor) }.map_err(|refusal| refusal.to_string())
}

#[cfg(target_vendor = "apple")]
pub(super) unsafe fn request_unchecked_device(
    _: &wgpu::Adapter,
    _: &wgpu::DeviceDescriptor<'_>,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    Err("it is not Vulkan's".into())
}

/// Words that the probe copies, no multiple of a workgroup's.
const WORDS: u32 = 1001;

/// Copies words up to the end of what is bound: a device that is opened in no usual way must show that it computes.
pub(super) fn probe(gpu: &Gpu) -> Result<()> {
    let words: Vec<u32> = (1..=WORDS).collect();
    let (source, copied) = (gpu.buffer_from("probe", &words)?, gpu.buffer("probe", u64::from(WORDS))?);
    let params = Params { count: WORDS, word: WORDS - 1 };
    let [threads, ..] = main::Kernel::WORKGROUP;
    let mut recording = Recording::default();
    let bindings = main::Bindings { condition: &source, wanted: &source, granted: &copied, params };
    recording.dispatch(&gpu.gate()?, bindings, grid(u64::from(WORDS.div_ceil(threads))));
    gpu.submit(&gpu.program(recording)?)?;
    let found: Vec<u32> = gpu.read(&copied)?;
    match found.iter().zip(&words).position(|(found, word)| found != word) {
        None => Ok(()),
        Some(at) => Err(Error::Device(format!("a copy of {} is {} at word {at}", words[at], found[at]))),
    }
}
