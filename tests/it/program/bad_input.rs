//! What the program says of input that it cannot use: exit status, file, tensor, row or flag; and that nothing is left
//! behind or written over.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::program::cli::{Files, fail, monosem, noise, program, succeed, write};

const SIZES: [&str; 8] = ["--features", "20", "--k", "4", "--batch", "10", "--steps", "2"];

fn train<'a>(data: &'a [&'a str], out: &'a str) -> Vec<&'a str> {
    let data: Vec<_> = data.iter().flat_map(|path| ["--data", path]).collect();
    [&["train", "--out", out], &data[..], &SIZES].concat()
}

fn assert_untouched(out: &str) {
    assert!(!Path::new(out).exists(), "{out}");
}

/// A safetensors file of this header, whatever it says, and so many bytes of data.
fn raw(path: &str, header: &str, data: usize) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    std::fs::write(path, bytes).unwrap();
}

fn tensor(path: &str, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) {
    let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    safetensors::serialize_to_file([(name, view)], None, Path::new(path)).unwrap();
}

#[test]
fn damaged_and_unsuitable_data() {
    let files = Files::new();
    let (out, sae, codes) = (files.path("run"), files.path("sae"), files.path("codes"));
    succeed(&train(&[&files.data], &sae));
    let whole = std::fs::read(&files.data).unwrap();
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!("{{\"activations\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    type Make<'a> = &'a dyn Fn(&str);
    let max = u64::MAX;
    let cases: [(&str, Make, i32, &str); 19] = [
        ("empty", &|path| std::fs::write(path, []).unwrap(), 3, "has only 0 bytes"),
        ("short", &|path| std::fs::write(path, [1, 0, 0]).unwrap(), 3, "has only 3 bytes"),
        ("cut", &|path| std::fs::write(path, &whole[..whole.len() - 7]).unwrap(), 3, "cut short"),
        (
            "longer",
            &|path| std::fs::write(path, [&whole[..], &[0; 3]].concat()).unwrap(),
            3,
            "bytes behind its last tensor",
        ),
        ("text", &|path| std::fs::write(path, "these are no activations").unwrap(), 3, "not a safetensors file"),
        (
            "huge",
            &|path| std::fs::write(path, [&max.to_le_bytes()[..], b"{}"].concat()).unwrap(),
            3,
            "announces a header",
        ),
        ("no-json", &|path| raw(path, "{\"activations\":", 40), 3, "header: "),
        ("outside", &|path| raw(path, &entry("F32", "[1,10]", "[0,400]"), 40), 3, "and its data_offsets hold 400"),
        ("backwards", &|path| raw(path, &entry("F32", "[1,10]", "[40,0]"), 40), 3, "ends before it starts"),
        (
            "overflow",
            &|path| raw(path, &entry("F32", &format!("[{max},{max}]"), "[0,40]"), 40),
            3,
            "than can be counted",
        ),
        ("mismatch", &|path| raw(path, &entry("F32", "[2,10]", "[0,40]"), 40), 3, "needs 80 bytes"),
        (
            "negative",
            &|path| raw(path, &entry("F32", "[-1,10]", "[0,40]"), 40),
            3,
            "cannot be read: invalid value: integer `-1`",
        ),
        ("other", &|path| tensor(path, "x\x1b\n", Dtype::F32, &[1, 10], &[0; 40]), 3, "(it has: x\\u{1b}\\n)"),
        (
            "dtype",
            &|path| tensor(path, "activations", Dtype::I32, &[1, 10], &[0; 40]),
            3,
            "is I32, not F16, BF16 or F32",
        ),
        ("rank", &|path| tensor(path, "activations", Dtype::F32, &[10], &[0; 40]), 3, "has shape [10]"),
        ("rank3", &|path| tensor(path, "activations", Dtype::F32, &[1, 1, 10], &[0; 40]), 3, "must be [rows, width]"),
        ("no-rows", &|path| tensor(path, "activations", Dtype::F32, &[0, 10], &[]), 3, "has no rows"),
        ("no-width", &|path| tensor(path, "activations", Dtype::F32, &[10, 0], &[]), 3, "a width of at least 1"),
        ("directory", &|path| std::fs::create_dir(path).unwrap(), 3, "has no file of *.safetensors"),
    ];
    for (name, make, code, words) in cases {
        let path = files.path(&format!("{name}\t"));
        make(&path);
        // The name, with its control character escaped, and what is wrong.
        for words in [&format!("{name}\\t"), words] {
            fail(&train(&[&path], &out), code, words);
        }
        fail(&["eval", "--sae", &sae, "--data", &path], code, words);
        fail(&["encode", "--sae", &sae, "--data", &path, "--out", &codes], code, words);
        assert_untouched(&out);
        assert_untouched(&codes);
    }
    let missing = files.path("missing\n");
    fail(&train(&[&missing], &out), 5, "missing\\n: ");
    fail(&["eval", "--sae", &missing, "--data", &files.data], 5, "missing\\n: ");
}

#[test]
fn data_that_do_not_fit() {
    let files = Files::new();
    let (out, sae) = (files.path("run"), files.path("sae"));
    succeed(&train(&[&files.data], &sae));
    let narrow = files.path("narrow\t");
    tensor(&narrow, "activations", Dtype::F32, &[2, 4], &[0; 32]);
    fail(&train(&[&files.data, &narrow], &out), 3, "narrow\\t: tensor `activations` has width 4");
    fail(&["eval", "--sae", &sae, "--data", &narrow], 3, "narrow\\t: its rows have 4 values and the SAE takes 10");
    fail(&["encode", "--sae", &sae, "--data", &narrow, "--out", &out], 3, "the SAE takes 10");
    let few = write(&files.directory.path().join("few.safetensors"), 9, noise);
    fail(&train(&[&few], &out), 2, "a batch of 10 rows needs at least as many rows of data, and there are 9");
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bad = write(&files.directory.path().join("bad\t"), 20, |at| if at == 123 { value } else { noise(at) });
        let words = format!("bad\\t: tensor `activations`, row 12, column 3 is {value}");
        fail(&train(&[&bad], &out), 3, &words);
        fail(&["eval", "--sae", &sae, "--data", &bad], 3, &words);
    }
    assert_untouched(&out);
}

