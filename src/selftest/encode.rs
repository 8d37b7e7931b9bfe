use super::check::{Check, Checker, FOLD};
use super::tensors::{Tensor, f64s, pad, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::encode_tiled::{Params, main::Bindings};
use crate::kernels::{Encode, EncodeVariant, quads};
use crate::reference;

pub struct Case {
    pub rows: usize,
    pub d: usize,
    pub n: usize,
    pub x: Vec<f32>,
    pub w_enc: Vec<f32>,
    pub b_enc: Vec<f32>,
}

impl Case {
    pub fn new((rows, d, n): (usize, usize, usize)) -> Self {
        Self { rows, d, n, x: random(1, rows * d), w_enc: random(2, n * d), b_enc: random(3, n) }
    }

    pub fn expected(&self) -> Vec<f64> {
        reference::encode(&f64s(&self.x), &f64s(&self.w_enc), &f64s(&self.b_enc), self.d)
    }

    /// Pre-activations, `[rows, n]`, encoded in chunks of `chunk` features.
    pub fn encode(&self, gpu: &Gpu, encode: &Encode, chunk: usize) -> Result<Vec<f32>> {
        let centred = Tensor::new(gpu, &pad(&self.x, self.d))?;
        let (w_enc, b_enc) = (Tensor::new(gpu, &pad(&self.w_enc, self.d))?, Tensor::new(gpu, &self.b_enc)?);
        let mut all = vec![f32::NAN; self.rows * self.n];
        for first in (0..self.n).step_by(chunk) {
            let count = chunk.min(self.n - first);
            let stride = count.next_multiple_of(4) + 4;
            let pre_activations = Tensor::poisoned(gpu, self.rows * stride)?;
            let params = Params {
                rows: self.rows as u32,
                quads: quads(self.d),
                first: first as u32,
                count: count as u32,
                stride: stride as u32,
                ..Default::default()
            };
            submit(gpu, |recording| {
                let bindings = Bindings {
                    centred: &centred,
                    w_enc: &w_enc,
                    b_enc: &b_enc,
                    pre_activations: &pre_activations,
                    params,
                };
                encode.record(recording, bindings);
            })?;
            for (row, values) in pre_activations.read::<f32>()?.chunks_exact(stride).enumerate() {
                all[row * self.n + first..][..count].copy_from_slice(&values[..count]);
            }
        }
        Ok(all)
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let check_variant = |variant: EncodeVariant| {
        let encode = Encode::new(checker.gpu, variant)?;
        let mut values = checker.compare("encode", FOLD).of_variant(variant);
        let shapes = [(129, 100, 129), (9, 768, 65), (1, 1, 1), (33, 16, 17), (49, 33, 65)];
        // What small sizes find is found in the usual shape.
        for shape in &shapes[..if variant.is_usual() { 5 } else { 2 }] {
            let shape = *shape;
            let case = Case::new(shape);
            for chunk in [case.n, case.n.div_ceil(2)] {
                let actual = case.encode(checker.gpu, &encode, chunk)?;
                values.close((shape, chunk), &actual, &case.expected());
            }
        }
        Ok(values.done())
    };
    // One that is refused does not hide the others.
    let check_variant = |variant| check_variant(variant).or_else(|error| Check::refused("encode", variant, error));
    EncodeVariant::available(checker.gpu.description()).into_iter().map(check_variant).collect()
}
