use super::check::{Check, Checker, FOLD};
use super::tensors::{Tensor, pad, random, stored, submit};
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

/// What the kernels find: the squared distances of rows and of errors from their means, and the ratio of their sums.
pub struct Found {
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
        let factor = Tensor::poisoned(gpu, 1)?;
        let params = Params { rows: count as u32, quads: quads(d), share: 1.0 / count as f32, one: 1.0 };
        for (distances, is_error) in [(&of_rows, 0), (&of_error, 1)] {
            let defines = [("ERROR", is_error)];
            let summed = gpu.pipeline::<blocks::Kernel>(&defines)?;
            let averaged = gpu.pipeline::<means::Kernel>(&defines)?;
            let measured = gpu.pipeline::<rows::Kernel>(&defines)?;
            submit(gpu, |recording| {
                let (x, sums, b_dec, row_blocks, mean) = (&*x, &*sums, &*b_dec, &*row_blocks, &*mean);
                recording.run(&summed, blocks::Bindings { x, sums, b_dec, row_blocks, params });
                recording.run(&averaged, means::Bindings { x, sums, b_dec, row_blocks, mean, params });
                recording.run(&measured, rows::Bindings { x, sums, b_dec, mean, distances, params });
            })?;
        }
        let divided = gpu.pipeline::<ratio::Kernel>(&[])?;
        submit(gpu, |recording| {
            let (distances, input_distances, factor) = (&*of_error, &*of_rows, &*factor);
            recording.run(&divided, ratio::Bindings { distances, input_distances, factor, params });
        })?;
        row_blocks.read::<u32>()?;
        mean.read::<u32>()?;
        Ok(Found { distances: of_rows.read()?, error_distances: of_error.read()?, ratio: factor.read()?[0] })
    }
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