#[test]
fn unusable_flags() {
    let files = Files::new();
    let out = files.path("run");
    let refuse = |flags: &[&str], code, words: &str| {
        let command = ["train", "--out", &out, "--data", &files.data];
        fail(&[&command[..], flags].concat(), code, words);
        assert_untouched(&out);
    };
    let sizes = |changed: &str, value: &'static str| -> Vec<&str> {
        let at = SIZES.iter().position(|flag| *flag == changed).unwrap();
        let mut flags = SIZES.to_vec();
        flags[at + 1] = value;
        flags
    };
    refuse(&sizes("--k", "0"), 2, "'0' for '--k <K|default>': must be at least 1");
    refuse(&sizes("--k", "21"), 2, "k is 21");
    refuse(&sizes("--k", "-1"), 2, "'-1' for '--k <K|default>'");
    refuse(&sizes("--k", "18446744073709551616"), 2, "--k");
    refuse(&sizes("--features", "0"), 2, "'0' for '--features <N>': must be at least 1");
    refuse(&sizes("--features", "4294967295"), 2, "at most 2^32 - 2");
    refuse(&sizes("--features", "18446744073709551615"), 2, "at most 2^32 - 2");
    refuse(&sizes("--batch", "0"), 2, "'0' for '--batch <BATCH>': must be at least 1");
    refuse(&sizes("--batch", "501"), 2, "a batch of 501 rows");
    refuse(&sizes("--steps", "0"), 2, "'0' for '--steps <S>': must be at least 1");
    refuse(
        &["--k", "4", "--features", "20", "--batch", "10", "--tokens", "0"],
        2,
        "'0' for '--tokens <T>': must be at least 1",
    );
    refuse(&["--k", "4", "--expansion", "9000000000000000000", "--steps", "1"], 2, "than can be counted");
    refuse(&["--features", "20", "--expansion", "2", "--steps", "5"], 2, "cannot be used with");
    refuse(&["--features", "20", "--steps", "5", "--tokens", "2"], 2, "cannot be used with");
    refuse(&["--steps", "5"], 2, "neither --features nor --expansion");
    refuse(&["--features", "20"], 2, "neither --steps nor --tokens");
    let with = |flag, value| [&SIZES[..], &[flag, value]].concat();
    refuse(&with("--lr", "-1"), 2, "'-1' for '--lr <X|default>': must be finite and above 0");
    refuse(&with("--lr", "-1e-3"), 2, "'-1e-3' for '--lr <X|default>': must be finite and above 0");
    refuse(&with("--lr", "1e-50"), 2, "too small for f32: at least 1.1754944e-38");
    refuse(&with("--lr", "nan"), 2, "must be finite and above 0");
    refuse(&with("--lr", "--seed"), 2, "'--seed' for '--lr <X|default>': not a number");
    refuse(&with("--tokens", "1.5"), 2, "'1.5' for '--tokens <T>': not a whole number");
    refuse(&with("--tokens", "1e20"), 2, "too large: at most 18446744073709551615");
    refuse(&with("--clip", "-1"), 2, "'-1' for '--clip <NORM|none>': must be finite and at least 0");
    refuse(&with("--clip", "1e-60"), 2, "too small for f32");
    refuse(&with("--warmup", "9223372036854775807"), 2, "of warm-up");
    refuse(&with("--seed", "18446744073709551615"), 2, "--seed 18446744073709551615 is too large");
    refuse(&with("--log-every", "0"), 2, "'0' for '--log-every <N>': must be at least 1");
    refuse(&with("--context-size", "0"), 2, "'--context-size <TOKENS|default>': must be at least 1");
    refuse(&with("--model-name", ""), 2, "--model-name");
    refuse(&with("--device", "no such\tdevice"), 4, "no device is called 'no such\\tdevice'");
    refuse(&with("--device", "99"), 4, "there is no device 99");
    refuse(&with("--feature", "20"), 2, "a similar argument exists: '--features'");
    fail(&["trian"], 2, "a similar subcommand exists: 'train'");
}

