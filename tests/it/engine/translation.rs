use monosem::gpu::shaders::{self, ALL};
use monosem::gpu::{AdapterDescription, Source, template};
use monosem::kernels::{EncodeVariant, ScreenBlock, ScreenVariant, Select, Update};
use naga::back::{hlsl, msl, spv};
use naga::proc::Layouter;
use naga::valid::{
    Capabilities, FunctionInfo, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator,
};
use naga::{AddressSpace, Module, ShaderStage};

/// What every adapter has: the least that WebGPU promises.
const WORKGROUP_BYTES: u32 = 16_384;

type Defines = Vec<(&'static str, u32)>;

/// The definitions under which `src/kernels` compiles a shader.
fn variants(source: Source) -> Vec<Defines> {
    match source.name {
        "encode_subgroup" | "encode_tiled" => encode_variants(source).iter().map(|variant| variant.defines()).collect(),
        "select" => [32, 64, 128].map(|k| Select::defines(k).to_vec()).into(),
        "screen_cooperative" => screen_blocks().map(|block| block.defines().to_vec()).collect(),
        "update" => [false, true].map(|bf16| Update::defines(bf16).to_vec()).into(),
        _ => vec![vec![]],
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

fn parse(source: Source, defines: &Defines) -> (Module, ModuleInfo) {
    let text = template::expand(source.text, defines).unwrap();
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
        for defines in variants(*source) {
            let (module, info) = parse(*source, &defines);
            assert!(!module.entry_points.is_empty());
            for entry in &module.entry_points {
                let what = format!("{}.{} {defines:?}", source.name, entry.name);
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

fn workgroup_bytes(module: &Module, uses: &FunctionInfo) -> u32 {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).unwrap();
    let used = module
        .global_variables
        .iter()
        .filter(|(handle, variable)| variable.space == AddressSpace::WorkGroup && !uses[*handle].is_empty());
    // As WebGPU counts them: each rounded up to 16 bytes.
    used.map(|(_, variable)| layouter[variable.ty].size.next_multiple_of(16)).sum()
}

#[test]
fn workgroup_memory_fits_every_adapter() {
    let mut largest = 0;
    for source in ALL {
        let every_adapter = |defines: &Defines| {
            // Of tiles an adapter takes those that fit it.
            source.name != "encode_tiled" || defines == &EncodeVariant::best(&AdapterDescription::default()).defines()
        };
        for defines in variants(*source).into_iter().filter(every_adapter) {
            let (module, info) = parse(*source, &defines);
            for (index, entry) in module.entry_points.iter().enumerate() {
                let bytes = workgroup_bytes(&module, info.get_entry_point(index));
                let what = format!("{}.{} {defines:?}", source.name, entry.name);
                if source.name == "screen_cooperative" {
                    // Taken only where it fits, so what it takes must be known.
                    let known =
                        screen_blocks().find(|block| block.defines()[..] == defines[..]).unwrap().workgroup_bytes();
                    // `subgroups` needs less than `main`.
                    assert!(bytes == known || (entry.name == "subgroups" && bytes < known), "{what}");
                    continue;
                }
                assert!(bytes <= WORKGROUP_BYTES, "{what} takes {bytes} bytes of workgroup memory");
                largest = largest.max(bytes);
            }
        }
    }
    println!("at most {largest} bytes of workgroup memory");
    assert!(largest > 0);
}

#[test]
fn tiles_take_the_workgroup_memory_that_they_say() {
    for variant in EncodeVariant::all() {
        let EncodeVariant::Tiled(shape) = variant else { continue };
        let (module, info) = parse(shaders::encode_tiled::SOURCE, &variant.defines());
        for (index, entry) in module.entry_points.iter().enumerate() {
            let bytes = workgroup_bytes(&module, info.get_entry_point(index));
            assert_eq!(bytes, shape.workgroup_bytes(), "{variant}, {}", entry.name);
            // Eight rows and eight features a thread; of maxima two a thread, that wait in the same memory.
            assert_eq!(entry.workgroup_size, [shape.rows * shape.features / 64, 1, 1], "{variant}");
            assert!(16 * shape.rows * shape.features / 32 <= bytes, "{variant}");
        }
    }
}

/// Writes the text of every variant of every shader into the directory MONOSEM_WGSL_DIR, for other compilers of WGSL.
#[test]
#[ignore = "writes files: make portability"]
fn every_variant_is_written() {
    let directory = std::path::PathBuf::from(std::env::var_os("MONOSEM_WGSL_DIR").expect("MONOSEM_WGSL_DIR is set"));
    for source in ALL {
        for (number, defines) in variants(*source).iter().enumerate() {
            let text = template::expand(source.text, defines).unwrap();
            std::fs::write(directory.join(format!("{}-{number}.wgsl", source.name)), text).unwrap();
        }
    }
}
