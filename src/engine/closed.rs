//! The closed form: a penalty on every row and feature, of which the entries take back what is not theirs.

use std::ops::Range;

use super::backward::Losses;
use super::parameters::{Parameters, Shard};
use super::recipe::Recipe;
use crate::error::Result;
use crate::gpu::shaders::closed;
use crate::gpu::{Gpu, Pipeline, Recording, Slot};
use crate::sae::description::{ClosedForm, EntryKind, Features, JumpReluEntry};

/// Its kernels.
pub(super) struct Closed {
    coefficient: f64,
    shift: Pipeline<closed::shift::Kernel>,
    main: Pipeline<closed::main::Kernel>,
}

impl Closed {
    /// Compiles the kernels.
    ///
    /// # Errors
    /// [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, ClosedForm { coefficient, of }: ClosedForm) -> Result<Self> {
        let kind = parameters.description().lists[0].entry;
        let log = matches!(kind, EntryKind::JumpRelu(JumpReluEntry { log: true, .. }));
        let own = [("OF_DEAD", u32::from(of == Features::Dead)), ("LOG", log.into())];
        let defines = [&parameters.planes().defines()[..], &own].concat();
        Ok(Self { coefficient, shift: gpu.pipeline(&defines)?, main: gpu.pipeline(&defines)? })
    }

    /// What each row below a threshold gives to its pre-activation's gradient; before the terms.
    pub fn record_shift(&self, recording: &mut Recording, losses: Losses<'_>, recipe: &Recipe, shard: &Shard) {
        let (scalars, step, params) = (&shard.scalars, Slot::from(losses.step), self.params(losses, recipe, shard));
        recording.run(&self.shift, closed::shift::Bindings { scalars, step, params });
    }

    /// What all rows add to the sums of the terms of these features, counted in the shard.
    pub fn record(
        &self,
        recording: &mut Recording,
        losses: Losses<'_>,
        recipe: &Recipe,
        shard: &Shard,
        features: Range<u32>,
    ) {
        let (scalars, w_enc, centred) = (&shard.scalars, &shard.w_enc, &losses.forward.centred);
        let params = closed::Params {
            first: features.start,
            width: features.end - features.start,
            ..self.params(losses, recipe, shard)
        };
        recording.run(&self.main, closed::main::Bindings { scalars, w_enc, centred, params });
    }

    fn params(&self, losses: Losses<'_>, recipe: &Recipe, shard: &Shard) -> closed::Params {
        let rows = losses.forward.rows();
        closed::Params {
            rows,
            quads: losses.parameters.quads(),
            count: shard.count,
            first: 0,
            width: shard.count,
            window: recipe.dead_window_steps(),
            coefficient: (self.coefficient / f64::from(rows)) as f32,
            one: 1.0,
        }
    }
}
