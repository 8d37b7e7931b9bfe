use super::check::{Check, Checker, FOLD};
use super::hot::hot_sums;
use super::lists::{Batch, Lists};
use super::tensors::{Scalars, Tensor, cuts, f32s, f64s, floats, pad, planes, random, shards, submit};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::squares::{Params, decoder, encoder};
use crate::kernels::{SumShape, quads};
use crate::reference::{self, lists};

pub struct Case {
    pub batch: Batch,
    pub w_dec: Vec<f32>,
}

/// Squared norms of each run's gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Squares<T> {
    pub encoder: Vec<T>,
    pub decoder: Vec<T>,
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize, per_row: [usize; 2]) -> Self {
        Self { batch: Batch::new(1, Lists::random(1, rows, n, per_row, true), d), w_dec: random(9, n * d) }
    }

    /// Each run's gradient times its decoder row, of what it is given, not of terms.
    pub fn along(&self) -> Vec<f32> {
        random(8, self.batch.runs.features.len())
    }

    pub fn norms(&self) -> Vec<f32> {
        f32s(&reference::norms(&f64s(&self.w_dec), self.batch.d))
    }

    pub fn expected(&self, project: bool) -> Squares<f64> {
        let Batch { d, ref runs, ref centred, ref gradients, .. } = self.batch;
        let (centred, g0, g1) = (f64s(centred), f64s(&gradients[0]), f64s(&gradients[1]));
        let (w_dec, along) = (f64s(&self.w_dec), f64s(&self.along()));
        let square = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>();
        let mut squares = Squares { encoder: Vec::new(), decoder: Vec::new() };
        for (run, feature) in runs.features.iter().enumerate() {
            let terms = runs.reference(run);
            squares.encoder.push(square(&lists::encoder_gradient(&terms, &centred, d)));
            let mut gradient = lists::decoder_gradient(&terms, [&g0, &g1], d);
            if project {
                lists::project(&mut gradient, &w_dec[*feature as usize * d..][..d], along[run]);
            }
            squares.decoder.push(square(&gradient));
        }
        squares
    }

    /// The squared norms with so many workgroups in a dispatch.
    pub fn squares(&self, gpu: &Gpu, project: bool, groups: u32, cuts: &[usize]) -> Result<Squares<f32>> {
        self.squares_of_shape(gpu, SumShape::best(gpu.description()), project, groups, cuts)
    }

    /// The same in another shape than the adapter's.
    pub fn squares_of_shape(
        &self,
        gpu: &Gpu,
        shape: SumShape,
        project: bool,
        groups: u32,
        cuts: &[usize],
    ) -> Result<Squares<f32>> {
        let Batch { d, ref runs, .. } = self.batch;
        let defines = [&planes().defines()[..], &[self.batch.second()], &shape.defines()].concat();
        let of_encoder = gpu.pipeline::<encoder::Kernel>(&defines)?;
        let of_decoder = gpu.pipeline::<decoder::Kernel>(&defines)?;
        let device = self.batch.upload(gpu)?;
        let hot = hot_sums(gpu, &self.batch, &device, groups)?;
        let (norms, along) = (self.norms(), self.along());
        let mut squares = Squares { encoder: Vec::new(), decoder: Vec::new() };
        for shard in shards(cuts) {
            let scalars = Scalars::new(gpu, planes(), shard.len())?
                .with(Plane::Norm, &norms[shard.clone()])
                .with(Plane::Along, &runs.plane(&shard, &along, f32::NAN));
            let w_dec = Tensor::new(gpu, &pad(&self.w_dec[shard.start * d..shard.end * d], d))?;
            let range = Tensor::new(gpu, &runs.range(&shard))?;
            let params = Params {
                rows: self.batch.lists.rows as u32,
                quads: quads(d),
                first: shard.start as u32,
                count: shard.len() as u32,
                groups,
                project: project.into(),
                one: 1.0,
            };
            submit(gpu, |recording| {
                let (runs, terms) = (&*device.runs.runs, &*device.runs.terms);
                let bindings = encoder::Bindings {
                    runs,
                    terms,
                    centred: &device.centred,
                    scalars: &scalars,
                    hot: &hot.encoder,
                    range: (&range).into(),
                    params,
                };
                recording.run(&of_encoder, bindings);
                let bindings = decoder::Bindings {
                    runs,
                    terms,
                    g0: &device.g0,
                    g1: &device.g1,
                    w_dec: &w_dec,
                    scalars: &scalars,
                    hot: &hot.decoder,
                    range: (&range).into(),
                    params,
                };
                recording.run(&of_decoder, bindings);
            })?;
            let read = scalars.read(&[Plane::SquaresEnc, Plane::SquaresDec])?;
            let own = runs.within(&shard).map(|run| runs.features[run] as usize - shard.start);
            for feature in own {
                squares.encoder.push(f32::from_bits(read[0][feature]));
                squares.decoder.push(f32::from_bits(read[1][feature]));
            }
            let has_run = runs.run_plane(&shard);
            let is_poison =
                |plane: &Vec<u32>| floats(plane).iter().zip(&has_run).all(|(v, run)| *run != 0 || v.is_nan());
            assert!(read.iter().all(is_poison), "a feature without a run was written");
        }
        Ok(squares)
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("squares", FOLD);
    for (rows, d, n, per_row) in
        [(1, 1, 1, [1, 0]), (257, 128, 61, [3, 2]), (300, 33, 1100, [4, 0]), (9, 800, 40, [2, 3])]
    {
        let case = Case::new(rows, d, n, per_row);
        for (cuts, project) in cuts(n).iter().zip([true, false]).chain([(&vec![n], false)]) {
            let name = (rows, d, n, per_row, project, cuts);
            let (actual, expected) = (case.squares(checker.gpu, project, 5, cuts)?, case.expected(project));
            values.close((name, "encoder"), &actual.encoder, &expected.encoder);
            values.close((name, "decoder"), &actual.decoder, &expected.decoder);
        }
    }
    Ok(vec![values.done()])
}
