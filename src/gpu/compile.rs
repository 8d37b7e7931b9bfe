//! Shaders compiled for the device.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::Hardware;
use super::handle::Handle;
use super::{BindingKind, Entry, EntryPoint, Gpu, LayoutEntry, Pipeline, Source, template};
use crate::error::{Error, Result};

/// The pipelines of a device, shared by all that work on it, such as a trainer and its validation.
#[derive(Clone, Default)]
pub(super) struct Pipelines(Arc<Mutex<HashMap<PipelineKey, wgpu::ComputePipeline>>>);

/// What a pipeline is compiled from.
#[derive(PartialEq, Eq, Hash)]
struct PipelineKey {
    label: Arc<str>,
    text: String,
    layout: &'static [LayoutEntry],
}

impl Pipelines {
    fn lock(&self) -> MutexGuard<'_, HashMap<PipelineKey, wgpu::ComputePipeline>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gpu {
    /// Compiles the entry point `K`, or finds it compiled, with `defines` overriding the template's.
    ///
    /// # Errors
    /// [`Error::Shader`] with the shader's name if naga or the driver refuses it.
    pub fn pipeline<K: EntryPoint>(&self, defines: &[(&str, u32)]) -> Result<Pipeline<K>> {
        self.pipeline_of(K::SOURCE, defines)
    }

    /// Compiles the entry point with the name of `K` out of another shader, which has the same bindings and parameters.
    ///
    /// # Errors
    /// As [`Gpu::pipeline`].
    pub fn pipeline_of<K: EntryPoint>(&self, source: Source, defines: &[(&str, u32)]) -> Result<Pipeline<K>> {
        self.pipeline_from(format!("{}.{}", source.name, K::NAME), source.text, defines)
    }

    /// As [`Gpu::pipeline`], with `entry` in the place of the shader's `#import entry`.
    ///
    /// # Errors
    /// As [`Gpu::pipeline`], and if the shader imports no entry.
    pub fn pipeline_with_entry<K: EntryPoint>(&self, entry: Entry, defines: &[(&str, u32)]) -> Result<Pipeline<K>> {
        let shader = format!("{}.{}", K::SOURCE.name, K::NAME);
        match K::SOURCE.with_entry(entry) {
            Some(text) => self.pipeline_from(shader, &text, defines),
            None => Err(Error::Shader { shader, message: format!("it has no place for the entry {}", entry.name) }),
        }
    }

    fn pipeline_from<K: EntryPoint>(&self, label: String, text: &str, defines: &[(&str, u32)]) -> Result<Pipeline<K>> {
        self.account.count(|made| made.pipelines += 1);
        let label: Arc<str> = label.into();
        let refused = |message: String| Error::Shader { shader: label.to_string(), message };
        let text = template::expand(text, defines).map_err(refused)?;
        let Handle::Device(Hardware { device, pipelines, .. }) = &self.hardware else {
            return Ok(Pipeline::new(Handle::DryRun, label));
        };
        let key = PipelineKey { label: label.clone(), text, layout: K::LAYOUT };
        if let Some(compiled) = pipelines.lock().get(&key) {
            return Ok(Pipeline::new(Handle::Device(compiled.clone()), label));
        }
        let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        // naga's back ends panic on some valid input: that is one shader's failure, not the process's.
        let compiled = catch_unwind(AssertUnwindSafe(|| compile::<K>(device, &label, &key.text)));
        let refusals = [pollster::block_on(internal.pop()), pollster::block_on(invalid.pop())];
        match (compiled, refusals.into_iter().flatten().next()) {
            (Ok(compiled), None) => {
                pipelines.lock().insert(key, compiled.clone());
                Ok(Pipeline::new(Handle::Device(compiled), label))
            }
            (_, Some(refusal)) => Err(refused(refusal.to_string())),
            (Err(panic), None) => Err(refused(panic_message(&*panic))),
        }
    }
}

fn compile<K: EntryPoint>(device: &wgpu::Device, label: &str, text: &str) -> wgpu::ComputePipeline {
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(text.into()) };
    // SAFETY: every index is bounded by the shader itself against its own params, which the poison and edge tests and
    // tests/portability/bounds exercise in this same mode; loops are bounded by buffer contents that earlier passes
    // wrote.
    let module = unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        // Not the shader's own: a variant may use fewer bindings than its default, and is given the same.
        layout: Some(&pipeline_layout(device, label, K::LAYOUT)),
        module: &module,
        entry_point: Some(K::NAME),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    })
}

fn pipeline_layout(device: &wgpu::Device, label: &str, layout: &[LayoutEntry]) -> wgpu::PipelineLayout {
    let entries = layout.iter().map(|LayoutEntry { binding, kind }| wgpu::BindGroupLayoutEntry {
        binding: *binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match kind {
                BindingKind::ReadOnlyStorage => wgpu::BufferBindingType::Storage { read_only: true },
                BindingKind::Storage => wgpu::BufferBindingType::Storage { read_only: false },
                BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    });
    let entries: Vec<_> = entries.collect();
    let group =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
    device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &[Some(&group)],
        ..Default::default()
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("the shader compiler panicked").to_owned()
}
