//! The optimizer: Adam's moments, the counters of the features, and the kernels that take them a step further.

use super::backward::{Backward, Losses};
use super::forward::Forward;
use super::hot::sum_defines;
use super::parameters::{Parameters, Shard};
use super::recipe::{MomentPrecision, Recipe};
use super::slab::Slab;
use super::threshold::Threshold;
use crate::error::Result;
use crate::gpu::shaders::{Step, activity, model, update};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot};
use crate::kernels::SumShape;
use crate::sae::description::{Inference, Role};

/// Adam's moments of a matrix of a shard, or of a row of the model.
pub struct Moments {
    /// The first.
    pub m: Buffer,
    /// The second.
    pub v: Buffer,
}

/// Adam's moments of a shard's matrices; those of its scalars are planes.
pub struct ShardMoments {
    /// Of the encoder.
    pub w_enc: Moments,
    /// Of the decoder.
    pub w_dec: Moments,
}

/// A run's state that is not parameters, and what changes both.
pub struct Optimizer {
    /// By shard.
    pub moments: Vec<ShardMoments>,
    /// Of the decoder bias.
    pub b_dec: Moments,
    /// Constants of the step that is submitted next.
    pub step: Buffer,
    /// Features that have not fired for the recipe's window, `[1]`.
    pub dead: Buffer,
    /// The threshold that the SAE is used with, if it is one for all features.
    pub threshold: Option<Threshold>,
    kernels: Kernels,
}

struct Kernels {
    encoder: [Pipeline<update::encoder::Kernel>; 2],
    decoder: [Pipeline<update::decoder::Kernel>; 2],
    own: Pipeline<update::own::Kernel>,
    model: Pipeline<model::main::Kernel>,
    activity: Pipeline<activity::main::Kernel>,
}

/// Inputs of a step other than its rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepConstants {
    /// 1 for the first step.
    pub number: u32,
    /// The schedule's.
    pub learning_rate: f64,
    /// What the coefficient of the penalty on active features is multiplied by.
    pub sparsity: f64,
}

