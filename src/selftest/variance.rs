use super::check::{Check, Checker, FOLD};
use super::tensors::{Tensor, pad, random, stored, submit};
use crate::engine::variance::VarianceOf;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::variance::{BLOCK_ROWS, Params, blocks, means, ratio, rows};
use crate::kernels::quads;
use crate::reference::lists;

pub struct Case {
    pub d: usize,
    pub x: Vec<f32>,
    pub sums: Vec<f32>,
    pub b_dec: Vec<f32>,
}

/// What the kernels find: the sums of blocks of rows and of blocks of errors, as stored, the squared distances of rows
/// and of errors from their means, and the ratio of the sums of those.
pub struct Found {
    pub row_blocks: [Vec<f32>; 2],
    pub distances: Vec<f32>,
    pub error_distances: Vec<f32>,
    pub ratio: f32,
}

impl Case {
    pub fn new(rows: usize, d: usize) -> Self {
        let random = |seed| random(seed, rows * d);
        Self { d, x: random(1), sums: random(2), b_dec: super::tensors::random(3, d) }
    }

    /// Rows that lie `offset` from the origin in every dimension, and whose first one is the farthest from the others.
    #[must_use]
    pub fn far_from_the_origin(mut self, offset: f32) -> Self {
        self.x.iter_mut().for_each(|value| *value += offset);
        self.x[..self.d].iter_mut().for_each(|value| *value += 10.0);
        self
    }

    fn rows(&self) -> Vec<f64> {
        self.x.iter().map(|&value| value.into()).collect()
    }

    fn error(&self) -> Vec<f64> {
        let parts = self.sums.iter().zip(&self.x).zip(self.b_dec.iter().cycle());
        parts.map(|((sum, x), b_dec)| f64::from(*sum) + f64::from(*b_dec) - f64::from(*x)).collect()
    }

    pub fn distances(&self) -> Vec<f64> {
        lists::distances_from_mean(&self.rows(), self.d)
    }

    pub fn error_distances(&self) -> Vec<f64> {
        lists::distances_from_mean(&self.error(), self.d)
    }

    pub fn ratio(&self) -> f64 {
        lists::variance_ratio(&self.rows(), &self.error(), self.d)
    }

    pub fn find(&self, gpu: &Gpu) -> Result<Found> {
        let d = self.d;
        let count = self.x.len() / d;
        let tensor = |values: &[f32]| Tensor::new(gpu, &pad(values, d));
        let (x, sums, b_dec) = (tensor(&self.x)?, tensor(&self.sums)?, tensor(&self.b_dec)?);
        let [row_blocks, mean] = [count.div_ceil(BLOCK_ROWS as usize), 1].map(|rows| rows * stored(d));
        let (row_blocks, mean) = (Tensor::poisoned(gpu, row_blocks)?, Tensor::poisoned(gpu, mean)?);
        let (of_rows, of_error) = (Tensor::poisoned(gpu, count)?, Tensor::poisoned(gpu, count)?);
        let mut sums_of_blocks = [const { Vec::new() }; 2];
        let params = Params { rows: count as u32, quads: quads(d), share: 1.0 / count as f32, one: 1.0 };
        let passes = [(&of_rows, VarianceOf::Input), (&of_error, VarianceOf::Error)];
        for (of_blocks, (distances, of)) in sums_of_blocks.iter_mut().zip(passes) {
            let defines = of.defines();
            let summed = gpu.pipeline::<blocks::Kernel>(&defines)?;
            let averaged = gpu.pipeline::<means::Kernel>(&defines)?;
            let measured = gpu.pipeline::<rows::Kernel>(&defines)?;
            submit(gpu, |recording| {
                let (x, sums, b_dec, row_blocks, mean) = (&*x, &*sums, &*b_dec, &*row_blocks, &*mean);
                recording.run(&summed, blocks::Bindings { x, sums, b_dec, row_blocks, params });
                recording.run(&averaged, means::Bindings { x, sums, b_dec, row_blocks, mean, params });
                recording.run(&measured, rows::Bindings { x, sums, b_dec, mean, distances, params });
            })?;
            *of_blocks = row_blocks.read()?;
        }
        mean.read::<u32>()?;
        let (distances, error_distances): (Vec<f32>, Vec<f32>) = (of_rows.read()?, of_error.read()?);
        let ratio = ratio_of(gpu, &distances, &error_distances)?;
        Ok(Found { row_blocks: sums_of_blocks, distances, error_distances, ratio })
    }
}

/// The sum of the rows' squared distances over that of the errors'.
pub fn ratio_of(gpu: &Gpu, of_rows: &[f32], of_error: &[f32]) -> Result<f32> {
    let pipeline = gpu.pipeline::<ratio::Kernel>(&[])?;
    let (input_distances, distances) = (Tensor::new(gpu, of_rows)?, Tensor::new(gpu, of_error)?);
    let factor = Tensor::poisoned(gpu, 1)?;
    let params = Params { rows: of_rows.len() as u32, one: 1.0, ..Default::default() };
    submit(gpu, |recording| {
        let (distances, input_distances, factor) = (&*distances, &*input_distances, &*factor);
        recording.run(&pipeline, ratio::Bindings { distances, input_distances, factor, params });
    })?;
    Ok(factor.read()?[0])
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("variance", FOLD);
    for (rows, d) in [(2, 1), (257, 33), (600, 129)] {
        let case = Case::new(rows, d);
        let found = case.find(checker.gpu)?;
        values.close((rows, d), &found.distances, &case.distances());
        values.close((rows, d), &found.error_distances, &case.error_distances());
        values.close((rows, d), &[found.ratio], &[case.ratio()]);
    }
    Ok(vec![values.done()])
}
