use std::collections::{HashMap, HashSet};

use monosem::engine::entries::Pass;
use monosem::engine::entry;
use monosem::engine::planes::Planes;
use monosem::engine::variance::VarianceOf;
use monosem::gpu::shaders::{self, ALL};
use monosem::gpu::{AdapterDescription, Entry, Source, template};
use monosem::kernels::{EncodeVariant, ScreenBlock, ScreenVariant, Select};
use monosem::sae::description::{Description, Features, Penalty};
use monosem::sae::{Architecture, AuxK, AuxKForm, Gated, JumpRelu, PreActivation, Relu, SaeConfig, TopK};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use serde_json::json;

// The same that the build script has.
#[path = "../../../src/gpu/limits.rs"]
mod limits;
#[path = "../../../src/gpu/lint.rs"]
mod lint;

use lint::{FaultKind, workgroup_bytes};

pub type Defines = Vec<(&'static str, u32)>;

/// The entry of a list that a shader takes, if it takes one, and definitions.
pub type Variant = (Option<Entry>, Defines);

/// An SAE of each set of planes, and of each entry with all that its definitions choose.
fn descriptions() -> Vec<Description> {
    let topk = |auxk: Option<AuxKForm>| TopK { auxk: auxk.map(AuxK::new), ..TopK::new(1) }.into();
    let relu = |normed| Relu { l1: 1.0, normed, capacity: None }.into();
    let jumprelu = JumpRelu::inference();
    let pre_activation = Some(PreActivation { coefficient: 1.0, of: Features::All });
    let logarithmic = JumpRelu { penalty: Penalty::Tanh { scale: 4.0 }, log_threshold: true, ..jumprelu.clone() };
    let closed = JumpRelu {
        penalty: Penalty::Quadratic { target: 2.0 },
        straight_through_to_input: true,
        pre_activation,
        ..jumprelu.clone()
    };
    let gated = |normed| Gated { l1: 1.0, normed, detached: true, capacity: None }.into();
    let architectures: [Architecture; 9] = [
        topk(None),
        topk(Some(AuxKForm::Normalised)),
        relu(false),
        relu(true),
        jumprelu.into(),
        logarithmic.into(),
        closed.into(),
        gated(false),
        gated(true),
    ];
    let describe = |architecture| SaeConfig { architecture, ..SaeConfig::top_k(16, 16, 1) }.describe();
    architectures.map(describe).into()
}

/// The planes that SAEs have.
fn planes() -> Vec<Planes> {
    let mut planes: Vec<Planes> = descriptions().iter().map(Planes::training).collect();
    planes.dedup();
    planes.extend(descriptions().last().map(Planes::inference));
    planes
}

/// The definitions of what sums rows, in the shapes for GPUs and for the CPU.
fn row_sums() -> Vec<Defines> {
    let of = |ahead: u32, [second, gate, dense]: [u32; 3]| {
        let sums = [("SECOND", second), ("GATE", gate), ("DENSE", dense)];
        [[1, ahead], [3, 1]].map(|[columns, ahead]| [&sums[..], &[("COLUMNS", columns), ("AHEAD", ahead)]].concat())
    };
    [of(4, [0, 0, 0]), of(4, [1, 0, 0]), of(2, [0, 1, 0]), of(4, [0, 0, 1])].concat()
}

/// Every combination of a value of each name.
fn combinations(names: &[(&'static str, &[u32])]) -> Vec<Defines> {
    names.iter().fold(vec![vec![]], |all, (name, values)| {
        let with = |defines: &Defines| values.iter().map(|value| [&defines[..], &[(*name, *value)]].concat()).collect();
        all.iter().flat_map(|defines| -> Vec<Defines> { with(defines) }).collect()
    })
}

/// Each entry of a list, with the definitions of its shaders.
fn entries() -> Vec<(Entry, Defines)> {
    let with = |description: Description| {
        let kind = description.lists[0].entry;
        let of = |pass, planes: Planes| (entry::entry(kind), [entry::defines(kind, pass), planes.defines()].concat());
        let is_other = entry::defines(kind, Pass::Evaluation) != entry::defines(kind, Pass::Training);
        let evaluation = is_other.then(|| of(Pass::Evaluation, Planes::inference(&description)));
        [of(Pass::Training, Planes::training(&description))].into_iter().chain(evaluation).collect::<Vec<_>>()
    };
    descriptions().into_iter().flat_map(with).collect()
}

/// The entries and definitions with which the library compiles a shader.
pub fn variants(source: Source) -> Vec<Variant> {
    let own = own_variants(source);
    if source.around_entry.is_none() {
        return own.into_iter().map(|defines| (None, defines)).collect();
    }
    let with = |(entry, of_entry): (Entry, Defines)| {
        own.iter().map(move |defines| (Some(entry), [&defines[..], &of_entry].concat())).collect::<Vec<_>>()
    };
    entries().into_iter().flat_map(with).collect()
}

/// Without those of entries.
fn own_variants(source: Source) -> Vec<Defines> {
    let own = match source.name {
        "encode_subgroup" | "encode_tiled" => encode_variants(source)
            .iter()
            .flat_map(|variant| [0, 1].map(|compact| [&[("COMPACT", compact)], &variant.defines()[..]].concat()))
            .collect(),
        "select" => [32, 64, 128].map(|k| Select::defines(k).to_vec()).into(),
        "screen_cooperative" => screen_blocks().map(|block| block.defines().to_vec()).collect(),
        "decode" => [[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [3, 1, 0], [3, 0, 1]]
            .map(|[columns, continued, gate]| vec![("COLUMNS", columns), ("CONTINUED", continued), ("GATE", gate)])
            .into(),
        "residual" => {
            let more: [(_, &[u32]); 2] = [("EVALUATED", &[0, 1]), ("SUFFIX", &[0, 1])];
            let of = |first: &[(_, &'static [u32])]| combinations(&[first, &more].concat());
            [of(&[("ERROR", &[0]), ("LAYER_NORM", &[0, 1])]), of(&[("ERROR", &[1])])].concat()
        }
        "variance" => [VarianceOf::Input, VarianceOf::Error].map(|of| of.defines().to_vec()).into(),
        "rescore_by_group" => combinations(&[("GROUP", &[8, 16])]),
        "sort" | "runs" => combinations(&[("SHARES", &[16, 256])]),
        "slopes" => [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
            .map(|[second, gate, detached]| vec![("SECOND", second), ("GATE", gate), ("DETACHED", detached)])
            .iter()
            .flat_map(|defines| [0, 1].map(|staged| [&defines[..], &[("STAGED", staged)]].concat()))
            .collect(),
        "slab" => [[0, 0], [1, 0], [1, 1]].map(|[gate, detached]| vec![("GATE", gate), ("DETACHED", detached)]).into(),
        "product" => combinations(&[("LEFT_DEEP", &[0, 1]), ("RIGHT_DEEP", &[0, 1]), ("ADDS", &[0, 1])]),
        "hot" => [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1]]
            .map(|[decoder, second, gate]| vec![("DECODER", decoder), ("SECOND", second), ("GATE", gate)])
            .into(),
        "squares" => row_sums(),
        "closed" => combinations(&[("OF_DEAD", &[0, 1]), ("LOG", &[0, 1])]),
        "update" => {
            let summed = [1, 3].map(|columns| vec![("SUMMED", 1), ("COLUMNS", columns)]);
            let with = |defines: &Defines| [0, 1].map(|bf16| [&defines[..], &[("BF16", bf16)]].concat());
            [row_sums(), summed.into()].concat().iter().flat_map(with).collect()
        }
        "dead" => combinations(&[("WITH_THIS_BATCH", &[0, 1])]),
        "admit" => combinations(&[("BY_CUT", &[0, 1]), ("SCALED", &[0, 1])]),
        "batch" => combinations(&[("SCALED", &[0, 1])]),
        "select_wide" => combinations(&[("SCALED", &[0, 1]), ("RAW", &[0, 1])]),
        _ => vec![vec![]],
    };
    if !source.text.contains("#define BIAS ") || source.around_entry.is_some() {
        return own;
    }
    let with = |defines: &Defines| {
        let planes = planes().into_iter().map(|planes| planes.defines());
        planes.map(|planes| [&planes[..], &terms_ahead(source, &planes), defines].concat()).collect()
    };
    own.iter().flat_map(|defines| -> Vec<Defines> { with(defines) }).collect()
}

/// The terms that `summary` reads ahead, as `Backward` chooses them.
fn terms_ahead(source: Source, planes: &Defines) -> Defines {
    let has_two_extras = planes.iter().any(|(name, extras)| *name == "EXTRAS" && *extras > 1);
    if source.name == "summary" && has_two_extras { vec![("AHEAD", 2)] } else { vec![] }
}

#[test]
fn every_definition_that_chooses_is_chosen() {
    // What a shader defines besides are sizes, and planes, which an SAE may leave out.
    let sizes =
        ["LEVELS", "COLUMNS", "CAPACITY", "CAPACITY_QUADS", "SUM_THREADS", "AHEAD", "ADMITS", "TRAINS", "DEPTH"];
    for source in ALL {
        let known: HashSet<&str> =
            variants(*source).iter().flat_map(|(_, defines)| defines).map(|(name, _)| *name).collect();
        for line in source.text.lines() {
            if let Some(definition) = line.trim().strip_prefix("#define ") {
                let name = definition.split(' ').next().unwrap();
                assert!(known.contains(name) || sizes.contains(&name), "{}: nobody chooses {name}", source.name);
            }
        }
    }
}

/// Every shape, on Vulkan for NVIDIA, AMD and software, and on Metal for Apple.
fn screen_blocks() -> impl Iterator<Item = ScreenBlock> {
    let adapters = [(16, 32, "vulkan"), (16, 64, "vulkan"), (8, 8, "vulkan"), (8, 32, "metal")];
    adapters.into_iter().flat_map(|(tile, lanes, backend)| {
        let (matrix_tile, subgroup_size, workgroup_bytes) = (Some(tile), Some(lanes), u32::MAX);
        let adapter = AdapterDescription { backend, matrix_tile, subgroup_size, workgroup_bytes, ..Default::default() };
        ScreenVariant::available(&adapter).into_iter().filter_map(|variant| match variant {
            ScreenVariant::Cooperative(block) => Some(block),
            ScreenVariant::Portable => None,
        })
    })
}

/// The variants of `encode` that one of its shaders makes.
fn encode_variants(source: Source) -> Vec<EncodeVariant> {
    let is_of = |variant: &EncodeVariant| match variant {
        EncodeVariant::Tiled(_) => source.name == "encode_tiled",
        EncodeVariant::Subgroup { .. } => source.name == "encode_subgroup",
    };
    EncodeVariant::all().into_iter().filter(is_of).collect()
}

/// The text of a variant.
fn text(source: Source, (entry, defines): &Variant) -> String {
    let with_entry = entry.map(|entry| source.with_entry(entry).unwrap());
    template::expand(with_entry.as_deref().unwrap_or(source.text), defines).unwrap()
}

pub fn parse(source: Source, variant: &Variant) -> (Module, ModuleInfo) {
    let text = text(source, variant);
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&text)));
    let info = Validator::new(
        ValidationFlags::all(),
        Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX,
    )
    .subgroup_stages(ShaderStages::COMPUTE)
    .subgroup_operations(SubgroupOperationSet::all())
    .validate(&module)
    .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&text)));
    (module, info)
}

