//! Lists of device commands: described by kernels, prepared once, run many times.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::adapter::Hardware;
use super::pace::Pace;
use super::shaders::gate;
use super::{Buffer, Gpu, Pending, Pipeline, Source, grid};
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
    /// The place before the first dispatch of a section.
    Gate(usize),
    Copy {
        source: Buffer,
        target: Buffer,
    },
    Clear(Buffer),
}

struct Dispatch {
    /// None on paper.
    pipeline: Option<wgpu::ComputePipeline>,
    label: Arc<str>,
    buffers: Vec<(u32, Buffer)>,
    uniform: Option<(u32, Vec<u8>)>,
    groups: [u32; 3],
    /// The section it is in.
    section: Option<usize>,
}

impl Dispatch {
    fn new<K: EntryPoint>(pipeline: &Pipeline<K>, bindings: K::Bindings<'_>, groups: [u32; 3]) -> Self {
        let mut buffers = Vec::new();
        let mut uniform = None;
        for (at, binding) in bindings.bindings() {
            match binding {
                Binding::Buffer(buffer) => buffers.push((at, buffer.clone())),
                Binding::Uniform(bytes) => uniform = Some((at, bytes.to_vec())),
            }
        }
        let (pipeline, label) = (pipeline.raw.clone(), pipeline.label.clone());
        Self { pipeline, label, buffers, uniform, groups, section: None }
    }
}

/// Commands in the order in which they will run; each sees what the ones before it wrote.
#[derive(Default)]
pub struct Recording {
    commands: Vec<Command>,
    marks: Vec<usize>,
    /// What decides over each section.
    conditions: Vec<Buffer>,
}

impl Recording {
    /// Runs `groups` workgroups of `pipeline`; a dispatch of no workgroups is left out.
    pub fn dispatch<K: EntryPoint>(&mut self, pipeline: &Pipeline<K>, bindings: K::Bindings<'_>, groups: [u32; 3]) {
        if !groups.contains(&0) {
            self.commands.push(Command::Dispatch(Dispatch::new(pipeline, bindings, groups)));
        }
    }

    /// A section: the dispatches that `record` adds run only if the first word of `condition` is not 0 when they are reached. The
    /// device decides, so nothing waits. A section holds dispatches alone, which `condition` stays as it is in.
    pub fn only_if(&mut self, condition: &Buffer, record: impl FnOnce(&mut Self)) {
        let number = self.conditions.len();
        self.conditions.push(condition.clone());
        self.commands.push(Command::Gate(number));
        let first = self.commands.len();
        record(self);
        for command in &mut self.commands[first..] {
            if let Command::Dispatch(dispatch) = command {
                dispatch.section = Some(number);
            }
        }
    }

    /// Copies the whole of `source` to the start of `target`.
    pub fn copy(&mut self, source: &Buffer, target: &Buffer) {
        self.commands.push(Command::Copy { source: source.clone(), target: target.clone() });
    }

    /// A place at which [`Gpu::submit_with_pauses`] pauses, the first being mark 0.
    pub fn mark(&mut self) {
        self.marks.push(self.commands.len());
    }

    /// Fills `buffer` with zeros.
    pub fn clear(&mut self, buffer: &Buffer) {
        self.commands.push(Command::Clear(buffer.clone()));
    }
}

/// A recording with its bind groups made: ready to run, again and again.
pub struct Program {
    operations: Vec<Operation>,
    /// The shortest submissions there can be, one dispatch each.
    dispatches: Vec<Range<usize>>,
    marks: Vec<usize>,
    pace: Pace,
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

impl Command {
    fn is_transfer(&self) -> bool {
        matches!(self, Self::Copy { .. } | Self::Clear(_))
    }
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

    fn has_dispatches(&self) -> bool {
        self.operations.iter().any(|operation| matches!(operation, Operation::Dispatch { .. }))
    }
}

/// When [`Gpu::submit_with_pauses`] pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Before the mark of this number.
    Mark(usize),
    /// While the device is busy.
    Busy,
}

enum Operation {
    Dispatch { pipeline: wgpu::ComputePipeline, bindings: wgpu::BindGroup, groups: Groups, label: Arc<str> },
    Copy { source: Buffer, target: Buffer },
    Clear(Buffer),
}

