//! Writes the Rust side of shaders. Part of the build script.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use naga::{AddressSpace, Expression, Literal, Module, ScalarKind, TypeInner};

use super::{Shader, limits};

type Members = Vec<(String, &'static str, u32)>;

/// Writes the module of a shader.
pub fn write_module(
    code: &mut String,
    structs: &mut BTreeMap<String, (Members, u32)>,
    name: &str,
    Shader { text, around_entry, module, used }: &Shader,
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
    for (entry, used) in module.entry_points.iter().zip(used) {
        write_entry_point(code, module, used, entry);
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

pub fn write_struct(code: &mut String, indent: &str, name: &str, (members, span): &(Members, u32)) {
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

/// Writes an entry point. Its layout is that of the default definitions, and of all entries of lists that it takes.
fn write_entry_point(code: &mut String, module: &Module, used: &BTreeSet<String>, entry: &naga::EntryPoint) {
    let mut fields = String::new();
    let mut bindings = String::new();
    let mut layout = String::new();
    for (_, variable) in module.global_variables.iter() {
        let (Some(binding), Some(field)) = (&variable.binding, &variable.name) else { continue };
        if !used.contains(field) {
            continue;
        }
        let at = binding.binding;
        let kind = match variable.space {
            AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => "Storage",
            AddressSpace::Storage { .. } => "ReadOnlyStorage",
            _ => "Uniform",
        };
        write!(layout, "LayoutEntry {{ binding: {at}, kind: BindingKind::{kind} }}, ").unwrap();
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
    let buffers = layout.matches("Storage").count();
    let most = limits::STORAGE_BUFFERS as usize;
    assert!(
        buffers <= most,
        "{} binds {buffers} storage buffers over all entries, at most {most} work everywhere",
        entry.name
    );
    let layout = layout.trim_end_matches(", ");
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
            const LAYOUT: &'static [LayoutEntry] = &[{layout}];
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

/// Writes the module of entries.
pub fn write_entries(code: &mut String, entries: &[(String, String)]) {
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
