//! MONOSEM_BOUNDS_CHECKS: devices with and without the driver's bounds checks, which change no bit.

use std::fs;
use std::path::Path;

use monosem::gpu::AdapterDescription;
use serde_json::Value;

use crate::kernels::gpu;
use crate::program::cli::{Files, command, metrics};

#[test]
fn a_run_without_bounds_checks_has_the_same_bits() {
    if gpu().description().backend != "vulkan" {
        return println!("there is no such device on {}", gpu().description().backend);
    }
    let files = Files::new();
    let trained = |bounds_checks: &str| {
        let out = files.path(bounds_checks);
        let arguments = ["train", "--data", &files.data, "--out", &out, "--features", "1100", "--k", "5", "--batch"];
        let more = ["300", "--steps", "4", "--auxk", "normalised", "--dead-window", "300"];
        let mut command = command(&[&arguments[..], &more].concat());
        let output = command.env("MONOSEM_BOUNDS_CHECKS", bounds_checks).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let out = Path::new(&out);
        let record: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
        assert_eq!(record["bounds_checks"], bounds_checks);
        (fs::read(out.join("sae/sae_weights.safetensors")).unwrap(), metrics(out))
    };
    let (checked, unchecked) = (trained("driver"), trained("none"));
    assert!(checked.0 == unchecked.0, "the weights differ");
    assert_eq!(checked.1, unchecked.1);
}

#[test]
fn devices_say_who_checks_bounds() {
    let listed = |bounds_checks: &str| {
        let output = command(&["devices", "--json"]).env("MONOSEM_BOUNDS_CHECKS", bounds_checks).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code(), lines)
    };
    let adapters: Vec<AdapterDescription> = monosem::gpu::adapters().unwrap();
    for (value, left_out) in [("driver", false), ("none", true)] {
        let (code, lines) = listed(value);
        assert_eq!((code, lines.len()), (Some(0), adapters.len() + 1));
        for (line, adapter) in lines.iter().zip(&adapters) {
            let expected = if left_out && adapter.backend == "vulkan" { "none" } else { "driver" };
            assert_eq!(line["bounds_checks"], expected, "{line}");
        }
    }
    let output = command(&["devices", "--json"]).env_remove("MONOSEM_BOUNDS_CHECKS").output().unwrap();
    let by_default = String::from_utf8(output.stdout).unwrap();
    for (line, adapter) in by_default.lines().zip(&adapters) {
        let line: Value = serde_json::from_str(line).unwrap();
        let expected = if adapter.is_nvidia() && adapter.backend == "vulkan" { "none" } else { "driver" };
        assert_eq!(line["bounds_checks"], expected, "{line}");
    }
    let (code, lines) = listed("off");
    assert_eq!(code, Some(2));
    assert!(lines[0].to_string().contains("MONOSEM_BOUNDS_CHECKS is 'off'"), "{lines:?}");
    let output = command(&["devices"]).env("MONOSEM_CPU_AS_GPU", "yes").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("MONOSEM_CPU_AS_GPU is 'yes': it takes 0 or 1"), "{message}");
}
