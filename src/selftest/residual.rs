use super::check::{Check, Checker, ELEMENTWISE, FOLD};
use super::tensors::{AT_REST, Tensor, f64s, pad, random, stored, submit, unpad};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::residual::{Params, main};
use crate::kernels::quads;
use crate::reference;

/// What a field is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The input.
    Input,
    /// What another field leaves of it.
    Error,
}

pub struct Case {
    pub d: usize,
    pub x: Vec<f32>,
    pub sums: Vec<f32>,
    pub other_sums: Vec<f32>,
    pub b_dec: Vec<f32>,
    /// Rows that the loss is the mean over.
    pub batch: usize,
    pub factor: f32,
    /// (mean, standard deviation) of each row, if what is decoded is multiplied and shifted by them.
    pub row_norms: Option<Vec<[f32; 2]>>,
}

/// The gradient, the components of the rows' statistics, and the guard.
pub struct Outcome {
    pub gradient: Vec<f32>,
    pub statistics: [Vec<f32>; 4],
    pub guard: Vec<u32>,
}

/// What the statistics' last component holds before and after.
pub const ACTIVE: f32 = 7.0;

impl Case {
    pub fn new(rows: usize, d: usize) -> Self {
        let random = |seed| random(seed, rows * d);
        let b_dec = super::tensors::random(4, d);
        Self {
            d,
            x: random(1),
            sums: random(2),
            other_sums: random(3),
            b_dec,
            batch: 3 * rows.max(1),
            factor: 0.75,
            row_norms: None,
        }
    }

    /// With rows whose means and standard deviations these are.
    pub fn with_row_norms(self) -> Self {
        let rows = self.x.len() / self.d;
        let norm = |(mean, deviation): (f32, f32)| [mean, 1.5 + deviation];
        let row_norms = random(5, rows).into_iter().zip(random(6, rows)).map(norm).collect();
        Self { row_norms: Some(row_norms), ..self }
    }

    pub fn expected(&self, target: Target) -> reference::Residual {
        let bias = f64s(&self.b_dec);
        let with_bias = |sums: &[f32]| -> Vec<f64> {
            f64s(sums).iter().zip(bias.iter().cycle()).map(|(sum, bias)| sum + bias).collect()
        };
        let x = f64s(&self.x);
        let mut residual = match target {
            Target::Input => {
                let mut decoded = with_bias(&self.sums);
                for (row, [mean, deviation]) in decoded.chunks_exact_mut(self.d).zip(self.row_norms.iter().flatten()) {
                    row.iter_mut().for_each(|value| *value = f64::from(*deviation) * *value + f64::from(*mean));
                }
                let mut residual = reference::residual(&decoded, &x, self.d, self.batch);
                for (row, [_, deviation]) in
                    residual.gradient.chunks_exact_mut(self.d).zip(self.row_norms.iter().flatten())
                {
                    row.iter_mut().for_each(|gradient| *gradient *= f64::from(*deviation));
                }
                residual
            }
            Target::Error => {
                let left: Vec<f64> = x.iter().zip(with_bias(&self.other_sums)).map(|(x, other)| x - other).collect();
                reference::residual(&f64s(&self.sums), &left, self.d, self.batch)
            }
        };
        residual.gradient.iter_mut().for_each(|gradient| *gradient *= f64::from(self.factor));
        residual
    }

    pub fn residual(&self, gpu: &Gpu, target: Target, evaluated: bool) -> Result<Outcome> {
        let d = self.d;
        let rows = self.x.len() / d;
        let error = u32::from(target == Target::Error);
        let layer_norm = u32::from(self.row_norms.is_some());
        let pipeline = gpu.pipeline::<main::Kernel>(&[
            ("ERROR", error),
            ("LAYER_NORM", layer_norm),
            ("EVALUATED", evaluated.into()),
        ])?;
        let row_norms = Tensor::new(gpu, self.row_norms.as_deref().unwrap_or(&[[f32::NAN; 2]]))?;
        let tensor = |values: &[f32]| Tensor::new(gpu, &pad(values, d));
        let (x, sums, other_sums) = (tensor(&self.x)?, tensor(&self.sums)?, tensor(&self.other_sums)?);
        let (b_dec, gradient) = (tensor(&self.b_dec)?, Tensor::poisoned(gpu, rows * stored(d))?);
        let before: Vec<[f32; 4]> = vec![[f32::NAN, f32::NAN, f32::NAN, ACTIVE]; rows];
        let statistics = Tensor::new(gpu, &before)?;
        let (guard, factor) = (Tensor::new(gpu, &AT_REST)?, Tensor::new(gpu, &[self.factor])?);
        let scale = (2.0 / self.batch as f64) as f32;
        let params = Params { rows: rows as u32, quads: quads(d), d: d as u32, scale, one: 1.0 };
        submit(gpu, |recording| {
            let bindings = main::Bindings {
                x: &x,
                sums: &sums,
                b_dec: &b_dec,
                other: &other_sums,
                row_norms: &row_norms,
                gradient: &gradient,
                rows: &statistics,
                guard: &guard,
                factor: (&factor).into(),
                params,
            };
            recording.run(&pipeline, bindings);
        })?;
        let statistics = statistics.read::<[f32; 4]>()?;
        let component = |at: usize| statistics.iter().map(|row| row[at]).collect();
        Ok(Outcome {
            gradient: unpad(&gradient.read::<f32>()?, d)?,
            statistics: [component(0), component(1), component(2), component(3)],
            guard: guard.read()?,
        })
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut gradients = checker.compare("residual.gradient", ELEMENTWISE);
    let mut statistics = checker.compare("residual.statistics", FOLD);
    for (rows, d) in [(1, 1), (3, 129), (65, 768)] {
        let (plain, normal) = (Case::new(rows, d), Case::new(rows, d).with_row_norms());
        for (case, target) in [(&plain, Target::Input), (&plain, Target::Error), (&normal, Target::Input)] {
            let expected = case.expected(target);
            for evaluated in [false, true] {
                let name = (rows, d, target, case.row_norms.is_some(), evaluated);
                let outcome = case.residual(checker.gpu, target, evaluated)?;
                gradients.close(name, &outcome.gradient, &expected.gradient);
                let zeros = vec![0.0; rows];
                let (dot, squared_norm) =
                    if evaluated { (&expected.dot, &expected.squared_norm) } else { (&zeros, &zeros) };
                statistics.close(name, &outcome.statistics[0], &expected.squared_error);
                statistics.close(name, &outcome.statistics[1], dot);
                statistics.close(name, &outcome.statistics[2], squared_norm);
            }
        }
    }
    Ok(vec![gradients.done(), statistics.done()])
}
