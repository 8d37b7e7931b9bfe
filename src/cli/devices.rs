//! `monosem devices`

use clap::Args;
use monosem::Result;
use monosem::adapters::{AdapterChoice, AdapterDescription, Environment, Ranking, choose, rank};
use monosem::gpu::adapters;
use monosem::kernels::{EncodeVariant, ScreenVariant};
use monosem::units::readable_bytes;
use serde_json::{Map, Value, json};

use super::output::{self, print, print_result, tell};

/// List the devices: limits, features, the kernels that each would run, and which one is the default
#[derive(Args, Debug)]
pub struct Arguments {}

/// Lists them by index.
pub fn run(_: &Arguments) -> Result<()> {
    let (adapters, environment) = (adapters()?, Environment::read());
    if adapters.is_empty() {
        return choose(&adapters, &AdapterChoice::Best, &environment).map(drop);
    }
    let Ranking { selection, reasons } = rank(&adapters, &environment);
    let taken = selection.as_ref().ok().map(|selection| selection.index);
    for (index, (adapter, reason)) in adapters.iter().zip(&reasons).enumerate() {
        match output::json() {
            true => print(&to_json(index, adapter, taken == Some(index), reason).to_string())?,
            false => describe(index, adapter, reason)?,
        }
    }
    match &selection {
        Ok(selection) => selection.notes.iter().for_each(|note| tell(&format!("note: {note}"))),
        Err(error) => tell(&format!("note: without --device nothing is taken: {error}")),
    }
    match output::json() {
        true => print_result("devices", json!({ "devices": adapters.len(), "taken": taken })),
        false => Ok(()),
    }
}

fn describe(index: usize, adapter: &AdapterDescription, reason: &str) -> Result<()> {
    print(&format!("{index}: {}", adapter.name))?;
    for (name, value) in facts(adapter).into_iter().chain([("choice", reason.to_owned())]) {
        print(&format!("   {name:11} {value}"))?;
    }
    Ok(())
}

/// What is to be known of an adapter besides its name, for people.
pub(super) fn facts(adapter: &AdapterDescription) -> Vec<(&'static str, String)> {
    let yes_no = |has| if has { "yes" } else { "no" };
    let subgroups = match adapter.subgroup_sizes {
        None => "no".to_owned(),
        Some((least, most)) if least == most => format!("of {least}"),
        Some((least, most)) => format!("of {least} to {most}"),
    };
    let (f16, timestamps) = (yes_no(adapter.f16), yes_no(adapter.timestamps));
    let matrix_units = match (adapter.matrix_tile, &adapter.matrix_shapes[..]) {
        (Some(tile), _) => format!("of {tile} x {tile}"),
        (None, []) => "no".to_owned(),
        (None, shapes) => {
            let shapes: Vec<_> = shapes.iter().map(|[m, n, k]| format!("{m} x {n} x {k}")).collect();
            format!("not used (of {}: no kernel has such tiles)", shapes.join(", "))
        }
    };
    let pci_bus_id = if adapter.pci_bus_id.is_empty() { "none" } else { &adapter.pci_bus_id };
    let limits = format!(
        "binding {}, buffer {}, workgroup memory {}",
        readable_bytes(adapter.max_binding_bytes),
        readable_bytes(adapter.max_buffer_bytes),
        readable_bytes(adapter.workgroup_bytes.into())
    );
    let bounds = match adapter.unchecked {
        false => "checked by the driver too",
        true => "not checked by the driver: the kernels bound every index",
    };
    let memory = match &adapter.memory {
        Some(memory) => format!("{} available, by {}", readable_bytes(memory.available), memory.source),
        None => "not known here".to_owned(),
    };
    let facts = [
        ("kind", format!("{}, {}, {}", adapter.kind, adapter.backend, adapter.driver)),
        ("PCI bus id", pci_bus_id.to_owned()),
        ("limits", limits),
        ("memory", memory),
        ("features", format!("subgroups {subgroups}, f16 {f16}, matrix units {matrix_units}, timestamps {timestamps}")),
        ("bounds", bounds.to_owned()),
        ("encode", format!("{} (of {})", EncodeVariant::best(adapter), variants(adapter).join(", "))),
        ("screen", screen_variants(adapter).join(", ")),
    ];
    let lacks = adapter.lacks.as_ref().map(|lacks| ("lacks", format!("{lacks}: it cannot be used")));
    lacks.into_iter().chain(facts).collect()
}

fn variants(adapter: &AdapterDescription) -> Vec<String> {
    EncodeVariant::available(adapter).iter().map(EncodeVariant::to_string).collect()
}

fn screen_variants(adapter: &AdapterDescription) -> Vec<String> {
    ScreenVariant::available(adapter).iter().map(ScreenVariant::to_string).collect()
}

/// The same for programs.
pub(super) fn properties(adapter: &AdapterDescription) -> Map<String, Value> {
    let properties = [
        ("name", json!(adapter.name)),
        ("kind", json!(adapter.kind)),
        ("backend", json!(adapter.backend)),
        ("driver", json!(adapter.driver)),
        ("pci_bus_id", json!(Some(&adapter.pci_bus_id).filter(|id| !id.is_empty()))),
        ("max_binding_bytes", json!(adapter.max_binding_bytes)),
        ("max_buffer_bytes", json!(adapter.max_buffer_bytes)),
        ("available_memory_bytes", json!(adapter.memory.as_ref().map(|memory| memory.available))),
        ("workgroup_bytes", json!(adapter.workgroup_bytes)),
        ("subgroup_min_size", json!(adapter.subgroup_sizes.map(|(least, _)| least))),
        ("subgroup_max_size", json!(adapter.subgroup_sizes.map(|(_, most)| most))),
        ("f16", json!(adapter.f16)),
        ("matrix_tile", json!(adapter.matrix_tile)),
        ("timestamps", json!(adapter.timestamps)),
        ("bounds_checks", json!(adapter.bounds_checks())),
        ("as_gpu", json!(adapter.as_gpu)),
        ("lacks", json!(adapter.lacks)),
        ("encode", json!(EncodeVariant::best(adapter).to_string())),
        ("encode_variants", json!(variants(adapter))),
        ("screen_variants", json!(screen_variants(adapter))),
    ];
    properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn to_json(index: usize, adapter: &AdapterDescription, taken: bool, reason: &str) -> Value {
    let mut object = properties(adapter);
    object.insert("type".into(), json!("device"));
    object.insert("index".into(), json!(index));
    object.insert("taken".into(), json!(taken));
    object.insert("reason".into(), json!(reason));
    Value::Object(object)
}
