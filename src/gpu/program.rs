//! Lists of device commands: described by kernels, prepared once, run many times.

use super::{Buffer, Gpu, Pending, Pipeline, Source};
use crate::error::{Error, Result};

/// An entry point of a shader; implemented by the build script.
pub trait EntryPoint {
    /// What it binds.
    type Bindings<'a>: Bind;
    /// The shader that holds it.
    const SOURCE: Source;
    /// Its name.
    const NAME: &'static str;
    /// Invocations a workgroup, under the template's default definitions.
    const WORKGROUP: [u32; 3];
}

/// The values bound to an entry point.
pub trait Bind {
    /// Binding numbers and what is bound there.
    fn bindings(&self) -> Vec<(u32, Binding<'_>)>;
}

/// What a shader's binding is given.
pub enum Binding<'a> {
    /// A whole buffer.
    Buffer(&'a Buffer),
    /// A small constant, copied when the dispatch is recorded.
    Uniform(&'a [u8]),
}

enum Command {
    Dispatch(Dispatch),
    Copy { source: wgpu::Buffer, target: wgpu::Buffer, bytes: u64 },
    Clear(wgpu::Buffer),
}

struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    label: String,
    buffers: Vec<(u32, wgpu::Buffer)>,
    uniform: Option<(u32, Vec<u8>)>,
    groups: [u32; 3],
}

/// Commands in the order in which they will run; each sees what the ones before it wrote.
#[derive(Default)]
pub struct Recording {
    commands: Vec<Command>,
}

impl Recording {
    /// Runs `groups` workgroups of `pipeline`; a dispatch of no workgroups is left out.
    pub fn dispatch<K: EntryPoint>(&mut self, pipeline: &Pipeline<K>, bindings: K::Bindings<'_>, groups: [u32; 3]) {
        if groups.contains(&0) {
            return;
        }
        let mut buffers = Vec::new();
        let mut uniform = None;
        for (at, binding) in bindings.bindings() {
            match binding {
                Binding::Buffer(buffer) => buffers.push((at, buffer.raw.clone())),
                Binding::Uniform(bytes) => uniform = Some((at, bytes.to_vec())),
            }
        }
        self.commands.push(Command::Dispatch(Dispatch {
            pipeline: pipeline.raw.clone(),
            label: pipeline.label.clone(),
            buffers,
            uniform,
            groups,
        }));
    }

    /// Copies the whole of `source` to the start of `target`.
    pub fn copy(&mut self, source: &Buffer, target: &Buffer) {
        let (source, target, bytes) = (source.raw.clone(), target.raw.clone(), source.bytes());
        self.commands.push(Command::Copy { source, target, bytes });
    }

    /// Fills `buffer` with zeros.
    pub fn clear(&mut self, buffer: &Buffer) {
        self.commands.push(Command::Clear(buffer.raw.clone()));
    }
}

/// A recording with its bind groups made: ready to run, again and again.
pub struct Program {
    operations: Vec<Operation>,
}

enum Operation {
    Dispatch { pipeline: wgpu::ComputePipeline, bindings: wgpu::BindGroup, groups: [u32; 3], label: String },
    Copy { source: wgpu::Buffer, target: wgpu::Buffer, bytes: u64 },
    Clear(wgpu::Buffer),
}

/// Uniforms of one program share a buffer; each starts at a multiple of what every adapter allows.
const UNIFORM_STRIDE: u64 = 256;

impl Gpu {
    /// Prepares a recording.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if its constants do not fit, [`Error::Device`] if the device refuses a binding.
    pub fn program(&self, recording: Recording) -> Result<Program> {
        let dispatches = recording.commands.iter().filter(|command| matches!(command, Command::Dispatch(_))).count();
        let uniforms = self.allocate(
            "uniforms",
            UNIFORM_STRIDE * dispatches.max(1) as u64,
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        )?;
        let mut constants = vec![0_u8; uniforms.size() as usize];
        let invalid = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut slots = (0..).step_by(UNIFORM_STRIDE as usize);
        let operations = recording
            .commands
            .into_iter()
            .map(|command| match command {
                Command::Dispatch(dispatch) => {
                    let slot = slots.next().unwrap_or_default();
                    if let Some((_, bytes)) = &dispatch.uniform {
                        constants[slot..slot + bytes.len()].copy_from_slice(bytes);
                    }
                    self.bind(dispatch, &uniforms, slot as u64)
                }
                Command::Copy { source, target, bytes } => Operation::Copy { source, target, bytes },
                Command::Clear(buffer) => Operation::Clear(buffer),
            })
            .collect();
        if let Some(refusal) = pollster::block_on(invalid.pop()) {
            return Err(Error::Device(format!("the device refuses a binding: {refusal}")));
        }
        self.queue.write_buffer(&uniforms, 0, &constants);
        Ok(Program { operations })
    }

