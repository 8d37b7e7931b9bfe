use super::check::{Check, Checker, FOLD};
use super::tensors::{POISON, Tensor, cuts, f32s, f64s, pad, random, submit, words};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::encode_tiled;
use crate::gpu::shaders::rescore::{Params, main::Bindings, write_codes};
use crate::kernels::{EncodeVariant, GroupMaxima, Rescore, RescoreVariant, quads};
use crate::reference;

pub struct Case {
    pub rows: usize,
    pub d: usize,
    pub n: usize,
    pub x: Vec<f32>,
    pub w_enc: Vec<f32>,
    pub b_enc: Vec<f32>,
    pub norms: Vec<f32>,
}

impl Case {
    pub fn new((rows, d, n): (usize, usize, usize)) -> Self {
        let norms = random(4, n).into_iter().map(|norm| norm.abs() + 0.5).collect();
        Self { rows, d, n, x: random(1, rows * d), w_enc: random(2, n * d), b_enc: random(3, n), norms }
    }

    /// Some groups of `group` features per row, ascending.
    pub fn some_groups(&self, group: usize, groups: usize) -> Vec<u32> {
        let all = self.n.div_ceil(group);
        let starts = words(9, self.rows).into_iter().map(|word| word as usize % (all - groups + 1));
        starts.flat_map(|start| start as u32..(start + groups) as u32).collect()
    }

    /// Values and keys of the candidates, shard by shard; `cuts` are the shards' ends.
    pub fn rescore(
        &self,
        gpu: &Gpu,
        kernel: &Rescore,
        best_groups: &[u32],
        group: usize,
        cuts: &[usize],
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let (rows, d, groups) = (self.rows, self.d, best_groups.len() / self.rows.max(1));
        let (centred, best_groups) =
            (Tensor::new(gpu, &pad(&self.x, d))?, Tensor::new(gpu, &groups_as_entries(best_groups))?);
        let output = || Tensor::poisoned(gpu, rows * groups * group);
        let (candidate_values, candidate_keys) = (output()?, output()?);
        let order = kernel.order(gpu, (rows * groups) as u32, self.n.div_ceil(group) as u32)?;
        let params = |first: usize, count: usize| {
            let [rows, groups, group, first, count] = [rows, groups, group, first, count].map(|size| size as u32);
            Params { rows, quads: quads(d), groups, group, first, count, scaled: 1, k: 1, ..Default::default() }
        };
        submit(gpu, |recording| kernel.record_order(recording, &best_groups, params(0, self.n), &order))?;
        let mut first = 0;
        for &end in cuts {
            let w_enc = Tensor::new(gpu, &pad(&self.w_enc[first * d..end * d], d))?;
            let scalars = Tensor::new(gpu, &[&self.b_enc[first..end], &self.norms[first..end]].concat())?;
            submit(gpu, |recording| {
                let bindings = Bindings {
                    centred: &centred,
                    w_enc: &w_enc,
                    scalars: &scalars,
                    best_groups: &best_groups,
                    candidate_values: &candidate_values,
                    candidate_keys: &candidate_keys,
                    params: params(first, end - first),
                };
                kernel.record(recording, bindings, &order);
            })?;
            first = end;
        }
        Ok((candidate_values.read()?, candidate_keys.read()?))
    }

