//! The program on a terminal, which `script` of util-linux makes: what a person sees, from the bytes that are written.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::program::cli::{Files, fail, monosem, program};

const SIZES: &str = "--features 64 --k 4 --batch 50 --device cpu --no-autotune";

/// A shell command on a terminal, in which `monosem` is the program.
fn spawn(shell: &str, term: &str) -> Child {
    let shell = format!("monosem() {{ {} \"$@\"; }}; {shell}", program().into_string().unwrap());
    let mut command = Command::new("script");
    command.args(["-qec", &shell, "/dev/null"]).env("TERM", term).env("SHELL", "/bin/sh").env_remove("NO_COLOR");
    command.env("MONOSEM_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-cache")).env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("`script` is in util-linux")
}

fn on_terminal(shell: &str, term: &str) -> String {
    String::from_utf8(spawn(shell, term).wait_with_output().unwrap().stdout).unwrap()
}

/// What is left on a screen of some columns, by row; and all rows that a bar was ever drawn on.
#[derive(Default)]
struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    drawn: Vec<String>,
}

impl Screen {
    fn of(text: &str, columns: usize) -> Self {
        let mut screen = Self { rows: vec![Vec::new()], ..Self::default() };
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\r' => screen.column = 0,
                '\n' => screen.go_to(screen.row + 1, screen.column),
                '\x1b' => screen.control(&mut characters),
                character => {
                    if screen.column == columns {
                        screen.go_to(screen.row + 1, 0);
                    }
                    screen.put(character);
                }
            }
        }
        screen
    }

    fn control(&mut self, characters: &mut std::str::Chars<'_>) {
        let sequence: String = characters.by_ref().take_while(|character| !character.is_ascii_alphabetic()).collect();
        // `take_while` swallows the letter: the program clears lines (2K) and goes up (A).
        match sequence.as_str() {
            "[2" => {
                self.drawn.push(self.rows[self.row].iter().collect());
                self.rows[self.row].clear();
            }
            up => {
                let lines: usize = up.trim_start_matches('[').parse().unwrap_or(1);
                self.go_to(self.row.saturating_sub(lines), self.column);
            }
        }
    }

    fn put(&mut self, character: char) {
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + 1), ' ');
        row[self.column] = character;
        self.column += 1;
    }

    fn go_to(&mut self, row: usize, column: usize) {
        (self.row, self.column) = (row, column);
        self.rows.resize(self.rows.len().max(row + 1), Vec::new());
    }

    /// The rows with something on them.
    fn lines(&self) -> Vec<String> {
        let rows = self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.filter(|row| !row.is_empty()).collect()
    }
}

fn has_bar(line: &str) -> bool {
    line.contains(['░', '█'])
}

#[test]
fn every_subcommand_writes_only_its_own_lines() {
    let files = Files::new();
    let (data, run) = (&files.data, files.path("run"));
    let own = ["device: ", "note: ", "training: ", "step ", "saved ", "wrote ", "error: "];
    for shell in [
        format!("monosem train --data {data} --out {run} {SIZES} --steps 12"),
        format!("monosem eval --sae {run} --data {data} --device cpu"),
        format!("monosem encode --sae {run} --data {data} --device cpu --out {}", files.path("codes")),
        format!("monosem export --sae {run} --out {}", files.path("sae")),
        format!("monosem plan --d 16 {SIZES}"),
        format!("monosem bench --d 16 {SIZES} --repeats 1"),
        format!("monosem verify {run}"),
        "monosem verify /nowhere --quiet".into(),
        "monosem devices".into(),
        "monosem selftest --device none-such".into(),
        "monosem completions bash".into(),
        "monosem man".into(),
    ] {
        let output = on_terminal(&format!("{shell} >/dev/null"), "xterm");
        for line in Screen::of(&output, 500).lines() {
            // Devices are listed below an error.
            let known = own.iter().any(|own| line.starts_with(own)) || line.starts_with("  ");
            assert!(known && !has_bar(&line), "{shell}: {line:?} in {output:?}");
        }
    }
}