enum Groups {
    Given([u32; 3]),
    /// What the device finds at this offset in bytes.
    Granted(wgpu::Buffer, u64),
}

impl Operation {
    /// What a dispatch may take that has not shown how long it is, because its section has not run.
    fn least_seconds(&self) -> f64 {
        if matches!(self, Self::Dispatch { groups: Groups::Granted(..), .. }) { 0.01 } else { 0.0 }
    }

    fn label(&self) -> Option<Arc<str>> {
        match self {
            Self::Dispatch { label, .. } => Some(label.clone()),
            _ => None,
        }
    }
}

/// The time that a dispatch took.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The operation and its entry point, as `encode.main`.
    pub kernel: Arc<str>,
    /// Seconds on the device's clock.
    pub begin: f64,
    /// Seconds on the device's clock.
    pub end: f64,
}

impl Span {
    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.end - self.begin
    }

    /// The operation alone, as `encode`.
    pub fn operation(&self) -> &str {
        self.kernel.split('.').next().unwrap_or_default()
    }
}

/// The times of a program's dispatches, on their way.
pub struct Timing {
    ticks: Pending,
    labels: Vec<Arc<str>>,
}

impl Timing {
    /// Whether they have arrived; never waits.
    pub(super) fn is_ready(&self, gpu: &Gpu) -> Result<bool> {
        self.ticks.is_ready(gpu)
    }

    /// Waits for them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device has failed.
    pub fn wait(self, gpu: &Gpu) -> Result<Vec<Span>> {
        let ticks: Vec<[u64; 2]> = self.ticks.wait(gpu)?.words_as();
        let period = f64::from(gpu.hardware()?.queue.get_timestamp_period()) * 1e-9;
        let spans = self.labels.into_iter().zip(ticks).map(|(kernel, [begin, end])| Span {
            kernel,
            begin: begin as f64 * period,
            end: end.max(begin) as f64 * period,
        });
        Ok(spans.collect())
    }
}

/// Submissions that wait for the device while it is busy with one.
const SUBMISSIONS_AHEAD: usize = 2;