fn to_spirv(module: &Module, info: &ModuleInfo, entry: &str) -> bool {
    // 1.3 is the first with subgroup operations.
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
    !spv::write_vec(module, info, &options, Some(&pipeline)).unwrap().is_empty()
}

fn to_msl(module: &Module, info: &ModuleInfo, entry: &str) -> bool {
    let options = msl::Options { lang_version: (2, 3), ..Default::default() };
    let pipeline =
        msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())), ..Default::default() };
    let (text, translated) = msl::write_string(module, info, &options, &pipeline).unwrap();
    translated.entry_point_names.into_iter().all(|name| text.contains(&name.unwrap()))
}

fn to_hlsl(module: &Module, info: &ModuleInfo, entry: &str, shader_model: hlsl::ShaderModel) -> bool {
    let options = hlsl::Options { shader_model, ..Default::default() };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())) };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).unwrap();
    written.entry_point_names.into_iter().all(|name| text.contains(&name.unwrap()))
}

#[test]
fn every_variant_of_every_shader_is_translated_for_every_back_end() {
    let mut translated = 0;
    for source in ALL {
        for variant in variants(*source) {
            let (module, info) = parse(*source, &variant);
            let (taken, defines) = (variant.0.map(|entry| entry.name), &variant.1);
            assert!(!module.entry_points.is_empty());
            for entry in &module.entry_points {
                let what = format!("{}.{} {taken:?} {defines:?}", source.name, entry.name);
                assert!(to_spirv(&module, &info, &entry.name), "{what}: SPIR-V");
                translated += 1;
                if source.name == "screen_cooperative" {
                    // DX12 has no cooperative matrices; Metal's are staged element by element.
                    if defines.contains(&("SCALAR", 1)) {
                        assert!(to_msl(&module, &info, &entry.name), "{what}: MSL");
                        translated += 1;
                    }
                    continue;
                }
                // Shader model 5.1 (FXC) has no subgroups; 6.0 (DXC) has.
                let model = match source.name {
                    "encode_subgroup" => hlsl::ShaderModel::V6_0,
                    _ => hlsl::ShaderModel::V5_1,
                };
                assert!(to_msl(&module, &info, &entry.name), "{what}: MSL");
                assert!(to_hlsl(&module, &info, &entry.name, model), "{what}: HLSL");
                assert!(to_hlsl(&module, &info, &entry.name, hlsl::ShaderModel::V6_0), "{what}: HLSL 6.0");
                translated += 3;
            }
        }
    }
    println!("{translated} translations");
    assert!(translated > 0);
}