#[test]
fn outputs_that_cannot_be_written() {
    let files = Files::new();
    let file = files.path("file\t");
    std::fs::write(&file, "something").unwrap();
    let below = format!("{file}/run");
    fail(&train(&[&files.data], &file), 5, "file\\t: is a file");
    fail(&train(&[&files.data], &below), 5, "file\\t/run: is a file, or below one");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something");

    let full = files.path("full\t");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(Path::new(&full).join("notes"), "something").unwrap();
    fail(&train(&[&files.data], &full), 2, "full\\t is not empty");
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1);
    fail(&["encode", "--sae", &full, "--data", &files.data, "--out", &file], 2, "file\\t exists");
    let nowhere = files.path("nowhere/codes");
    fail(&["encode", "--sae", &full, "--data", &files.data, "--out", &nowhere], 5, "nowhere/codes");
    fail(&train(&[&files.data], ""), 2, "--out");
    fail(&["man", "--out", &file], 5, "file\\t: ");
    #[cfg(target_os = "linux")]
    fail(&train(&[&files.data], "/proc/self/run"), 5, "/proc/self/run");
}

/// A configuration file could not hold its name.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text() {
    use std::os::unix::ffi::OsStringExt;
    let files = Files::new();
    let mut name = files.path("latin1-").into_bytes();
    name.push(0xe9);
    let name = std::ffi::OsString::from_vec(name);
    std::fs::rename(&files.data, &name).unwrap();
    let mut command = std::process::Command::new(program());
    let output = command.args(train(&[], &files.path("run"))).arg("--data").arg(&name).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("the names of files must be UTF-8"), "{message}");
}

