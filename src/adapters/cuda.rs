//! What `CUDA_VISIBLE_DEVICES` means for adapters of another API, which ignores it.

use super::description::pci_address;
use super::{AdapterDescription, Environment};

/// Which NVIDIA adapters the variable leaves visible.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    /// It is not set, or there is nothing that it could hide.
    Unrestricted,
    /// These, as places in the list of adapters, in the variable's order.
    Only(Vec<usize>),
    /// It cannot be told, for this reason.
    Unclear(String),
}

/// Reads the variable as CUDA does: entries up to the first that is no GPU count. `nvidia` are the places of NVIDIA's
/// adapters, each GPU once.
///
/// CUDA numbers GPUs by PCI bus id only under `CUDA_DEVICE_ORDER=PCI_BUS_ID`, else the fastest first and the rest in an
/// order that is not specified; so an index can be told from the outside only if there is one GPU, if all are listed,
/// or under that order, and only where Vulkan shows every GPU that this process may open.
pub(super) fn visibility(found: &[AdapterDescription], nvidia: &[usize], environment: &Environment) -> Visibility {
    let Some(value) = environment.variable("CUDA_VISIBLE_DEVICES").filter(|_| !nvidia.is_empty()) else {
        return Visibility::Unrestricted;
    };
    let entries: Vec<&str> = value.split(',').map(str::trim).collect();
    let indices: Vec<usize> =
        entries.iter().map_while(|entry| entry.parse().ok()).take_while(|index| *index < nvidia.len()).collect();
    if let Some(first) = indices.first() {
        return match numbered(found, nvidia, environment, &indices) {
            Ok(visible) => Visibility::Only(visible),
            Err(reason) => Visibility::Unclear(format!("which GPU CUDA calls {first} cannot be told: {reason}")),
        };
    }
    if entries[0].starts_with("MIG-") {
        return Visibility::Unclear("it names a MIG instance, which Vulkan has not".into());
    }
    if !entries[0].starts_with("GPU-") {
        // Nothing, -1, NoDevFiles, an index past the last: all hide every GPU.
        return Visibility::Only(Vec::new());
    }
    let addresses: Vec<_> = nvidia.iter().map(|at| (*at, pci_address(&found[*at].pci_bus_id))).collect();
    let by_uuid = |entry: &&str| {
        let fits = |uuid: &str| uuid.to_lowercase().starts_with(&entry.to_lowercase());
        let gpu = environment.nvidia_gpus.iter().find(|gpu| fits(&gpu.uuid))?;
        let address = pci_address(&gpu.pci_bus_id)?;
        addresses.iter().find(|(_, known)| *known == Some(address)).map(|(at, _)| *at)
    };
    let visible = unique(entries.iter().map_while(by_uuid));
    match visible.is_empty() {
        true => Visibility::Unclear("no GPU with that UUID is known here".into()),
        false => Visibility::Only(visible),
    }
}

/// The adapters of these indices, in their order where that can be told.
fn numbered(
    found: &[AdapterDescription],
    nvidia: &[usize],
    environment: &Environment,
    indices: &[usize],
) -> Result<Vec<usize>, String> {
    let nodes = environment.device_nodes.iter().filter(|node| node.path.to_string_lossy().contains("nvidia"));
    let usable = nodes.filter(|node| node.refusal.is_none()).count();
    if usable > 0 && usable != nvidia.len() {
        return Err(format!("Vulkan shows {} of NVIDIA's GPUs, and {usable} can be opened", nvidia.len()));
    }
    let all_listed = (0..nvidia.len()).all(|index| indices.contains(&index));
    if environment.variable("CUDA_DEVICE_ORDER") == Some("PCI_BUS_ID") {
        let mut order: Vec<_> = nvidia.iter().map(|at| (pci_address(&found[*at].pci_bus_id), *at)).collect();
        order.sort();
        if order.iter().all(|(address, _)| address.is_some()) {
            return Ok(unique(indices.iter().map(|index| order[*index].1)));
        }
    }
    match all_listed {
        // Whichever is which, all of them are visible.
        true => Ok(nvidia.to_vec()),
        false => Err("CUDA numbers GPUs by PCI bus id only under CUDA_DEVICE_ORDER=PCI_BUS_ID".into()),
    }
}

fn unique(places: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut seen = Vec::new();
    for at in places {
        if !seen.contains(&at) {
            seen.push(at);
        }
    }
    seen
}
