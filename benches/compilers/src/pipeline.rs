//! One WGSL module, and a pipeline of each of its entry points.

use std::ffi::{CStr, CString};

use ash::vk;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy, Layouter};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, EntryPoint, ShaderStage};
use serde_json::{Map, Value, json};

use crate::Result;
use crate::device::Device;

/// What drivers call their machine code: NVK, RADV, ANV.
const MACHINE_CODE: [&str; 3] = ["NAK assembly", "Assembly", "GEN Assembly"];

pub struct Module {
    module: naga::Module,
    info: ModuleInfo,
}

impl Module {
    pub fn parse(text: &str) -> Result<Self> {
        let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
        let capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|error| error.emit_to_string(text))?;
        Ok(Self { module, info })
    }

    pub fn entry_points(&self) -> Vec<&str> {
        self.module.entry_points.iter().map(|entry| entry.name.as_str()).collect()
    }

    /// What the driver says of an entry point's pipeline.
    pub fn compile(&self, device: &Device, entry: &str, subgroup: Option<u32>, machine_code: bool) -> Result<Value> {
        let index = self.module.entry_points.iter().position(|other| other.name == entry);
        let index = index.ok_or("no such entry point")?;
        let EntryPoint { workgroup_size, .. } = self.module.entry_points[index];
        let words = self.to_spirv(entry)?;
        let pipeline = self.pipeline(device, entry, &words, subgroup)?;
        let mut told = executable(device, pipeline, machine_code)?;
        // SAFETY: nothing runs on the device.
        unsafe { device.raw.destroy_pipeline(pipeline, None) };
        told["workgroup"] = json!(workgroup_size.iter().product::<u32>());
        told["workgroup_bytes"] = json!(self.workgroup_bytes(index)?);
        Ok(told)
    }

    /// With the options of wgpu 30 where monosem asks for no checks (src/gpu/compile.rs).
    fn to_spirv(&self, entry: &str) -> Result<Vec<u32>> {
        let unchecked = BoundsCheckPolicy::Unchecked;
        let options = spv::Options {
            lang_version: (1, 6),
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            bounds_check_policies: BoundsCheckPolicies {
                index: unchecked,
                buffer: unchecked,
                image_load: unchecked,
                binding_array: unchecked,
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..Default::default()
        };
        let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
        Ok(spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))?)
    }

    fn pipeline(&self, device: &Device, entry: &str, words: &[u32], subgroup: Option<u32>) -> Result<vk::Pipeline> {
        let bindings: Vec<_> = self
            .module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| {
                let kind = match variable.space {
                    AddressSpace::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                    _ => vk::DescriptorType::STORAGE_BUFFER,
                };
                let binding = vk::DescriptorSetLayoutBinding::default()
                    .binding(variable.binding.as_ref()?.binding)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE);
                Some(binding)
            })
            .collect();
        let name = CString::new(entry)?;
        let raw = &device.raw;
        // SAFETY: the module is naga's, valid; what is made lives as long as the process, which is short.
        unsafe {
            let module = raw.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(words), None)?;
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [raw.create_descriptor_set_layout(&set, None)?];
            let layout =
                raw.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None)?;
            let mut required = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default()
                .required_subgroup_size(subgroup.unwrap_or_default());
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&name);
            let stage = match subgroup {
                Some(_) => {
                    stage.flags(vk::PipelineShaderStageCreateFlags::REQUIRE_FULL_SUBGROUPS).push_next(&mut required)
                }
                None => stage.flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE),
            };
            let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let create = vk::ComputePipelineCreateInfo::default().flags(capture).stage(stage).layout(layout);
            let made = raw.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let pipeline = made.map_err(|(_, error)| error)?[0];
            raw.destroy_shader_module(module, None);
            Ok(pipeline)
        }
    }

    /// Workgroup memory as WebGPU counts it: each variable rounded up to 16 bytes.
    fn workgroup_bytes(&self, entry: usize) -> Result<u32> {
        let mut layouter = Layouter::default();
        layouter.update(self.module.to_ctx())?;
        let used = self.info.get_entry_point(entry);
        let variables = self.module.global_variables.iter();
        let taken =
            variables.filter(|(at, variable)| variable.space == AddressSpace::WorkGroup && !used[*at].is_empty());
        Ok(taken.map(|(_, variable)| layouter[variable.ty].size.next_multiple_of(16)).sum())
    }
}

/// The statistics of a pipeline's one executable, and its machine code.
fn executable(device: &Device, pipeline: vk::Pipeline, machine_code: bool) -> Result<Value> {
    let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
    let which = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
    // SAFETY: the pipeline was made with what these calls need.
    let (properties, statistics) = unsafe {
        let properties = device.executables.get_pipeline_executable_properties(&info)?;
        (properties, device.executables.get_pipeline_executable_statistics(&which)?)
    };
    let subgroup = properties.first().ok_or("the driver tells of no executable")?.subgroup_size;
    let numbers: Map<_, _> = statistics.iter().map(|statistic| (text(&statistic.name), number(statistic))).collect();
    let mut told = json!({ "executables": properties.len(), "subgroup": subgroup, "statistics": numbers });
    if machine_code {
        told["machine_code"] = json!(representation(device, &which)?);
    }
    Ok(told)
}

fn number(statistic: &vk::PipelineExecutableStatisticKHR<'_>) -> Value {
    // SAFETY: the format says which of the values is there.
    unsafe {
        match statistic.format {
            vk::PipelineExecutableStatisticFormatKHR::BOOL32 => json!(statistic.value.b32 != 0),
            vk::PipelineExecutableStatisticFormatKHR::INT64 => json!(statistic.value.i64),
            vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => json!(statistic.value.f64),
            _ => json!(statistic.value.u64),
        }
    }
}

/// A text of fixed length as Vulkan returns it.
fn text(characters: &[std::ffi::c_char]) -> String {
    // SAFETY: Vulkan ends it with a zero.
    unsafe { CStr::from_ptr(characters.as_ptr()) }.to_string_lossy().into_owned()
}

fn representation(device: &Device, which: &vk::PipelineExecutableInfoKHR<'_>) -> Result<Option<String>> {
    // SAFETY: the first call gives the sizes that the second is given room for.
    unsafe {
        let mut all = device.executables.get_pipeline_executable_internal_representations(which)?;
        let mut texts: Vec<_> = all.iter().map(|one| vec![0_u8; one.data_size]).collect();
        for (one, text) in all.iter_mut().zip(&mut texts) {
            one.p_data = text.as_mut_ptr().cast();
        }
        let mut count = all.len() as u32;
        let get = device.executables.fp().get_pipeline_executable_internal_representations_khr;
        get(device.raw.handle(), which, &mut count, all.as_mut_ptr()).result()?;
        let mut named = all.iter().zip(&texts);
        let found = named.find(|(one, _)| MACHINE_CODE.contains(&text(&one.name).as_str()));
        Ok(found.map(|(_, code)| String::from_utf8_lossy(code).trim_end_matches('\0').to_owned()))
    }
}
