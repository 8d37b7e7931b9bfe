//! A training run whose every step is read back.

use crate::data::{Provenance, RowsView};
use crate::engine::parameters::Parameters;
use crate::engine::path::StepPath;
use crate::engine::planes::Planes;
use crate::engine::recipe::Recipe;
use crate::engine::select::SelectionMethod;
use crate::engine::select::Tuning;
use crate::engine::stage::World;
use crate::engine::state::{StateSink, StateSource, StateTensor, Tile, state_tensors};
use crate::engine::step::{Outcome, StepInput, StepResults, TrainingStep};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::reference::entry::{self, Flags, Values};
use crate::reference::{self, Counters, Entry, List};
use crate::sae::description::ListSpec;
use crate::sae::{InputNormalization, RowNorm, Sae, SaeConfig};
use crate::selftest::tensors::{f32s, stored};

/// A training run, read back after every step.
pub struct Run<'g> {
    gpu: &'g Gpu,
    config: SaeConfig,
    beta1: f64,
    step: TrainingStep,
    taken: u32,
    /// The state before the last step and after it.
    before: State,
    after: State,
}

impl<'g> Run<'g> {
    /// A run whose parameters are the nearest to `initial` in f32.
    ///
    /// # Errors
    /// Those of [`TrainingStep::new`].
    pub fn new(
        gpu: &'g Gpu,
        config: &SaeConfig,
        initial: &reference::Parameters,
        recipe: Recipe,
        tuning: Tuning,
    ) -> Result<Self> {
        let tensors = initial.each().map(|(_, values)| f32s(values)).collect();
        let sae = Sae { config: config.clone(), tensors, provenance: Provenance::default() };
        let parameters = Parameters::allocate(gpu, config, Planes::training(&config.describe()))?;
        let empty = State::empty(state_tensors(config, recipe.moments));
        let beta1 = recipe.beta1;
        let step = TrainingStep::new(gpu, parameters, recipe, tuning, World::Solo)?;
        step.fill(gpu, &sae)?;
        let mut run = Self { gpu, config: config.clone(), beta1, step, taken: 0, before: empty.clone(), after: empty };
        run.copy_state()?;
        Ok(run)
    }

    /// As [`Run::new`], selecting by chunks, which every device can.
    ///
    /// # Errors
    /// As there.
    pub fn by_chunks(
        gpu: &'g Gpu,
        config: &SaeConfig,
        initial: &reference::Parameters,
        recipe: Recipe,
    ) -> Result<Self> {
        let tuning = Tuning::usual(gpu.description(), SelectionMethod::Chunked);
        Self::new(gpu, config, initial, recipe, tuning)
    }

    /// Takes a step on `x` `[batch, d]`.
    ///
    /// # Errors
    /// Those of [`TrainingStep::submit`] and [`TrainingStep::results`].
    pub fn step(&mut self, x: &[f64], learning_rate: f64) -> Result<StepResults> {
        let x = f32s(x);
        for _attempt in 0..3 {
            let pending = self.step.submit(self.gpu, StepInput { rows: RowsView::F32(&x), learning_rate })?;
            match self.step.results(self.gpu, pending)? {
                Outcome::Done(results) => {
                    self.taken += 1;
                    self.copy_state()?;
                    return Ok(results);
                }
                outcome => self.step.take_again(self.gpu, &outcome, 1),
            }
        }
        Err(Error::Device("a list is full".into()))
    }

    /// The way of the last step.
    pub fn path(&self) -> StepPath {
        self.step.path()
    }

    /// Sets the step in which each feature last fired; one below 0 was so many steps before the first.
    ///
    /// # Errors
    /// Those of [`TrainingStep::restore_state`].
    pub fn set_last_fired(&mut self, last_fired: &[i64]) -> Result<()> {
        // The device subtracts modulo 2^32.
        let words: Vec<u32> = last_fired.iter().map(|&step| step as u32).collect();
        self.after.set("last_fired", bytemuck::cast_slice(&words));
        self.step.restore_state(self.gpu, &mut self.after, self.taken)
    }

    fn copy_state(&mut self) -> Result<()> {
        let mut state = State::empty(self.after.tensors.clone());
        self.step.copy_state(self.gpu, &mut state)?;
        self.before = std::mem::replace(&mut self.after, state);
        Ok(())
    }

