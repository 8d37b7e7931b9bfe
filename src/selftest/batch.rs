use super::admit::{Chunk, DeviceList, Kernels, Listed};
use super::check::{Check, Checker};
use super::tensors::{Scalars, Tensor, cuts, planes, random, submit, words, wrong};
use crate::engine::planes::Plane;
use crate::engine::select::least_key;
use crate::error::Result;
use crate::gpu::shaders::admit::{self, VALUE};
use crate::gpu::shaders::batch::{BINS, Params, THREADS, begin, find_least, histogram, raise};
use crate::gpu::{Gpu, Pipeline};

pub struct Case {
    pub rows: usize,
    pub n: usize,
    /// Keys that are wanted of the batch.
    pub wanted: usize,
    /// `[rows, n]`
    pub u: Vec<f32>,
    /// Keys are pre-activations times these.
    pub norms: Option<Vec<f32>>,
}

/// What a selection finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub listed: Listed,
    /// The least key that is kept.
    pub least: Option<f32>,
}

impl Case {
    pub fn new(rows: usize, n: usize, wanted: usize) -> Self {
        Self { rows, n, wanted, u: random(1, rows * n), norms: None }
    }

    /// The same with values that are often equal, zeros of both signs among them.
    pub fn with_ties(rows: usize, n: usize, wanted: usize) -> Self {
        let tie = |word: u32| [0.0, -0.0, 0.5, 1.0, -1.0, 2.0, 0.25, 4.0][word as usize % 8];
        Self { u: words(3, rows * n).into_iter().map(tie).collect(), ..Self::new(rows, n, wanted) }
    }

    /// The same with keys that are scaled.
    pub fn scaled(self) -> Self {
        let norms = random(2, self.n).into_iter().map(|norm| norm.abs() * 3.0 + 0.25).collect();
        Self { norms: Some(norms), ..self }
    }

    /// By a sort of all keys above 0: larger ones first, then those of earlier rows, then of lower features.
    pub fn expected(&self) -> Found {
        let key = |at: usize| self.u[at] * self.norms.as_ref().map_or(1.0, |norms| norms[at % self.n]);
        // A NaN comes first, so that it is seen.
        let rank = |at: usize| if key(at).is_nan() { f32::INFINITY } else { key(at) };
        let mut kept: Vec<usize> = (0..self.u.len()).filter(|at| rank(*at) > 0.0).collect();
        let before = |a: &usize, b: &usize| rank(*b).total_cmp(&rank(*a)).then(key(*b).is_nan().cmp(&key(*a).is_nan()));
        kept.sort_by(|a, b| before(a, b).then(a.cmp(b)));
        kept.truncate(self.wanted);
        let least = kept.last().map(|at| key(*at));
        kept.sort_unstable();
        let mut listed = Listed { entries: Vec::new(), starts: vec![0; self.rows + 1], guard: 0 };
        for at in kept {
            let (row, feature) = (at / self.n, at % self.n);
            let place = row as u32 | (VALUE << 25);
            listed.entries.push([feature as u32, place, self.u[at].to_bits(), key(at).to_bits()]);
            listed.starts[row + 1] += 1;
        }
        for row in 0..self.rows {
            listed.starts[row + 1] += listed.starts[row];
        }
        Found { listed, least }
    }

    /// On the device, chunks of `width` features of each shard at a time, and `threads` threads of a histogram.
    pub fn select(&self, gpu: &Gpu, width: usize, cuts: &[usize], threads: u32) -> Result<Found> {
        self.select_by(gpu, &BatchKernels::new(gpu, self.norms.is_some())?, width, cuts, threads)
    }

