//! Compiles WGSL with the Vulkan driver that is there, as wgpu would, and prints what the driver says of each pipeline:
//! a line of JSON for the device, then two for each entry point, before and after it is compiled.
//!
//!     compilers [--machine-code] [--subgroup N] FILE.wgsl ...
//!
//! `--machine-code` prints it too, `--subgroup` requires a size where wgpu leaves it to the driver.

mod device;
mod pipeline;

use std::fs;
use std::path::Path;

use device::Device;
use serde_json::json;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let (mut files, mut machine_code, mut subgroup) = (Vec::new(), false, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--machine-code" => machine_code = true,
            "--subgroup" => subgroup = Some(arguments.next().ok_or("--subgroup takes a number")?.parse()?),
            _ => files.push(argument),
        }
    }
    let device = Device::open()?;
    println!("{}", device.description());
    for file in &files {
        let shader = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let module = pipeline::Module::parse(&text).map_err(|error| format!("{file}: {error}"))?;
        for entry in module.entry_points() {
            // Read, should the driver crash.
            println!("{}", json!({ "shader": shader, "entry": entry }));
            let mut line = match module.compile(&device, entry, subgroup, machine_code) {
                Ok(compiled) => compiled,
                Err(error) => json!({ "error": error.to_string() }),
            };
            line["shader"] = json!(shader);
            line["entry"] = json!(entry);
            println!("{line}");
        }
    }
    Ok(())
}
