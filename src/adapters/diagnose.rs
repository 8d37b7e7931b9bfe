//! Why Vulkan does not show a GPU, and what helps.

use std::fmt::Write as _;

use super::{AdapterDescription, DeviceNode, Environment};

/// The message where no adapter was found, or software alone on a machine that shows a GPU: each cause that the facts
/// bear out with its cure.
pub(super) fn explain_missing(found: &[AdapterDescription], environment: &Environment) -> String {
    let nodes = &environment.device_nodes;
    let mut message = match (found.is_empty(), nodes.is_empty()) {
        (true, true) => "no Vulkan, Metal or DX12 adapter was found".to_owned(),
        (true, false) => format!("this machine shows a GPU ({}), but no adapter was found", describe(nodes)),
        (false, _) => format!("this machine shows a GPU ({}), but Vulkan shows software alone", describe(nodes)),
    };
    for cause in causes(environment) {
        let _ = write!(message, "\n- {cause}");
    }
    if !found.is_empty() {
        message += "\n`--device cpu` runs on the CPU";
    } else if cfg!(target_os = "linux") {
        message += "\n`apt-get install libvulkan1 mesa-vulkan-drivers` adds one that runs on the CPU";
    }
    message
}

fn describe(nodes: &[DeviceNode]) -> String {
    let describe = |node: &DeviceNode| match node.driver.as_str() {
        "" => node.path.display().to_string(),
        driver => format!("{}, driver {}", node.path.display(), driver.escape_debug()),
    };
    nodes.iter().map(describe).collect::<Vec<_>>().join("; ")
}

fn causes(environment: &Environment) -> Vec<String> {
    let mut causes = Vec::new();
    if !environment.has_vulkan_loader {
        causes.push(
            "Vulkan's loader, libvulkan.so.1, cannot be loaded: `apt-get install libvulkan1` or \
             `dnf install vulkan-loader`"
                .to_owned(),
        );
    }
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE"] {
        if let Some(value) = environment.variable(name) {
            causes.push(format!("{name} is '{}' and hides other drivers: unset it", value.escape_debug()));
        }
    }
    let refused: Vec<_> = environment.device_nodes.iter().filter(|node| node.refusal.is_some()).collect();
    if let Some(DeviceNode { path, refusal: Some(refusal), .. }) = refused.first() {
        let others = match refused.len() - 1 {
            0 => String::new(),
            others => format!(", nor {others} others"),
        };
        causes.push(format!(
            "{} cannot be opened{others}: {refusal}; join the group that owns it (`usermod -aG render USER`, then log \
             in again), and pass it to a container (`--device /dev/dri`, `--gpus all`)",
            path.display(),
        ));
    }
    let has_manifest = |words: &[&str]| {
        let names = environment.driver_manifests.iter().map(|path| path.to_string_lossy().to_lowercase());
        names.into_iter().any(|name| words.iter().any(|word| name.contains(word)))
    };
    let drivers: Vec<&str> = environment.device_nodes.iter().map(|node| node.driver.as_str()).collect();
    if drivers.contains(&"nvidia") && !has_manifest(&["nvidia"]) {
        causes.push(match environment.variable("NVIDIA_DRIVER_CAPABILITIES") {
            Some(value) if !value.split(',').any(|part| ["all", "graphics"].contains(&part.trim())) => format!(
                "NVIDIA_DRIVER_CAPABILITIES is '{}', so that this container has no Vulkan driver (nvidia_icd.json): \
                 start it with `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics`",
                value.escape_debug()
            ),
            _ => "there is no Vulkan driver of NVIDIA's (nvidia_icd.json): install it (`libnvidia-gl-VERSION` on \
                  Ubuntu, `nvidia-vulkan-icd` on Debian); start a container with \
                  `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics`"
                .to_owned(),
        });
    }
    let mesa = [
        ("amdgpu", &["radeon", "amd"][..]),
        ("radeon", &["radeon"]),
        ("i915", &["intel"]),
        ("xe", &["intel"]),
        ("nouveau", &["nouveau"]),
        ("virtio_gpu", &["virtio"]),
        ("virtio-pci", &["virtio"]),
    ];
    for (driver, words) in mesa {
        if drivers.contains(&driver) && !has_manifest(words) {
            causes.push(format!(
                "there is no Vulkan driver for {driver}: `apt-get install mesa-vulkan-drivers` or \
                 `dnf install mesa-vulkan-drivers`"
            ));
        }
    }
    if causes.is_empty() && !environment.device_nodes.is_empty() {
        causes.push(
            "its Vulkan driver may be too old, or not fit the kernel's: `VK_LOADER_DEBUG=error,warn monosem devices` \
             tells what the loader says of it"
                .to_owned(),
        );
    } else if causes.is_empty() {
        causes.push("install or update the GPU's own driver".to_owned());
    }
    causes
}