    /// The largest key of each group, `[rows, groups]`, in chunks of `chunk` features.
    pub fn maxima(&self, gpu: &Gpu, kernel: &GroupMaxima, chunk: usize) -> Result<Vec<f32>> {
        let group = kernel.group() as usize;
        let groups = self.n.div_ceil(group);
        let (centred, w_enc) = (Tensor::new(gpu, &pad(&self.x, self.d))?, Tensor::new(gpu, &pad(&self.w_enc, self.d))?);
        let scalars = Tensor::new(gpu, &[&self.b_enc[..], &self.norms].concat())?;
        let mut all = vec![f32::NAN; self.rows * groups];
        for first in (0..self.n).step_by(chunk) {
            let count = chunk.min(self.n - first);
            let stride = count.div_ceil(group) + 3;
            let maxima = Tensor::poisoned(gpu, self.rows * stride)?;
            let params = encode_tiled::Params {
                rows: self.rows as u32,
                quads: quads(self.d),
                first: first as u32,
                width: count as u32,
                count: self.n as u32,
                stride: stride as u32,
                scaled: 1,
                ..Default::default()
            };
            submit(gpu, |recording| {
                let bindings = encode_tiled::group_maxima::Bindings {
                    centred: &centred,
                    w_enc: &w_enc,
                    scalars: &scalars,
                    maxima: &maxima,
                    params,
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

    /// The same by computing every key once more.
    pub fn rescored_maxima(&self, gpu: &Gpu, group: usize) -> Result<Vec<f32>> {
        let groups: Vec<u32> = (0..self.rows).flat_map(|_| 0..self.n.div_ceil(group) as u32).collect();
        let (_, keys) = self.rescore(gpu, &Rescore::new(gpu, group as u32)?, &groups, group, &[self.n])?;
        let largest = |keys: &[f32]| keys.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Ok(keys.chunks_exact(group).map(largest).collect())
    }
}

/// Groups as `select` leaves them.
fn groups_as_entries(groups: &[u32]) -> Vec<[u32; 4]> {
    groups.iter().map(|group| [*group, 0, 0, 0]).collect()
}

/// The codes of candidates that were selected.
pub struct Codes {
    pub first_row: usize,
    pub groups: usize,
    pub group: usize,
    pub k: usize,
    /// `[rows, groups]`.
    pub best_groups: Vec<u32>,
    /// `[rows, groups * group]`.
    pub candidate_values: Vec<f32>,
    /// By number and key: `[rows, k]`.
    pub selected: Vec<(u32, f32)>,
}

impl Codes {
    /// Random ones, of which some values are not above 0.
    pub fn random(rows: usize, first_row: usize) -> Self {
        let (groups, group, k) = (5, 8, 3);
        let starts = words(9, rows).into_iter().map(|word| word % 1000);
        let numbers = words(10, rows * k).into_iter().enumerate();
        let mut candidate_values = random(11, rows * groups * group);
        candidate_values.iter_mut().step_by(7).for_each(|value| *value = 0.0);
        candidate_values.iter_mut().step_by(13).for_each(|value| *value = f32::NAN);
        Self {
            first_row,
            groups,
            group,
            k,
            best_groups: starts.flat_map(|start| (0..groups as u32).map(move |at| start + 2 * at)).collect(),
            candidate_values,
            // A stratum for each slot keeps them ascending.
            selected: numbers
                .zip(random(12, rows * k))
                .map(|((at, word), key)| {
                    let stratum = (groups * group / k) as u32;
                    ((at % k) as u32 * stratum + word % stratum, key)
                })
                .collect(),
        }
    }

    /// What the entries of those rows should be, those before them untouched.
    pub fn expected(&self) -> Vec<[u32; 4]> {
        let candidates = self.groups * self.group;
        let entry = |(at, (number, key)): (usize, &(u32, f32))| {
            let (row, number) = (at / self.k, *number as usize);
            let group = self.best_groups[row * self.groups + number / self.group] as usize;
            let value = self.candidate_values[row * candidates + number];
            let flag = u32::from(value > 0.0 || value.is_nan());
            let place = (self.first_row + row) as u32 | flag << 25;
            [(group * self.group + number % self.group) as u32, place, value.to_bits(), key.to_bits()]
        };
        let before = vec![[POISON; 4]; self.first_row * self.k];
        before.into_iter().chain(self.selected.iter().enumerate().map(entry)).collect()
    }

    pub fn write(&self, gpu: &Gpu, kernel: &Rescore) -> Result<Vec<[u32; 4]>> {
        let before = vec![[POISON; 4]; self.first_row * self.k];
        let selected = self.selected.iter().map(|(number, key)| [*number, POISON, POISON, key.to_bits()]);
        let entries = Tensor::new(gpu, &before.into_iter().chain(selected).collect::<Vec<_>>())?;
        let best_groups = Tensor::new(gpu, &groups_as_entries(&self.best_groups))?;
        let candidate_values = Tensor::new(gpu, &self.candidate_values)?;
        let [rows, first_row, groups, group, k] =
            [self.selected.len() / self.k, self.first_row, self.groups, self.group, self.k].map(|size| size as u32);
        let params = Params { rows, first_row, groups, group, k, ..Default::default() };
        submit(gpu, |recording| {
            let bindings = write_codes::Bindings {
                best_groups: &best_groups,
                candidate_values: &candidate_values,
                entries: &entries,
                params,
            };
            kernel.record_codes(recording, bindings);
        })?;
        entries.read()
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for variant in RescoreVariant::ALL {
        checks.push(check_keys(checker, variant)?);
    }
    let kernel = Rescore::new(checker.gpu, 8)?;
    let mut codes = checker.compare("rescore.codes", 0.0);
    for (rows, first_row) in [(1, 0), (70, 3)] {
        let case = Codes::random(rows, first_row);
        codes.equal((rows, first_row), &case.write(checker.gpu, &kernel)?, &case.expected());
    }
    checks.push(codes.done());
    for variant in EncodeVariant::available(checker.gpu.description()) {
        let kernel = GroupMaxima::new(checker.gpu, variant)?;
        let mut maxima = checker.compare("group maxima", 0.0).of_variant(variant);
        let shapes = [(130, 100, 300), (9, 768, 65), (1, 1, 1), (33, 16, 17)];
        for shape in &shapes[..if variant.is_usual() { 4 } else { 2 }] {
            let shape = *shape;
            let case = Case::new(shape);
            let expected = case.rescored_maxima(checker.gpu, kernel.group() as usize)?;
            maxima.equal((shape, "maxima"), &case.maxima(checker.gpu, &kernel, case.n)?, &expected);
        }
        checks.push(maxima.done());
    }
    Ok(checks)
}

fn check_keys(checker: &Checker<'_>, variant: RescoreVariant) -> Result<Check> {
    let mut keys = checker.compare("rescore", FOLD).of_variant(variant);
    for (shape, group, groups) in [((1, 1, 1), 4, 1), ((9, 17, 2500), 8, 7), ((33, 100, 1111), 16, 3)] {
        let case = Case::new(shape);
        let kernel = Rescore::of_variant(checker.gpu, group as u32, variant)?;
        let best_groups = case.some_groups(group, groups);
        let numbers: Vec<usize> = best_groups.iter().map(|&number| number as usize).collect();
        let [x, w_enc, b_enc, norms] = [&case.x, &case.w_enc, &case.b_enc, &case.norms].map(|values| f64s(values));
        let (_, _, expected) = reference::rescore(&x, &w_enc, &b_enc, &norms, case.d, &numbers, group);
        for cuts in cuts(case.n) {
            let actual = case.rescore(checker.gpu, &kernel, &best_groups, group, &cuts)?.1;
            // What is past the last feature is minus infinity in both.
            let inside = |list: Vec<f64>| list.into_iter().filter(|key| key.is_finite()).collect::<Vec<_>>();
            keys.close((shape, group, &cuts), &f32s(&inside(f64s(&actual))), &inside(expected.clone()));
        }
    }
    Ok(keys.done())
}
