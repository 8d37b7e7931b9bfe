//! What a machine says of its GPUs besides its graphics API: device nodes, driver manifests, environment variables.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The facts beside the adapters that decide which one is taken, and explain why one is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// GPUs that the kernel shows: `/dev/nvidia[0-9]*` and `/dev/dri/renderD*`. Linux only, as all but the variables.
    pub device_nodes: Vec<DeviceNode>,
    /// NVIDIA's GPUs as its kernel module names them, under `/proc/driver/nvidia/gpus`.
    pub nvidia_gpus: Vec<NvidiaGpu>,
    /// Whether `libvulkan.so.1` can be loaded.
    pub has_vulkan_loader: bool,
    /// Vulkan's driver manifests (`icd.d/*.json`) where its loader looks for them.
    pub driver_manifests: Vec<PathBuf>,
    /// Those of [`VARIABLES`] that are set.
    pub variables: Vec<(&'static str, String)>,
}

/// A GPU's file under `/dev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// The file.
    pub path: PathBuf,
    /// The kernel driver behind it (`nvidia`, `amdgpu`, `i915`, ...), empty where it is not known.
    pub driver: String,
    /// Why this process cannot open it, if it cannot.
    pub refusal: Option<String>,
}

/// One of NVIDIA's GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvidiaGpu {
    /// PCI bus id.
    pub pci_bus_id: String,
    /// `GPU-` and its UUID, as CUDA and nvidia-smi write it.
    pub uuid: String,
}

/// The environment variables that decide which GPUs a process sees.
pub const VARIABLES: [&str; 7] = [
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "NVIDIA_DRIVER_CAPABILITIES",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
];

/// Kernel drivers that have render nodes and no GPU behind them.
const NO_GPU: [&str; 2] = ["vgem", "vkms"];

impl Environment {
    /// The facts of this machine and process. Opens and closes each device node.
    pub fn read() -> Self {
        let variables = VARIABLES.iter().filter_map(|name| Some((*name, env::var_os(name)?.to_string_lossy().into())));
        let facts = Self { variables: variables.collect(), ..Self::default() };
        if cfg!(target_os = "linux") { facts.with_files_below(Path::new("/")) } else { facts }
    }

    /// The value of one of [`VARIABLES`], if it is set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn with_files_below(self, root: &Path) -> Self {
        Self {
            device_nodes: device_nodes(root),
            nvidia_gpus: nvidia_gpus(root),
            has_vulkan_loader: has_vulkan_loader(),
            driver_manifests: manifest_directories(root).iter().flat_map(|directory| list(directory)).collect(),
            ..self
        }
    }
}

/// The entries of a directory in order; none if it cannot be read.
fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn device_nodes(root: &Path) -> Vec<DeviceNode> {
    let numbered = |path: &Path, prefix: &str| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.strip_prefix(prefix)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let nvidia = list(&root.join("dev")).into_iter().filter(|path| numbered(path, "nvidia"));
    let nvidia = nvidia.map(|path| DeviceNode { refusal: refusal(&path), path, driver: "nvidia".into() });
    let render = list(&root.join("dev/dri")).into_iter().filter(|path| numbered(path, "renderD"));
    let render = render.map(|path| {
        let link = root.join("sys/class/drm").join(path.file_name().unwrap_or_default()).join("device/driver");
        let driver = fs::read_link(link).ok().and_then(|target| Some(target.file_name()?.to_string_lossy().into()));
        DeviceNode { refusal: refusal(&path), path, driver: driver.unwrap_or_default() }
    });
    nvidia.chain(render).filter(|node| !NO_GPU.contains(&node.driver.as_str())).collect()
}

/// Modes say little here: groups, ACLs and a container's device rules decide too, so the file is really opened.
fn refusal(path: &Path) -> Option<String> {
    fs::File::options().read(true).write(true).open(path).err().map(|error| error.to_string())
}

