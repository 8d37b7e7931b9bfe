use super::check::{Check, Checker, FOLD};
use super::tensors::{Scalars, Tensor, cuts, f64s, floats, pad, random, shards, submit};
use super::trained::device_step;
use crate::engine::planes::{Plane, Planes};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::closed::{Params, main, shift};
use crate::kernels::quads;
use crate::reference::{self, lists};
use crate::sae::description::Features;
use crate::sae::{JumpRelu, PreActivation, SaeConfig};

/// Steps of silence after which a feature is dead, and the step that is taken.
const WINDOW: u32 = 4;
const STEP: u64 = 9;
const COEFFICIENT: f32 = 0.375;

pub struct Case {
    rows: usize,
    d: usize,
    n: usize,
    /// `[rows, d]`.
    centred: Vec<f32>,
    /// `[n, d]`.
    w_enc: Vec<f32>,
    /// Of each feature, as are the others: its bias, its threshold, the norm of its decoder row.
    scalars: [Vec<f32>; 3],
    last_fired: Vec<u32>,
    /// The sums of its terms: slopes, gradient of the threshold, pull, loss of the closed form.
    sums: [Vec<f32>; 4],
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize) -> Self {
        Self {
            rows,
            d,
            n,
            centred: random(1, rows * d),
            w_enc: random(2, n * d),
            scalars: [random(3, n), random(4, n), random(5, n).into_iter().map(f32::abs).collect()],
            // Two of three are dead.
            last_fired: (0..n as u32).map(|feature| feature % 3 * 3).collect(),
            sums: [6, 7, 8, 9].map(|seed| random(seed, n)),
        }
    }

    /// Every fourth has no terms.
    fn has_terms(feature: usize) -> bool {
        !feature.is_multiple_of(4)
    }

    fn is_dead(&self, feature: usize) -> bool {
        STEP as u32 - 1 - self.last_fired[feature] >= WINDOW
    }

    /// The sums with the closed form's part, where it is of dead features alone or of all.
    pub fn expected(&self, of_dead: bool) -> [Vec<f64>; 4] {
        let (centred, w_enc) = (f64s(&self.centred), f64s(&self.w_enc));
        let us = reference::encode(&centred, &w_enc, &f64s(&self.scalars[0]), self.d);
        let mut sums = [const { Vec::new() }; 4];
        for feature in 0..self.n {
            let of_feature: Vec<f64> = us.iter().skip(feature).step_by(self.n).copied().collect();
            let [_, threshold, norm] = self.scalars.each_ref().map(|values| f64::from(values[feature]));
            let coefficient = if of_dead && !self.is_dead(feature) { 0.0 } else { f64::from(COEFFICIENT) };
            let added = lists::closed_sums(&of_feature, threshold, norm, coefficient);
            let parts = [added.slopes, added.threshold, added.pull, added.loss];
            for ((sums, part), terms) in sums.iter_mut().zip(parts).zip(&self.sums) {
                sums.push(part + if Self::has_terms(feature) { f64::from(terms[feature]) } else { 0.0 });
            }
        }
        sums
    }

    pub fn sums(&self, gpu: &Gpu, of_dead: bool, cuts: &[usize]) -> Result<[Vec<f32>; 4]> {
        let pre_activation = Some(PreActivation { coefficient: 1.0, of: Features::All });
        let architecture = JumpRelu { pre_activation, ..JumpRelu::inference() }.into();
        let planes = Planes::training(&SaeConfig { architecture, ..SaeConfig::top_k(2, 1, 1) }.describe());
        let defines = [&planes.defines()[..], &[("OF_DEAD", of_dead.into()), ("LOG", 0)]].concat();
        let shifted = gpu.pipeline::<shift::Kernel>(&defines)?;
        let summed = gpu.pipeline::<main::Kernel>(&defines)?;
        let total = lists::b_dec_gradient(&f64s(&self.centred), &[], &[], self.d, false);
        let total: Vec<f32> = total.into_iter().map(|value| value as f32).collect();
        let centred = Tensor::new(gpu, &[pad(&self.centred, self.d), pad(&total, self.d)].concat())?;
        let step = Tensor::new(gpu, &[device_step(STEP)])?;
        let written = [Plane::Slopes, Plane::OwnSum(0), Plane::Pull, Plane::ClosedLoss];
        let mut sums = [const { Vec::new() }; 4];
        for shard in shards(cuts) {
            // What a feature without terms has in its sums is stale.
            let terms = |values: &[f32]| -> Vec<f32> {
                shard.clone().map(|at| if Self::has_terms(at) { values[at] } else { f32::NAN }).collect()
            };
            let runs: Vec<u32> = shard.clone().map(|feature| Self::has_terms(feature).into()).collect();
            let mut scalars = Scalars::new(gpu, &planes, shard.len())?
                .with(Plane::Bias, &self.scalars[0][shard.clone()])
                .with(Plane::Own(0), &self.scalars[1][shard.clone()])
                .with(Plane::Norm, &self.scalars[2][shard.clone()])
                .with(Plane::LastFired, &self.last_fired[shard.clone()])
                .with(Plane::Loss, &terms(&self.sums[0]))
                .with(Plane::Run, &runs);
            for (plane, values) in written.iter().zip(&self.sums) {
                scalars = scalars.with(*plane, &terms(values));
            }
            let w_enc = Tensor::new(gpu, &pad(&self.w_enc[shard.start * self.d..shard.end * self.d], self.d))?;
            let params = Params {
                rows: self.rows as u32,
                quads: quads(self.d),
                count: shard.len() as u32,
                first: 0,
                width: shard.len() as u32,
                window: WINDOW,
                coefficient: COEFFICIENT,
                one: 1.0,
            };
            submit(gpu, |recording| {
                let bindings = shift::Bindings { scalars: &scalars, step: (&step).into(), params };
                recording.run(&shifted, bindings);
                let bindings = main::Bindings { scalars: &scalars, w_enc: &w_enc, centred: &centred, params };
                recording.run(&summed, bindings);
            })?;
            let read = scalars.read(&[&written[..], &[Plane::Shift, Plane::Loss]].concat())?;
            for (sums, plane) in sums.iter_mut().zip(&read) {
                sums.extend(floats(plane));
            }
        }
        Ok(sums)
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("closed", FOLD);
    for (rows, d, n) in [(1, 1, 1), (20, 33, 40), (7, 300, 2500)] {
        let case = Case::new(rows, d, n);
        for of_dead in [false, true] {
            let expected = case.expected(of_dead);
            for cuts in cuts(n) {
                let actual = case.sums(checker.gpu, of_dead, &cuts)?;
                for (number, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                    values.close((rows, d, n, of_dead, &cuts, number), actual, expected);
                }
            }
        }
    }
    Ok(vec![values.done()])
}
