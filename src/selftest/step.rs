//! Whole training steps against the reference.

mod run;

use super::check::{Check, Checker, Comparison};
use super::tensors::{f32s, f64s, random, stored};
use crate::engine::parameters::BLOCK_FEATURES;
use crate::engine::recipe::Recipe;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::reference::{self, Counters, List, Settings};
use crate::sae::description::Role;
use crate::sae::{AuxK, AuxKForm, SaeConfig, TopK};

pub use run::{Run, loss};

/// Largest difference of a few steps from the same in f64, of a tensor's largest magnitude (3e-6 is usual).
pub const TOLERANCE: f64 = 1e-5;

/// A few steps of a small model.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    d: usize,
    n: usize,
    k: usize,
    /// Seed of the rows.
    seed: u64,
    /// SAELens's kind: keys times decoder norms, which are free, nothing clipped; else dictionary_learning's.
    rescale: bool,
    input_centred: bool,
    /// Whether a shard holds but one block of features.
    sharded: bool,
    auxiliary: Option<Auxiliary>,
}

/// AuxK.
#[derive(Clone, Copy, Debug)]
struct Auxiliary {
    form: AuxKForm,
    /// Every feature of so many is silent when the run begins.
    silent_of: usize,
}

const STEPS: u64 = 3;

const LEARNING_RATE: f64 = 1e-3;

/// Steps of silence after which a feature is dead, more than there are.
const DEAD_WINDOW: i64 = 10;

const PLAIN: Case = Case {
    batch: 300,
    d: 13,
    n: 2100,
    k: 7,
    seed: 260,
    rescale: false,
    input_centred: true,
    sharded: false,
    auxiliary: None,
};

const SAELENS: Option<Auxiliary> = Some(Auxiliary { form: AuxKForm::SaeLens, silent_of: 8 });

const NORMALISED: Option<Auxiliary> = Some(Auxiliary { form: AuxKForm::Normalised, silent_of: 70 });

/// More rows and features than a block of either, one code per row, and every feature a code. AuxK with more dead
/// features than it takes, with fewer, with none, and with all of them in the main list too. No case comes near a tie
/// (see the test below), for f32 and f64 may break those differently.
const CASES: [Case; 12] = [
    PLAIN,
    Case { sharded: true, ..PLAIN },
    Case { batch: 40, d: 33, n: 1100, k: 5, seed: 180, rescale: true, input_centred: false, sharded: true, ..PLAIN },
    Case { batch: 65, d: 17, n: 130, k: 1, seed: 130, ..PLAIN },
    Case { batch: 5, d: 48, n: 40, k: 40, seed: 270, rescale: true, ..PLAIN },
    Case { seed: 1150, auxiliary: SAELENS, ..PLAIN },
    Case { seed: 1150, sharded: true, auxiliary: SAELENS, ..PLAIN },
    Case { seed: 540, sharded: true, auxiliary: NORMALISED, ..PLAIN },
    Case {
        batch: 40,
        d: 33,
        n: 1100,
        k: 5,
        rescale: true,
        input_centred: false,
        sharded: true,
        auxiliary: Some(Auxiliary { form: AuxKForm::SaeLens, silent_of: 400 }),
        ..PLAIN
    },
    Case {
        batch: 65,
        d: 17,
        n: 130,
        k: 1,
        rescale: true,
        auxiliary: Some(Auxiliary { form: AuxKForm::Normalised, silent_of: 26 }),
        ..PLAIN
    },
    Case {
        batch: 5,
        d: 48,
        n: 40,
        k: 40,
        auxiliary: Some(Auxiliary { form: AuxKForm::SaeLens, silent_of: 7 }),
        ..PLAIN
    },
    Case {
        batch: 65,
        d: 17,
        n: 130,
        k: 1,
        auxiliary: Some(Auxiliary { form: AuxKForm::Normalised, silent_of: usize::MAX }),
        ..PLAIN
    },
];

