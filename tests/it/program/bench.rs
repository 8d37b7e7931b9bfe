//! `monosem bench`, and `train --profile`.

use serde_json::Value;

use crate::program::cli::{Files, fail, succeed, succeed_with};

const SIZES: [&str; 8] = ["--d", "24", "--features", "2048", "--k", "4", "--batch", "64"];

fn bench(more: &[&str]) -> Value {
    bench_with(more, &[])
}

fn bench_with(more: &[&str], variables: &[(&str, &str)]) -> Value {
    let arguments = [&["bench", "--device", "cpu", "--repeats", "2", "--json"], &SIZES[..], more].concat();
    serde_json::from_str(succeed_with(&arguments, variables).lines().last().unwrap()).unwrap()
}

#[test]
fn every_kernel_of_a_step_is_timed_and_set_beside_its_floor() {
    let result = bench(&["--selection", "grouped"]);
    let kernels = result["kernels"].as_array().unwrap();
    let names: Vec<_> = kernels.iter().map(|kernel| kernel["kernel"].as_str().unwrap()).collect();
    for name in
        ["center", "select", "rescore", "decode", "sort", "runs", "slopes", "squares", "clip", "update", "activity"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let sum: f64 = kernels.iter().map(|kernel| kernel["seconds"].as_f64().unwrap()).sum();
    assert!((sum / result["kernels_seconds"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    let encode = kernels.iter().find(|kernel| kernel["kernel"].as_str().unwrap().starts_with("encode")).unwrap();
    assert_eq!(encode["flops"], 2 * 64 * 2048 * 24);
    let ceiling = |name: &str| result[name].as_f64().unwrap();
    let (flops, bytes) = (ceiling("ceiling_flops_per_second"), ceiling("ceiling_bytes_per_second"));
    assert!(flops > 1e8 && bytes > 1e8 && flops.is_finite() && bytes.is_finite(), "{flops} {bytes}");
    let floor = encode["flops"].as_f64().unwrap() / flops;
    assert!(encode["floor_seconds"].as_f64().unwrap() >= floor);
    assert_eq!(result["tokens_per_second"].as_f64().unwrap(), 64.0 / result["step_seconds"].as_f64().unwrap());
}

#[test]
fn a_benchmark_shows_the_kernel_that_is_asked_for_or_says_which_there_are() {
    let result = bench(&["--kernel", "squares", "--moments", "bf16", "--selection", "chunked"]);
    let names: Vec<_> = result["kernels"].as_array().unwrap().iter().map(|kernel| &kernel["kernel"]).collect();
    assert_eq!(names, ["squares"]);
    assert_eq!((&result["moments"], &result["selection"]), (&"bf16".into(), &"chunked".into()));
    let wrong = [&["bench", "--device", "cpu", "--kernel", "softmax"], &SIZES[..]].concat();
    fail(&wrong, 2, "a step has no such kernel; there are ");
}

#[test]
fn a_benchmark_takes_the_variant_that_is_asked_for_or_says_which_there_are() {
    let result = bench(&["--kernel", "encode", "--encode", "tiled-128x128x16", "--selection", "grouped"]);
    assert_eq!((&result["encode"], &result["selection"]), (&"tiled-128x128x16".into(), &"grouped by 16".into()));
    assert_eq!(result["kernels"][0]["kernel"], "encode_tiled");
    let wrong = [&["bench", "--device", "cpu", "--encode", "tiled"], &SIZES[..]].concat();
    fail(&wrong, 2, "--encode tiled: this device has ");
}

#[test]
fn a_trained_sae_is_benched_on_its_own_data() {
    let files = Files::new();
    let out = files.path("run");
    let flags = ["--features", "64", "--k", "4", "--batch", "50", "--steps", "2", "--device", "cpu"];
    succeed(&[&["train", "--data", &files.data, "--out", &out][..], &flags].concat());
    let bench = ["bench", "--sae", &out, "--data", &files.data, "--batch", "100", "--repeats", "1", "--device", "cpu"];
    let output = succeed(&[&bench[..], &["--json"]].concat());
    let result: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!((&result["features"], &result["k"]), (&64.into(), &4.into()));
    let wide = "examples/data/sample-val.safetensors";
    fail(
        &["bench", "--sae", &out, "--data", wide, "--device", "cpu"],
        3,
        "its rows have 384 values and the SAE takes 10",
    );
    fail(&["bench", "--sae", &out], 2, "--data");
}

#[test]
fn a_profiled_run_tells_where_its_time_went_and_ends_with_the_same_sae() {
    let files = Files::new();
    let train = |out: &str, more: &[&str]| {
        let out = files.path(out);
        let flags = ["--features", "64", "--k", "4", "--batch", "50", "--steps", "7", "--device", "cpu", "--json"];
        let start = ["train", "--data", &files.data, "--out", &out];
        let output = succeed(&[&start, &flags[..], more].concat());
        let sae = std::fs::read(format!("{out}/sae/sae_weights.safetensors")).unwrap();
        (serde_json::from_str::<Value>(output.lines().last().unwrap()).unwrap(), sae)
    };
    let (summary, profiled) = train("profiled", &["--profile", "--checkpoint-every", "3"]);
    let (plain, sae) = train("plain", &[]);
    assert_eq!(profiled, sae);
    assert!(plain["profile"].is_null());
    let profile = &summary["profile"];
    // All but the first and the two that were copied.
    assert_eq!(profile["steps"], 4, "{profile}");
    assert!(profile["kernels"]["update"].as_f64().unwrap() > 0.0);
    assert!((0.0..1.0).contains(&profile["idle_share"].as_f64().unwrap()), "{profile}");
}

/// Runs benches/expected.py, if there is a Python.
fn expected(arguments: &[&str]) -> Option<(bool, String)> {
    let output = std::process::Command::new("python3").arg("benches/expected.py").args(arguments).output().ok()?;
    Some((output.status.success(), String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn expected_times_are_of_the_kernels_that_a_step_has() {
    let files = Files::new();
    let in_chunks = ["--selection", "chunked", "--moments", "bf16"];
    for (name, more) in [("a", &["--selection", "grouped"][..]), ("b", &["--screening", "f16"]), ("c", &in_chunks)] {
        for (kernels, as_gpu) in [("cpu", "0"), ("gpu", "1")] {
            let result = bench_with(more, &[("MONOSEM_CPU_AS_GPU", as_gpu)]);
            std::fs::write(files.path(&format!("bench-{name}-{kernels}.json")), result.to_string()).unwrap();
        }
    }
    let Some((agrees, text)) = expected(&["--compare", &files.path("")]) else {
        return eprintln!("not tested: there is no python3");
    };
    assert!(agrees && text.matches("all of these").count() == 6, "{text}");

    let mut wrong = bench(&["--selection", "grouped"]);
    for kernel in wrong["kernels"].as_array_mut().unwrap() {
        match kernel["kernel"].as_str().unwrap() {
            "squares" => kernel["kernel"] = "hotter".into(),
            "decode" => kernel["bytes"] = 1.into(),
            "update" => kernel["dispatches"] = 7.into(),
            _ => {}
        }
    }
    std::fs::write(files.path("bench-d.json"), wrong.to_string()).unwrap();
    let (agrees, text) = expected(&["--compare", &files.path("")]).unwrap();
    assert!(!agrees);
    for words in ["hotter: ", "squares: in the model, and not measured", "decode: 1 bytes", "update: 7 dispatches"] {
        assert!(text.contains(&format!("DIFFERS {words}")), "{words} in {text}");
    }
}

#[test]
fn the_documentation_has_the_expected_times_of_the_script() {
    let Some((_, text)) = expected(&[]) else { return eprintln!("not tested: there is no python3") };
    let documented = std::fs::read_to_string("docs/performance.md").unwrap();
    assert!(documented.contains(&text), "docs/performance.md lacks what benches/expected.py prints");
}
