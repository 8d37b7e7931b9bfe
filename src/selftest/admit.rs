use std::ops::Range;
use std::sync::OnceLock;

use super::check::{Check, Checker};
use super::tensors::{AT_REST, POISON, Scalars, Tensor, cuts, f64s, floats, random, shards, submit};
use crate::engine::entries::Pass;
use crate::engine::entry;
use crate::engine::planes::{Plane, Planes};
use crate::error::Result;
use crate::gpu::shaders::Cut;
use crate::gpu::shaders::admit::{self, ALL_TIES, Params, REACHED, WINDOW, count, scan, write};
use crate::gpu::{EntryPoint, Gpu, Pipeline};
use crate::sae::description::{EntryKind, JumpReluEntry, Penalty};
use crate::sae::{Gated, SaeConfig};

/// Largest difference of a value, as a fraction of the largest magnitude: a device's exponential may be wrong by
/// several units in the last place.
pub const VALUE: f64 = 1e-6;

/// The arithmetic that admits.
pub const KINDS: [EntryKind; 6] = [
    EntryKind::TopK,
    EntryKind::Relu { sparsity: 1.0, normed: true },
    JUMPRELU,
    EntryKind::JumpRelu(JumpReluEntry { pre_activation: true, ..JUMPRELU_ENTRY }),
    EntryKind::JumpRelu(JumpReluEntry { log: true, ..JUMPRELU_ENTRY }),
    EntryKind::Gated { sparsity: 1.0, normed: true },
];

/// With a window that a tenth of the values lie in.
pub const JUMPRELU: EntryKind = EntryKind::JumpRelu(JUMPRELU_ENTRY);

const JUMPRELU_ENTRY: JumpReluEntry = JumpReluEntry {
    penalty: Penalty::Step,
    sparsity: 1.0,
    bandwidth: 0.25,
    to_input: false,
    log: false,
    pre_activation: false,
};

pub struct Case {
    pub rows: usize,
    pub n: usize,
    pub kind: EntryKind,
    pub pass: Pass,
    /// `[rows, n]`
    pub u: Vec<f32>,
    /// The features' own scalars.
    pub own: [Vec<f32>; 3],
    pub capacity: usize,
}

/// A list, as the device or the reference has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// (feature, place, bits of u, bits of the key)
    pub entries: Vec<[u32; 4]>,
    pub starts: Vec<u32>,
    /// The bits of the guard.
    pub guard: u32,
}

impl Listed {
    /// All but the keys.
    pub fn places(&self) -> Vec<[u32; 3]> {
        self.entries.iter().map(|&[feature, place, u, _]| [feature, place, u]).collect()
    }

    pub fn keys(&self) -> Vec<f32> {
        floats(&self.entries.iter().map(|entry| entry[3]).collect::<Vec<_>>())
    }
}

impl Case {
    /// Pre-activations in [-1, 1), thresholds about 0.5.
    pub fn new(kind: EntryKind, pass: Pass, rows: usize, n: usize) -> Self {
        // Halfway between the values that pre-activations have, so that the error of an exponential decides nothing.
        let grid = |value: f32| (value * 256.0).floor() / 256.0;
        let is_log = matches!(kind, EntryKind::JumpRelu(JumpReluEntry { log: true, .. }));
        let threshold = |value: f32| {
            let threshold = 0.5 + grid(value / 4.0) + 1.0 / 512.0;
            if is_log { threshold.ln() } else { threshold }
        };
        let own = |at: u64| random(2 + at, n);
        Self {
            rows,
            n,
            kind,
            pass,
            u: random(1, rows * n).into_iter().map(grid).collect(),
            own: match kind {
                EntryKind::JumpRelu(_) => [own(0).into_iter().map(threshold).collect(), own(1), own(2)],
                _ => [own(0), own(1).into_iter().map(|bias| grid(bias) + 1.0 / 512.0).collect(), own(2)],
            },
            capacity: rows * n,
        }
    }

    /// Flags and value of an entry.
    fn admit(&self, feature: usize, u: f32) -> (u32, f64) {
        let own = |number: usize| self.own[number][feature];
        match self.kind {
            EntryKind::TopK | EntryKind::Relu { .. } => {
                if u > 0.0 || u.is_nan() {
                    (admit::VALUE, u.into())
                } else {
                    (0, 0.0)
                }
            }
            EntryKind::JumpRelu(JumpReluEntry { bandwidth, log, pre_activation, .. }) => {
                let threshold = if log { own(0).exp() } else { own(0) };
                let is_active = u > threshold || u.is_nan();
                let is_training = self.pass == Pass::Training;
                let is_near = is_training && (u - threshold).abs() < bandwidth as f32 * 0.5;
                let reaches = is_training && pre_activation && (is_active || u == threshold);
                let flag = |holds: bool, flag: u32| if holds { flag } else { 0 };
                let flags = flag(is_active, admit::VALUE) | flag(is_near, WINDOW) | flag(reaches, REACHED);
                (flags, if is_active { u.into() } else { 0.0 })
            }
            EntryKind::Gated { .. } => {
                let value = f64::from(own(2)).exp() * f64::from(u) + f64::from(own(0));
                let is_training = self.pass == Pass::Training;
                match (u + own(1) > 0.0, value > 0.0) {
                    (true, true) => (admit::VALUE | if is_training { REACHED } else { 0 }, value),
                    (true, false) if is_training => (REACHED, 0.0),
                    _ => (0, 0.0),
                }
            }
        }
    }