    fn bind(&self, dispatch: Dispatch, uniforms: &wgpu::Buffer, slot: u64) -> Operation {
        let mut entries: Vec<_> = dispatch
            .buffers
            .iter()
            .map(|(at, buffer)| wgpu::BindGroupEntry { binding: *at, resource: buffer.as_entire_binding() })
            .collect();
        if let Some((at, bytes)) = &dispatch.uniform {
            entries.push(wgpu::BindGroupEntry {
                binding: *at,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: uniforms,
                    offset: slot,
                    size: wgpu::BufferSize::new(bytes.len() as u64),
                }),
            });
        }
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&dispatch.label),
            layout: &dispatch.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Operation::Dispatch { pipeline: dispatch.pipeline, bindings, groups: dispatch.groups, label: dispatch.label }
    }

    /// Runs a program after everything submitted before it, without waiting for it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device has failed by now.
    pub fn submit(&self, program: &Program) -> Result<()> {
        self.submit_and_read(program, &[]).map(drop)
    }

    /// As [`Gpu::submit`]; what `results` hold afterwards can be fetched from the returned [`Pending`].
    ///
    /// # Errors
    /// As [`Gpu::submit`], and [`Error::OutOfMemory`] if there is no room for the results.
    pub fn submit_and_read(&self, program: &Program, results: &[&Buffer]) -> Result<Pending> {
        self.check()?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut operations = program.operations.iter().peekable();
        while let Some(operation) = operations.next() {
            match operation {
                Operation::Copy { source, target, bytes } => {
                    encoder.copy_buffer_to_buffer(source, 0, target, 0, *bytes);
                }
                Operation::Clear(buffer) => encoder.clear_buffer(buffer, 0, None),
                Operation::Dispatch { .. } => {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    run_dispatch(&mut pass, operation);
                    while let Some(next) = operations.next_if(|next| matches!(next, Operation::Dispatch { .. })) {
                        run_dispatch(&mut pass, next);
                    }
                }
            }
        }
        let pending = self.stage(&mut encoder, results)?;
        self.queue.submit([encoder.finish()]);
        Ok(self.fetch(pending))
    }

    /// Runs a program once and waits, timing each dispatch on the device: `(entry point, seconds)` in order.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no timestamps or has failed.
    pub fn profile(&self, program: &Program) -> Result<Vec<(String, f64)>> {
        self.check()?;
        if !self.has_timestamps() {
            return Err(Error::Device(format!("{} has no timestamps", self.description().name)));
        }
        let mut timed = Vec::new();
        for operation in &program.operations {
            let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            });
            let mut encoder = self.device.create_command_encoder(&Default::default());
            match operation {
                Operation::Copy { source, target, bytes } => {
                    encoder.copy_buffer_to_buffer(source, 0, target, 0, *bytes);
                }
                Operation::Clear(buffer) => encoder.clear_buffer(buffer, 0, None),
                Operation::Dispatch { label, .. } => {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: Some(label),
                        timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                            query_set: &queries,
                            beginning_of_pass_write_index: Some(0),
                            end_of_pass_write_index: Some(1),
                        }),
                    });
                    run_dispatch(&mut pass, operation);
                    drop(pass);
                    timed.push((label.clone(), queries));
                }
            }
            self.queue.submit([encoder.finish()]);
        }
        timed.into_iter().map(|(label, queries)| Ok((label, self.resolve(&queries)?))).collect()
    }

    fn resolve(&self, queries: &wgpu::QuerySet) -> Result<f64> {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = self.allocate("timestamps", 16, usage)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.resolve_query_set(queries, 0..2, &resolved, 0);
        let pending = self.stage_raw(&mut encoder, &[(&resolved, 16)])?;
        self.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = self.fetch(pending).wait(self)?.words_as();
        let ticks = ticks[1].saturating_sub(ticks[0]) as f64;
        Ok(ticks * f64::from(self.queue.get_timestamp_period()) * 1e-9)
    }
}

fn run_dispatch(pass: &mut wgpu::ComputePass<'_>, operation: &Operation) {
    if let Operation::Dispatch { pipeline, bindings, groups: [x, y, z], .. } = operation {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bindings, &[]);
        pass.dispatch_workgroups(*x, *y, *z);
    }
}
