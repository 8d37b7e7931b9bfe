use super::check::{Check, Checker, FOLD};
use super::tensors::{POISON, Scalars, Tensor, f64s, pad, planes, random, submit, words};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::shaders::encode_tiled::{Params, main::Bindings};
use crate::gpu::{Buffer, Gpu};
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
        // Norms are not read.
        let scalars = Tensor::new(gpu, &[&self.b_enc[..], &vec![f32::NAN; self.n]].concat())?;
        self.encode_features(gpu, encode, Features { scalars: &scalars, count: self.n, chunk })
    }

    /// The same of dead features alone, by an [`Encode::compacted`] of [`planes`]: `[rows, dead]`.
    pub fn encode_dead(&self, gpu: &Gpu, encode: &Encode, dead: &[u32], chunk: usize) -> Result<Vec<f32>> {
        let mut compacted = vec![POISON; self.n];
        compacted[..dead.len()].copy_from_slice(dead);
        let scalars = Scalars::new(gpu, planes(), self.n)?.with(Plane::Bias, &self.b_enc).with(Plane::Dead, &compacted);
        self.encode_features(gpu, encode, Features { scalars: &scalars, count: dead.len(), chunk })
    }

    fn encode_features(&self, gpu: &Gpu, encode: &Encode, features: Features<'_>) -> Result<Vec<f32>> {
        let Features { scalars, count, chunk } = features;
        let (centred, w_enc) = (Tensor::new(gpu, &pad(&self.x, self.d))?, Tensor::new(gpu, &pad(&self.w_enc, self.d))?);
        let mut all = vec![f32::NAN; self.rows * count];
        for first in (0..count).step_by(chunk) {
            let width = chunk.min(count - first);
            let stride = width.next_multiple_of(4) + 4;
            let pre_activations = Tensor::poisoned(gpu, self.rows * stride)?;
            let params = Params {
                rows: self.rows as u32,
                quads: quads(self.d),
                first: first as u32,
                width: width as u32,
                count: self.n as u32,
                stride: stride as u32,
                ..Default::default()
            };
            submit(gpu, |recording| {
                let (w_enc, pre_activations) = (&w_enc, &pre_activations);
                encode.record(recording, Bindings { centred: &centred, w_enc, scalars, pre_activations, params });
            })?;
            for (row, values) in pre_activations.read::<f32>()?.chunks_exact(stride).enumerate() {
                all[row * count + first..][..width].copy_from_slice(&values[..width]);
            }
        }
        Ok(all)
    }
}

/// Which features are encoded, and how many at a time.
struct Features<'a> {
    scalars: &'a Buffer,
    count: usize,
    chunk: usize,
}

/// About a third of the features.
pub fn some_dead(n: usize) -> Vec<u32> {
    words(8, n).into_iter().zip(0..).filter(|(word, _)| word % 3 == 0).map(|(_, feature)| feature).collect()
}

/// The columns of those features in `[rows, n]`.
pub fn columns<T: Copy>(values: &[T], n: usize, features: &[u32]) -> Vec<T> {
    values.chunks_exact(n).flat_map(|row| features.iter().map(|feature| row[*feature as usize])).collect()
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
        // Dead features have the bits that they have among all.
        let compacted = Encode::compacted(checker.gpu, variant, &planes().defines())?;
        let case = Case::new((33, 40, 300));
        let dead = some_dead(case.n);
        let actual = case.encode_dead(checker.gpu, &compacted, &dead, 64)?;
        values.close("dead", &actual, &columns(&case.expected(), case.n, &dead));
        Ok(values.done())
    };
    // One that is refused does not hide the others.
    let check_variant = |variant| check_variant(variant).or_else(|error| Check::refused("encode", variant, error));
    EncodeVariant::available(checker.gpu.description()).into_iter().map(check_variant).collect()
}