#[test]
fn every_variant_runs_on_every_adapter() {
    for source in ALL {
        for variant in variants(*source) {
            let (module, info) = parse(*source, &variant);
            let defines = &variant.1;
            // Two stages are taken only where they fit.
            let is_chosen_by_size = match source.name {
                "encode_tiled" => defines.contains(&("DOUBLE", 1)),
                "screen_cooperative" => true,
                _ => false,
            };
            for fault in lint::faults(&module, &info) {
                let is_known = match fault.kind {
                    FaultKind::WorkgroupMemory => is_chosen_by_size,
                    FaultKind::ComponentStore | FaultKind::StorageBuffers => false,
                };
                assert!(is_known, "{} {defines:?}, {:?}: {}", source.name, fault.entry, fault.message);
            }
        }
    }
}

#[test]
fn blocks_take_the_workgroup_memory_that_they_say() {
    for block in screen_blocks() {
        let (module, info) = parse(shaders::screen_cooperative::SOURCE, &(None, block.defines().to_vec()));
        for (index, entry) in module.entry_points.iter().enumerate() {
            let (bytes, said) = (workgroup_bytes(&module, info.get_entry_point(index)), block.workgroup_bytes());
            // `subgroups` needs less than `main`.
            assert!(bytes == said || (entry.name == "subgroups" && bytes < said), "{block:?}, {}", entry.name);
        }
    }
}

