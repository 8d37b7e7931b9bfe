//! Reads every shader with naga and writes its Rust side: one struct of bindings an entry point, one struct a uniform,
//! so that a shader and the code that calls it cannot disagree without failing the build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Literal, Module, ScalarKind, TypeInner};

#[path = "src/gpu/template.rs"]
mod template;

fn main() {
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/gpu/template.rs");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("shaders");
    let mut shaders = Vec::new();
    find_shaders(&root, &mut shaders);
    shaders.sort();

    let mut structs = BTreeMap::new();
    let mut code = String::new();
    let mut names = Vec::new();
    for path in shaders {
        let name = path
            .strip_prefix(&root)
            .expect("found below the root")
            .with_extension("")
            .to_string_lossy()
            .replace(['/', '\\'], "_");
        let source = import(&fs::read_to_string(&path).expect("readable shader"), &root.join("shared"));
        let module = parse(&path, &source);
        write_module(&mut code, &mut structs, &name, &source, &module);
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

fn find_shaders(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("readable shaders directory") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() && !path.ends_with("shared") {
            find_shaders(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "wgsl") {
            found.push(path);
        }
    }
}

/// Replaces each `#import NAME` by `shared/NAME.wgsl`.
fn import(source: &str, shared: &Path) -> String {
    let mut text = String::new();
    for line in source.lines() {
        match line.strip_prefix("#import ") {
            Some(name) => {
                let path = shared.join(name.trim()).with_extension("wgsl");
                text += &fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            None => text += line,
        }
        text.push('\n');
    }
    text
}

fn parse(path: &Path, source: &str) -> (Module, naga::valid::ModuleInfo) {
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
    source: &str,
    (module, info): &(Module, naga::valid::ModuleInfo),
) {
    let summary = source.lines().next().unwrap_or_default().trim_start_matches('/').trim();
    writeln!(code, "/// {summary}\npub mod {name} {{\n    use super::*;").unwrap();
    writeln!(
        code,
        "    /// The template.\n    pub const SOURCE: Source = Source {{ name: {name:?}, text: {source:?} }};"
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
    writeln!(code, "{indent}#[repr(C)]\n{indent}#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]").unwrap();
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
    for (handle, variable) in module.global_variables.iter() {
        let (Some(binding), false) = (&variable.binding, info[handle].is_empty()) else { continue };
        let field = variable.name.as_deref().expect("WGSL globals are named");
        let at = binding.binding;
        if field == "params" {
            writeln!(fields, "            pub params: Params,").unwrap();
            writeln!(bindings, "                    ({at}, Binding::Uniform(bytemuck::bytes_of(&self.params))),")
                .unwrap();
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
        }}
        /// What the entry point reads and writes.
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