    /// The list that there should be, if there is room.
    pub fn expected(&self) -> Listed {
        let mut listed = Listed { entries: Vec::new(), starts: vec![0], guard: 0 };
        for (row, values) in self.u.chunks_exact(self.n).enumerate() {
            for (feature, u) in values.iter().enumerate() {
                let (flags, key) = self.admit(feature, *u);
                if flags != 0 {
                    let place = row as u32 | (flags << 25);
                    listed.entries.push([feature as u32, place, u.to_bits(), (key as f32).to_bits()]);
                }
            }
            listed.starts.push(listed.entries.len() as u32);
        }
        listed
    }

    /// The list as the device makes it, chunks of `width` features of each shard at a time.
    pub fn list(&self, gpu: &Gpu, kernels: &Kernels, width: usize, cuts: &[usize]) -> Result<Listed> {
        let [c0, c1, c2, c3] = entry::constants(self.kind, self.rows as u32);
        let mut list = DeviceList::new(gpu, self.rows, self.capacity)?;
        let cut = Tensor::new(gpu, &[Cut { ties: ALL_TIES, ..Cut::default() }])?;
        for chunk in Chunk::all(self.n, width, cuts) {
            let planes =
                (0..).zip(&self.own).map(|(number, values)| (Plane::Own(number), &values[chunk.shard.clone()]));
            let scalars = Scalars::new(gpu, own_planes(), chunk.shard.len())?;
            let scalars = planes.fold(scalars, |scalars, (plane, values)| scalars.with(plane, values));
            let pre_activations = chunk.upload(gpu, &self.u, self.n)?;
            list.add(kernels, &pre_activations, &scalars, &cut, Params { c0, c1, c2, c3, ..chunk.params() })?;
            scalars.read(&[])?;
        }
        list.read()
    }
}

/// Planes with the most scalars that features have of their own.
pub fn own_planes() -> &'static Planes {
    static PLANES: OnceLock<Planes> = OnceLock::new();
    PLANES.get_or_init(|| {
        let architecture = Gated { l1: 1.0, normed: true, detached: true, capacity: None }.into();
        Planes::inference(&SaeConfig { architecture, ..SaeConfig::top_k(1, 1, 1) }.describe())
    })
}

/// Some features of a shard.
pub struct Chunk {
    pub shard: Range<usize>,
    /// Counted in the model.
    pub features: Range<usize>,
    stride: usize,
}

impl Chunk {
    /// All chunks of at most `width` features.
    pub fn all(n: usize, width: usize, cuts: &[usize]) -> Vec<Self> {
        let of = |shard: Range<usize>| {
            shard.clone().step_by(width).map(move |first| Self {
                features: first..(first + width).min(shard.end),
                shard: shard.clone(),
                stride: width.min(n).next_multiple_of(4) + 4,
            })
        };
        shards(cuts).flat_map(of).collect()
    }

    /// None.
    pub fn none() -> Self {
        Self { shard: 0..0, features: 0..0, stride: 4 }
    }

    /// Its columns of `[rows, n]` values, where what lies past its end is no number.
    pub fn upload<'g>(&self, gpu: &'g Gpu, u: &[f32], n: usize) -> Result<Tensor<'g>> {
        let mut padded = vec![f32::NAN; u.len() / n * self.stride];
        for (row, padded) in u.chunks_exact(n).zip(padded.chunks_exact_mut(self.stride)) {
            padded[..self.features.len()].copy_from_slice(&row[self.features.clone()]);
        }
        Tensor::new(gpu, &padded)
    }

    /// Those of its parameters that it decides.
    pub fn params(&self) -> Params {
        Params {
            first: (self.features.start - self.shard.start) as u32,
            width: self.features.len() as u32,
            stride: self.stride as u32,
            shard: self.shard.start as u32,
            count: self.shard.len() as u32,
            ..Params::default()
        }
    }
}

/// The entry points of shaders/admit.wgsl.
pub struct Kernels {
    pub count: Pipeline<count::Kernel>,
    pub scan: Pipeline<scan::Kernel>,
    pub write: Pipeline<write::Kernel>,
}