    fn select_by(
        &self,
        gpu: &Gpu,
        kernels: &BatchKernels,
        width: usize,
        cuts: &[usize],
        threads: u32,
    ) -> Result<Found> {
        let BatchKernels { begin: begun, histogram: counted, raise: raised, find_least: searched, admit } = kernels;
        let mut list = DeviceList::new(gpu, self.rows, 2 * self.wanted)?;
        let (cut, least) = (Tensor::poisoned(gpu, 4)?, Tensor::poisoned(gpu, 1)?);
        let bins = Tensor::new(gpu, &vec![0; BINS as usize])?;
        let params = Params { rows: self.rows as u32, threads, wanted: self.wanted as u32, ..Params::default() };
        submit(gpu, |recording| recording.run(begun, begin::Bindings { cut: &cut, least: &least, params }))?;
        // All chunks, then the list alone.
        let mut additions: Vec<(Chunk, u32)> = Vec::new();
        additions.extend(Chunk::all(self.n, width, cuts).into_iter().map(|chunk| (chunk, 2 * self.wanted as u32)));
        additions.push((Chunk::none(), 0));
        for (chunk, room) in additions {
            let scalars = Scalars::new(gpu, planes(), chunk.shard.len().max(1))?;
            let scalars = match &self.norms {
                Some(norms) if !chunk.shard.is_empty() => scalars.with(Plane::Norm, &norms[chunk.shard.clone()]),
                _ => scalars,
            };
            let pre_activations = chunk.upload(gpu, &self.u, self.n)?;
            let admit::Params { first, width, stride, count, .. } = chunk.params();
            submit(gpu, |recording| {
                for level in 0..3 {
                    let params = Params { first, width, stride, count, level, room, ..params };
                    let bindings = histogram::Bindings {
                        pre_activations: &pre_activations,
                        scalars: &scalars,
                        list: list.side(),
                        bins: &bins,
                        cut_so_far: (&cut).into(),
                        counts: (&list.counts).into(),
                        params,
                    };
                    recording.run(counted, bindings);
                    recording.run(raised, raise::Bindings { bins: &bins, cut: &cut, params });
                }
            })?;
            list.add(admit, &pre_activations, &scalars, &cut, chunk.params())?;
            scalars.read(&[])?;
        }
        submit(gpu, |recording| {
            let counts = (&list.counts).into();
            recording.run(searched, find_least::Bindings { list: list.side(), least: &least, counts, params });
        })?;
        if bins.read::<u32>()?.iter().any(|bin| *bin != 0) {
            return Err(wrong("bins are left that are not empty"));
        }
        Ok(Found { listed: list.read()?, least: least_key(least.read()?[0]) })
    }
}

/// The entry points of shaders/batch.wgsl, and of shaders/admit.wgsl.
struct BatchKernels {
    begin: Pipeline<begin::Kernel>,
    histogram: Pipeline<histogram::Kernel>,
    raise: Pipeline<raise::Kernel>,
    find_least: Pipeline<find_least::Kernel>,
    admit: Kernels,
}

impl BatchKernels {
    fn new(gpu: &Gpu, scaled: bool) -> Result<Self> {
        let defines = [&planes().defines()[..], &[("SCALED", scaled.into())]].concat();
        Ok(Self {
            begin: gpu.pipeline(&defines)?,
            histogram: gpu.pipeline(&defines)?,
            raise: gpu.pipeline(&defines)?,
            find_least: gpu.pipeline(&defines)?,
            admit: Kernels::by_cut(gpu, &defines)?,
        })
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut lists = checker.compare("batch", 0.0);
    let gpu = checker.gpu;
    let [usual, scaled] = [BatchKernels::new(gpu, false)?, BatchKernels::new(gpu, true)?];
    for (rows, n, wanted, width) in [(1, 1, 1, 1), (64, 300, 1024, 77), (5, 41, 17, 4), (7, 2500, 300, 2048)] {
        let cases = [Case::new(rows, n, wanted), Case::new(rows, n, wanted).scaled(), Case::with_ties(rows, n, wanted)];
        for (number, case) in cases.into_iter().enumerate() {
            let expected = case.expected();
            let kernels = if case.norms.is_some() { &scaled } else { &usual };
            for cuts in cuts(n) {
                let name = (rows, n, wanted, width, number, &cuts);
                let actual = case.select_by(gpu, kernels, width, &cuts, 4 * THREADS)?;
                lists.equal((name, "entries"), &actual.listed.entries, &expected.listed.entries);
                lists.equal((name, "starts"), &actual.listed.starts, &expected.listed.starts);
                lists.equal((name, "least"), &[actual.least], &[expected.least]);
            }
        }
    }
    Ok(vec![lists.done()])
}
