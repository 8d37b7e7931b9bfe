//! Lists of device commands, as kernels describe them.

use std::ops::Range;
use std::sync::Arc;

use super::handle::Handle;
use super::{Buffer, Pipeline, Slot, Source};

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
    /// All that it may bind; a variant of the template, or with another entry of a list, may use less of it.
    const LAYOUT: &'static [LayoutEntry];
}

/// A binding of a shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayoutEntry {
    /// Its number.
    pub binding: u32,
    /// How the shader uses it.
    pub kind: BindingKind,
}

/// The use of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindingKind {
    /// `var<storage, read>`
    ReadOnlyStorage,
    /// `var<storage, read_write>`
    Storage,
    /// `var<uniform>`
    Uniform,
}

/// The values bound to an entry point.
pub trait Bind {
    /// Binding numbers and what is bound there.
    fn bindings(&self) -> Vec<(u32, Binding<'_>)>;
}

/// Bindings that decide how many workgroups a dispatch takes.
pub trait Launch: Bind {
    /// The workgroups.
    fn groups(&self) -> [u32; 3];
}

/// The value of a shader's binding.
pub enum Binding<'a> {
    /// A whole buffer.
    Buffer(&'a Buffer),
    /// A range of a buffer.
    Slot {
        /// The buffer.
        buffer: &'a Buffer,
        /// Where the range begins, in bytes: a multiple of 256.
        offset: u64,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A small constant, copied when the dispatch is recorded.
    Uniform(&'a [u8]),
}

pub(super) enum Command {
    Dispatch(Dispatch),
    /// The place before the first dispatch of a section.
    Gate(usize),
    Transfer(Transfer),
}

#[derive(Clone)]
pub(super) enum Transfer {
    Copy { source: Buffer, from: u64, target: Buffer, to: u64, bytes: u64 },
    Clear { buffer: Buffer, range: Range<u64> },
}

pub(super) struct Dispatch {
    pub pipeline: Handle<wgpu::ComputePipeline>,
    pub label: Arc<str>,
    pub buffers: Vec<BoundBuffer>,
    pub uniform: Option<(u32, Vec<u8>)>,
    pub groups: [u32; 3],
    /// The section it is in.
    pub section: Option<usize>,
}

/// A buffer, or a range of it, at a binding.
pub(super) struct BoundBuffer {
    pub binding: u32,
    pub buffer: Buffer,
    pub range: Range<u64>,
}

/// A place in a buffer that decides over a section.
#[derive(Clone)]
pub(super) struct Condition {
    pub buffer: Buffer,
    pub offset: u64,
}

impl Dispatch {
    pub fn new<K: EntryPoint>(pipeline: &Pipeline<K>, bindings: K::Bindings<'_>, groups: [u32; 3]) -> Self {
        let mut buffers = Vec::new();
        let mut uniform = None;
        for (binding, value) in bindings.bindings() {
            let (buffer, range) = match value {
                Binding::Buffer(buffer) => (buffer.clone(), 0..buffer.bytes()),
                Binding::Slot { buffer, offset, bytes } => (buffer.clone(), offset..offset + bytes),
                Binding::Uniform(bytes) => {
                    uniform = Some((binding, bytes.to_vec()));
                    continue;
                }
            };
            buffers.push(BoundBuffer { binding, buffer, range });
        }
        let (pipeline, label) = (pipeline.compiled.clone(), pipeline.label.clone());
        Self { pipeline, label, buffers, uniform, groups, section: None }
    }
}

/// Commands in the order in which they will run; each sees what the ones before it wrote.
#[derive(Default)]
pub struct Recording {
    pub(super) commands: Vec<Command>,
    pub(super) marks: Vec<usize>,
    /// The conditions of the sections.
    pub(super) conditions: Vec<Condition>,
}

impl Recording {
    /// Runs `groups` workgroups of `pipeline`; a dispatch of no workgroups is left out.
    pub fn dispatch<K: EntryPoint>(&mut self, pipeline: &Pipeline<K>, bindings: K::Bindings<'_>, groups: [u32; 3]) {
        if !groups.contains(&0) {
            self.commands.push(Command::Dispatch(Dispatch::new(pipeline, bindings, groups)));
        }
    }

    /// Runs `pipeline` with as many workgroups as its bindings ask for.
    pub fn run<'a, K: EntryPoint>(&mut self, pipeline: &Pipeline<K>, bindings: K::Bindings<'a>)
    where
        K::Bindings<'a>: Launch,
    {
        let groups = bindings.groups();
        self.dispatch(pipeline, bindings, groups);
    }

    /// Adds a section: the dispatches that `record` adds run only if the word at `condition` is not 0 when they are
    /// reached. The device decides, so nothing waits. A section holds dispatches alone, whose shaders do not ask for
    /// `num_workgroups` (DX12 has none in an indirect dispatch), and leaves `condition` as it is.
    ///
    /// # Panics
    /// If the condition is past its buffer's end or not at a multiple of 4 bytes: it is the caller's own.
    pub fn only_if<'a>(&mut self, condition: impl Into<Slot<'a>>, record: impl FnOnce(&mut Self)) {
        let Slot { buffer, offset } = condition.into();
        check_range(buffer, &(offset..offset + 4));
        let number = self.conditions.len();
        self.conditions.push(Condition { buffer: buffer.clone(), offset });
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
        self.copy_range(source, 0, target, 0, source.bytes());
    }

    /// Copies `bytes` bytes from `source`, at `from`, to another buffer, at `to`; all three are multiples of 4.
    ///
    /// # Panics
    /// If a range reaches past its buffer's end or is not of whole words: sizes are the caller's own.
    pub fn copy_range(&mut self, source: &Buffer, from: u64, target: &Buffer, to: u64, bytes: u64) {
        check_range(source, &(from..from + bytes));
        check_range(target, &(to..to + bytes));
        let (source, target) = (source.clone(), target.clone());
        self.commands.push(Command::Transfer(Transfer::Copy { source, from, target, to, bytes }));
    }

    /// A place at which `Gpu::submit_with_pauses` pauses, the first being mark 0.
    pub fn mark(&mut self) {
        self.marks.push(self.commands.len());
    }

    /// Fills `buffer` with zeros.
    pub fn clear(&mut self, buffer: &Buffer) {
        self.clear_range(buffer, 0..buffer.bytes());
    }

    /// Fills a range of bytes of `buffer` with zeros; its ends are multiples of 4.
    ///
    /// # Panics
    /// If it reaches past the buffer's end or is not of whole words: sizes are the caller's own.
    pub fn clear_range(&mut self, buffer: &Buffer, range: Range<u64>) {
        check_range(buffer, &range);
        self.commands.push(Command::Transfer(Transfer::Clear { buffer: buffer.clone(), range }));
    }
}

fn check_range(buffer: &Buffer, range: &Range<u64>) {
    let is_sound = range.start <= range.end && range.end <= buffer.bytes();
    assert!(is_sound, "{}: {range:?} is not within its {} bytes", buffer.name(), buffer.bytes());
    assert!(
        range.start.is_multiple_of(4) && range.end.is_multiple_of(4),
        "{}: {range:?} is not of whole words",
        buffer.name()
    );
}

impl Command {
    pub fn is_transfer(&self) -> bool {
        matches!(self, Self::Transfer(_))
    }
}
