//! `monosem train --resume`: runs that were asked to end, killed, or are done.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::cli::{Files, fail, metrics, monosem, program, succeed};

/// A run of some seconds, of which `checkpoint-every` and the directory are left to say.
fn flags(files: &Files) -> Vec<&str> {
    let flags = ["train", "--data", &files.data, "--features", "3000", "--k", "4", "--batch", "200", "--steps", "220"];
    [&flags[..], &["--log-every", "3", "--device", "cpu"]].concat()
}

fn start(files: &Files, out: &str, more: &[&str]) -> Child {
    let mut command = Command::new(program());
    command.args(flags(files)).args(["--out", out]).args(more).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} did not come");
        sleep(Duration::from_millis(5));
    }
}

fn steps(directory: &Path) -> Vec<u64> {
    let checkpoints = monosem::run::checkpoint::list(&directory.join("checkpoints")).unwrap();
    checkpoints.iter().map(|(step, _)| *step).collect()
}

/// What a run leaves that must not depend on how often it was interrupted.
fn result(out: &str) -> (Vec<u8>, Vec<Value>) {
    (fs::read(Path::new(out).join("sae/sae_weights.safetensors")).unwrap(), metrics(Path::new(out)))
}

fn state(out: &str) -> Value {
    let text = fs::read_to_string(Path::new(out).join("run.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["state"].take()
}

/// What a run is asked to end with, and its exit status.
#[cfg(unix)]
const SIGNALS: [(&str, i32); 7] =
    [("-TERM", 143), ("-INT", 130), ("-USR1", 138), ("-HUP", 129), ("-QUIT", 131), ("-USR2", 140), ("-XCPU", 152)];

#[cfg(unix)]
fn send(signal: &str, process: &Child) {
    assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_signal_saves_the_state_and_the_run_goes_on_from_it() {
    let files = Files::new();
    let (whole, parts) = (files.path("whole"), files.path("parts"));
    let mut run = start(&files, &whole, &["--checkpoint-every", "0"]);
    for (signal, code) in SIGNALS {
        let mut run = start(&files, &parts, &["--resume"]);
        let metrics = Path::new(&parts).join("metrics.jsonl");
        let before = fs::metadata(&metrics).map_or(0, |file| file.len());
        wait_for("a line of metrics", || fs::metadata(&metrics).is_ok_and(|file| file.len() > before));
        send(signal, &run);
        let mut codes = vec![Some(code)];
        if signal == "-USR1" {
            // A scheduler that means it: the state is being saved, or already is.
            send("-TERM", &run);
            codes.push(Some(143));
        }
        let ended = run.wait().unwrap().code();
        assert!(codes.contains(&ended), "{signal}: {ended:?}");
        assert_eq!(state(&parts), "interrupted");
    }
    let saved = steps(Path::new(&parts));
    assert_eq!(saved.len(), 2, "{saved:?}");
    assert!(saved[0] < saved[1] && saved[1] < 220, "{saved:?}");

    // Without other flags the settings are those of the run.
    succeed(&["train", "--out", &parts, "--resume"]);
    assert!(run.wait().unwrap().success());
    assert_eq!(state(&parts), "done");
    assert!(result(&parts) == result(&whole));
    assert_eq!(steps(Path::new(&whole)), [] as [u64; 0]);

    // A run that is done stays as it is; one that would be another is refused.
    let done = fs::metadata(Path::new(&parts).join("run.json")).unwrap().modified().unwrap();
    succeed(&[&flags(&files)[..], &["--out", &parts, "--resume"]].concat());
    assert_eq!(fs::metadata(Path::new(&parts).join("run.json")).unwrap().modified().unwrap(), done);
    for (flag, value) in [("--seed", "1"), ("--lr", "0.5"), ("--k", "5"), ("--steps", "221"), ("--max-norm", "9")] {
        let words = format!("{flag} is");
        fail(&["train", "--out", &parts, "--resume", flag, value], 2, &words);
    }
    fail(&[&flags(&files)[..], &["--out", &parts]].concat(), 2, "is not empty");
}

#[cfg(unix)]
#[test]
fn a_hang_up_under_nohup_changes_nothing() {
    let files = Files::new();
    let out = files.path("run");
    let mut command = Command::new("nohup");
    command.arg(program()).args(flags(&files)).args(["--out", &out]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let metrics = Path::new(&out).join("metrics.jsonl");
    wait_for("a line of metrics", || fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
    send("-HUP", &run);
    assert!(run.wait().unwrap().success());
    assert_eq!(state(&out), "done");
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let files = Files::new();
    let (whole, parts) = (files.path("whole"), files.path("parts"));
    succeed(&[&flags(&files)[..], &["--out", &whole]].concat());
    let mut kills = 0;
    for milliseconds in [0, 300, 100, 700, 500].into_iter().cycle() {
        let before = steps(Path::new(&parts));
        let mut run = start(&files, &parts, &["--resume", "--checkpoint-every", "2"]);
        wait_for("a checkpoint", || steps(Path::new(&parts)) != before || Path::new(&parts).join("sae").exists());
        sleep(Duration::from_millis(milliseconds));
        match run.try_wait().unwrap() {
            Some(status) => assert!(status.success(), "{status}"),
            None => {
                run.kill().unwrap();
                run.wait().unwrap();
                kills += 1;
            }
        }
        if Path::new(&parts).join("sae").exists() {
            break;
        }
        // It must end on a slow machine too.
        if kills == 5 {
            succeed(&[&flags(&files)[..], &["--out", &parts, "--resume"]].concat());
            break;
        }
    }
    assert!(kills > 0);
    assert!(result(&parts) == result(&whole));
    let hidden = |name: &str| name.starts_with('.');
    let left = fs::read_dir(Path::new(&parts).join("checkpoints")).unwrap();
    assert!(left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).all(|name| !hidden(&name)));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let files = Files::new();
    let out = files.path("run");
    let short = ["train", "--data", &files.data, "--features", "64", "--k", "4", "--batch", "100", "--steps", "20"];
    let short = [&short[..], &["--out", &out, "--checkpoint-every", "6", "--keep-checkpoints", "3", "--device", "cpu"]]
        .concat();
    // With nothing there --resume starts.
    succeed(&[&short[..], &["--resume"]].concat());
    let expected = result(&out);
    assert_eq!(steps(Path::new(&out)), [6, 12, 18]);
    let verified = succeed(&["verify", &out, "--json"]);
    assert_eq!(verified.lines().count(), 8, "{verified}");

    // As if the power had failed before the end was recorded.
    let directory = Path::new(&out);
    let record = fs::read_to_string(directory.join("run.json")).unwrap().replace("\"done\"", "\"running\"");
    fs::write(directory.join("run.json"), record).unwrap();
    let damage = |step: u64| {
        let state = monosem::run::checkpoint::path(&directory.join("checkpoints"), step).join("state.safetensors");
        let mut bytes = fs::read(&state).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 16;
        fs::write(&state, bytes).unwrap();
    };
    damage(18);
    fail(&["verify", &out], 3, "step-18");
    let output = monosem(&[&short[..], &["--resume"]].concat());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && words.contains("skipping a damaged") && words.contains("from step 12"),
        "{words}"
    );
    assert!(result(&out) == expected);

    fs::remove_dir_all(directory.join("sae")).unwrap();
    fs::write(directory.join("run.json"), "{\"state\": \"failed\"}").unwrap();
    for step in steps(directory) {
        damage(step);
    }
    fail(&[&short[..], &["--resume"]].concat(), 3, "no intact checkpoint");
    fail(&["verify", &out], 3, "damaged");
}

#[test]
fn a_run_that_was_killed_at_its_very_start_starts_again() {
    let files = Files::new();
    let short = ["train", "--data", &files.data, "--features", "64", "--k", "4", "--batch", "100", "--steps", "2"];
    let whole = files.path("whole");
    succeed(&[&short[..], &["--out", &whole]].concat());
    for (name, left) in [("a", &["metrics.jsonl"][..]), ("b", &["metrics.jsonl", ".config.toml.tmp"])] {
        let out = files.path(name);
        fs::create_dir(&out).unwrap();
        for file in left {
            fs::write(Path::new(&out).join(file), "").unwrap();
        }
        fail(&[&short[..], &["--out", &out]].concat(), 2, "is not empty");
        succeed(&[&short[..], &["--out", &out, "--resume"]].concat());
        assert!(result(&out) == result(&whole));
    }
    // Settings but no record, which comes after them.
    let out = files.path("c");
    fs::create_dir(&out).unwrap();
    fs::copy(Path::new(&whole).join("config.toml"), Path::new(&out).join("config.toml")).unwrap();
    succeed(&["train", "--out", &out, "--resume"]);
    assert!(result(&out) == result(&whole));
    // What is somebody else's is not touched.
    let other = files.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(Path::new(&other).join("notes.txt"), "mine").unwrap();
    fail(&[&short[..], &["--out", &other, "--resume"]].concat(), 2, "is not empty");
}

#[test]
fn a_directory_takes_one_run_at_a_time() {
    let files = Files::new();
    let out = files.path("run");
    let mut first = start(&files, &out, &[]);
    let metrics = Path::new(&out).join("metrics.jsonl");
    wait_for("the first line of metrics", || fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
    fail(&[&flags(&files)[..], &["--out", &out, "--resume"]].concat(), 2, "another process is training");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn intervals_are_read_and_wrong_ones_refused() {
    let files = Files::new();
    let out = files.path("run");
    let flags = ["train", "--data", &files.data, "--out", &out, "--features", "20", "--steps", "1", "--batch", "10"];
    for wrong in ["often", "-1", "0s", "1.5"] {
        fail(&[&flags[..], &["--k", "2", "--checkpoint-every", wrong]].concat(), 2, "neither a number of steps");
    }
    fail(&[&flags[..], &["--k", "2", "--keep-checkpoints", "0"]].concat(), 2, "--keep-checkpoints");
    for (given, kept) in [("7", "7"), ("1.5k", "1500"), ("90s", "\"1m 30s\""), ("15m", "\"15m\""), ("2h", "\"2h\"")] {
        succeed(&[&flags[..], &["--k", "2", "--checkpoint-every", given]].concat());
        let config = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
        assert!(config.contains(&format!("checkpoint-every = {kept}\n")), "{config}");
        let again = files.path("again");
        succeed(&["train", "--config", &files.path("run/config.toml"), "--out", &again]);
        fs::remove_dir_all(&out).unwrap();
        fs::remove_dir_all(&again).unwrap();
    }
}

#[cfg(unix)]
const SIZES: &[&str] = &["--features", "3000", "--k", "4", "--batch", "200", "--steps", "150", "--log-every", "1"];

/// A run of `data` in `out` that was asked to end after some steps.
#[cfg(unix)]
fn interrupted(data: &str, out: &str) {
    let _ = fs::remove_dir_all(out);
    let mut command = Command::new(program());
    command.args(["train", "--data", data, "--out", out]).args(SIZES);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let metrics = Path::new(out).join("metrics.jsonl");
    wait_for("a line of metrics", || fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
    send("-TERM", &run);
    assert_eq!(run.wait().unwrap().code(), Some(143));
}

#[cfg(unix)]
#[test]
fn the_data_of_a_run_are_known_by_their_content() {
    use crate::program::cli::{noise, write};

    let files = Files::new();
    let (shards, out) = (files.path("shards"), files.path("run"));
    fs::create_dir(&shards).unwrap();
    let shard = |name: &str, rows: std::ops::Range<usize>| {
        let first = rows.start * 10;
        write(&Path::new(&shards).join(name), rows.len(), |at| noise(first + at));
    };
    let both = || {
        shard("a.safetensors", 0..260);
        shard("b.safetensors", 260..500);
    };
    both();
    interrupted(&shards, &out);
    fn resume<'a>(out: &'a str, data: &'a str) -> Vec<&'a str> {
        [&["train", "--out", out, "--resume", "--data", data][..], SIZES].concat()
    }
    let refused = |words: &str| {
        fail(&resume(&out, &shards), 2, words);
        fail(&["train", "--out", &out, "--resume"], 2, words);
    };
    write(&Path::new(&shards).join("b.safetensors"), 240, |at| noise(at + 999_999));
    refused("file 2, `b.safetensors`: other values");
    shard("a.safetensors", 260..500);
    shard("b.safetensors", 0..260);
    refused("file 1, `a.safetensors`: 240 rows, had 260");
    fs::remove_file(Path::new(&shards).join("b.safetensors")).unwrap();
    shard("a.safetensors", 0..260);
    refused("a file fewer");
    shard("b.safetensors", 260..500);
    shard("c.safetensors", 0..10);
    refused("a file more: file 3, `c.safetensors`");
    fs::remove_file(Path::new(&shards).join("c.safetensors")).unwrap();

    // Another place, another spelling, a link, a list of files: the same data.
    let moved = files.path("moved");
    fs::rename(&shards, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, files.path("link")).unwrap();
    fail(&["train", "--out", &out, "--resume"], 5, "shards");
    let spelled = format!("{}/../moved/", files.path("link"));
    succeed(&resume(&out, &spelled));
    assert_eq!(state(&out), "done");
    let whole = files.path("whole");
    succeed(&[&["train", "--data", &files.data, "--out", &whole], SIZES].concat());
    assert!(result(&out) == result(&whole));

    // A finished run needs no data.
    fs::remove_dir_all(&moved).unwrap();
    let said = succeed(&["train", "--out", &out, "--resume", "--json"]);
    assert!(said.contains("\"state\":\"done\""), "{said}");
}
