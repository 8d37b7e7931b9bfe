//! Every architecture from the command line to an SAE that opens, and back from a checkpoint.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::cli::{Files, fail, metrics, succeed};

fn weights(run: &str) -> Vec<u8> {
    fs::read(Path::new(run).join("sae/sae_weights.safetensors")).unwrap()
}

/// Flags, and what `cfg.json` calls the SAE and its training.
const ARCHITECTURES: [(&[&str], &str, Option<&str>); 6] = [
    (&["--arch", "topk", "--k", "4"], "topk", None),
    (&["--arch", "batchtopk", "--k", "4"], "jumprelu", Some("batchtopk")),
    (&["--arch", "matryoshka", "--k", "4", "--widths", "8,24"], "jumprelu", Some("matryoshka_batchtopk")),
    (&["--arch", "relu", "--l1", "0.1", "--init-l0", "6"], "standard", None),
    (&["--arch", "jumprelu", "--l0-coefficient", "0.1", "--init-l0", "6"], "jumprelu", None),
    (&["--arch", "gated", "--l1", "0.1", "--init-l0", "6"], "gated", None),
];

#[test]
fn every_architecture_trains_resumes_to_the_same_bits_and_is_evaluated() {
    let files = Files::new();
    for (flags, architecture, trained_as) in ARCHITECTURES {
        let run = files.path(flags[1]);
        let sizes = ["--features", "40", "--batch", "50", "--steps", "5", "--device", "cpu", "--no-autotune"];
        let paths = ["train", "--data", &files.data, "--out", &run, "--log-every", "1", "--checkpoint-every", "2"];
        succeed(&[&paths[..], &sizes, flags].concat());
        let lines = metrics(Path::new(&run));
        assert!(lines.iter().all(|line| line["fvu"].as_f64().is_some_and(f64::is_finite)), "{flags:?}: {lines:?}");

        let cfg = fs::read(Path::new(&run).join("sae/cfg.json")).unwrap();
        let cfg: Value = serde_json::from_slice(&cfg).unwrap();
        assert_eq!(cfg["architecture"], architecture);
        assert!(trained_as.is_none_or(|name| cfg["metadata"]["training_architecture"] == name), "{cfg}");

        // The checkpoint of step 4 is the SAE of that step, threshold and all.
        let checkpoint = format!("{run}/checkpoints/step-4");
        for sae in [&run, &checkpoint] {
            let eval = succeed(&["eval", "--sae", sae, "--data", &files.data, "--json", "--device", "cpu"]);
            let eval: Value = serde_json::from_str(&eval).unwrap();
            let (fvu, l0) = (eval["fvu"].as_f64().unwrap(), eval["l0"].as_f64().unwrap());
            assert!(fvu.is_finite() && l0 > 0.0 && l0 < 40.0, "{flags:?}: {eval}");
        }

        // As if it had been stopped after its last checkpoint.
        let done = weights(&run);
        fs::remove_dir_all(Path::new(&run).join("sae")).unwrap();
        fs::write(Path::new(&run).join("run.json"), "{\"state\": \"failed\"}").unwrap();
        succeed(&["train", "--out", &run, "--resume"]);
        assert!(weights(&run) == done && metrics(Path::new(&run)) == lines, "{flags:?}");
    }
}

#[test]
fn settings_of_another_architecture_are_refused() {
    let files = Files::new();
    let train = ["train", "--data", &files.data, "--out", &files.path("run"), "--features", "40", "--steps", "1"];
    for (flags, problem) in [
        (&["--arch", "relu"][..], "--arch relu needs --l1"),
        (&["--arch", "jumprelu"], "--arch jumprelu needs --l0-coefficient"),
        (&["--arch", "topk", "--l1", "3"], "--l1 is of --arch relu, gated, not topk"),
        (&["--arch", "gated", "--l1", "1", "--auxk", "saelens"], "--auxk is of --arch topk, batchtopk, matryoshka"),
        (&["--arch", "topk", "--widths", "3"], "--widths is of --arch matryoshka"),
        (&["--arch", "matryoshka", "--widths", "9,3"], "they must ascend"),
        (&["--arch", "matryoshka", "--widths", "9", "--width-weights", "1"], "1 weights for 2 widths"),
        (&["--arch", "jumprelu", "--l0-coefficient", "1", "--target-l0", "3"], "--target-l0 is of"),
        (&["--k-start", "9"], "--k-start is given without --k-anneal"),
        (&["--k-anneal", "9"], "--k-anneal is given without --k-start"),
        (&["--k-start", "9", "--k-anneal", "50%", "--arch", "relu", "--l1", "1"], "--k-start is of --arch topk"),
        (&["--arch", "relu", "--l1", "1", "--init-l0", "2", "--init-threshold", "1"], "give only one of both"),
    ] {
        fail(&[&train[..], flags].concat(), 2, problem);
    }
}
