use super::check::{Check, Checker};
use super::tensors::{AT_REST, DeviceRuns, HostCodes, Tensor, cuts, submit, words};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::Step;
use crate::gpu::shaders::activity::{Params, count_dead, record};
use crate::kernels::Activity;
use crate::reference;

/// `last_fired` and `fired` of all shards, and the number of dead features.
pub type Counted = (Vec<u32>, Vec<u32>, u32);

pub fn activity(
    gpu: &Gpu,
    kernels: &Activity,
    runs: &reference::Runs,
    before: (&[u32], &[u32]),
    (step, window): (u32, u32),
    cuts: &[usize],
    guard: [u32; 2],
) -> Result<Counted> {
    let n = before.0.len();
    let device_runs = DeviceRuns::new(gpu, runs, n)?;
    let step = Tensor::new(gpu, &[Step { number: step, ..Default::default() }])?;
    let (guard, dead) = (Tensor::new(gpu, &guard)?, Tensor::new(gpu, &[0_u32])?);
    let (mut all_last_fired, mut all_fired) = (Vec::new(), Vec::new());
    let mut first = 0;
    for &end in cuts {
        let (last_fired, fired) = (Tensor::new(gpu, &before.0[first..end])?, Tensor::new(gpu, &before.1[first..end])?);
        let params = Params { first: first as u32, count: (end - first) as u32, window };
        submit(gpu, |recording| {
            let bindings = record::Bindings {
                run_features: &device_runs.features,
                run_starts: &device_runs.starts,
                block_bounds: &device_runs.block_bounds,
                last_fired: &last_fired,
                fired: &fired,
                guard: &guard,
                step: (&step).into(),
                params,
            };
            // More than there are, as when training, where only the most that there can be is known.
            kernels.record(recording, bindings, runs.features.len() as u32 + 100);
            let bindings = count_dead::Bindings { last_fired: &last_fired, dead: &dead, step: (&step).into(), params };
            kernels.record_dead(recording, bindings);
        })?;
        all_last_fired.extend(last_fired.read::<u32>()?);
        all_fired.extend(fired.read::<u32>()?);
        first = end;
    }
    Ok((all_last_fired, all_fired, dead.read::<u32>()?[0]))
}

pub struct Case {
    pub runs: reference::Runs,
    pub before: Vec<u32>,
    pub step: u32,
    pub window: u32,
}

impl Case {
    pub fn new(rows: usize, n: usize, k: usize) -> Self {
        let runs = reference::transpose(&HostCodes::random(1, rows, n, k, true).reference(), n);
        let before = words(2, n).into_iter().map(|word| word % 100).collect();
        Self { runs, before, step: 120, window: 50 }
    }

    pub fn expected(&self) -> Counted {
        let (mut last_fired, mut fired) = (self.before.clone(), self.before.clone());
        reference::activity(&self.runs, self.step, &mut last_fired, &mut fired);
        let dead = last_fired.iter().filter(|last| self.step - **last >= self.window).count() as u32;
        (last_fired, fired, dead)
    }

    pub fn activity(&self, gpu: &Gpu, kernels: &Activity, cuts: &[usize]) -> Result<Counted> {
        let before = (&self.before[..], &self.before[..]);
        activity(gpu, kernels, &self.runs, before, (self.step, self.window), cuts, AT_REST)
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernels = Activity::new(checker.gpu)?;
    let mut lists = checker.compare("activity", 0.0);
    for (rows, n, k) in [(1, 1, 1), (40, 65, 3), (300, 2500, 20)] {
        let case = Case::new(rows, n, k);
        let expected = case.expected();
        for cuts in cuts(n) {
            let (last_fired, fired, dead) = case.activity(checker.gpu, &kernels, &cuts)?;
            lists.equal((rows, n, k, "last fired"), &last_fired, &expected.0);
            lists.equal((rows, n, k, "fired"), &fired, &expected.1);
            lists.equal((rows, n, k, "dead"), &[dead], &[expected.2]);
        }
    }
    Ok(vec![lists.done()])
}
