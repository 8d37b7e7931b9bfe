use super::check::{Check, Checker, FOLD};
use super::lists::{Batch, Lists};
use super::tensors::{POISON, Scalars, Tensor, cuts, f64s, pad, planes, random, shards, stored, submit, unpad};
use crate::engine::parameters::{CHUNKS, chunk_features};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::bias_gradient::{BLOCK_ROWS, Params, chunks, finish, rows, squares};
use crate::kernels::quads;
use crate::reference::lists;

pub struct Case {
    pub batch: Batch,
    pub w_enc: Vec<f32>,
    /// Of each run: the gradient of its bias, squared norms of those of its rows.
    pub slopes: Vec<f32>,
    pub squares: [Vec<f32>; 2],
}

/// The gradient of `b_dec`, and the sums of squared norms by chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    pub gradient: Vec<f32>,
    pub chunk_squares: Vec<f32>,
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize, k: usize) -> Self {
        let batch = Batch::new(1, Lists::random(1, rows, n, [k, 0], true), d);
        let runs = batch.runs.features.len();
        let squares = |seed| random(seed, runs).into_iter().map(f32::abs).collect();
        Self { batch, w_enc: random(8, n * d), slopes: random(9, runs), squares: [squares(10), squares(11)] }
    }

    pub fn expected(&self, input_centred: bool) -> Vec<f64> {
        let Batch { d, ref runs, ref gradients, .. } = self.batch;
        let slopes = runs.plane(&(0..runs.n), &f64s(&self.slopes), 0.0);
        lists::b_dec_gradient(&f64s(&gradients[0]), &slopes, &f64s(&self.w_enc), d, input_centred)
    }

    pub fn expected_squares(&self) -> Vec<f64> {
        let runs = &self.batch.runs;
        let chunk = chunk_features(runs.n as u32);
        let mut sums = vec![0.0; CHUNKS as usize];
        for (run, feature) in runs.features.iter().enumerate() {
            let [slope, encoder, decoder] =
                [self.slopes[run], self.squares[0][run], self.squares[1][run]].map(f64::from);
            sums[(feature / chunk) as usize] += slope * slope + encoder + decoder;
        }
        sums
    }

    pub fn sums(&self, gpu: &Gpu, input_centred: bool, cuts: &[usize]) -> Result<Sums> {
        let Batch { d, ref runs, ref lists, ref gradients, .. } = self.batch;
        let defines = planes().defines();
        let by_rows = gpu.pipeline::<rows::Kernel>(&defines)?;
        let by_chunks = gpu.pipeline::<chunks::Kernel>(&defines)?;
        let by_squares = gpu.pipeline::<squares::Kernel>(&defines)?;
        let finished = gpu.pipeline::<finish::Kernel>(&defines)?;
        let device = runs.upload(gpu)?;
        let chunk = chunk_features(runs.n as u32);
        // Chunks past the model's end hold 0, the others anything.
        let used = runs.n.div_ceil(chunk as usize);
        let by_chunk = |width: usize| {
            let word = |at: usize| if at / width < used { POISON } else { 0 };
            Tensor::new(gpu, &(0..CHUNKS as usize * width).map(word).collect::<Vec<_>>())
        };
        let (chunk_sums, chunk_squares, chunk_losses) = (by_chunk(stored(d))?, by_chunk(1)?, by_chunk(2)?);
        let gradient = Tensor::new(gpu, &pad(&gradients[0], d))?;
        let row_blocks = Tensor::poisoned(gpu, lists.rows.div_ceil(BLOCK_ROWS as usize) * stored(d))?;
        let b_dec_gradient = Tensor::poisoned(gpu, stored(d))?;
        let params = |first: usize, count: usize| Params {
            rows: lists.rows as u32,
            quads: quads(d),
            first: first as u32,
            count: count as u32,
            chunk,
            input_centred: input_centred.into(),
            adds: 0,
            one: 1.0,
        };
        for shard in shards(cuts) {
            let plane = |values: &[f32]| runs.plane(&shard, values, f32::NAN);
            let scalars = Scalars::new(gpu, planes(), shard.len())?
                .with(Plane::Run, &runs.run_plane(&shard))
                .with(Plane::Slopes, &plane(&self.slopes))
                .with(Plane::SquaresEnc, &plane(&self.squares[0]))
                .with(Plane::SquaresDec, &plane(&self.squares[1]));
            let w_enc = Tensor::new(gpu, &pad(&self.w_enc[shard.start * d..shard.end * d], d))?;
            let params = params(shard.start, shard.len());
            submit(gpu, |recording| {
                let bindings = chunks::Bindings {
                    runs: &device.runs,
                    bounds: &device.bounds,
                    w_enc: &w_enc,
                    scalars: &scalars,
                    chunk_sums: &chunk_sums,
                    params,
                };
                recording.run(&by_chunks, bindings);
                let (chunk_squares, chunk_losses) = (&chunk_squares, &chunk_losses);
                let bindings = squares::Bindings { scalars: &scalars, chunk_squares, chunk_losses, params };
                recording.run(&by_squares, bindings);
            })?;
            scalars.read(&[])?;
        }
        submit(gpu, |recording| {
            let (params, row_blocks) = (params(0, 0), &row_blocks);
            recording.run(&by_rows, rows::Bindings { gradient: &gradient, row_blocks, params });
            let (chunk_sums, b_dec_gradient) = (&chunk_sums, &b_dec_gradient);
            recording.run(&finished, finish::Bindings { row_blocks, chunk_sums, b_dec_gradient, params });
        })?;
        row_blocks.read::<u32>()?;
        chunk_sums.read::<u32>()?;
        Ok(Sums { gradient: unpad(&b_dec_gradient.read::<f32>()?, d)?, chunk_squares: chunk_squares.read()? })
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("bias_gradient", FOLD);
    let mut chunks = checker.compare("bias_gradient.squares", FOLD);
    for (rows, d, n, k) in [(1, 1, 1, 1), (257, 256, 1024, 2), (1100, 33, 3000, 8), (9, 5, 70_000, 300)] {
        let case = Case::new(rows, d, n, k);
        for cuts in cuts(n).iter().map(|cuts| &cuts[cuts.len().saturating_sub(3)..]) {
            for input_centred in [false, true] {
                let name = (rows, d, n, k, cuts, input_centred);
                let actual = case.sums(checker.gpu, input_centred, cuts)?;
                values.close(name, &actual.gradient, &case.expected(input_centred));
                chunks.close(name, &actual.chunk_squares, &case.expected_squares());
            }
        }
    }
    Ok(vec![values.done(), chunks.done()])
}
