//! The stages of a step, between which the owners of a model's parts would exchange what they found.

use crate::error::Result;
use crate::gpu::{Gpu, Program, Recording};

/// Who shares a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Nobody: a step is one program.
    Solo,
    /// Owners of whole chunks of its features, which exchange after each stage.
    Shared,
}

/// An exchange between owners; src/engine/step.rs shows when, docs/architecture.md how it is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The keys of the main list: each owner keeps its own among the k largest of all.
    Keys,
    /// The sums of the main field's nodes.
    Sums,
    /// The number of dead features.
    DeadCount,
    /// The keys of the list of dead features.
    DeadKeys,
    /// The sums of the auxiliary field's nodes.
    DeadSums,
    /// The sums of the chunks, and the guard.
    Chunks,
}

/// Commands in stages.
pub struct Stages {
    world: World,
    done: Vec<(Recording, Exchange)>,
    current: Recording,
}

impl Stages {
    /// None yet.
    pub fn new(world: World) -> Self {
        Self { world, done: Vec::new(), current: Recording::default() }
    }

    /// Adds commands.
    pub fn run(&mut self, record: impl FnOnce(&mut Recording)) {
        record(&mut self.current);
    }

    /// Ends a stage where the owners exchange; a sole owner continues it.
    pub fn meet(&mut self, exchange: Exchange) {
        if self.world == World::Shared {
            self.done.push((std::mem::take(&mut self.current), exchange));
        }
    }

    /// The program of each stage, with the exchange that follows all but the last.
    ///
    /// # Errors
    /// As [`Gpu::program`].
    pub fn programs(self, gpu: &Gpu) -> Result<StagePrograms> {
        let exchanged = self.done.into_iter().map(|(recording, exchange)| Ok((gpu.program(recording)?, exchange)));
        Ok(StagePrograms { exchanged: exchanged.collect::<Result<_>>()?, last: gpu.program(self.current)? })
    }
}

impl StagePrograms {
    /// Hands what is known of their dispatches' times to programs of the same dispatches.
    pub fn hand_pace_to(self, others: &mut Self) {
        for ((program, _), (other, _)) in self.exchanged.into_iter().zip(&mut others.exchanged) {
            program.hand_pace_to(other);
        }
        self.last.hand_pace_to(&mut others.last);
    }

    /// As [`Program::take_longest`], of all programs.
    pub fn take_longest(&self, is_wanted: impl Fn(&str) -> bool) -> Option<f64> {
        let programs = self.exchanged.iter().map(|(program, _)| program).chain([&self.last]);
        programs.filter_map(|program| program.take_longest(&is_wanted)).reduce(f64::max)
    }
}

/// The programs of a step.
pub struct StagePrograms {
    /// Those that an exchange follows.
    pub exchanged: Vec<(Program, Exchange)>,
    /// The last, and where nobody exchanges the only one.
    pub last: Program,
}
