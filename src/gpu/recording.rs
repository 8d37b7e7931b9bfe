//! Lists of device commands, as kernels describe them.

use std::sync::Arc;

use super::{Buffer, Pipeline, Source};

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

pub(super) enum Command {
    Dispatch(Dispatch),
    /// The place before the first dispatch of a section.
    Gate(usize),
    Copy {
        source: Buffer,
        target: Buffer,
    },
    Clear(Buffer),
}

pub(super) struct Dispatch {
    /// None on paper.
    pub pipeline: Option<wgpu::ComputePipeline>,
    pub label: Arc<str>,
    pub buffers: Vec<(u32, Buffer)>,
    pub uniform: Option<(u32, Vec<u8>)>,
    pub groups: [u32; 3],
    /// The section it is in.
    pub section: Option<usize>,
}

impl Dispatch {
    pub fn new<K: EntryPoint>(pipeline: &Pipeline<K>, bindings: K::Bindings<'_>, groups: [u32; 3]) -> Self {
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
    pub(super) commands: Vec<Command>,
    pub(super) marks: Vec<usize>,
    /// What decides over each section.
    pub(super) conditions: Vec<Buffer>,
}

impl Recording {
    /// Runs `groups` workgroups of `pipeline`; a dispatch of no workgroups is left out.
    pub fn dispatch<K: EntryPoint>(&mut self, pipeline: &Pipeline<K>, bindings: K::Bindings<'_>, groups: [u32; 3]) {
        if !groups.contains(&0) {
            self.commands.push(Command::Dispatch(Dispatch::new(pipeline, bindings, groups)));
        }
    }

    /// A section: the dispatches that `record` adds run only if the first word of `condition` is not 0 when they are reached. The
    /// device decides, so nothing waits. A section holds dispatches alone, whose shaders do not ask for `num_workgroups` (DX12 has
    /// none in an indirect dispatch), and leaves `condition` as it is.
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

impl Command {
    pub fn is_transfer(&self) -> bool {
        matches!(self, Self::Copy { .. } | Self::Clear(_))
    }
}
