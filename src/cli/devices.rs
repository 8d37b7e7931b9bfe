//! `monosem devices`

use clap::Args;
use monosem::{Error, Result, gpu};

use super::output::print;

/// Lists the adapters that can be trained on
#[derive(Args, Debug)]
pub struct Arguments {}

/// Lists them by index.
pub fn run(_: &Arguments) -> Result<()> {
    let adapters = gpu::adapters();
    if adapters.is_empty() {
        return Err(Error::Device("no Vulkan, Metal or DX12 adapter was found".into()));
    }
    for (index, adapter) in adapters.iter().enumerate() {
        let yes_no = |has| if has { "yes" } else { "no" };
        print(&format!("{index}: {adapter}"))?;
        if !adapter.pci_bus_id.is_empty() {
            print(&format!("   PCI bus id {}", adapter.pci_bus_id))?;
        }
        print(&format!(
            "   largest binding {} MiB, workgroup memory {} KiB, subgroups {}, f16 {}, timestamps {}",
            adapter.max_binding_bytes >> 20,
            adapter.workgroup_bytes >> 10,
            adapter.subgroup_size.map_or("no".into(), |size| format!("of {size}")),
            yes_no(adapter.f16),
            yes_no(adapter.timestamps)
        ))?;
    }
    Ok(())
}
