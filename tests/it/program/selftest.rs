//! `monosem selftest`: that it passes here. That it can fail is tested beside it, check by check.

use monosem::gpu::shaders::ALL;
use monosem::kernels::EncodeVariant;
use monosem::selftest;
use serde_json::Value;

use crate::kernels::gpu;
use crate::program::cli::succeed_with;

fn lines(arguments: &[&str]) -> Vec<String> {
    lines_with(arguments, &[])
}

fn lines_with(arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let device = std::env::var("MONOSEM_TEST_DEVICE").ok();
    let chosen: Vec<&str> = device.iter().flat_map(|device| ["--device", device]).collect();
    succeed_with(&[&["selftest"], arguments, &chosen].concat(), variables).lines().map(str::to_owned).collect()
}

#[test]
fn every_shader_passes_on_this_device() {
    let mut told = Vec::new();
    let report = selftest::run(gpu(), |check| told.push(check.clone())).unwrap();
    println!("{:.1} s", report.duration.as_secs_f64());
    assert_eq!(told, report.checks);
    for check in &report.checks {
        assert!(check.passed() && check.problem.is_none(), "{check:?}");
    }
    assert_eq!(report.failed(), 0);
    let checked = |name: &str| report.checks.iter().any(|check| check.operation.split('.').next() == Some(name));
    for shader in ALL {
        // The variants of an operation share one reference.
        let of = |operation: &&str| shader.name.strip_prefix(operation).is_some_and(|rest| rest.starts_with('_'));
        let operation = ["encode", "rescore", "screen"].into_iter().find(of).unwrap_or(shader.name);
        assert!(checked(operation), "{operation} is not checked");
    }
    assert!(checked("step"));
    let variants: Vec<_> =
        report.checks.iter().filter(|check| check.operation == "encode").map(|check| check.variant.clone()).collect();
    let available = EncodeVariant::available(gpu().description());
    assert_eq!(variants, available.iter().map(EncodeVariant::to_string).collect::<Vec<_>>());
}

#[test]
fn the_report_is_a_line_a_check_between_device_and_summary() {
    let json: Vec<Value> = lines(&["--json"]).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (first, last) = (&json[0], &json[json.len() - 1]);
    assert_eq!((&first["type"], &first["monosem"]), (&"device".into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(first["driver"].is_string() && first["max_binding_bytes"].is_u64(), "{first}");
    assert_eq!((&last["type"], &last["failed"]), (&"selftest".into(), &0.into()));
    assert_eq!(last["checks"], json.len() - 2);
    for check in &json[1..json.len() - 1] {
        assert_eq!((&check["type"], &check["passed"]), (&"check".into(), &true.into()), "{check}");
        assert!(check["worst"].as_f64() <= check["tolerance"].as_f64(), "{check}");
        assert!(check["cases"].as_u64() > Some(0), "{check}");
    }
}

/// Whole steps among them, which take other kernels on the CPU otherwise.
#[test]
fn the_kernels_of_gpus_pass_on_the_cpu_too() {
    let text = lines_with(&[], &[("MONOSEM_CPU_AS_GPU", "1")]);
    assert!(text[0].starts_with("monosem ") && text[0].ends_with(env!("CARGO_PKG_VERSION")), "{}", text[0]);
    assert!(text.iter().any(|line| line.starts_with("encode") && line.contains("tiled-128x128x16")), "{text:?}");
    assert!(!text.iter().any(|line| line.contains("subgroup-")), "{text:?}");
    let passed = text.iter().filter(|line| line.ends_with("  ok")).count();
    let summary = text.last().unwrap();
    assert!(summary.starts_with(&format!("{passed} checks")) && summary.ends_with("all passed"), "{text:?}");
}