impl Case {
    fn config(&self) -> SaeConfig {
        // Large enough to show in either form.
        let auxk = self.auxiliary.map(|Auxiliary { form, .. }| AuxK { coefficient: 0.5, ..AuxK::new(form) });
        let architecture = TopK { k: self.k, rescale_acts_by_decoder_norm: self.rescale, auxk };
        SaeConfig { apply_b_dec_to_input: self.input_centred, ..SaeConfig::new(self.d, self.n, architecture) }
    }

    fn initial(&self) -> reference::State {
        let Self { d, n, .. } = *self;
        let scaled =
            |seed, count, scale: f32| random(seed, count).iter().map(|value| value * scale).collect::<Vec<_>>();
        let mut w_dec = f64s(&random(2, n * d));
        reference::unit_norm(&mut w_dec, d, f64::from(f32::EPSILON));
        let config = self.config();
        let initial = reference::Parameters::new(&config, |tensor| match tensor.role {
            Role::Encoder => f64s(&scaled(1, n * d, 1.0 / (d as f32).sqrt())),
            Role::EncoderBias | Role::Own(_) => f64s(&scaled(3, n, 0.1)),
            Role::Decoder => f64s(&f32s(&w_dec)),
            Role::OutputBias => f64s(&scaled(4, d, 0.1)),
        });
        let mut state = reference::State::new(&config, initial);
        if let Some(Auxiliary { silent_of, .. }) = self.auxiliary {
            let silent = state.counters.last_fired.iter_mut().skip(silent_of - 1).step_by(silent_of);
            silent.for_each(|last| *last = -DEAD_WINDOW);
        }
        state
    }

    fn x(&self, step: u64) -> Vec<f64> {
        f64s(&random(self.seed + step, self.batch * self.d))
    }

    fn recipe(&self) -> Recipe {
        let usual = Recipe::top_k(self.n, self.batch, 100);
        Recipe {
            clip: usual.clip.filter(|_| !self.rescale),
            unit_norm_decoder: !self.rescale,
            dead_window: DEAD_WINDOW as u64 * self.batch as u64,
            ..usual
        }
    }

    fn settings(&self) -> Settings {
        let Recipe { clip, beta1, beta2, epsilon, unit_norm_decoder, .. } = self.recipe();
        Settings {
            clip,
            unit_norm_decoder: unit_norm_decoder.then_some(f64::from(f32::EPSILON)),
            beta1,
            beta2,
            epsilon,
            dead_window: DEAD_WINDOW,
        }
    }
}

/// Comparisons by kind of result.
struct Comparisons {
    codes: Comparison,
    results: Comparison,
    parameters: Comparison,
    counters: Comparison,
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut comparisons = Comparisons {
        codes: checker.compare("step.codes", 0.0),
        results: checker.compare("step.results", TOLERANCE),
        parameters: checker.compare("step.parameters", TOLERANCE),
        counters: checker.compare("step.counters", 0.0),
    };
    for case in CASES {
        let limited = checker
            .gpu
            .with_max_binding_bytes(u64::from(BLOCK_FEATURES) * stored(case.d) as u64 * size_of::<f32>() as u64);
        compare(if case.sharded { &limited } else { checker.gpu }, case, &mut comparisons)?;
    }
    let Comparisons { codes, results, parameters, counters } = comparisons;
    Ok(vec![codes.done(), results.done(), parameters.done(), counters.done()])
}

