//! What a device without enough memory looks like to the user.
#![cfg(target_os = "linux")]

use std::process::Command;

use monosem::gpu::AdapterDescription;

use crate::program::cli::program;

/// A process whose address space ends at about 2 GB cannot hold 1.8 GB of weights and moments beside the driver:
/// a software adapter then runs out of memory as a GPU does.
#[test]
fn a_full_device_is_an_error_that_names_the_buffer() {
    if !monosem::gpu::adapters().unwrap().iter().any(AdapterDescription::is_on_cpu) {
        println!("skipped: there is no software adapter here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 2000000; exec \"$@\"", "sh"])
        .arg(program())
        .args(["train", "--device", "cpu", "--features", "200000", "--k", "4", "--batch", "16", "--steps", "1"])
        .args(["--data", "examples/data/sample-val.safetensors", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(message.contains("the device has no room for "), "{message}");
    assert!(!out.join("sae").exists());
}
