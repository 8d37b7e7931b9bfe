//! Refuses WGSL that some device would run wrongly or not at all. Part of the build script.

use naga::proc::Layouter;
use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{AddressSpace, Block, Expression, Function, Handle, Module, Statement, TypeInner};

use super::limits::{STORAGE_BUFFERS, WORKGROUP_BYTES};

/// The faults of a module: too many storage buffers, too much workgroup memory, and writes to a component of a vector
/// in memory that threads share. WGSL lets such a write touch the whole vector, and Metal and Direct3D do, so that
/// threads that write its other components race with it.
pub fn faults(module: &Module, info: &ModuleInfo) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, entry) in module.entry_points.iter().enumerate() {
        let (name, uses) = (&entry.name, info.get_entry_point(index));
        let buffers = storage_buffers(module, uses);
        if buffers > STORAGE_BUFFERS as usize {
            let message = format!("{name} binds {buffers} storage buffers; at most {STORAGE_BUFFERS} work everywhere");
            faults.push(Fault { kind: FaultKind::StorageBuffers, entry: Some(name.clone()), message });
        }
        let bytes = workgroup_bytes(module, uses);
        if bytes > WORKGROUP_BYTES {
            let message =
                format!("{name} takes {bytes} bytes of workgroup memory; at most {WORKGROUP_BYTES} work everywhere");
            faults.push(Fault { kind: FaultKind::WorkgroupMemory, entry: Some(name.clone()), message });
        }
        component_stores(module, &entry.function, uses, name, &mut faults);
    }
    for (handle, function) in module.functions.iter() {
        component_stores(module, function, &info[handle], function.name.as_deref().unwrap_or("?"), &mut faults);
    }
    faults
}

/// A fault of a module.
#[derive(Debug)]
pub struct Fault {
    /// The rule that it breaks.
    pub kind: FaultKind,
    /// The entry point, if it is one's.
    pub entry: Option<String>,
    /// The function and what it does.
    pub message: String,
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    StorageBuffers,
    WorkgroupMemory,
    ComponentStore,
}

fn storage_buffers(module: &Module, uses: &FunctionInfo) -> usize {
    let is_bound = |(handle, variable): &(Handle<naga::GlobalVariable>, &naga::GlobalVariable)| {
        matches!(variable.space, AddressSpace::Storage { .. }) && !uses[*handle].is_empty()
    };
    module.global_variables.iter().filter(is_bound).count()
}

/// Workgroup memory as WebGPU counts it: each variable rounded up to 16 bytes.
pub fn workgroup_bytes(module: &Module, uses: &FunctionInfo) -> u32 {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).expect("a validated module has layouts");
    let used = module
        .global_variables
        .iter()
        .filter(|(handle, variable)| variable.space == AddressSpace::WorkGroup && !uses[*handle].is_empty());
    used.map(|(_, variable)| layouter[variable.ty].size.next_multiple_of(16)).sum()
}

fn component_stores(module: &Module, function: &Function, types: &FunctionInfo, name: &str, faults: &mut Vec<Fault>) {
    let is_shared = |space: AddressSpace| matches!(space, AddressSpace::WorkGroup | AddressSpace::Storage { .. });
    let points_to_vector = |base: Handle<Expression>| match *types[base].ty.inner_with(&module.types) {
        TypeInner::Pointer { base, space } => {
            is_shared(space) && matches!(module.types[base].inner, TypeInner::Vector { .. })
        }
        TypeInner::ValuePointer { size: Some(_), space, .. } => is_shared(space),
        _ => false,
    };
    for_each_statement(&function.body, &mut |statement| {
        if let Statement::Store { pointer, .. } = statement
            && let Expression::Access { base, .. } | Expression::AccessIndex { base, .. } =
                function.expressions[*pointer]
            && points_to_vector(base)
        {
            let message =
                format!("{name} writes a component of a vector that threads share; write whole vectors or scalars");
            faults.push(Fault { kind: FaultKind::ComponentStore, entry: None, message });
        }
    });
}

fn for_each_statement(block: &Block, visit: &mut impl FnMut(&Statement)) {
    for statement in block {
        visit(statement);
        match statement {
            Statement::Block(block) => for_each_statement(block, visit),
            Statement::If { accept, reject, .. } => {
                for_each_statement(accept, visit);
                for_each_statement(reject, visit);
            }
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| for_each_statement(&case.body, visit)),
            Statement::Loop { body, continuing, .. } => {
                for_each_statement(body, visit);
                for_each_statement(continuing, visit);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::{FaultKind, faults};

    fn kinds(text: &str) -> Vec<FaultKind> {
        let module = naga::front::wgsl::parse_str(text).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).unwrap();
        let kind = |fault: &super::Fault| {
            assert!(fault.message.starts_with("main "), "{fault:?}");
            assert_eq!(fault.entry.is_none(), fault.kind == FaultKind::ComponentStore, "{fault:?}");
            fault.kind
        };
        faults(&module, &info).iter().map(kind).collect()
    }

    #[test]
    fn writes_to_components_of_shared_vectors_are_refused() {
        let shader = |memory: &str, write: &str| {
            format!(
                "{memory}\nvar<workgroup> scalars: array<f32, 64>;\n@compute @workgroup_size(64)\n\
                 fn main(@builtin(local_invocation_index) i: u32) {{\n\
                 scalars[i] = 0.0; if i > 3u {{ loop {{ {write} break; }} }}\n}}"
            )
        };
        let (workgroup, storage) = (
            "var<workgroup> shared_: array<vec4<f32>, 16>;",
            "struct S { v: vec3<f32> }\n@group(0) @binding(0) var<storage, read_write> shared_: array<S>;",
        );
        for (memory, write, is_refused) in [
            (workgroup, "shared_[i / 4u][i % 4u] = 1.0;", true),
            (workgroup, "shared_[i / 4u].y = 1.0;", true),
            (workgroup, "shared_[i / 4u][2] += 1.0;", true),
            (workgroup, "let p = &shared_[i]; (*p).x = 1.0;", true),
            (workgroup, "shared_[i / 4u] = vec4(1.0);", false),
            (workgroup, "var own = shared_[i]; own.x = 1.0; shared_[i] = own;", false),
            (storage, "shared_[i].v.x = 1.0;", true),
            (storage, "shared_[i].v = vec3(1.0);", false),
        ] {
            let expected = if is_refused { vec![FaultKind::ComponentStore] } else { vec![] };
            assert_eq!(kinds(&shader(memory, write)), expected, "{write}");
        }
    }

    #[test]
    fn storage_buffers_and_workgroup_memory_are_counted() {
        let buffers = |count: u32| {
            let declare = |at| format!("@group(0) @binding({at}) var<storage, read_write> b_{at}: array<u32>;\n");
            let write = |at| format!("b_{at}[0] = 1u; ");
            let [declared, written] =
                [(0..count).map(declare).collect::<String>(), (0..count).map(write).collect::<String>()];
            format!("{declared}@compute @workgroup_size(1) fn main() {{ {written} }}")
        };
        assert_eq!(kinds(&buffers(8)), []);
        assert_eq!(kinds(&buffers(9)), [FaultKind::StorageBuffers]);
        let memory = |words: u32| {
            format!("var<workgroup> m: array<u32, {words}>; @compute @workgroup_size(1) fn main() {{ m[0] = 1u; }}")
        };
        assert_eq!(kinds(&memory(4096)), []);
        assert_eq!(kinds(&memory(4097)), [FaultKind::WorkgroupMemory]);
    }
}
