//! Shaders compiled for the device.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::adapter::Hardware;
use super::{EntryPoint, Gpu, template};
use crate::error::{Error, Result};

/// A WGSL template under `shaders/`, its imports resolved.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Path below `shaders/`, with `_` for `/`.
    pub name: &'static str,
    /// The text, with the directives of [`template`].
    pub text: &'static str,
}

/// One entry point, compiled, of the kernel `K`.
pub struct Pipeline<K> {
    /// None on paper.
    pub(super) raw: Option<wgpu::ComputePipeline>,
    pub(super) label: std::sync::Arc<str>,
    kernel: PhantomData<fn(K)>,
}

impl Gpu {
    /// Compiles the entry point `K`, with `defines` overriding the template's.
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
        let label: std::sync::Arc<str> = format!("{}.{}", source.name, K::NAME).into();
        let refused = |message: String| Error::Shader { shader: label.to_string(), message };
        let text = template::expand(source.text, defines).map_err(refused)?;
        let Some(Hardware { device, .. }) = &self.hardware else {
            return Ok(Pipeline { raw: None, label, kernel: PhantomData });
        };
        let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        // naga's back ends panic on some valid input: that is one shader's failure, not the process's.
        let compiled = catch_unwind(AssertUnwindSafe(|| compile(device, &label, text, K::NAME)));
        let refusals = [pollster::block_on(internal.pop()), pollster::block_on(invalid.pop())];
        match (compiled, refusals.into_iter().flatten().next()) {
            (Ok(raw), None) => Ok(Pipeline { raw: Some(raw), label, kernel: PhantomData }),
            (_, Some(refusal)) => Err(refused(refusal.to_string())),
            (Err(panic), None) => Err(refused(panic_message(&*panic))),
        }
    }
}

fn compile(device: &wgpu::Device, label: &str, text: String, entry: &str) -> wgpu::ComputePipeline {
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(text.into()) };
    // SAFETY: every index is bounded by the shader itself against its own params, which the poison and edge tests
    // exercise in this same mode; loops are bounded by buffer contents that earlier passes wrote.
    let module = unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: None,
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("the shader compiler panicked").to_owned()
}