/// Runs a case, on the device and in the reference.
fn compare(gpu: &Gpu, case: Case, comparisons: &mut Comparisons) -> Result<()> {
    let Comparisons { codes, results, parameters, counters } = comparisons;
    let (config, settings, mut state) = (case.config(), case.settings(), case.initial());
    let mut run = Run::by_chunks(gpu, &config, &state.parameters, case.recipe())?;
    run.set_last_fired(&state.counters.last_fired)?;
    for step in 0..STEPS {
        let x = case.x(step);
        let actual = run.step(&x, LEARNING_RATE)?;
        let expected = reference::step(&mut state, &config, &x, &settings, LEARNING_RATE);
        let pass = &expected.forward;
        for (number, (actual, expected)) in run.lists()?.iter().zip(&pass.lists).enumerate() {
            codes.equal((case, step, number), &carrying(actual), &carrying(expected));
            results.close((case, step, "keys", number), &f32s(&keys(actual)), &keys(expected));
        }
        let losses: Vec<f32> = actual.losses.iter().map(|(_, loss)| *loss as f32).collect();
        let expected_losses: Vec<f64> = pass.fields.iter().skip(1).map(|field| field.loss).collect();
        results.close((case, step, "loss"), &[loss(&actual) as f32], &[pass.fields[0].loss]);
        results.close((case, step, "auxiliary loss"), &losses, &expected_losses);
        results.close((case, step, "norm"), &[actual.gradient_norm], &[expected.norm]);
        results.close((case, step, "reconstruction"), &f32s(&run.reconstruction()?), &pass.fields[0].values);
        counters.equal((case, step, "dead"), &[actual.dead as usize], &[expected.dead]);
    }
    let after = run.parameters();
    for ((tensor, actual), (_, expected)) in after.each().zip(state.parameters.each()) {
        parameters.close((case, tensor.name), &f32s(actual), expected);
    }
    let Counters { last_fired, times_fired } = run.counters();
    counters.equal((case, "last_fired"), &last_fired, &state.counters.last_fired);
    counters.equal((case, "times_fired"), &times_fired, &state.counters.times_fired);
    Ok(())
}

/// The row and feature of each entry that carries something.
fn carrying(list: &List) -> Vec<(usize, usize)> {
    let rows = list.iter().enumerate();
    rows.flat_map(|(row, entries)| {
        entries.iter().filter(|entry| entry.flags.any()).map(move |entry| (row, entry.feature))
    })
    .collect()
}

/// The keys of those entries.
fn keys(list: &List) -> Vec<f64> {
    list.iter().flatten().filter(|entry| entry.flags.any()).map(|entry| entry.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Forward;
    use crate::sae::description::Keep;

    /// The smallest gap of a pass, over its lists and rows, between the keys that are kept and those that are not, or
    /// between 0 and one whose sign counts, as a fraction of the largest key.
    fn nearest_tie(config: &SaeConfig, pass: &Forward) -> f64 {
        let largest = pass.keys.iter().fold(0.0_f64, |largest, key| largest.max(key.abs()));
        let mut nearest = f64::INFINITY;
        for (spec, list) in config.describe().lists.iter().zip(&pass.lists) {
            for (keys, entries) in pass.keys.chunks_exact(config.features).zip(list) {
                let (candidates, raw): (Vec<usize>, bool) = match spec.keep {
                    Keep::PerRow { .. } | Keep::PerBatch { .. } | Keep::Admitted { .. } => {
                        ((0..keys.len()).collect(), false)
                    }
                    Keep::Dead { raw, .. } => (pass.dead.clone(), raw),
                };
                let least = entries.iter().fold(f64::INFINITY, |least, entry| least.min(entry.key));
                let left = candidates.iter().filter(|&&j| entries.iter().all(|entry| entry.feature != j));
                let next = left.fold(f64::NEG_INFINITY, |next, &j| next.max(keys[j]));
                // What is below 0 carries nothing, whichever of it is kept.
                if raw || least > 0.0 {
                    nearest = nearest.min(least - next);
                }
                if !raw {
                    nearest = entries.iter().fold(nearest, |nearest, entry| nearest.min(entry.key.abs()));
                }
            }
        }
        nearest / largest
    }

    #[test]
    fn no_case_is_near_a_tie() {
        for case in CASES {
            let (config, mut state) = (case.config(), case.initial());
            for step in 0..STEPS {
                let output = reference::step(&mut state, &config, &case.x(step), &case.settings(), LEARNING_RATE);
                // Some ten times what a fold in f32 may be off by.
                let nearest = nearest_tie(&config, &output.forward);
                assert!(nearest > 3e-5, "{case:?}, step {step}: {nearest:e}");
            }
        }
    }
}
