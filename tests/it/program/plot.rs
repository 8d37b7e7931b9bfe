//! `monosem plot`: what is drawn, and what is refused.

use std::fs;
use std::path::Path;

use crate::program::cli::{Files, fail, succeed};

#[test]
fn runs_are_drawn_with_their_held_out_points_and_densities() {
    let files = Files::new();
    let runs = ["a<b>&c", "other"].map(|name| files.path(name));
    for (run, seed) in runs.iter().zip(["1", "2"]) {
        let sizes = ["--features", "40", "--k", "4", "--batch", "50", "--steps", "6", "--seed", seed];
        let paths = ["train", "--data", &files.data, "--val", &files.data, "--eval-every", "3", "--out", run];
        let how = ["--log-every", "1", "--checkpoint-every", "4", "--device", "cpu", "--no-autotune"];
        succeed(&[&paths[..], &sizes, &how].concat());
    }

    succeed(&["plot", &runs[0]]);
    let one = fs::read_to_string(Path::new(&runs[0]).join("plot.svg")).unwrap();
    let titles = ["Loss", "FVU (points: held-out rows)", "Dead features", "Gradient norm", "log10 density"];
    assert!(titles.iter().all(|title| one.contains(title)), "{one}");
    // Two of FVU and two of L0.
    assert_eq!(one.matches("<circle").count(), 4);
    assert!(one.contains("a&lt;b&gt;&amp;c") && !one.contains("a<b>"), "{one}");
    assert!(!one.contains("no checkpoint"), "{one}");

    let out = files.path("both.svg");
    succeed(&["plot", &runs[0], &runs[1], "--out", &out]);
    let both = fs::read_to_string(&out).unwrap();
    assert_eq!(both.matches("<circle").count(), 8);
    assert!(both.contains("other") && both.len() > one.len());

    // A checkpoint cut short is passed over, and a run without any has no densities.
    for checkpoint in fs::read_dir(Path::new(&runs[1]).join("checkpoints")).unwrap() {
        let state = checkpoint.unwrap().path().join("state.safetensors");
        fs::OpenOptions::new().write(true).open(state).unwrap().set_len(100).unwrap();
    }
    succeed(&["plot", &runs[1]]);
    assert!(fs::read_to_string(Path::new(&runs[1]).join("plot.svg")).unwrap().contains("no checkpoint"));
}

#[test]
fn what_is_no_run_is_refused_and_no_picture_is_left() {
    let files = Files::new();
    let run = files.path("run");
    fs::create_dir(&run).unwrap();
    fail(&["plot", &run], 3, "has no metrics.jsonl: name the directory of a run");

    let metrics = Path::new(&run).join("metrics.jsonl");
    fs::write(&metrics, "").unwrap();
    fail(&["plot", &run], 3, "has no metrics yet");
    fs::write(&metrics, "{\"step\": 1, \"loss\": 2.0}\nnonsense\n").unwrap();
    fail(&["plot", &run], 3, "line 2 is not a step's metrics");
    fs::write(&metrics, [b'{', 0xff, b'\n']).unwrap();
    fail(&["plot", &run], 3, "is not text");
    fail(&["plot", &run, &run], 2, "--out");
    assert!(!Path::new(&run).join("plot.svg").exists());

    // The last line of a running run may not be whole.
    fs::write(&metrics, "{\"step\": 1, \"loss\": 2.0}\n{\"step\": 2, \"lo").unwrap();
    succeed(&["plot", &run]);
}
