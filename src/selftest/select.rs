use super::check::{Check, Checker};
use super::tensors::{Tensor, f64s, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::select::{Params, main::Bindings};
use crate::kernels::Select;
use crate::reference;

pub struct Case {
    pub rows: usize,
    pub n: usize,
    pub pre_activations: Vec<f32>,
    /// Scaled by these where there are any.
    pub norms: Option<Vec<f32>>,
}

/// (feature, place, bits of the value, bits of the key) of each entry, where every NaN counts as one.
pub type Selected = Vec<[u32; 4]>;

fn comparable(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

/// The entry of a row.
fn entry(row: usize, feature: u32, value: f32, key: f32) -> [u32; 4] {
    let flag = u32::from(value > 0.0 || value.is_nan());
    [feature, row as u32 | flag << 25, comparable(value), comparable(key)]
}

impl Case {
    pub fn expected(&self, k: usize) -> Selected {
        let mut selected = Vec::new();
        for (row, values) in self.pre_activations.chunks_exact(self.n).enumerate() {
            let keys: Vec<f32> = match &self.norms {
                Some(norms) => values.iter().zip(norms).map(|(u, norm)| u * norm).collect(),
                None => values.to_vec(),
            };
            for at in reference::largest(&f64s(&keys), 0..self.n, k) {
                selected.push(entry(row, at as u32, values[at], keys[at]));
            }
        }
        selected
    }

    /// Selects from chunks of these sizes, the last one repeated.
    pub fn select(&self, gpu: &Gpu, select: &Select, k: usize, chunks: &[usize]) -> Result<Selected> {
        let entries = Tensor::poisoned(gpu, self.rows * k * 4)?;
        let mut sizes = chunks.iter().copied();
        let (mut first, mut size) = (0, self.n);
        while first < self.n {
            size = sizes.next().unwrap_or(size);
            let width = size.min(self.n - first);
            let stride = width.next_multiple_of(4) + 4;
            let mut chunk = vec![f32::NAN; self.rows * stride];
            for row in 0..self.rows {
                chunk[row * stride..][..width].copy_from_slice(&self.pre_activations[row * self.n + first..][..width]);
            }
            // The shard begins a little before the chunk, and ends a little behind it.
            let first_in_shard = first.min(5);
            let count = first_in_shard + width + 3;
            let mut scalars = vec![f32::NAN; 2 * count];
            if let Some(norms) = &self.norms {
                let of_shard = &norms[first - first_in_shard..first + width];
                scalars[count..][..of_shard.len()].copy_from_slice(of_shard);
            }
            let (pre_activations, scalars) = (Tensor::new(gpu, &chunk)?, Tensor::new(gpu, &scalars)?);
            let params = Params {
                rows: self.rows as u32,
                k: k as u32,
                filled: first.min(k) as u32,
                first: first as u32,
                first_in_shard: first_in_shard as u32,
                width: width as u32,
                count: count as u32,
                stride: stride as u32,
                scaled: self.norms.is_some().into(),
                ..Default::default()
            };
            submit(gpu, |recording| {
                let bindings =
                    Bindings { pre_activations: &pre_activations, scalars: &scalars, entries: &entries, params };
                select.record(recording, bindings);
            })?;
            first += width;
        }
        let comparable_bits = |word| comparable(f32::from_bits(word));
        let read: Vec<[u32; 4]> = entries.read()?;
        Ok(read
            .into_iter()
            .map(|[feature, place, u, key]| [feature, place, comparable_bits(u), comparable_bits(key)])
            .collect())
    }
}

/// A row of each kind that has ever broken a selection; no key is subnormal, which a driver may take for 0.
fn rows(seed: u64, n: usize) -> Vec<Vec<f32>> {
    let base = random(seed, n);
    let of = |value: &dyn Fn(usize) -> f32| (0..n).map(value).collect::<Vec<_>>();
    let place = |at: usize| at * 7919 % n;
    let mut rows = vec![
        of(&|at| base[at]),
        of(&|at| (base[at] * 3.0).round()),
        of(&|at| if base[at] > 0.9 { 1.0 } else { -1.0 }),
        of(&|_| 0.5),
        of(&|_| 0.0),
        of(&|at| -base[at].abs() - 0.1),
        of(&|at| at as f32 - n as f32 / 2.0),
        of(&|at| n as f32 / 2.0 - at as f32),
        of(&|at| if place(at) % 2 == 0 { -0.0 } else { 0.0 }),
        of(&|at| if place(at) % 3 == 0 { -0.0 } else { -base[at].abs() }),
        of(&|at| [base[at], f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY][place(at) % 5]),
        of(&|at| if place(at) % 50 == 3 { f32::NAN } else { base[at] }),
        of(&|_| f32::NAN),
        of(&|_| f32::NEG_INFINITY),
        of(&|at| [f32::MAX, -f32::MAX, 4.0 * f32::MIN_POSITIVE, -4.0 * f32::MIN_POSITIVE][place(at) % 4]),
        // All that is large on one thread of every workgroup size, and at the end.
        of(&|at| if at % 256 == 3 { 2.0 + base[at] } else { base[at] }),
        of(&|at| if at + 20 > n { 2.0 + base[at] } else { base[at] }),
    ];
    rows.push(random(seed + 1, n));
    rows
}

/// Those rows, once as they are and once scaled by norms.
pub fn cases(n: usize) -> Vec<Case> {
    let rows = rows(n as u64, n);
    let norms = random(99, n).into_iter().map(|norm| norm.abs() + 0.5).collect();
    let case = |norms| Case { rows: rows.len(), n, pre_activations: rows.concat(), norms };
    vec![case(None), case(Some(norms))]
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    // The three workgroup sizes, k = 1 and k = n.
    let check_k = |(k, sizes): (usize, &[usize])| {
        let select = Select::new(checker.gpu, k as u32)?;
        let mut selected = checker.compare("select", 0.0).of_variant(format_args!("k {k}"));
        for &n in sizes {
            for case in cases(n) {
                for chunks in [&[n][..], &[5, 3, 64, 400]] {
                    let (actual, expected) = (case.select(checker.gpu, &select, k, chunks)?, case.expected(k));
                    selected.equal((n, case.norms.is_some(), chunks.len()), &actual, &expected);
                }
            }
        }
        Ok(selected.done())
    };
    let sizes: [(usize, &[usize]); 4] = [(1, &[1, 33]), (32, &[32, 1000]), (64, &[65, 1000]), (257, &[257, 1000])];
    sizes.into_iter().map(check_k).collect()
}
