//! Lists of device commands, prepared: bind groups made, to be run many times.

use std::ops::Range;

use super::device::Hardware;
use super::handle::Handle;
use super::operation::{Groups, Operation, PreparedDispatch};
use super::pace::{Pace, Submissions};
use super::recording::{Command, Condition, Dispatch};
use super::shaders::gate;
use super::{Buffer, EntryPoint, Gpu, Pipeline, Recording, grid};
use crate::error::{Error, Result};

/// A recording with its bind groups made: ready to run, again and again.
pub struct Program {
    /// None on a dry run.
    pub(super) operations: Vec<Operation>,
    /// The shortest submissions there can be, one dispatch each.
    pub(super) dispatches: Vec<Range<usize>>,
    pub(super) marks: Vec<usize>,
    pub(super) pace: Pace,
    uniforms: Buffer,
    sections: Vec<Section>,
}

/// The workgroups of a section's dispatches, three words each.
struct Section {
    condition: Condition,
    wanted: Buffer,
    granted: Buffer,
    dispatches: u32,
}

impl Section {
    /// The dispatch that grants the section its workgroups, or none.
    fn gate_dispatch(&self, gate: &Pipeline<gate::main::Kernel>) -> Dispatch {
        let params = gate::Params { count: 3 * self.dispatches, word: (self.condition.offset / 4) as u32 };
        let (condition, wanted, granted) = (&self.condition.buffer, &self.wanted, &self.granted);
        let bindings = gate::main::Bindings { condition, wanted, granted, params };
        let [threads, ..] = gate::main::Kernel::WORKGROUP;
        Dispatch::new(gate, bindings, grid(u64::from(params.count.div_ceil(threads))))
    }
}

impl Program {
    /// How its operations are joined to submissions, as soon as that is known.
    pub(super) fn submissions(&self, gpu: &Gpu) -> Result<Option<Submissions>> {
        let dispatches = self.dispatches.iter().map(|range| {
            let mut dispatches = self.operations[range.clone()].iter().filter_map(Operation::dispatch);
            (range.clone(), dispatches.any(PreparedDispatch::is_in_section))
        });
        self.pace.submissions(gpu, dispatches)
    }

    /// Hands what is known of its dispatches' times to a program of the same dispatches, with other constants.
    pub fn hand_pace_to(self, other: &mut Self) {
        if self.dispatches == other.dispatches && self.labels().eq(other.labels()) {
            other.pace = self.pace;
        }
    }

    /// The kernels of its dispatches.
    fn labels(&self) -> impl Iterator<Item = &str> {
        self.operations.iter().filter_map(Operation::dispatch).map(|dispatch| &*dispatch.label)
    }

    /// The longest dispatch of these kernels, in seconds, by the runs that are timed: once, after the last of them.
    pub fn take_longest(&self, is_wanted: impl Fn(&str) -> bool) -> Option<f64> {
        let timed = self.labels().zip(self.pace.take_seconds()?);
        timed.filter(|(label, _)| is_wanted(label)).map(|(_, seconds)| seconds).reduce(f64::max)
    }

    pub(super) fn has_dispatches(&self) -> bool {
        self.operations.iter().any(|operation| operation.dispatch().is_some())
    }
}

/// Bytes from one uniform to the next in a shared buffer: every adapter lets a uniform begin at a multiple of this.
pub const UNIFORM_STRIDE: u64 = 256;

impl Gpu {
    /// Prepares a recording.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if its constants do not fit, [`Error::Device`] if the device refuses a binding.
    pub fn program(&self, recording: Recording) -> Result<Program> {
        self.account.count(|made| made.programs += 1);
        let sections = recording.conditions.iter().enumerate();
        let sections = sections.map(|(number, condition)| self.section(&recording.commands, number, condition));
        let sections = sections.collect::<Result<Vec<_>>>()?;
        let dispatches = recording.commands.iter().filter(|command| !command.is_transfer()).count();
        let uniforms = self.for_part("programs").allocate(
            "uniforms",
            UNIFORM_STRIDE * dispatches.max(1) as u64,
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        )?;
        let mut program = Program {
            operations: Vec::new(),
            dispatches: Vec::new(),
            marks: recording.marks,
            pace: Pace::default(),
            uniforms,
            sections,
        };
        if let Handle::Device(hardware) = &self.hardware {
            program.operations = self.prepare(hardware, recording.commands, &program)?;
            program.dispatches = single_dispatches(&program.operations);
        }
        Ok(program)
    }

