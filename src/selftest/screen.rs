use super::check::{Check, Checker};
use super::rescore::Case;
use super::tensors::{Tensor, f64s, pad, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::{screen_portable, to_f16};
use crate::kernels::{SCREEN_GROUP, Screen, ScreenBlock, ScreenVariant, ToF16, half_quads, margin, quads};
use crate::reference;

/// The variants that a device can run, the usual one staged as for another back end among them.
pub fn variants(gpu: &Gpu) -> Vec<ScreenVariant> {
    let mut variants = ScreenVariant::available(gpu.description());
    if let ScreenVariant::Cooperative(block) = variants[0] {
        variants.push(ScreenVariant::Cooperative(ScreenBlock { scalar: !block.scalar, ..block }));
    }
    variants
}

impl Case {
    /// The bound of each group's largest key, `[rows, groups]`, in chunks of `chunk` features.
    pub fn screen(&self, gpu: &Gpu, variant: ScreenVariant, chunk: usize) -> Result<Vec<f32>> {
        let (kernel, to_f16) = (Screen::new(gpu, variant)?, ToF16::new(gpu)?);
        let (group, quads, line) = (SCREEN_GROUP as usize, quads(self.d), half_quads(quads(self.d)));
        let groups = self.n.div_ceil(group);
        let (centred, w_enc) = (Tensor::new(gpu, &pad(&self.x, self.d))?, Tensor::new(gpu, &pad(&self.w_enc, self.d))?);
        let scalars = Tensor::new(gpu, &[&self.b_enc[..], &self.norms].concat())?;
        let halves =
            |count: usize| Ok((Tensor::poisoned(gpu, count * line as usize * 2)?, Tensor::poisoned(gpu, count * 4)?));
        let (x_halves, x_bounds) = halves(self.rows)?;
        let mut all = vec![f32::NAN; self.rows * groups];
        for first in (0..self.n).step_by(chunk) {
            let count = chunk.min(self.n - first);
            let (w_halves, w_bounds) = halves(count)?;
            let stride = count.div_ceil(group) + 3;
            let maxima = Tensor::poisoned(gpu, self.rows * stride)?;
            submit(gpu, |recording| {
                for (source, halves, bounds, first, count) in
                    [(&centred, &x_halves, &x_bounds, 0, self.rows), (&w_enc, &w_halves, &w_bounds, first, count)]
                {
                    let params = to_f16::Params { quads, line, first: first as u32, count: count as u32 };
                    to_f16.record(recording, to_f16::main::Bindings { source, halves, bounds, params });
                }
                let bindings = screen_portable::main::Bindings {
                    x_halves: &x_halves,
                    x_bounds: &x_bounds,
                    w_halves: &w_halves,
                    w_bounds: &w_bounds,
                    scalars: &scalars,
                    maxima: &maxima,
                    params: screen_portable::Params {
                        rows: self.rows as u32,
                        line,
                        first: first as u32,
                        width: count as u32,
                        count: self.n as u32,
                        stride: stride as u32,
                        scaled: 1,
                        margin: margin(quads),
                    },
                };
                kernel.record(recording, bindings);
            })?;
            for (row, values) in maxima.read::<f32>()?.chunks_exact(stride).enumerate() {
                let found = count.div_ceil(group);
                all[row * groups + first / group..][..found].copy_from_slice(&values[..found]);
            }
        }
        Ok(all)
    }

    /// `(least, most)` that each bound may be.
    pub fn allowed_bounds(&self) -> Vec<(f64, f64)> {
        let [x, w, b, norms] = [&self.x, &self.w_enc, &self.b_enc, &self.norms].map(|values| f64s(values));
        reference::screen(&x, &w, &b, &norms, self.d, SCREEN_GROUP as usize, margin(quads(self.d)).into())
    }
}

/// How many bounds are below the largest key of their group, and how many are more than two margins above it.
pub fn violations(bounds: &[f32], allowed: &[(f64, f64)]) -> [usize; 2] {
    let count = |is_wrong: &dyn Fn(f64, (f64, f64)) -> bool| {
        bounds.iter().zip(allowed).filter(|(bound, allowed)| is_wrong(f64::from(**bound), **allowed)).count()
    };
    // What f32 makes of a bound may be a little above two margins.
    let limit = |most: f64| most + 1e-6 * most.abs() + 1e-20;
    [
        count(&|bound, (least, _)| bound < least),
        count(&|bound, (_, most)| !(f64::NEG_INFINITY..=limit(most)).contains(&bound)),
    ]
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let check_variant = |variant| {
        let mut bounds = checker.compare("screen", 0.0).of_variant(variant);
        for shape in [(1, 1, 1), (33, 16, 17), (150, 100, 300), (9, 768, 65)] {
            let case = Case::new(shape);
            let actual = case.screen(checker.gpu, variant, case.n)?;
            bounds.equal(shape, &violations(&actual, &case.allowed_bounds()), &[0, 0]);
        }
        Ok(bounds.done())
    };
    let check_variant = |variant| check_variant(variant).or_else(|error| Check::refused("screen", variant, error));
    ScreenVariant::available(checker.gpu.description()).into_iter().map(check_variant).collect()
}