    /// The gradients of the last step as they were applied, out of Adam's first moments: m = beta1 m + (1 - beta1) g.
    pub fn gradients(&self) -> reference::Parameters {
        reference::Parameters::new(&self.config, |tensor| {
            let moment = format!("{}.m", tensor.name);
            let pairs = self.after.floats(&moment).into_iter().zip(self.before.floats(&moment));
            pairs.map(|(now, before)| (now - self.beta1 * before) / (1.0 - self.beta1)).collect()
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> reference::Parameters {
        reference::Parameters::new(&self.config, |tensor| self.after.floats(tensor.name))
    }

    /// When features fired, and how often.
    pub fn counters(&self) -> Counters {
        Counters {
            last_fired: self.after.words("last_fired").into_iter().map(|step| i64::from(step as i32)).collect(),
            times_fired: self.after.words("times_fired").into_iter().map(u64::from).collect(),
        }
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.config.features
    }

    /// The lists of the last step.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`].
    pub fn lists(&self) -> Result<Vec<List>> {
        let entries = &self.step.forward().entries;
        let all: Vec<[u32; 4]> = self.gpu.read(&entries.list)?;
        let rows = self.step.forward().rows() as usize;
        let description = self.config.describe();
        let before = reference::Parameters::new(&self.config, |tensor| self.before.floats(tensor.name));
        let list = |(list, starts): (&ListSpec, _)| {
            let starts: Vec<u32> = self.gpu.read(starts)?;
            let kind = entry::arithmetic(list.entry);
            let entry = |&[feature, place, u, key]: &[u32; 4]| {
                let (feature, u) = (feature as usize, f32::from_bits(u).into());
                // As in shaders/shared/entry_list.wgsl.
                let [value, window, reached] = [1, 2, 4].map(|flag| place >> 25 & flag != 0);
                let flags = Flags { value, window, reached };
                let Values { decoded, gate } = kind.values(u, flags, before.own(feature));
                Entry { feature, u, key: f32::from_bits(key).into(), flags, decoded, gate }
            };
            let row = |ends: &[u32]| all[ends[0] as usize..ends[1] as usize].iter().map(entry).collect();
            Ok(starts[..=rows].windows(2).map(row).collect())
        };
        description.lists.iter().zip(&entries.starts).map(list).collect()
    }

    /// The reconstruction of the last step's rows, `[batch, d]`.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`].
    pub fn reconstruction(&self) -> Result<Vec<f64>> {
        let b_dec = self.before.floats("b_dec");
        let sums: Vec<f32> = self.gpu.read(&self.step.forward().field.sums)?;
        let norms: Vec<[f32; 2]> = self.gpu.read(&self.step.forward().row_norms)?;
        let norms = norms.iter().map(|&[mean, deviation]| RowNorm { mean: mean.into(), deviation: deviation.into() });
        let norms: Vec<Option<RowNorm>> = match self.config.input_normalization {
            InputNormalization::None => vec![None; sums.len()],
            InputNormalization::LayerNorm => norms.map(Some).collect(),
        };
        let rows = sums.chunks_exact(stored(self.config.d_in)).zip(&norms);
        let restored = |(sums, norm): (&[f32], &Option<RowNorm>)| -> Vec<f64> {
            let decoded = sums.iter().zip(&b_dec).map(|(&sum, bias)| f64::from(sum) + bias);
            decoded.map(|value| norm.map_or(value, |norm| norm.restored(value))).collect()
        };
        Ok(rows.flat_map(restored).collect())
    }
}

/// The mean of a step's squared errors.
pub fn loss(results: &StepResults) -> f64 {
    results.squared_errors.iter().map(|&error| f64::from(error)).sum::<f64>() / results.squared_errors.len() as f64
}

/// A training state on the host.
#[derive(Clone)]
struct State {
    tensors: Vec<StateTensor>,
    bytes: Vec<Vec<u8>>,
}

impl State {
    fn empty(tensors: Vec<StateTensor>) -> Self {
        Self { bytes: vec![Vec::new(); tensors.len()], tensors }
    }

    fn at(&self, name: &str) -> usize {
        self.tensors.iter().position(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn words(&self, name: &str) -> Vec<u32> {
        bytemuck::pod_collect_to_vec(&self.bytes[self.at(name)])
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        self.words(name).into_iter().map(|word| f32::from_bits(word).into()).collect()
    }

    fn set(&mut self, name: &str, bytes: &[u8]) {
        let at = self.at(name);
        self.bytes[at] = bytes.to_vec();
    }
}

impl StateSink for State {
    fn offer(&mut self, tile: Tile) -> Result<Option<Tile>> {
        self.put(tile).map(|()| None)
    }

    fn put(&mut self, tile: Tile) -> Result<()> {
        self.bytes[tile.tensor].extend(tile.bytes);
        Ok(())
    }
}

impl StateSource for State {
    fn read(&mut self, tensor: usize, first: u64, bytes: &mut [u8]) -> Result<()> {
        let begin = (first * self.tensors[tensor].row_bytes()) as usize;
        bytes.copy_from_slice(&self.bytes[tensor][begin..][..bytes.len()]);
        Ok(())
    }
}
