//! Commands that are killed while they write: what has the name of an output is whole, and the next try succeeds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use monosem::rng::{Purpose, Rng};

use crate::program::cli::{command, noise, succeed, write};

/// Runs the program until it ends, or kills it once `reached` holds; tells if it was killed.
fn kill_once(arguments: &[&str], reached: impl Fn() -> bool) -> bool {
    let mut child = command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if reached() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::yield_now();
    }
}

/// What is in a directory under a hidden name.
fn hidden(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().as_encoded_bytes().starts_with(b".")).collect()
}

#[test]
fn codes_are_whole_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("data")).unwrap();
    write(&directory.path().join("data/a.safetensors"), 3000, noise);
    let (data, run) = (path("data"), path("run"));
    let sizes = ["--features", "64", "--k", "5", "--batch", "10", "--steps", "2"];
    succeed(&[&["train", "--data", &data, "--out", &run][..], &sizes].concat());
    let encode = ["encode", "--sae", &run, "--data", &data, "--batch", "16", "--out"];
    let expected = path("expected");
    succeed(&[&encode[..], &[&expected]].concat());
    let expected = fs::read(expected).unwrap();

    // Among the data, where neither it nor what a killed process leaves may be taken for activations.
    let out = path("data/codes.safetensors");
    let command = [&encode[..], &[&out]].concat();
    let unfinished = || hidden(Path::new(&data));
    let begun = |share: u64| {
        let written = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.blocks() * 512);
        unfinished().iter().any(|path| written(path) * 4 > expected.len() as u64 * share)
    };
    let moments: [&dyn Fn() -> bool; 4] = [&|| !unfinished().is_empty(), &|| begun(0), &|| begun(1), &|| begun(3)];
    for (at, reached) in moments.into_iter().enumerate() {
        let was_killed = kill_once(&command, reached);
        assert!(was_killed || at > 0, "the program ended before its file was begun");
        if Path::new(&out).exists() {
            assert!(fs::read(&out).unwrap() == expected, "moment {at}: half of the codes");
            fs::remove_file(&out).unwrap();
        }
        succeed(&command);
        assert!(fs::read(&out).unwrap() == expected, "moment {at}");
        assert!(unfinished().is_empty(), "moment {at}: {:?}", unfinished());
        fs::remove_file(&out).unwrap();
    }
}

#[test]
fn an_export_is_whole_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let data = write(&directory.path().join("data"), 20, noise);
    let run = path("run");
    let sizes = ["--features", "3000", "--k", "5", "--batch", "10", "--steps", "2"];
    succeed(&[&["train", "--data", &data, "--out", &run][..], &sizes].concat());
    let files = |directory: &str| {
        ["cfg.json", "sae_weights.safetensors"].map(|name| fs::read(Path::new(directory).join(name)).unwrap())
    };
    let expected = files(&path("run/sae"));

    let out = path("out");
    let command = ["export", "--sae", &run, "--out", &out];
    let unfinished = || hidden(directory.path());
    let holds = |name: &str| {
        let within = |path: &PathBuf| {
            fs::read_dir(path).is_ok_and(|mut entries| {
                entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().unwrap().contains(name)))
            })
        };
        unfinished().iter().any(within)
    };
    let moments: [&dyn Fn() -> bool; 3] =
        [&|| !unfinished().is_empty(), &|| holds("cfg.json"), &|| holds("sae_weights")];
    for (at, reached) in moments.into_iter().enumerate() {
        kill_once(&command, reached);
        if Path::new(&out).exists() {
            assert!(files(&out) == expected, "moment {at}: half of an SAE");
            fs::remove_dir_all(&out).unwrap();
        }
        succeed(&command);
        assert!(files(&out) == expected, "moment {at}");
        assert!(unfinished().is_empty(), "moment {at}: {:?}", unfinished());
        fs::remove_dir_all(&out).unwrap();
    }
}

/// Runs the program until it ends, or kills it after this time; tells if it was killed.
fn kill_after(arguments: &[&str], time: Duration) -> bool {
    let begun = Instant::now();
    kill_once(arguments, || begun.elapsed() >= time)
}

/// `kills` times for each of train, encode and export, at moments spread at random over the command's own time.
fn kill_at_random(kills: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, whole, parts) = (write(&directory.path().join("data"), 1500, noise), path("whole"), path("parts"));
    let train = |out| {
        let sizes = ["--features", "1000", "--k", "5", "--batch", "100", "--steps", "40", "--checkpoint-every", "3"];
        [&["train", "--resume", "--log-every", "1", "--no-autotune", "--data", &data, "--out", out][..], &sizes]
            .concat()
    };
    let begun = Instant::now();
    succeed(&train(&whole));
    let training = begun.elapsed();
    let (codes, exported) = (path("codes"), path("exported"));
    let encode = ["encode", "--sae", &whole, "--data", &data, "--batch", "16", "--out", &codes];
    let export = ["export", "--sae", &whole, "--out", &exported];
    let outputs = |paths: &[String]| paths.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let weights = |run: &str| vec![format!("{run}/sae/sae_weights.safetensors")];
    let code_files = vec![codes.clone()];
    let export_files = vec![format!("{exported}/cfg.json"), format!("{exported}/sae_weights.safetensors")];

    let remove = |path: &str| if Path::new(path).is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    for (command, out, files) in [(&encode[..], &codes, &code_files), (&export[..], &exported, &export_files)] {
        let begun = Instant::now();
        succeed(command);
        let (time, expected) = (begun.elapsed(), outputs(files));
        for kill in 0..kills {
            remove(out).unwrap();
            kill_after(command, time.mul_f64(share(kill)));
            if !Path::new(out).exists() {
                succeed(command);
            }
            assert!(outputs(files) == expected, "kill {kill} of {command:?}");
        }
    }

    let mut kill = 0;
    while kill < kills {
        // Several kills in one run, until it is done.
        let _ = fs::remove_dir_all(&parts);
        while kill_after(&train(&parts), training.mul_f64(share(kill))) {
            kill += 1;
            if Path::new(&parts).join("run.json").exists() {
                succeed(&["verify", &parts]);
            }
        }
        kill += 1;
        assert!(outputs(&weights(&parts)) == outputs(&weights(&whole)), "kill {kill} of train");
    }
}

/// A share of a command's time, at random.
fn share(kill: u64) -> f64 {
    f64::from(Rng::new(11, Purpose::Shuffle).block(kill, 0)[0]) / f64::from(u32::MAX)
}

#[test]
fn kills_at_random_moments_tear_nothing() {
    kill_at_random(5);
}

#[test]
#[ignore = "600 kills take five minutes"]
fn kills_at_random_moments_tear_nothing_at_length() {
    kill_at_random(200);
}
