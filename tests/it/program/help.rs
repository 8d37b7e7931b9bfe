//! The help texts, word for word, and what is made from the same definitions.
//!
//! After a change that is meant: `MONOSEM_UPDATE_SNAPSHOTS=1 cargo test --test it program::help`, and read the
//! difference.

use std::path::{Path, PathBuf};

use crate::program::cli::succeed;

fn snapshot(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/program/snapshots").join(name).with_extension("txt")
}

/// The subcommands that the program's own help lists.
fn subcommands() -> Vec<String> {
    let help = succeed(&["--help"]);
    let list = help.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn help_is_as_written() {
    let mut different = Vec::new();
    let mut check = |name: &str, arguments: &[&str]| {
        let path = snapshot(name);
        let text = succeed(arguments);
        if std::env::var_os("MONOSEM_UPDATE_SNAPSHOTS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            different.push(format!("{name} now says:\n{text}"));
        }
    };
    check("monosem", &["--help"]);
    for name in subcommands().iter().filter(|name| *name != "help") {
        check(name, &[name, "--help"]);
    }
    for name in ["info", "shuffle", "convert"] {
        check(&format!("data-{name}"), &["data", name, "--help"]);
    }
    for name in ["export", "import"] {
        check(&format!("label-{name}"), &["label", name, "--help"]);
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Every flag that takes a value is needed, or tells what holds without it.
#[test]
fn help_states_defaults() {
    for name in subcommands().iter().filter(|name| *name != "help") {
        let help = succeed(&[name, "--help"]);
        let usage = help.lines().find(|line| line.starts_with("Usage:")).unwrap().to_owned();
        // An entry is a flag and, indented further, its words.
        let mut entries: Vec<String> = Vec::new();
        for line in help.lines().filter(|line| line.starts_with("      ")) {
            if line.starts_with("      --") {
                entries.push(line.to_owned());
            } else if let Some(entry) = entries.last_mut() {
                entry.push_str(line);
            }
        }
        assert!(!entries.is_empty(), "{name}");
        for entry in entries.iter().filter(|entry| entry.contains('<')) {
            let flag = entry.trim_start().split(['=', ' ', '[']).next().unwrap();
            let said = entry.contains("[default: ") || entry.contains("is needed") || usage.contains(flag);
            // The other one of each pair says that one is needed, and --data may be in the file of --config.
            let exempt = ["train", "plan", "bench"].contains(&name.as_str())
                && ["--tokens", "--expansion", "--data"].contains(&flag);
            assert!(said || exempt, "{name} {flag}: {entry}");
        }
    }
}

#[test]
fn completions_know_every_subcommand_and_flag() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeed(&["completions", shell]);
        for word in subcommands().iter().map(String::as_str).chain(["d-sae", "log-every", "json"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn manual_pages_are_printed_or_written() {
    let page = succeed(&["man"]);
    assert!(page.contains(".TH monosem 1") && page.contains("Exit status"), "{page}");

    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("share/man1");
    assert_eq!(succeed(&["man", "--out", out.to_str().unwrap()]), "");
    for name in subcommands().iter().filter(|name| *name != "help") {
        let page = std::fs::read_to_string(out.join(format!("monosem-{name}.1"))).unwrap();
        assert!(page.contains("\\-\\-json"), "{name}: {page}");
    }
    let below = std::fs::read_to_string(out.join("monosem-data-shuffle.1")).unwrap();
    assert!(below.contains("\\-\\-memory"), "{below}");
    assert_eq!(std::fs::read_to_string(out.join("monosem.1")).unwrap(), page);
}