impl Optimizer {
    /// Compiles the kernels, and makes the buffers.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if they do not fit, [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, precision: MomentPrecision) -> Result<Self> {
        let planes = parameters.planes().defines();
        let bf16 = u32::from(precision != MomentPrecision::F32);
        let own = [("BF16", bf16)];
        let active = [&planes[..], &sum_defines(gpu, parameters.description()), &own].concat();
        let shape = SumShape::best(gpu.description()).defines();
        let summed = [&planes[..], &shape, &own, &[("SUMMED", 1)]].concat();
        let kernels = Kernels {
            encoder: [gpu.pipeline(&active)?, gpu.pipeline(&summed)?],
            decoder: [gpu.pipeline(&active)?, gpu.pipeline(&summed)?],
            own: gpu.pipeline(&summed)?,
            model: gpu.pipeline(&[])?,
            activity: gpu.pipeline(&planes)?,
        };
        let batch = &gpu.for_part("batch");
        let gpu = &gpu.for_part("moments");
        let bytes = precision.bytes();
        let moments = |shard: &Shard| {
            let matrix = |name: &str, weights: &Buffer| {
                let words = weights.bytes() / 16 * bytes;
                Ok(Moments { m: gpu.buffer(name, words)?, v: gpu.buffer(name, words)? })
            };
            Ok(ShardMoments {
                w_enc: matrix("moments of W_enc", &shard.w_enc)?,
                w_dec: matrix("moments of W_dec", &shard.w_dec)?,
            })
        };
        let b_dec = || gpu.buffer("moments of b_dec", u64::from(parameters.quads()) * 4);
        Ok(Self {
            moments: parameters.shards.iter().map(moments).collect::<Result<_>>()?,
            b_dec: Moments { m: b_dec()?, v: b_dec()? },
            step: batch.buffer("step", size_of::<Step>() as u64 / 4)?,
            dead: batch.buffer("dead features", 1)?,
            threshold: match parameters.description().inference {
                Inference::Listed => None,
                Inference::Threshold => Some(Threshold::new(batch)?),
            },
            kernels,
        })
    }

    /// Uploads the constants of the step that is submitted next.
    pub fn upload(&self, gpu: &Gpu, recipe: &Recipe, constants: StepConstants) {
        gpu.upload(&self.step, 0, &[step_constants(recipe, constants)]);
    }

    /// Takes parameters and state a step further, by slabs if there are any: a mark before each shard, and one before
    /// b_dec.
    pub fn record(
        &self,
        recording: &mut Recording,
        backward: &Backward,
        losses: Losses<'_>,
        recipe: &Recipe,
        slab: Option<&Slab>,
    ) {
        recording.clear(&self.dead);
        for number in 0..losses.parameters.shards.len() {
            recording.mark();
            match slab {
                Some(slab) => slab.record_update(recording, (self, backward), losses, recipe, number),
                None => self.record_matrices(recording, backward, losses, recipe, number),
            }
            self.record_features(recording, backward, losses, recipe, number);
        }
        recording.mark();
        let bindings = model::main::Bindings {
            weights: &losses.parameters.b_dec,
            m: &self.b_dec.m,
            v: &self.b_dec.v,
            gradient: &backward.b_dec_gradient,
            guard: &losses.forward.guard,
            step: Slot::from(&self.step),
            clip: Slot::from(&backward.clip),
            params: model::Params { quads: losses.parameters.quads() },
        };
        recording.run(&self.kernels.model, bindings);
        let Forward { guard, .. } = losses.forward;
        if let (Some(threshold), Some(least)) = (&self.threshold, losses.forward.selector().least_kept()) {
            threshold.record(recording, least, guard);
        }
    }

    fn record_matrices(
        &self,
        recording: &mut Recording,
        backward: &Backward,
        losses: Losses<'_>,
        recipe: &Recipe,
        number: usize,
    ) {
        let Losses { parameters, forward, .. } = losses;
        let (shard, moments) = (&parameters.shards[number], &self.moments[number]);
        let (runs, scalars) = (&backward.sorted.runs, &shard.scalars);
        let (step, clip, guard) = (Slot::from(&self.step), Slot::from(&backward.clip), Slot::from(&forward.guard));
        let params = update_params(parameters, forward.rows(), recipe, shard);
        let ranges = &backward.ranges[number];
        let active = ranges.iter().map(|range| {
            let groups = backward.groups(backward.most_runs(*range), update::ROWS_PER_WORKGROUP);
            (0, [&backward.terms; 2], *range, update::Params { groups, ..params })
        });
        let hot = &backward.hot;
        // Of their ranges these need but what all have in common.
        let groups = backward.groups_for_all(shard.count, update::ROWS_PER_WORKGROUP);
        let summed = (1, [&hot.encoder, &hot.decoder], ranges[0], update::Params { groups, ..params });
        for (kernel, [encoder_terms, decoder_terms], range, params) in active.chain([summed]) {
            let [g0, g1] = losses.gradients(range.level);
            let range = backward.sorted.range(range.number);
            let Moments { m, v } = &moments.w_enc;
            let bindings = update::encoder::Bindings {
                runs,
                terms: encoder_terms,
                centred: &forward.centred,
                weights: &shard.w_enc,
                m,
                v,
                range,
                step,
                clip,
                guard,
                params,
                marks: scalars,
            };
            recording.run(&self.kernels.encoder[kernel], bindings);
            let Moments { m, v } = &moments.w_dec;
            let bindings = update::decoder::Bindings {
                runs,
                terms: decoder_terms,
                g0,
                g1,
                scalars,
                weights: &shard.w_dec,
                m,
                v,
                range,
                step,
                clip,
                guard,
                params,
            };
            recording.run(&self.kernels.decoder[kernel], bindings);
        }
    }

    fn record_features(
        &self,
        recording: &mut Recording,
        backward: &Backward,
        losses: Losses<'_>,
        recipe: &Recipe,
        number: usize,
    ) {
        let Losses { parameters, forward, .. } = losses;
        let shard = &parameters.shards[number];
        let (step, clip, guard) = (Slot::from(&self.step), Slot::from(&backward.clip), Slot::from(&forward.guard));
        let (scalars, params) = (&shard.scalars, update_params(parameters, forward.rows(), recipe, shard));
        recording.run(&self.kernels.own, update::own::Bindings { scalars, step, clip, guard, params });
        let params = activity::Params { count: shard.count, window: recipe.dead_window_steps() };
        let (dead, guard) = (&self.dead, &forward.guard);
        recording.run(&self.kernels.activity, activity::main::Bindings { scalars, dead, guard, step, params });
    }
}

/// For every row of a shard.
pub(super) fn update_params(parameters: &Parameters, rows: u32, recipe: &Recipe, shard: &Shard) -> update::Params {
    let seed = match recipe.moments {
        MomentPrecision::F32 => 0,
        MomentPrecision::Bf16 { seed } => seed,
    };
    let unit_norm = u32::from(recipe.unit_norm_decoder);
    let non_negative = parameters.description().tensors.iter().filter(|tensor| tensor.non_negative);
    update::Params {
        rows,
        quads: parameters.quads(),
        first: shard.first,
        count: shard.count,
        groups: shard.count.div_ceil(update::ROWS_PER_WORKGROUP),
        project: unit_norm,
        unit_norm,
        non_negative: non_negative.fold(0, |bits, tensor| match tensor.role {
            Role::Own(number) => bits | 1 << number,
            _ => bits,
        }),
        seed_low: seed as u32,
        seed_high: (seed >> 32) as u32,
        one: 1.0,
    }
}

/// The device's constants of a step; bias corrections are made in f64.
pub fn step_constants(recipe: &Recipe, constants: StepConstants) -> Step {
    let &Recipe { beta1, beta2, epsilon, .. } = recipe;
    let steps = f64::from(constants.number);
    Step {
        number: constants.number,
        learning_rate: (constants.learning_rate / (1.0 - beta1.powf(steps))) as f32,
        second_correction: (1.0 / (1.0 - beta2.powf(steps)).sqrt()) as f32,
        beta1: beta1 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        epsilon: epsilon as f32,
        sparsity: constants.sparsity as f32,
    }
}
