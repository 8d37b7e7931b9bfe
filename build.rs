//! Reads every shader with naga and writes its Rust side: one struct of bindings an entry point, one struct a uniform,
//! so that a shader and the code that calls it cannot disagree without failing the build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Literal, Module, ScalarKind, TypeInner};

#[path = "src/gpu/import.rs"]
mod import;
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
    for part in ["build.rs", "src/gpu/import.rs", "src/gpu/lint.rs", "src/gpu/template.rs"] {
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
        write_module(&mut code, &mut structs, &name, &source);
        names.push(name);
    }
    for (name, body) in &structs {
        write_struct(&mut code, "", name, body);
    }
    writeln!(code, "/// Every shader, for tests and tools.\npub const ALL: &[Source] = &[").unwrap();
    for name in names {
        writeln!(code, "    {name}::SOURCE,").unwrap();
    }
    writeln!(code, "];").unwrap();
    write_entries(&mut code, &entries);
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
    info: ModuleInfo,
}

/// Checks a shader with every entry that it can take.
fn with_entries(path: &Path, name: &str, text: &str, entries: &[(String, String)]) -> Shader {
    let check = |text: String, around_entry: Option<[String; 2]>| {
        let (module, info) = parse(path, &text);
        refuse_faults(name, &module, &info);
        Shader { text, around_entry, module, info }
    };
    let Some(around) = import::around_entry(text).map(|around| around.map(str::to_owned)) else {
        return check(text.to_owned(), None);
    };
    let [before, after] = &around;
    let mut with_default = None;
    for (entry, text) in entries {
        let shader = check([before, text, after].map(String::as_str).concat(), Some(around.clone()));
        if entry == DEFAULT_ENTRY {
            with_default = Some(shader);
        }
    }
    with_default.unwrap_or_else(|| panic!("{}: there is no entry/{DEFAULT_ENTRY}.wgsl", path.display()))
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

type Members = Vec<(String, &'static str, u32)>;

fn write_module(
    code: &mut String,
    structs: &mut BTreeMap<String, (Members, u32)>,
    name: &str,
    Shader { text, around_entry, module, info }: &Shader,
) {
    let summary = text.lines().next().unwrap_or_default().trim_start_matches('/').trim();
    writeln!(code, "/// {summary}\npub mod {name} {{\n    use super::*;").unwrap();
    writeln!(
        code,
        "    /// The template.
    pub const SOURCE: Source = Source {{ name: {name:?}, text: {text:?}, around_entry: {around_entry:?} }};"
    )
    .unwrap();
    for (_, variable) in module.global_variables.iter() {
        if let AddressSpace::Uniform | AddressSpace::Storage { .. } = variable.space
            && let TypeInner::Struct { members, span } = &module.types[variable.ty].inner
        {
            let type_name = module.types[variable.ty].name.clone().expect("WGSL structs are named");
            let Some(members) = plain_members(module, members) else { continue };
            if type_name == "Params" {
                write_struct(code, "    ", &type_name, &(members, *span));
            } else if let Some(other) = structs.insert(type_name.clone(), (members.clone(), *span)) {
                assert!(other == (members, *span), "{name}: struct {type_name} differs between shaders");
            }
        }
    }
    for (_, constant) in module.constants.iter() {
        if let (Some(name), Expression::Literal(Literal::U32(value))) =
            (&constant.name, &module.global_expressions[constant.init])
        {
            writeln!(code, "    /// The WGSL constant of this name.\n    pub const {name}: u32 = {value};").unwrap();
        }
    }
    for (index, entry) in module.entry_points.iter().enumerate() {
        write_entry(code, module, info.get_entry_point(index), entry);
    }
    writeln!(code, "}}").unwrap();
}

/// Name, Rust type and offset of each member; none if there is one that is no 32-bit scalar.
fn plain_members(module: &Module, members: &[naga::StructMember]) -> Option<Members> {
    members
        .iter()
        .map(|member| {
            let kind = match module.types[member.ty].inner {
                TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) if scalar.width == 4 => match scalar.kind {
                    ScalarKind::Float => "f32",
                    ScalarKind::Uint => "u32",
                    ScalarKind::Sint => "i32",
                    _ => return None,
                },
                _ => return None,
            };
            Some((member.name.clone()?, kind, member.offset))
        })
        .collect()
}

fn write_struct(code: &mut String, indent: &str, name: &str, (members, span): &(Members, u32)) {
    writeln!(code, "{indent}/// The WGSL struct of this name.").unwrap();
    let derived = "Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable";
    writeln!(code, "{indent}#[repr(C)]\n{indent}#[derive({derived})]").unwrap();
    writeln!(code, "{indent}#[allow(missing_docs, reason = \"documented in the shader\")]").unwrap();
    writeln!(code, "{indent}pub struct {name} {{").unwrap();
    for (at, (member, kind, offset)) in members.iter().enumerate() {
        assert_eq!(*offset as usize, 4 * at, "{name}.{member}: scalars are packed");
        writeln!(code, "{indent}    pub {member}: {kind},").unwrap();
    }
    writeln!(code, "{indent}}}").unwrap();
    writeln!(code, "{indent}const _: () = assert!(size_of::<{name}>() == {span});").unwrap();
}

fn write_entry(code: &mut String, module: &Module, info: &naga::valid::FunctionInfo, entry: &naga::EntryPoint) {
    let mut fields = String::new();
    let mut bindings = String::new();
    let mut layout = String::new();
    for (handle, variable) in module.global_variables.iter() {
        let (Some(binding), false) = (&variable.binding, info[handle].is_empty()) else { continue };
        let field = variable.name.as_deref().expect("WGSL globals are named");
        let at = binding.binding;
        let kind = match variable.space {
            AddressSpace::Uniform => "Uniform",
            AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => "ReadWrite",
            _ => "Read",
        };
        write!(layout, "({at}, BindingKind::{kind}), ").unwrap();
        if field == "params" {
            writeln!(fields, "            pub params: Params,").unwrap();
            writeln!(bindings, "                    ({at}, Binding::Uniform(bytemuck::bytes_of(&self.params))),")
                .unwrap();
        } else if variable.space == AddressSpace::Uniform {
            let bytes = module.types[variable.ty].inner.size(module.to_ctx());
            let value =
                format!("Binding::Slot {{ buffer: self.{field}.buffer, offset: self.{field}.offset, bytes: {bytes} }}");
            writeln!(fields, "            pub {field}: Slot<'a>,").unwrap();
            writeln!(bindings, "                    ({at}, {value}),").unwrap();
        } else {
            writeln!(fields, "            pub {field}: &'a Buffer,").unwrap();
            writeln!(bindings, "                    ({at}, Binding::Buffer(self.{field})),").unwrap();
        }
    }
    let name = &entry.name;
    let [x, y, z] = entry.workgroup_size;
    write!(
        code,
        "    /// The entry point `{name}`.
    pub mod {name} {{
        use super::*;
        /// The entry point itself, as a type.
        pub enum Kernel {{}}
        impl EntryPoint for Kernel {{
            type Bindings<'a> = Bindings<'a>;
            const SOURCE: Source = SOURCE;
            const NAME: &'static str = {name:?};
            const WORKGROUP: [u32; 3] = [{x}, {y}, {z}];
            const LAYOUT: &'static [(u32, BindingKind)] = &[{layout}];
        }}
        /// The values bound to the entry point.
        #[allow(missing_docs, reason = \"documented in the shader\")]
        pub struct Bindings<'a> {{
{fields}        }}
        impl Bind for Bindings<'_> {{
            fn bindings(&self) -> Vec<(u32, Binding<'_>)> {{
                vec![
{bindings}                ]
            }}
        }}
    }}
"
    )
    .unwrap();
}

fn write_entries(code: &mut String, entries: &[(String, String)]) {
    writeln!(code, "/// The arithmetic of one entry of a list, by architecture.\npub mod entry {{").unwrap();
    writeln!(code, "    use super::Entry;").unwrap();
    for (name, text) in entries {
        let summary = text.lines().next().unwrap_or_default().trim_start_matches('/').trim();
        let constant = name.to_uppercase();
        writeln!(code, "    /// {summary}").unwrap();
        writeln!(code, "    pub const {constant}: Entry = Entry {{ name: {name:?}, text: {text:?} }};").unwrap();
    }
    let constants = entries.iter().map(|(name, _)| name.to_uppercase()).collect::<Vec<_>>().join(", ");
    writeln!(code, "    /// All of them.\n    pub const ALL: &[Entry] = &[{constants}];\n}}").unwrap();
}
