use super::check::{Check, Checker, FOLD};
use super::tensors::{Tensor, f32s, pad, random, stored, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::Step;
use crate::gpu::shaders::variance::{BLOCK_ROWS, Params, finish, means, rows};
use crate::kernels::quads;
use crate::reference::lists;

pub struct Case {
    pub d: usize,
    pub x: Vec<f32>,
    pub sums: Vec<f32>,
    pub b_dec: Vec<f32>,
    pub input_variance: f32,
}

impl Case {
    pub fn new(rows: usize, d: usize) -> Self {
        let random = |seed| random(seed, rows * d);
        Self { d, x: random(1), sums: random(2), b_dec: super::tensors::random(3, d), input_variance: 1.75 }
    }

    fn error(&self) -> Vec<f64> {
        let parts = self.sums.iter().zip(&self.x).zip(self.b_dec.iter().cycle());
        parts.map(|((sum, x), b_dec)| f64::from(*sum) + f64::from(*b_dec) - f64::from(*x)).collect()
    }

    pub fn expected(&self) -> f64 {
        lists::variance_ratio(&self.error(), self.input_variance.into(), self.d)
    }

    pub fn ratio(&self, gpu: &Gpu) -> Result<f32> {
        let d = self.d;
        let count = self.x.len() / d;
        let tensor = |values: &[f32]| Tensor::new(gpu, &pad(values, d));
        let (x, sums, b_dec) = (tensor(&self.x)?, tensor(&self.sums)?, tensor(&self.b_dec)?);
        // As `bias_gradient` leaves them.
        let mut row_blocks = vec![0.0; count.div_ceil(BLOCK_ROWS as usize) * d];
        for (at, error) in self.error().into_iter().enumerate() {
            let block = at / d / BLOCK_ROWS as usize;
            row_blocks[block * d + at % d] += error * 2.0 / count as f64;
        }
        let row_blocks = tensor(&f32s(&row_blocks))?;
        let (mean, distances) = (Tensor::poisoned(gpu, stored(d))?, Tensor::poisoned(gpu, count)?);
        let factor = Tensor::poisoned(gpu, 1)?;
        let step = Tensor::new(gpu, &[Step { input_variance: self.input_variance, ..Default::default() }])?;
        let by_means = gpu.pipeline::<means::Kernel>(&[])?;
        let by_rows = gpu.pipeline::<rows::Kernel>(&[])?;
        let finished = gpu.pipeline::<finish::Kernel>(&[])?;
        let params = Params { rows: count as u32, quads: quads(d), one: 1.0 };
        submit(gpu, |recording| {
            let (mean, distances) = (&*mean, &*distances);
            recording.run(&by_means, means::Bindings { row_blocks: &row_blocks, mean, params });
            let bindings = rows::Bindings { x: &x, sums: &sums, b_dec: &b_dec, mean, distances, params };
            recording.run(&by_rows, bindings);
            let (factor, step) = (&factor, (&step).into());
            recording.run(&finished, finish::Bindings { distances, factor, step, params });
        })?;
        mean.read::<u32>()?;
        distances.read::<u32>()?;
        Ok(factor.read()?[0])
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("variance", FOLD);
    for (rows, d) in [(2, 1), (257, 33), (600, 129)] {
        let case = Case::new(rows, d);
        values.close((rows, d), &[case.ratio(checker.gpu)?], &[case.expected()]);
    }
    Ok(vec![values.done()])
}
