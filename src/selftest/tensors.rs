//! Data for kernels, on the host and on the device, where every byte that a kernel must not touch is watched.

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use bytemuck::{AnyBitPattern, NoUninit, Pod};

use crate::engine::parameters::{BLOCK_FEATURES, pad_rows};
use crate::engine::planes::{Plane, Planes};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Recording, Slot};
use crate::kernels::quads;
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::{AuxK, AuxKForm, SaeConfig, TopK};

/// What fills outputs before a kernel runs and the margins of all buffers always: NaN as f32, out of reach as an index.
pub const POISON: u32 = u32::MAX;

/// Words of margin behind a tensor: more than a workgroup that ignores its bounds would write.
const MARGIN: usize = 1024;

/// The guard at rest.
pub const AT_REST: [u32; 2] = [0, 0];

/// A buffer with a poisoned margin behind its words.
pub struct Tensor<'g> {
    gpu: &'g Gpu,
    /// With the margin.
    whole: Buffer,
    /// What kernels are given. A driver that checks bounds would hide what is written to a margin that is not bound; one
    /// that does not leaves it to a validation layer, which knows bindings alone.
    bound: Buffer,
    words: usize,
}

impl<'g> Tensor<'g> {
    /// A tensor that holds `values`.
    pub fn new<T: Pod>(gpu: &'g Gpu, values: &[T]) -> Result<Self> {
        let mut words: Vec<u32> = bytemuck::pod_collect_to_vec(values);
        let length = words.len();
        words.resize(length.next_multiple_of(4) + MARGIN, POISON);
        let whole = gpu.buffer_from("tensor", &words)?;
        let bound = if gpu.description().unchecked { whole.up_to(4 * length.max(4) as u64) } else { whole.clone() };
        Ok(Self { gpu, whole, bound, words: length })
    }

    /// An output: all poison.
    pub fn poisoned(gpu: &'g Gpu, words: usize) -> Result<Self> {
        Self::new(gpu, &vec![POISON; words])
    }

    /// What it holds; an error if its margin was touched.
    pub fn read<T: AnyBitPattern + NoUninit>(&self) -> Result<Vec<T>> {
        let mut words: Vec<u32> = self.gpu.read(&self.whole)?;
        let margin = words.split_off(self.words);
        match margin.iter().all(|word| *word == POISON) {
            true => Ok(bytemuck::pod_collect_to_vec(&words)),
            false => Err(wrong("something was written past the end")),
        }
    }
}

impl<'a> From<&'a Tensor<'_>> for Slot<'a> {
    fn from(tensor: &'a Tensor<'_>) -> Self {
        Self::from(&tensor.bound)
    }
}

impl Deref for Tensor<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.bound
    }
}

/// A kernel that did what no kernel may.
pub(super) fn wrong(problem: &str) -> Error {
    Error::Device(problem.to_owned())
}

/// Records and runs.
pub fn submit(gpu: &Gpu, record: impl FnOnce(&mut Recording)) -> Result<()> {
    let mut recording = Recording::default();
    record(&mut recording);
    gpu.submit(&gpu.program(recording)?)
}

/// `count` words that depend on `seed` alone.
pub fn words(seed: u64, count: usize) -> Vec<u32> {
    let rng = Rng::new(seed, Purpose::Weights);
    (0..count.div_ceil(4) as u64).flat_map(|at| rng.block(at, 0)).take(count).collect()
}

/// `count` numbers in [-1, 1).
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    words(seed, count).into_iter().map(symmetric).collect()
}

/// The same numbers in f64.
pub fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The nearest numbers in f32.
pub fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// Their bits.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Words in a stored row of `d` values.
pub fn stored(d: usize) -> usize {
    quads(d) as usize * 4
}

/// Rows of `d` as the device stores them.
pub fn pad(values: &[f32], d: usize) -> Vec<f32> {
    let mut padded = Vec::new();
    pad_rows(values, d, &mut padded);
    padded
}

/// Rows of `d` from how the device stores them; the padding must still be zero, for the next fold reads it.
pub fn unpad(values: &[f32], d: usize) -> Result<Vec<f32>> {
    let rows = || values.chunks_exact(stored(d));
    if rows().any(|row| row[d..].iter().any(|value| *value != 0.0)) {
        return Err(wrong("the padding is no longer zero"));
    }
    Ok(rows().flat_map(|row| row[..d].iter().copied()).collect())
}

/// The scalars of a shard's features: planes that are poison until something is put into them.
pub struct Scalars<'g> {
    gpu: &'g Gpu,
    tensor: Tensor<'g>,
    planes: &'g Planes,
    before: Vec<u32>,
}

impl<'g> Scalars<'g> {
    /// Planes of `count` words, all poison.
    pub fn new(gpu: &'g Gpu, planes: &'g Planes, count: usize) -> Result<Self> {
        let before = vec![POISON; planes.count() as usize * count];
        Ok(Self { gpu, tensor: Tensor::new(gpu, &before)?, planes, before })
    }

    /// The same with `values` in a plane.
    pub fn with<T: Pod>(mut self, plane: Plane, values: &[T]) -> Self {
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(values);
        let range = self.words(plane);
        self.gpu.upload(&self.tensor, 4 * range.start as u64, &words);
        self.before[range].copy_from_slice(&words);
        self
    }

    /// What each of the planes `written` holds; an error if another one was written.
    pub fn read(&self, written: &[Plane]) -> Result<Vec<Vec<u32>>> {
        let words = self.tensor.read::<u32>()?;
        let mut rest = words.clone();
        for plane in written {
            let range = self.words(*plane);
            rest[range.clone()].copy_from_slice(&self.before[range]);
        }
        if rest != self.before {
            return Err(wrong("a plane was written that is another kernel's"));
        }
        Ok(written.iter().map(|plane| words[self.words(*plane)].to_vec()).collect())
    }

    fn words(&self, plane: Plane) -> Range<usize> {
        let count = self.before.len() as u32 / self.planes.count();
        let bytes = self.planes.bytes(plane, count);
        bytes.start as usize / 4..bytes.end as usize / 4
    }
}

impl Deref for Scalars<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.tensor
    }
}

/// Every plane that there is.
pub fn planes() -> &'static Planes {
    static PLANES: OnceLock<Planes> = OnceLock::new();
    PLANES.get_or_init(|| {
        let auxk = AuxK::new(AuxKForm::Normalised);
        let architecture = TopK { auxk: Some(auxk), ..TopK::new(1) }.into();
        let config = SaeConfig { architecture, ..SaeConfig::top_k(2, 1, 1) };
        Planes::training(&config.describe())
    })
}

/// Floats of words.
pub fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|word| f32::from_bits(*word)).collect()
}

/// The ends of shards of `n` features: one shard, and where there are enough features several.
pub fn cuts(n: usize) -> Vec<Vec<usize>> {
    let block = BLOCK_FEATURES as usize;
    let mut all = vec![vec![n]];
    if n > block {
        all.push((0..n).step_by(block).skip(1).chain([n]).collect());
    }
    all
}

/// The shards that end there.
pub fn shards(cuts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    [0].into_iter().chain(cuts.iter().copied()).zip(cuts).map(|(first, end)| first..*end)
}