#[test]
fn lines_stand_above_the_bar_and_the_last_step_takes_its_place() {
    let files = Files::new();
    let flags = format!("--out {} {SIZES} --steps 12 --checkpoint-every 3 -v --json", files.path("run"));
    let output = on_terminal(&format!("monosem train --data {} {flags}", files.data), "xterm");
    let screen = Screen::of(&output, 80);
    let bars = screen.drawn.iter().filter(|line| has_bar(line)).count();
    assert!(bars > 0, "{output:?}");
    assert!(screen.drawn.iter().all(|line| line.trim().is_empty() || has_bar(line)), "{:?}", screen.drawn);
    // Long lines of JSON and logs wrap at 80 columns.
    let lines = Screen::of(&output, 2000).lines();
    assert!(!lines.iter().any(|line| has_bar(line)), "{lines:?}");
    let begins = |words: &str| lines.iter().filter(|line| line.starts_with(words)).count();
    assert_eq!([begins("training: "), begins("step 12/12  loss"), begins("saved ")], [1, 1, 1], "{lines:?}");
    let saved = lines.iter().filter(|line| line.starts_with("[INFO ") && line.contains("checkpoint of step")).count();
    assert_eq!(saved, 3, "{lines:?}");
    let objects = lines.iter().filter(|line| line.starts_with('{'));
    assert!(objects.clone().count() > 2);
    for object in objects {
        serde_json::from_str::<serde_json::Value>(object).unwrap();
    }
}

#[test]
fn forty_columns_do_not_wrap() {
    let files = Files::new();
    let train = format!("monosem train --data {} --out {} {SIZES} --steps 300", files.data, files.path("run"));
    let output = on_terminal(&format!("stty rows 24 cols 40; {train}"), "xterm");
    let screen = Screen::of(&output, 40);
    let bars: Vec<_> = screen.drawn.iter().filter(|line| has_bar(line)).collect();
    assert!(bars.len() > 1, "{output:?}");
    // Room for what the terminal echoes.
    assert!(bars.iter().all(|bar| bar.trim_end().chars().count() <= 36 && bar.contains("/300  ")), "{bars:?}");
    assert!(!screen.lines().iter().any(|line| has_bar(line)), "{:?}", screen.lines());
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let files = Files::new();
    let train = format!("monosem train --data {} --out {} {SIZES} --steps 12", files.data, files.path("run"));
    let output = on_terminal(&train, "dumb");
    assert!(!output.contains('\x1b') && !output.replace("\r\n", "").contains('\r'), "{output:?}");
    assert!(output.contains("\nstep 1/12  loss") && output.contains("\nstep 12/12  loss"), "{output:?}");
}

#[test]
fn ctrl_c_leaves_whole_lines() {
    for term in ["xterm", "dumb"] {
        let files = Files::new();
        let (data, run) = (&files.data, files.path("run"));
        let mut child = spawn(&format!("monosem train --data {data} --out {run} {SIZES} --steps 1000000"), term);
        let metrics = Path::new(&run).join("metrics.jsonl");
        let begun = Instant::now();
        while std::fs::metadata(&metrics).map_or(0, |file| file.len()) < 1000 {
            assert!(begun.elapsed() < Duration::from_secs(120));
            sleep(Duration::from_millis(5));
        }
        child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.contains("^C"), "the terminal echoes it: {output:?}");
        let lines = Screen::of(&output, 80).lines();
        assert!(!lines.iter().any(|line| has_bar(line)), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains("^C") || line.trim() == "^C"), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("interrupted: saved ")), "{lines:?}");
    }
}

#[test]
fn the_graphics_library_speaks_where_it_is_asked_to() {
    let library = |output: &str| output.contains(" wgpu") || output.contains(" naga");
    assert!(library(&on_terminal("monosem plan --d 16 --features 64 --k 4 --device cpu -vv >/dev/null", "xterm")));
    let chosen = on_terminal("RUST_LOG=wgpu_core=trace monosem plan --d 16 --features 64 --k 4 --device cpu", "xterm");
    assert!(chosen.contains("wgpu_core") && !chosen.contains("wgpu_hal"), "{chosen}");
    assert!(!library(&on_terminal("monosem plan --d 16 --features 64 --k 4 --device cpu -v", "xterm")));
}

#[test]
fn quiet_may_be_said_twice_and_not_with_verbose() {
    for flags in [&["--quiet", "--quiet", "devices"][..], &["devices", "-qq"], &["-q", "devices", "-q"]] {
        let output = monosem(flags);
        assert!(output.status.success() && output.stderr.is_empty(), "{flags:?}: {output:?}");
    }
    fail(&["devices", "-q", "-v"], 2, "'--quiet' cannot be used with '--verbose...'");
    fail(&["-q", "devices", "-v"], 2, "'--quiet' cannot be used with '--verbose...'");
}