/// Only what a failed start made is removed, so that the same command can be given again.
#[test]
fn a_failed_start_leaves_nothing() {
    let files = Files::new();
    // The loss of step 1 is not finite: everything that can be checked before the first step was.
    let huge = write(&files.directory.path().join("huge"), 20, |at| 3e38 * noise(at).signum());
    let (deep, empty) = (files.path("new/deep/run"), files.path("empty"));
    std::fs::create_dir(&empty).unwrap();
    for out in [&deep, &empty] {
        fail(&train(&[&huge], out), 3, "row ");
    }
    assert_untouched(&files.path("new"));
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
    succeed(&train(&[&files.data], &empty));
}

#[test]
fn errors_are_json_for_programs() {
    let files = Files::new();
    let error = |arguments: &[&str]| -> Value {
        let output = monosem(arguments);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        let error: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(error["exit_code"], output.status.code().unwrap());
        error
    };
    let data = error(&["eval", "--json", "--sae", &files.path("nothing"), "--data", &files.data]);
    assert_eq!((&data["kind"], &data["exit_code"]), (&"io".into(), &5.into()));
    assert!(data["error"].as_str().unwrap().contains("nothing"), "{data}");
    let usage = error(&["train", "--json", "--features", "many"]);
    assert_eq!((&usage["kind"], &usage["exit_code"]), (&"config".into(), &2.into()));
    assert!(usage["error"].as_str().unwrap().starts_with("invalid value 'many'"), "{usage}");
}

/// The largest file that the process may write stands for a full disk: it is met as root too.
#[cfg(unix)]
#[test]
fn a_full_disk() {
    let files = Files::new();
    let out = files.path("run");
    let kept = files.path("kept");
    succeed(&train(&[&files.data], &kept));
    let weights = Path::new(&kept).join("sae/sae_weights.safetensors");
    let before = std::fs::read(&weights).unwrap();

    // 16 blocks of 512 or 1,024 bytes: enough for the metrics, and too little for 20,000 weights.
    let limited = |arguments: &[&str]| {
        let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, "sh"]).arg(program()).args(arguments);
        command.env("MESA_SHADER_CACHE_DISABLE", "true").output().unwrap()
    };
    let sizes = ["--features", "1000", "--k", "4", "--batch", "10", "--steps", "2"];
    let output = limited(&[&["train", "--data", &files.data, "--out", &out][..], &sizes].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains("sae_weights.safetensors: File too large"), "{message}");
    let run: Value = serde_json::from_slice(&std::fs::read(Path::new(&out).join("run.json")).unwrap()).unwrap();
    assert_eq!((&run["state"], &run["error"]["exit_code"]), (&"failed".into(), &5.into()));
    let mut left: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    left.retain(|name| !name.contains(".tfevents."));
    assert_eq!(left, ["config.toml", "metrics.jsonl", "run.json"], "no half of an SAE");

    let codes = files.path("codes.safetensors");
    let output = limited(&["encode", "--sae", &kept, "--data", &files.data, &files.data, "--out", &codes]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains("codes.safetensors: File too large"), "{message}");
    assert!(!Path::new(&codes).exists(), "no half of the codes");

    fail(&train(&[&files.data], &kept), 2, "is not empty");
    assert_eq!(std::fs::read(&weights).unwrap(), before);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error_and_a_closed_one_is_none() {
    use std::process::{Command, Stdio};
    for arguments in [&["--help"][..], &["completions", "bash"], &["man"], &["devices"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(program()).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("stdout: "), "{output:?}");

        let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let closed = reader.stdin.take().unwrap();
        reader.wait().unwrap();
        let output = Command::new(program()).args(arguments).stdout(closed).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("error: stdout"), "{output:?}");
    }
}
