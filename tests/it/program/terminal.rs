//! The program on a terminal, which `script` of util-linux makes.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::program::cli::{Files, program};

#[test]
fn notes_and_the_progress_bar_do_not_mix() {
    let files = Files::new();
    let program = program().into_string().unwrap();
    let sizes = "--features 64 --k 4 --batch 50 --steps 12 --device cpu --no-autotune";
    let train = format!("{program} train --data {} --out {} {sizes}", files.data, files.path("run"));
    let Ok(output) = Command::new("script").args(["-qec", &train, "/dev/null"]).env("TERM", "xterm").output() else {
        println!("skipped: there is no program `script`");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let screen = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = screen.lines().map(|line| line.trim_end_matches('\r')).collect();
    // Device, what is trained, and the bar after it.
    let first = lines.iter().find(|line| !line.starts_with("note: ")).unwrap();
    assert!(first.starts_with("device: "), "{screen:?}");
    let training = lines.iter().position(|line| line.starts_with("training: ")).unwrap_or_else(|| panic!("{screen:?}"));
    assert!(!lines[..training].iter().any(|line| line.contains("12")), "{screen:?}");
    for words in ["step 12/12  loss", "saved "] {
        assert!(screen.contains(words), "{words}: {screen:?}");
    }
}