fn nvidia_gpus(root: &Path) -> Vec<NvidiaGpu> {
    let gpu = |directory: PathBuf| {
        let text = fs::read_to_string(directory.join("information")).ok()?;
        let uuid = text.lines().find_map(|line| line.strip_prefix("GPU UUID:"))?.trim().to_owned();
        Some(NvidiaGpu { pci_bus_id: directory.file_name()?.to_string_lossy().into(), uuid })
    };
    // The module writes question marks for a GPU that it has not started.
    let known = |gpu: &NvidiaGpu| gpu.uuid.starts_with("GPU-") && !gpu.uuid.contains('?');
    list(&root.join("proc/driver/nvidia/gpus")).into_iter().filter_map(gpu).filter(known).collect()
}

#[cfg(target_os = "linux")]
fn has_vulkan_loader() -> bool {
    // SAFETY: the loader's initialisers touch nothing but its own state; wgpu loads the same library by the same name.
    unsafe { libloading::Library::new("libvulkan.so.1") }.is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_vulkan_loader() -> bool {
    true
}

/// Where Vulkan's loader looks for manifests (LoaderDriverInterface.md, "Driver Discovery on Linux").
fn manifest_directories(root: &Path) -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let one = |name: &str, usual: &str| env::var_os(name).map_or_else(|| home.join(usual), PathBuf::from);
    let several = |name: &str, usual: &str| -> Vec<PathBuf> {
        let value = env::var_os(name).filter(|value| !value.is_empty()).unwrap_or_else(|| usual.into());
        env::split_paths(&value).collect()
    };
    let mut places = vec![one("XDG_CONFIG_HOME", ".config")];
    places.extend(several("XDG_CONFIG_DIRS", "/etc/xdg"));
    places.extend(["/usr/local/etc".into(), "/etc".into(), one("XDG_DATA_HOME", ".local/share")]);
    places.extend(several("XDG_DATA_DIRS", "/usr/local/share:/usr/share"));
    places.sort();
    places.dedup();
    // A test's root replaces that of absolute places too.
    places.iter().map(|place| root.join(place.strip_prefix("/").unwrap_or(place)).join("vulkan/icd.d")).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn nodes_drivers_manifests_and_uuids_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for node in ["nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia", "dri/card0", "dri/renderD128"] {
            write(root, &format!("dev/{node}"), "");
        }
        write(root, "dev/dri/renderD129", "");
        // A directory cannot be opened for writing, whoever asks.
        fs::create_dir(root.join("dev/nvidia3")).unwrap();
        for (node, driver) in [("renderD128", "amdgpu"), ("renderD129", "vgem")] {
            let device = root.join("sys/class/drm").join(node).join("device");
            fs::create_dir_all(&device).unwrap();
            std::os::unix::fs::symlink(format!("../../bus/drivers/{driver}"), device.join("driver")).unwrap();
        }
        write(root, "etc/vulkan/icd.d/nvidia_icd.json", "{}");
        let information =
            |uuid| format!("Model: \t\t NVIDIA H100\nIRQ:   \t\t 18\nGPU UUID: \t {uuid}\nDMA Size: \t 47\n");
        write(root, "proc/driver/nvidia/gpus/0000:01:00.0/information", &information("GPU-8932f937-d72c"));
        write(root, "proc/driver/nvidia/gpus/0000:02:00.0/information", &information("GPU-????????-????"));

        let facts = Environment::default().with_files_below(root);
        let nodes: Vec<_> = facts
            .device_nodes
            .iter()
            .map(|node| (node.path.strip_prefix(root).unwrap().to_str().unwrap(), node.driver.as_str()))
            .collect();
        let nvidia = ["dev/nvidia0", "dev/nvidia12", "dev/nvidia3"].map(|path| (path, "nvidia"));
        assert_eq!(nodes, [&nvidia[..], &[("dev/dri/renderD128", "amdgpu")]].concat());
        let refused: Vec<_> = facts.device_nodes.iter().map(|node| node.refusal.is_some()).collect();
        assert_eq!(refused, [false, false, true, false]);
        let uuid = "GPU-8932f937-d72c".to_owned();
        assert_eq!(facts.nvidia_gpus, [NvidiaGpu { pci_bus_id: "0000:01:00.0".into(), uuid }]);
        assert_eq!(facts.driver_manifests, [root.join("etc/vulkan/icd.d/nvidia_icd.json")]);
    }
}
