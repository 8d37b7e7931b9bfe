use super::check::{Check, Checker, FOLD};
use super::lists::{Batch, HostEntry, Lists, Runs};
use super::tensors::{POISON, Scalars, Tensor, cuts, f64s, floats, pad, random, shards, submit};
use super::trained::device_step;
use crate::engine::backward::slopes_defines;
use crate::engine::entry;
use crate::engine::planes::{Plane, Planes};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::slopes::{Params, main};
use crate::kernels::{SlopesVariant, quads};
use crate::reference::lists;
use crate::sae::description::{Description, Role};
use crate::sae::{AuxK, AuxKForm, SaeConfig, TopK};

pub struct Case {
    pub batch: Batch,
    pub w_dec: Vec<f32>,
}

/// The members of the terms, in the order of the sort.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub places: Vec<u32>,
    pub p: Vec<f32>,
    pub a0: Vec<f32>,
    pub a1: Vec<f32>,
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize, per_row: [usize; 2]) -> Self {
        Self { batch: Batch::new(1, Lists::random(1, rows, n, per_row, true), d), w_dec: random(9, n * d) }
    }

    /// The sorted entries.
    pub fn sorted(&self) -> impl Iterator<Item = &HostEntry> {
        let entries = &self.batch.lists.entries;
        lists::sort(&self.batch.lists.reference()).into_iter().map(|at| &entries[at])
    }

    /// The p of the terms; the rest of a term is its entry's.
    pub fn expected(&self) -> Vec<f64> {
        let [g0, g1] = [f64s(&self.batch.gradients[0]), f64s(&self.batch.gradients[1])];
        let w_dec = f64s(&self.w_dec);
        self.sorted().map(|entry| lists::term(&entry.reference(), [&g0, &g1], &w_dec, self.batch.d).p).collect()
    }

    /// The terms of a TopK SAE, with AuxK if there is a list 1, with so many workgroups in a dispatch.
    pub fn slopes(&self, gpu: &Gpu, variant: SlopesVariant, groups: u32, cuts: &[usize]) -> Result<Terms> {
        let auxk = (self.batch.lists.per_row[1] > 0).then(|| AuxK::new(AuxKForm::Normalised));
        let architecture = TopK { auxk, ..TopK::new(1) }.into();
        let description = SaeConfig { architecture, ..SaeConfig::top_k(2, 1, 1) }.describe();
        let terms = self.words(gpu, &description, variant, groups, cuts)?;
        let member = |at: usize| terms.iter().map(|term| term[at]).collect::<Vec<_>>();
        Ok(Terms { places: member(0), p: floats(&member(1)), a0: floats(&member(2)), a1: floats(&member(3)) })
    }

    /// All words of the terms of an SAE, whose scalars are random.
    pub fn words(
        &self,
        gpu: &Gpu,
        description: &Description,
        variant: SlopesVariant,
        groups: u32,
        cuts: &[usize],
    ) -> Result<Vec<[u32; 4]>> {
        let Batch { d, ref lists, ref runs, .. } = self.batch;
        let (kind, planes) = (description.lists[0].entry, Planes::training(description));
        let defines = slopes_defines(description, variant);
        let pipeline = gpu.pipeline_with_entry::<main::Kernel>(entry::entry(kind), &defines)?;
        let [c0, c1, c2, c3] = entry::constants(kind, lists.rows as u32);
        let sorted = lists::sort(&lists.reference()).into_iter();
        let pairs: Vec<[u32; 2]> = sorted.map(|at| [lists.entries[at].feature, lists.place(at) as u32]).collect();
        let (pairs, entries) = (Tensor::new(gpu, &pairs)?, Tensor::new(gpu, &lists.words())?);
        let batch = self.batch.upload(gpu)?;
        let (rows, step) = (Tensor::new(gpu, &random(4, 4 * lists.rows))?, Tensor::new(gpu, &[device_step(1)])?);
        let terms = vec![[POISON; 4]; runs.terms.len() * (1 + description.extras() as usize)];
        let terms = Tensor::new(gpu, &terms)?;
        for shard in shards(cuts) {
            let w_dec = Tensor::new(gpu, &pad(&self.w_dec[shard.start * d..shard.end * d], d))?;
            let range = Tensor::new(gpu, &runs.range(&shard))?;
            let mut scalars = Scalars::new(gpu, &planes, shard.len())?;
            for (seed, plane) in (5..).zip(scalars_of(description)) {
                scalars = scalars.with(plane, &random(seed, runs.n)[shard.clone()]);
            }
            let (first, count) = (shard.start as u32, shard.len() as u32);
            let params = Params { quads: quads(d), first, count, groups, c0, c1, c2, c3 };
            submit(gpu, |recording| {
                let bindings = main::Bindings {
                    pairs: &pairs,
                    entries: &entries,
                    g0: &batch.g0,
                    g1: &batch.g1,
                    w_dec: &w_dec,
                    scalars: &scalars,
                    rows: &rows,
                    terms: &terms,
                    range: (&range).into(),
                    step: (&step).into(),
                    params,
                };
                recording.run(&pipeline, bindings);
            })?;
        }
        terms.read()
    }

    /// What the terms have of their entries: places, a0 and a1.
    pub fn carried(&self) -> Terms {
        let of_list = |list: u32| self.sorted().map(|entry| if entry.list == list { entry.u } else { 0.0 }).collect();
        let places = self.sorted().map(|entry| entry.words()[1]).collect();
        Terms { places, p: Vec::new(), a0: of_list(0), a1: of_list(1) }
    }

    pub fn runs(&self) -> &Runs {
        &self.batch.runs
    }
}

/// The scalars that an entry's arithmetic reads.
fn scalars_of(description: &Description) -> impl Iterator<Item = Plane> {
    let own = description.tensors.iter().filter_map(|tensor| match tensor.role {
        Role::Own(number) => Some(Plane::Own(number)),
        _ => None,
    });
    [Plane::Bias, Plane::Norm].into_iter().chain(own)
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for variant in SlopesVariant::ALL {
        let mut values = checker.compare("slopes", FOLD).of_variant(variant);
        let mut members = checker.compare("slopes.carried", 0.0).of_variant(variant);
        for (rows, d, n, per_row) in
            [(1, 1, 1, [1, 0]), (20, 33, 40, [3, 0]), (50, 100, 2500, [7, 5]), (9, 768, 40, [2, 3])]
        {
            let case = Case::new(rows, d, n, per_row);
            let (expected, carried) = (case.expected(), case.carried());
            for cuts in cuts(n) {
                let name = (rows, d, n, per_row, &cuts);
                let actual = case.slopes(checker.gpu, variant, 2, &cuts)?;
                values.close(name, &actual.p, &expected);
                members.equal((name, "places"), &actual.places, &carried.places);
                members.equal((name, "a0"), &actual.a0, &carried.a0);
                members.equal((name, "a1"), &actual.a1, &carried.a1);
            }
        }
        checks.extend([values.done(), members.done()]);
    }
    Ok(checks)
}
