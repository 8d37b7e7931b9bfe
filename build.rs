//! Reads every shader with naga and writes its Rust side: one struct of bindings an entry point, one struct a uniform,
//! so that a shader and the code that calls it cannot disagree without failing the build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use naga::Module;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

#[path = "build/emit.rs"]
mod emit;
#[path = "src/gpu/import.rs"]
mod import;
#[path = "src/gpu/limits.rs"]
mod limits;
#[path = "src/gpu/lint.rs"]
mod lint;
#[path = "src/gpu/template.rs"]
mod template;

use lint::FaultKind;

/// The entry of a list that shaders take unless another is chosen: a file under `shaders/entry`.
const DEFAULT_ENTRY: &str = "topk";

/// Faults that are allowed.
const EXCEPTIONS: [(FaultKind, &str); 2] = [
    // Taken only where the device's workgroup memory holds it.
    (FaultKind::WorkgroupMemory, "screen_cooperative.main"),
    (FaultKind::WorkgroupMemory, "screen_cooperative.subgroups"),
];

fn main() {
    println!("cargo::rerun-if-changed=shaders");
    for part in [
        "build.rs",
        "build/emit.rs",
        "src/gpu/import.rs",
        "src/gpu/limits.rs",
        "src/gpu/lint.rs",
        "src/gpu/template.rs",
    ] {
        println!("cargo::rerun-if-changed={part}");
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("shaders");
    let shaders = wgsl_files(&root, &["shared", "entry"]);
    let entries: Vec<_> = wgsl_files(&root.join("entry"), &[]).iter().map(|path| (stem(path), read(path))).collect();

    let mut structs = BTreeMap::new();
    let mut code = String::new();
    let mut names = Vec::new();
    for path in shaders {
        let name = path.strip_prefix(&root).expect("found below the root").with_extension("");
        let name = name.to_string_lossy().replace(['/', '\\'], "_");
        let text = import::resolve(&read(&path), &|name| read(&root.join("shared").join(name).with_extension("wgsl")));
        let source = with_entries(&path, &name, &text, &entries);
        emit::write_module(&mut code, &mut structs, &name, &source);
        names.push(name);
    }
    for (name, body) in &structs {
        emit::write_struct(&mut code, "", name, body);
    }
    writeln!(code, "/// Every shader, for tests and tools.\npub const ALL: &[Source] = &[").unwrap();
    for name in names {
        writeln!(code, "    {name}::SOURCE,").unwrap();
    }
    writeln!(code, "];").unwrap();
    emit::write_entries(&mut code, &entries);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("shaders.rs");
    fs::write(out, code).expect("writable OUT_DIR");
    name_commit();
}

/// Tells the program which commit it is built from, where that is known: not in a package, nor without git.
fn name_commit() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    // A package that lies inside somebody else's repository is not of its commit.
    if !Path::new(".git").exists() {
        return;
    }
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=MONOSEM_COMMIT={commit}");
    }
    // It grows with every commit and checkout; a path that does not exist would run this script at every build.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
}

/// The WGSL files below a directory, in order, without those of some of its own directories.
fn wgsl_files(directory: &Path, without: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let paths = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("readable entry").path());
    for path in paths {
        if path.is_dir() && !without.iter().any(|name| path.ends_with(name)) {
            found.extend(wgsl_files(&path, &[]));
        } else if path.extension().is_some_and(|extension| extension == "wgsl") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a file's name").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A shader with the default entry, as it is translated.
struct Shader {
    text: String,
    around_entry: Option<[String; 2]>,
    module: Module,
    /// The names of the bindings of each entry point, used with one entry or another.
    used: Vec<BTreeSet<String>>,
}

/// Checks a shader with every entry that it can take.
fn with_entries(path: &Path, name: &str, text: &str, entries: &[(String, String)]) -> Shader {
    let check = |text: String, around_entry: Option<[String; 2]>| {
        let (module, info) = parse(path, &text);
        refuse_faults(name, &module, &info);
        let used = (0..module.entry_points.len()).map(|index| used_bindings(&module, info.get_entry_point(index)));
        Shader { text, around_entry, used: used.collect(), module }
    };
    let Some(around) = import::around_entry(text).map(|around| around.map(str::to_owned)) else {
        return check(text.to_owned(), None);
    };
    let [before, after] = &around;
    let (mut with_default, mut others) = (None, Vec::new());
    for (entry, text) in entries {
        let shader = check([before, text, after].map(String::as_str).concat(), Some(around.clone()));
        others.push(shader.used.clone());
        if entry == DEFAULT_ENTRY {
            with_default = Some(shader);
        }
    }
    let Some(mut shader) = with_default else { panic!("{}: there is no entry/{DEFAULT_ENTRY}.wgsl", path.display()) };
    for other in others {
        shader.used.iter_mut().zip(other).for_each(|(used, other)| used.extend(other));
    }
    shader
}

fn used_bindings(module: &Module, info: &naga::valid::FunctionInfo) -> BTreeSet<String> {
    let is_used = |(handle, variable): &(naga::Handle<naga::GlobalVariable>, &naga::GlobalVariable)| {
        variable.binding.is_some() && !info[*handle].is_empty()
    };
    let used = module.global_variables.iter().filter(is_used);
    used.map(|(_, variable)| variable.name.clone().expect("WGSL globals are named")).collect()
}

fn refuse_faults(shader: &str, module: &Module, info: &ModuleInfo) {
    let is_allowed = |fault: &lint::Fault| {
        let place = fault.entry.as_ref().map_or(shader.to_owned(), |entry| format!("{shader}.{entry}"));
        EXCEPTIONS.iter().any(|(kind, allowed)| *kind == fault.kind && *allowed == place)
    };
    let faults: Vec<_> = lint::faults(module, info).into_iter().filter(|fault| !is_allowed(fault)).collect();
    let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert!(faults.is_empty(), "shader {shader}: {}", messages.join("; "));
}

fn parse(path: &Path, source: &str) -> (Module, ModuleInfo) {
    let text = template::expand(source, &[]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&text, &path.display().to_string())));
    let info = Validator::new(
        ValidationFlags::all(),
        Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX,
    )
    .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
    .subgroup_operations(naga::valid::SubgroupOperationSet::all())
    .validate(&module)
    .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&text, &path.display().to_string())));
    (module, info)
}
