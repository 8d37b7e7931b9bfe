//! Lists of device commands, prepared: bind groups made, to be run many times.

use std::ops::Range;
use std::sync::Arc;

use super::adapter::Hardware;
use super::pace::Pace;
use super::recording::{Command, Dispatch};
use super::shaders::gate;
use super::{Buffer, EntryPoint, Gpu, Pipeline, Recording, grid};
use crate::error::{Error, Result};

/// A recording with its bind groups made: ready to run, again and again.
pub struct Program {
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
    wanted: Buffer,
    granted: Buffer,
    gate: Pipeline<gate::main::Kernel>,
    condition: Buffer,
    dispatches: u32,
}

impl Section {
    /// Grants the section its workgroups, or none.
    fn gate_dispatch(&self) -> Dispatch {
        let count = 3 * self.dispatches;
        let (condition, wanted, granted) = (&self.condition, &self.wanted, &self.granted);
        let bindings = gate::main::Bindings { condition, wanted, granted, params: gate::Params { count } };
        Dispatch::new(&self.gate, bindings, grid(u64::from(count).div_ceil(gate::main::Kernel::WORKGROUP[0].into())))
    }
}

impl Program {
    /// The shortest submissions that there can be, and the least that each must be taken to last.
    pub(super) fn dispatches(&self) -> impl Iterator<Item = (Range<usize>, f64)> {
        self.dispatches.iter().map(|range| {
            let least = self.operations[range.clone()].iter().map(Operation::least_seconds).sum();
            (range.clone(), least)
        })
    }

    pub(super) fn has_dispatches(&self) -> bool {
        self.operations.iter().any(|operation| matches!(operation, Operation::Dispatch { .. }))
    }
}

pub(super) enum Operation {
    Dispatch { pipeline: wgpu::ComputePipeline, bindings: wgpu::BindGroup, groups: Groups, label: Arc<str> },
    Copy { source: Buffer, target: Buffer },
    Clear(Buffer),
}

pub(super) enum Groups {
    Given([u32; 3]),
    /// What the device finds at this offset in bytes.
    Granted(wgpu::Buffer, u64),
}

impl Operation {
    /// What a dispatch may take that has not shown how long it is, because its section has not run.
    fn least_seconds(&self) -> f64 {
        if matches!(self, Self::Dispatch { groups: Groups::Granted(..), .. }) { 0.01 } else { 0.0 }
    }

    pub fn label(&self) -> Option<Arc<str>> {
        match self {
            Self::Dispatch { label, .. } => Some(label.clone()),
            _ => None,
        }
    }
}

/// Uniforms of one program share a buffer; each starts at a multiple of what every adapter allows.
const UNIFORM_STRIDE: u64 = 256;

impl Gpu {
    /// Prepares a recording.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if its constants do not fit, [`Error::Device`] if the device refuses a binding.
    pub fn program(&self, recording: Recording) -> Result<Program> {
        let sections = recording.conditions.iter().enumerate();
        let sections = sections.map(|(number, condition)| self.section(&recording.commands, number, condition));
        let sections = sections.collect::<Result<Vec<_>>>()?;
        let dispatches = recording.commands.iter().filter(|command| !command.is_transfer()).count();
        let uniforms = self.allocate(
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
        let (Some(Hardware { device, queue }), Some(uniforms)) = (&self.hardware, &program.uniforms.raw) else {
            return Ok(program);
        };
        let mut constants = vec![0_u8; uniforms.size() as usize];
        let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut slots = (0..).step_by(UNIFORM_STRIDE as usize);
        let mut bind_next = |dispatch: Dispatch, groups: Groups| {
            let slot = slots.next().unwrap_or_default();
            if let Some((_, bytes)) = &dispatch.uniform {
                constants[slot..slot + bytes.len()].copy_from_slice(bytes);
            }
            bind(device, dispatch, groups, uniforms, slot as u64)
        };
        let mut in_section = 0;
        let operations = recording.commands.into_iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) => {
                let groups = match dispatch.section {
                    None => Groups::Given(dispatch.groups),
                    Some(number) => {
                        in_section += 1;
                        Groups::Granted(program.sections[number].granted.raw.clone()?, 12 * (in_section - 1))
                    }
                };
                bind_next(dispatch, groups)
            }
            Command::Gate(number) => {
                in_section = 0;
                let gate = program.sections[number].gate_dispatch();
                let groups = Groups::Given(gate.groups);
                bind_next(gate, groups)
            }
            Command::Copy { source, target } => Some(Operation::Copy { source, target }),
            Command::Clear(buffer) => Some(Operation::Clear(buffer)),
        });
        program.operations = operations.collect();
        if let Some(refusal) = pollster::block_on(invalid.pop()) {
            return Err(Error::Device(format!("the device refuses a binding: {refusal}")));
        }
        queue.write_buffer(uniforms, 0, &constants);
        program.dispatches = single_dispatches(&program.operations);
        Ok(program)
    }

    fn section(&self, commands: &[Command], number: usize, condition: &Buffer) -> Result<Section> {
        let groups = commands.iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) if dispatch.section == Some(number) => Some(dispatch.groups),
            _ => None,
        });
        let wanted: Vec<[u32; 3]> = groups.collect();
        let bytes = size_of_val(&wanted[..]).max(16) as u64;
        Ok(Section {
            granted: self.allocate("uniforms", bytes, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::INDIRECT)?,
            gate: self.pipeline(&[])?,
            condition: condition.clone(),
            dispatches: wanted.len() as u32,
            wanted: self.buffer_from("uniforms", &wanted)?,
        })
    }
}

/// None on paper.
fn bind(
    device: &wgpu::Device,
    dispatch: Dispatch,
    groups: Groups,
    uniforms: &wgpu::Buffer,
    slot: u64,
) -> Option<Operation> {
    let pipeline = dispatch.pipeline?;
    let bound = |(at, buffer): &(u32, Buffer)| {
        let buffer = buffer.raw.clone()?;
        Some((*at, buffer))
    };
    let buffers = dispatch.buffers.iter().map(bound).collect::<Option<Vec<_>>>()?;
    let mut entries: Vec<_> = buffers
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
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&dispatch.label),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    Some(Operation::Dispatch { pipeline, bindings, groups, label: dispatch.label })
}

/// Each dispatch with the transfers before it; what follows the last dispatch is the last one's.
fn single_dispatches(operations: &[Operation]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for (at, operation) in operations.iter().enumerate() {
        if matches!(operation, Operation::Dispatch { .. }) {
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
