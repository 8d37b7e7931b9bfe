use std::ops::Range;

use super::check::{Check, Checker, FOLD};
use super::lists::Lists;
use super::tensors::{Scalars, Tensor, cuts, f64s, pad, planes, random, shards, stored, submit, unpad};
use crate::engine::field::ROOT;
use crate::engine::parameters::chunk_features;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::decode::{PIECE_THREADS, Params, main};
use crate::kernels::quads;
use crate::reference::lists;

pub struct Case {
    pub lists: Lists,
    pub d: usize,
    pub w_dec: Vec<f32>,
}

/// A way to the same sums.
#[derive(Clone, Debug)]
pub struct Way<'a> {
    /// Vectors per thread.
    pub columns: u32,
    /// Ends of the shards.
    pub cuts: &'a [usize],
    /// Rows of a dispatch.
    pub slice: usize,
    /// First chunk of the node that is summed.
    pub chunk: u32,
    /// It has 2^level of them.
    pub level: u32,
}

impl<'a> Way<'a> {
    /// The whole model, all rows at once.
    pub fn shards(cuts: &'a [usize]) -> Self {
        Self { columns: 1, cuts, slice: usize::MAX, chunk: 0, level: ROOT }
    }
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize, k: usize) -> Self {
        Self { lists: Lists::random(1, rows, n, [k, 0], false), d, w_dec: random(2, n * d) }
    }

    pub fn expected(&self) -> Vec<f64> {
        lists::decode(&self.lists.reference(), &f64s(&self.w_dec), self.lists.rows, self.d)
    }

    /// The sums of a node.
    pub fn decode(&self, gpu: &Gpu, way: &Way<'_>) -> Result<Vec<f32>> {
        let Self { lists, d, .. } = self;
        let (d, n, rows) = (*d, lists.n, lists.rows);
        let continued = u32::from(way.cuts.len() > 1);
        let own = [("COLUMNS", way.columns), ("CONTINUED", continued)];
        let pipeline = gpu.pipeline::<main::Kernel>(&[&planes().defines()[..], &own].concat())?;
        let (entries, starts) = (Tensor::new(gpu, &lists.words())?, Tensor::new(gpu, &lists.starts())?);
        let slice = way.slice.min(rows);
        // Never read before they are written.
        let partials = Tensor::poisoned(gpu, slice * (ROOT as usize + 1) * stored(d))?;
        let sums = Tensor::poisoned(gpu, rows * stored(d))?;
        let chunk = chunk_features(n as u32) as usize;
        let origin = way.chunk as usize * chunk;
        let node = origin..(origin + (chunk << way.level)).min(n);
        let own = shards(way.cuts).filter(|shard| shard.end > node.start && shard.start < node.end);
        let own: Vec<Range<usize>> = own.collect();
        for first_row in (0..rows).step_by(slice.max(1)) {
            for (at, shard) in own.iter().enumerate() {
                let w_dec = Tensor::new(gpu, &pad(&self.w_dec[shard.start * d..shard.end * d], d))?;
                let params = Params {
                    first_row: first_row as u32,
                    rows: slice.min(rows - first_row) as u32,
                    quads: quads(d),
                    shard: shard.start as u32,
                    count: shard.len() as u32,
                    begin: shard.start.max(node.start) as u32,
                    end: shard.end.min(node.end) as u32,
                    origin: origin as u32,
                    top: way.level,
                    chunk: chunk as u32,
                    pieces: quads(d).div_ceil(PIECE_THREADS * way.columns),
                    closes: u32::from(at + 1 == own.len()),
                    one: 1.0,
                };
                let scalars = Scalars::new(gpu, planes(), shard.len())?;
                submit(gpu, |recording| {
                    let bindings = main::Bindings {
                        entries: &entries,
                        starts: &starts,
                        w_dec: &w_dec,
                        scalars: &scalars,
                        partials: &partials,
                        sums: &sums,
                        params,
                    };
                    recording.run(&pipeline, bindings);
                })?;
            }
        }
        partials.read::<u32>()?;
        unpad(&sums.read::<f32>()?, d)
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("decode", FOLD);
    for (rows, d, n, k) in [(1, 1, 1, 1), (1, 257, 2500, 7), (130, 17, 2500, 33), (20, 50, 40, 40)] {
        let case = Case::new(rows, d, n, k);
        let expected = case.expected();
        for cuts in cuts(n) {
            for columns in [1, 3] {
                let way = Way { columns, slice: 100, ..Way::shards(&cuts) };
                values.close((rows, d, n, k, &way), &case.decode(checker.gpu, &way)?, &expected);
            }
        }
    }
    Ok(vec![values.done()])
}