    fn prepare(&self, hardware: &Hardware, commands: Vec<Command>, program: &Program) -> Result<Vec<Operation>> {
        let Hardware { device, queue, .. } = hardware;
        let uniforms = program.uniforms.raw()?;
        let mut constants = Vec::with_capacity(uniforms.size() as usize);
        let mut operations = Vec::with_capacity(commands.len());
        let mut in_section = 0;
        let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut prepare = |dispatch: Dispatch, groups: Groups| {
            let slot = constants.len() as u64;
            if let Some((_, bytes)) = &dispatch.uniform {
                constants.extend_from_slice(bytes);
                constants.resize(constants.len().next_multiple_of(UNIFORM_STRIDE as usize), 0);
            }
            let bindings = bind(device, &dispatch, uniforms, slot)?;
            let Dispatch { pipeline, label, .. } = dispatch;
            Ok(Operation::Dispatch(PreparedDispatch { pipeline: pipeline.get()?.clone(), bindings, groups, label }))
        };
        let prepared: Result<()> = commands.into_iter().try_for_each(|command| {
            operations.push(match command {
                Command::Dispatch(dispatch) => {
                    let groups = match dispatch.section {
                        None => Groups::Given(dispatch.groups),
                        Some(number) => {
                            in_section += 1;
                            Groups::Granted(program.sections[number].granted.raw()?.clone(), 12 * (in_section - 1))
                        }
                    };
                    prepare(dispatch, groups)?
                }
                Command::Gate(number) => {
                    in_section = 0;
                    let gate = program.sections[number].gate_dispatch(&self.gate()?);
                    let groups = Groups::Given(gate.groups);
                    prepare(gate, groups)?
                }
                Command::Transfer(transfer) => Operation::Transfer(transfer),
            });
            Ok(())
        });
        let refusal = pollster::block_on(invalid.pop());
        prepared?;
        if let Some(refusal) = refusal {
            return Err(Error::Device(format!("the device refuses a binding: {refusal}")));
        }
        queue.write_buffer(uniforms, 0, &constants);
        Ok(operations)
    }

    /// The pipeline of every section, compiled once a device.
    pub(super) fn gate(&self) -> Result<Pipeline<gate::main::Kernel>> {
        if let Some(gate) = self.gate.get() {
            return Ok(gate.clone());
        }
        let gate = self.pipeline(&[])?;
        Ok(self.gate.get_or_init(|| gate).clone())
    }

    fn section(&self, commands: &[Command], number: usize, condition: &Condition) -> Result<Section> {
        let groups = commands.iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) if dispatch.section == Some(number) => Some(dispatch.groups),
            _ => None,
        });
        let wanted: Vec<[u32; 3]> = groups.collect();
        let bytes = size_of_val(&wanted[..]).max(16) as u64;
        Ok(Section {
            granted: self.for_part("programs").allocate(
                "uniforms",
                bytes,
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::INDIRECT,
            )?,
            condition: condition.clone(),
            dispatches: wanted.len() as u32,
            wanted: self.buffer_from("uniforms", &wanted)?,
        })
    }
}

impl Gpu {
    /// Submits some operations of a program, neighbouring dispatches in one pass.
    pub(super) fn submit_operations(&self, program: &Program, operations: Range<usize>) -> Result<()> {
        let Hardware { device, queue, .. } = self.hardware()?;
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut operations = program.operations[operations].iter().peekable();
        while let Some(operation) = operations.next() {
            match operation {
                Operation::Transfer(transfer) => transfer.run(&mut encoder)?,
                Operation::Dispatch(dispatch) => {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    dispatch.run(&mut pass);
                    while let Some(next) = operations.peek().and_then(|next| next.dispatch()) {
                        next.run(&mut pass);
                        operations.next();
                    }
                }
            }
        }
        queue.submit([encoder.finish()]);
        Ok(())
    }
}

/// The bind group of a dispatch, whose own uniform is at `slot`.
fn bind(device: &wgpu::Device, dispatch: &Dispatch, uniforms: &wgpu::Buffer, slot: u64) -> Result<wgpu::BindGroup> {
    let entry = |binding, buffer, offset, bytes| wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset,
            size: wgpu::BufferSize::new(bytes),
        }),
    };
    let mut entries = Vec::with_capacity(dispatch.buffers.len() + 1);
    for bound in &dispatch.buffers {
        entries.push(entry(bound.binding, bound.buffer.raw()?, bound.range.start, bound.range.end - bound.range.start));
    }
    if let Some((binding, bytes)) = &dispatch.uniform {
        entries.push(entry(*binding, uniforms, slot, bytes.len() as u64));
    }
    Ok(device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&dispatch.label),
        layout: &dispatch.pipeline.get()?.get_bind_group_layout(0),
        entries: &entries,
    }))
}

/// Each dispatch with the transfers before it; what follows the last dispatch is the last one's.
fn single_dispatches(operations: &[Operation]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for (at, operation) in operations.iter().enumerate() {
        if operation.dispatch().is_some() {
            ranges.push(start..at + 1);
            start = at + 1;
        }
    }
    match ranges.last_mut() {
        Some(last) => last.end = operations.len(),
        None => ranges.push(0..operations.len()),
    }
    ranges
}