#[test]
fn tiles_take_the_workgroup_memory_that_they_say() {
    for variant in EncodeVariant::all() {
        let EncodeVariant::Tiled(staging) = variant else { continue };
        let (module, info) = parse(shaders::encode_tiled::SOURCE, &(None, variant.defines()));
        for (index, entry) in module.entry_points.iter().enumerate() {
            let bytes = workgroup_bytes(&module, info.get_entry_point(index));
            assert_eq!(bytes, staging.workgroup_bytes(), "{variant}, {}", entry.name);
            // Of maxima two vectors per thread, that wait in the same memory.
            assert!(16 * 2 * entry.workgroup_size[0] <= bytes, "{variant}");
        }
    }
}

/// Writes the text of every variant of every shader into the directory MONOSEM_WGSL_DIR, for other compilers of WGSL, and
/// in variants.json the entry and definitions of each.
#[test]
#[ignore = "writes files: make portability"]
fn every_variant_is_written() {
    let directory = std::path::PathBuf::from(std::env::var_os("MONOSEM_WGSL_DIR").expect("MONOSEM_WGSL_DIR is set"));
    let mut written = serde_json::Map::new();
    for source in ALL {
        for (number, variant) in variants(*source).iter().enumerate() {
            let name = format!("{}-{number}", source.name);
            std::fs::write(directory.join(format!("{name}.wgsl")), text(*source, variant)).unwrap();
            let (entry, defines) = variant;
            let defines: HashMap<_, _> = defines.iter().copied().collect();
            written.insert(name, json!({ "entry": entry.map(|entry| entry.name), "defines": defines }));
        }
    }
    std::fs::write(directory.join("variants.json"), serde_json::to_vec(&written).unwrap()).unwrap();
}
