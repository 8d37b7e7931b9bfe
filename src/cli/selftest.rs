//! `monosem selftest`

use std::env::consts::{ARCH, OS};
use std::fs;

use clap::Args;
use clap::builder::PossibleValuesParser;
use monosem::gpu::Gpu;
use monosem::selftest::{self, Check, Report};
use monosem::{Error, Result};
use serde_json::{Value, json};

use super::arguments::DeviceArguments;
use super::devices::{facts, properties};
use super::output::{self, print, print_result};

/// Check every kernel that the device would run, and whole training steps, against a reference in f64; print a report
/// to paste into an issue
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// Check only these operations: names before the dot in the report, separated by commas [default: all]
    #[arg(
        long,
        value_name = "OPERATION,..",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(selftest::operations()),
        hide_possible_values = true
    )]
    only: Vec<String>,
}

/// Runs all checks; an error if one fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let gpu = arguments.device.open()?;
    let as_json = output::json();
    let print_check = if as_json { print_json } else { print_line };
    let mut printed = if as_json { print(&device_json(&gpu).to_string()) } else { print_device(&gpu) };
    let operations: Vec<&str> = match &arguments.only[..] {
        [] => selftest::operations().collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    let report = selftest::run_only(&gpu, &operations, |check| {
        if printed.is_ok() {
            printed = print_check(check);
        }
    })?;
    printed?;
    let (failed, count) = (report.failed(), report.checks.len());
    print_summary(&gpu, &report, as_json)?;
    if failed > 0 {
        return Err(Error::Device(format!(
            "{failed} of {count} checks failed: this driver does not compute what it should on {}; update it, and if \
             that does not help report this with the output above",
            gpu.description()
        )));
    }
    Ok(())
}

fn print_device(gpu: &Gpu) -> Result<()> {
    let adapter = gpu.description();
    let program = [
        ("monosem", env!("CARGO_PKG_VERSION").to_owned()),
        ("system", format!("{}, {ARCH}", operating_system())),
        ("device", adapter.name.clone()),
    ];
    for (name, value) in program.into_iter().chain(facts(adapter)) {
        print(&format!("{name:11} {value}"))?;
    }
    print("")
}

fn print_line(check: &Check) -> Result<()> {
    let outcome = if check.passed() { "ok" } else { "FAILED" };
    print(&format!(
        "{:22} {:26} {:>4} cases  worst {:>7.1e} of {:>7.1e}  {outcome}",
        check.operation, check.variant, check.cases, check.worst, check.tolerance
    ))?;
    match &check.problem {
        Some(problem) => print(&format!("    {problem}")),
        None => Ok(()),
    }
}

fn device_json(gpu: &Gpu) -> Value {
    let mut object = properties(gpu.description());
    object.insert("type".into(), json!("device"));
    object.insert("monosem".into(), json!(env!("CARGO_PKG_VERSION")));
    object.insert("system".into(), json!(operating_system()));
    object.insert("architecture".into(), json!(ARCH));
    Value::Object(object)
}

fn print_json(check: &Check) -> Result<()> {
    let object = json!({
        "type": "check",
        "operation": check.operation,
        "variant": check.variant,
        "cases": check.cases,
        // JSON has no infinity: then the value is null.
        "worst": check.worst,
        "tolerance": check.tolerance,
        "passed": check.passed(),
        "problem": check.problem,
    });
    print(&object.to_string())
}

fn print_summary(gpu: &Gpu, report: &Report, as_json: bool) -> Result<()> {
    let (checks, failed, seconds) = (report.checks.len(), report.failed(), report.duration.as_secs_f64());
    if as_json {
        let device = &gpu.description().name;
        let object = json!({ "device": device, "checks": checks, "failed": failed, "seconds": seconds });
        return print_result("selftest", object);
    }
    let outcome = if failed == 0 { "all passed".to_owned() } else { format!("{failed} FAILED") };
    print(&format!("{checks} checks in {seconds:.1} s: {outcome}"))
}

/// Name and version, where the system says them.
fn operating_system() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let words = [OS, kernel.trim(), name.trim_matches('"')];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").escape_debug().to_string()
}
