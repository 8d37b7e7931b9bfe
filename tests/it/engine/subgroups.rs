use std::process::Command;

use crate::kernels::gpu;

/// lavapipe's vectors in bits, and its subgroups with them: 4, 8 and 16 lanes.
const VECTOR_WIDTHS: [u32; 3] = [128, 256, 512];

/// The kernels' tests once more for each subgroup size, which a process on lavapipe takes from its environment.
#[test]
fn kernels_pass_with_every_subgroup_size() {
    if !gpu().description().takes_cpu_kernels() {
        println!("skipped: {} has the one subgroup size that all tests ran with", gpu().description());
        return;
    }
    for width in VECTOR_WIDTHS {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["kernels::", "--nocapture"])
            .env("LP_NATIVE_VECTOR_WIDTH", width.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        // Run one after another, a test's name precedes what it prints.
        let find = |start: &str| text.find(start).map_or("", |at| text[at..].lines().next().unwrap_or_default());
        let (device, summary) = (find("tested on "), find("test result: "));
        println!("{width} bits: {device}: {summary}");
        assert!(output.status.success(), "{width} bits: {text}{}", String::from_utf8_lossy(&output.stderr));
        let passed = summary.split_once("ok. ").and_then(|(_, rest)| rest.split_once(" passed"));
        assert!(passed.is_some_and(|(passed, _)| passed.parse::<u32>().unwrap() > 0), "{width} bits: {summary}");
        let lanes = format!("subgroups of Some({})", width / 32);
        assert!(device.ends_with(&lanes), "{width} bits: {device}");
    }
}