/// Dispatches whose timestamps one query set holds; it has room for 4,096.
const TIMED_DISPATCHES: usize = 2048;

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
        self.hardware()?;
        let submissions = match program.pace.submissions(self, program)? {
            Some(submissions) => submissions,
            None if program.pace.is_unknown() && self.has_timestamps() && program.has_dispatches() => {
                program.pace.learn(self.submit_timed(program)?);
                return self.read_all(results);
            }
            None => program.dispatches.clone(),
        };
        for operations in submissions {
            self.submit_operations(program, operations)?;
        }
        self.read_all(results)
    }

    /// As [`Gpu::submit_and_read`], but lets the caller do something meanwhile: `pause` is called before the operations
    /// after each mark are submitted, and again and again while the device is busy with the ones before.
    ///
    /// # Errors
    /// As [`Gpu::submit_and_read`], and those of `pause`.
    pub fn submit_with_pauses(
        &self,
        program: &Program,
        results: &[&Buffer],
        mut pause: impl FnMut(Pause) -> Result<()>,
    ) -> Result<Pending> {
        self.check()?;
        let Hardware { queue, .. } = self.hardware()?;
        let mut marks = program.marks.iter().enumerate().peekable();
        let mut busy = VecDeque::new();
        for operations in program.dispatches.iter().cloned() {
            while let Some((mark, _)) = marks.next_if(|(_, at)| **at < operations.end) {
                pause(Pause::Mark(mark))?;
            }
            self.submit_operations(program, operations)?;
            let done = Arc::new(AtomicBool::new(false));
            let signal = done.clone();
            queue.on_submitted_work_done(move || signal.store(true, Ordering::Release));
            busy.push_back(done);
            while busy.len() > SUBMISSIONS_AHEAD {
                if busy[0].load(Ordering::Acquire) {
                    busy.pop_front();
                } else {
                    pause(Pause::Busy)?;
                    self.poll(wgpu::PollType::Poll)?;
                    self.check()?;
                }
            }
        }
        self.read_all(results)
    }

    fn submit_operations(&self, program: &Program, operations: Range<usize>) -> Result<()> {
        let Hardware { device, queue } = self.hardware()?;
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut operations = program.operations[operations].iter().peekable();
        while let Some(operation) = operations.next() {
            if let Operation::Dispatch { .. } = operation {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                run_dispatch(&mut pass, operation);
                while let Some(next) = operations.next_if(|next| matches!(next, Operation::Dispatch { .. })) {
                    run_dispatch(&mut pass, next);
                }
            } else {
                run_transfer(&mut encoder, operation);
            }
        }
        queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Runs a program once and waits, timing each dispatch on the device, in order.
    ///
    /// # Errors
    /// As [`Gpu::submit_and_time`].
    pub fn profile(&self, program: &Program) -> Result<Vec<Span>> {
        let (_, timing) = self.submit_and_time(program, &[])?;
        timing.wait(self)
    }

    /// As [`Gpu::submit_and_read`], but times each dispatch.
    ///
    /// # Errors
    /// As [`Gpu::submit_and_read`], and [`Error::Device`] if the device has no timestamps.
    pub fn submit_and_time(&self, program: &Program, results: &[&Buffer]) -> Result<(Pending, Timing)> {
        self.check()?;
        if !self.has_timestamps() {
            return Err(Error::Device(format!("{} has no timestamps", self.description().name)));
        }
        let timing = match program.has_dispatches() {
            true => self.submit_timed(program)?,
            false => Timing { ticks: self.submit_and_read(program, &[])?, labels: Vec::new() },
        };
        Ok((self.read_all(results)?, timing))
    }

    /// Runs a program with each dispatch a pass of its own, and a submission of its own as long as it is not known how long it takes.
    fn submit_timed(&self, program: &Program) -> Result<Timing> {
        let Hardware { device, queue } = self.hardware()?;
        let labels: Vec<_> = program.operations.iter().filter_map(Operation::label).collect();
        let count = labels.len() as u64;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let timestamps = self.allocate("timestamps", (16 * count).max(16), usage)?;
        let submissions = program.pace.submissions(self, program)?.unwrap_or_else(|| program.dispatches.clone());
        let mut ends = submissions.into_iter().map(|submission| submission.end).peekable();
        for (set, dispatches) in program.dispatches.chunks(TIMED_DISPATCHES).enumerate() {
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * dispatches.len() as u32,
            });
            let mut encoder = device.create_command_encoder(&Default::default());
            for (number, operations) in (0..).zip(dispatches) {
                for operation in &program.operations[operations.clone()] {
                    let Operation::Dispatch { label, .. } = operation else {
                        run_transfer(&mut encoder, operation);
                        continue;
                    };
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: Some(label),
                        timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                            query_set: &queries,
                            beginning_of_pass_write_index: Some(2 * number),
                            end_of_pass_write_index: Some(2 * number + 1),
                        }),
                    });
                    run_dispatch(&mut pass, operation);
                }
                if ends.next_if(|end| *end <= operations.end).is_some() {
                    let next = device.create_command_encoder(&Default::default());
                    queue.submit([std::mem::replace(&mut encoder, next).finish()]);
                }
            }
            let offset = (set * TIMED_DISPATCHES * 16) as u64;
            if let Some(timestamps) = &timestamps.raw {
                encoder.resolve_query_set(&queries, 0..2 * dispatches.len() as u32, timestamps, offset);
            }
            queue.submit([encoder.finish()]);
        }
        Ok(Timing { ticks: self.read_range(&timestamps, 0..16 * count)?, labels })
    }
}

fn run_transfer(encoder: &mut wgpu::CommandEncoder, operation: &Operation) {
    match operation {
        Operation::Copy { source, target } => {
            if let (Some(from), Some(to)) = (&source.raw, &target.raw) {
                encoder.copy_buffer_to_buffer(from, 0, to, 0, source.bytes());
            }
        }
        Operation::Clear(buffer) => {
            if let Some(buffer) = &buffer.raw {
                encoder.clear_buffer(buffer, 0, None);
            }
        }
        Operation::Dispatch { .. } => {}
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

fn run_dispatch(pass: &mut wgpu::ComputePass<'_>, operation: &Operation) {
    if let Operation::Dispatch { pipeline, bindings, groups, .. } = operation {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bindings, &[]);
        match groups {
            Groups::Given([x, y, z]) => pass.dispatch_workgroups(*x, *y, *z),
            Groups::Granted(buffer, offset) => pass.dispatch_workgroups_indirect(buffer, *offset),
        }
    }
}