impl Kernels {
    /// That list what entries admit.
    pub fn of_entry(gpu: &Gpu, kind: EntryKind, pass: Pass) -> Result<Self> {
        let own = [("BY_CUT", 0), ("SCALED", 0)];
        let defines = [&own_planes().defines()[..], &entry::defines(kind, pass), &own].concat();
        let entry = entry::entry(kind);
        Ok(Self {
            count: gpu.pipeline_with_entry(entry, &defines)?,
            scan: gpu.pipeline_with_entry(entry, &defines)?,
            write: gpu.pipeline_with_entry(entry, &defines)?,
        })
    }

    /// That keep what a cut keeps.
    pub fn by_cut(gpu: &Gpu, defines: &[(&'static str, u32)]) -> Result<Self> {
        fn compile<K: EntryPoint>(gpu: &Gpu, defines: &[(&'static str, u32)]) -> Result<Pipeline<K>> {
            gpu.pipeline(&[defines, &[("BY_CUT", 1)]].concat())
        }
        Ok(Self { count: compile(gpu, defines)?, scan: compile(gpu, defines)?, write: compile(gpu, defines)? })
    }
}

/// Both sides of a list.
pub struct DeviceList<'g> {
    gpu: &'g Gpu,
    lists: [Tensor<'g>; 2],
    starts: [Tensor<'g>; 2],
    row_counts: Tensor<'g>,
    pub counts: Tensor<'g>,
    guard: Tensor<'g>,
    rows: usize,
    capacity: usize,
}

impl<'g> DeviceList<'g> {
    /// An empty list.
    pub fn new(gpu: &'g Gpu, rows: usize, capacity: usize) -> Result<Self> {
        let side = || Tensor::new(gpu, &vec![[POISON; 4]; capacity]);
        Ok(Self {
            gpu,
            lists: [side()?, side()?],
            starts: [Tensor::new(gpu, &vec![0; rows + 1])?, Tensor::poisoned(gpu, rows + 1)?],
            row_counts: Tensor::new(gpu, &vec![[POISON; 4]; rows])?,
            counts: Tensor::new(gpu, &[0, 0, 0])?,
            guard: Tensor::new(gpu, &AT_REST)?,
            rows,
            capacity,
        })
    }

    /// The side that holds it.
    pub fn side(&self) -> &Tensor<'g> {
        &self.lists[0]
    }

    /// Adds a chunk.
    pub fn add(
        &mut self,
        kernels: &Kernels,
        pre_activations: &Tensor<'_>,
        scalars: &Scalars<'_>,
        cut: &Tensor<'_>,
        params: Params,
    ) -> Result<()> {
        let Self { gpu, lists, starts, row_counts, counts, guard, rows, capacity } = self;
        let params = Params { rows: *rows as u32, capacity: *capacity as u32, ..params };
        let ([list_in, list_out], [starts_in, starts_out]) = (&*lists, &*starts);
        submit(gpu, |recording| {
            let (cut, uniform) = (cut.into(), (&*counts).into());
            let bindings = count::Bindings { pre_activations, scalars, list_in, starts_in, row_counts, cut, params };
            recording.run(&kernels.count, bindings);
            let bindings = scan::Bindings { row_counts, starts_out, counted: counts, guard, cut, params };
            recording.run(&kernels.scan, bindings);
            let bindings = write::Bindings {
                pre_activations,
                scalars,
                list_in,
                starts_in,
                row_counts,
                starts_out,
                list_out,
                counts: uniform,
                cut,
                params,
            };
            recording.run(&kernels.write, bindings);
        })?;
        self.lists.swap(0, 1);
        self.starts.swap(0, 1);
        Ok(())
    }

    pub fn read(&self) -> Result<Listed> {
        let mut entries = self.lists[0].read::<[u32; 4]>()?;
        entries.truncate(self.counts.read::<u32>()?[0] as usize);
        self.lists[1].read::<u32>()?;
        Ok(Listed { entries, starts: self.starts[0].read()?, guard: self.guard.read::<u32>()?[0] })
    }

    /// Entries that were found where there was no room; 0 if there was.
    pub fn needed(&self) -> Result<u32> {
        Ok(self.counts.read::<u32>()?[2])
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut lists = checker.compare("admit", 0.0);
    let mut values = checker.compare("admit.values", VALUE);
    for kind in KINDS {
        for pass in [Pass::Training, Pass::Evaluation] {
            let kernels = Kernels::of_entry(checker.gpu, kind, pass)?;
            for (rows, n, width) in [(1, 3, 2), (5, 700, 300), (300, 40, 40), (3, 2500, 999)] {
                let case = Case::new(kind, pass, rows, n);
                let expected = case.expected();
                for cuts in cuts(n) {
                    let name = (rows, n, width, kind, pass, &cuts);
                    let actual = case.list(checker.gpu, &kernels, width, &cuts)?;
                    lists.equal(name, &actual.places(), &expected.places());
                    lists.equal((name, "starts"), &actual.starts, &expected.starts);
                    values.close((name, "values"), &actual.keys(), &f64s(&expected.keys()));
                }
            }
        }
    }
    Ok(vec![lists.done(), values.done()])
}
