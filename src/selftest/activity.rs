use super::check::{Check, Checker};
use super::tensors::{AT_REST, Scalars, Tensor, cuts, planes, shards, submit, words};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::Step;
use crate::gpu::shaders::activity::{Params, main};

pub struct Case {
    pub last_fired: Vec<u32>,
    pub times_fired: Vec<u32>,
    /// Rows on which each fires in this batch; none where it has no run.
    pub fired: Vec<Option<u32>>,
    pub flawed: Vec<u32>,
    pub norms: Vec<f32>,
    pub step: u32,
    pub window: u32,
    pub guard: [u32; 2],
}

/// What it leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    pub last_fired: Vec<u32>,
    pub times_fired: Vec<u32>,
    pub dead: u32,
    pub guard: Vec<u32>,
}

impl Case {
    pub fn new(n: usize) -> Self {
        let before: Vec<u32> = words(2, n).into_iter().map(|word| word % 100).collect();
        let times = |word: u32| if word.is_multiple_of(7) { u32::MAX - word % 3 } else { word % 1000 };
        // Of those with a run some have only entries of list 1.
        let fired = |word: u32| (!word.is_multiple_of(3)).then_some(word % 5);
        Self {
            last_fired: before,
            times_fired: words(3, n).into_iter().map(times).collect(),
            fired: words(4, n).into_iter().map(fired).collect(),
            flawed: vec![0; n],
            norms: vec![1.0; n],
            step: 120,
            window: 50,
            guard: AT_REST,
        }
    }

    pub fn expected(&self) -> Counted {
        let mut counted = Counted {
            last_fired: self.last_fired.clone(),
            times_fired: self.times_fired.clone(),
            dead: 0,
            guard: self.guard.to_vec(),
        };
        for (feature, fired) in self.fired.iter().enumerate() {
            match fired {
                Some(rows) if *rows > 0 => {
                    counted.last_fired[feature] = self.step;
                    counted.times_fired[feature] = counted.times_fired[feature].saturating_add(*rows);
                }
                _ => counted.dead += u32::from(self.step - self.last_fired[feature] >= self.window),
            }
        }
        counted
    }

    pub fn activity(&self, gpu: &Gpu, cuts: &[usize]) -> Result<Counted> {
        let pipeline = gpu.pipeline::<main::Kernel>(&planes().defines())?;
        let step = Tensor::new(gpu, &[Step { number: self.step, ..Default::default() }])?;
        let (guard, dead) = (Tensor::new(gpu, &self.guard)?, Tensor::new(gpu, &[0_u32])?);
        let (mut last_fired, mut times_fired) = (Vec::new(), Vec::new());
        for shard in shards(cuts) {
            let fired = &self.fired[shard.clone()];
            let runs: Vec<u32> = fired.iter().map(|fired| u32::from(fired.is_some())).collect();
            // What a feature without a run has there is stale.
            let rows: Vec<u32> = fired.iter().map(|fired| fired.unwrap_or(u32::MAX)).collect();
            let scalars = Scalars::new(gpu, planes(), shard.len())?
                .with(Plane::LastFired, &self.last_fired[shard.clone()])
                .with(Plane::TimesFired, &self.times_fired[shard.clone()])
                .with(Plane::Run, &runs)
                .with(Plane::Fired, &rows)
                .with(Plane::Flawed, &self.flawed[shard.clone()])
                .with(Plane::Norm, &self.norms[shard.clone()]);
            let params = Params { count: shard.len() as u32, window: self.window };
            submit(gpu, |recording| {
                let (dead, guard, step) = (&dead, &guard, (&step).into());
                recording.run(&pipeline, main::Bindings { scalars: &scalars, dead, guard, step, params });
            })?;
            let read = scalars.read(&[Plane::LastFired, Plane::TimesFired])?;
            last_fired.extend(&read[0]);
            times_fired.extend(&read[1]);
        }
        Ok(Counted { last_fired, times_fired, dead: dead.read()?[0], guard: guard.read()? })
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut counts = checker.compare("activity", 0.0);
    for n in [1, 65, 2500] {
        let case = Case::new(n);
        let expected = case.expected();
        for cuts in cuts(n) {
            let actual = case.activity(checker.gpu, &cuts)?;
            counts.equal((n, "last fired"), &actual.last_fired, &expected.last_fired);
            counts.equal((n, "times fired"), &actual.times_fired, &expected.times_fired);
            counts.equal((n, "dead"), &[actual.dead], &[expected.dead]);
            counts.equal((n, "guard"), &actual.guard, &expected.guard);
        }
    }
    Ok(vec![counts.done()])
}
