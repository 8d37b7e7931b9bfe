//! Several owners of whole chunks of a model, which merge their partial sums by the rules of docs/architecture.md, take
//! the step that one owner takes, to the bit.

use std::collections::HashMap;
use std::ops::Range;

use monosem::Result;
use monosem::data::RowsView;
use monosem::engine::field::Node;
use monosem::engine::parameters::{CHUNKS, Parameters, chunk_features};
use monosem::engine::planes::Planes;
use monosem::engine::select::{Screening, Tuning};
use monosem::engine::stage::{Exchange, World};
use monosem::engine::state::{StateSink, Tile, state_tensors};
use monosem::engine::step::{StepInput, TrainingStep};
use monosem::gpu::shaders::merge;
use monosem::gpu::{Buffer, Gpu, Pipeline, Recording};
use monosem::kernels::quads;
use monosem::sae::{SaeConfig, TopK};
use monosem::train::{Recipe, initialize};

use crate::kernels::gpu;

const BATCH: usize = 300;
const K: usize = 8;
const STEPS: usize = 2;

/// Every tensor of the state, whoever owns its rows.
#[derive(Default, PartialEq)]
struct Collected(HashMap<(usize, u64), Vec<u8>>);

impl StateSink for Collected {
    fn offer(&mut self, tile: Tile) -> Result<Option<Tile>> {
        self.put(tile)?;
        Ok(None)
    }

    fn put(&mut self, tile: Tile) -> Result<()> {
        let row_bytes = self.0.len();
        let before = self.0.insert((tile.tensor, tile.first), tile.bytes.clone());
        // Each owner has the model's own tensors, which must be the same.
        assert!(before.is_none_or(|before| before == tile.bytes), "tensor {} differs, tile {row_bytes}", tile.tensor);
        Ok(())
    }
}

impl Collected {
    /// The bytes of each tensor in order of its rows.
    fn tensors(&self) -> Vec<Vec<u8>> {
        let mut tiles: Vec<_> = self.0.iter().collect();
        tiles.sort_by_key(|(place, _)| **place);
        let mut tensors: Vec<Vec<u8>> = Vec::new();
        for ((tensor, _), bytes) in tiles {
            tensors.resize(tensors.len().max(tensor + 1), Vec::new());
            tensors[*tensor].extend(bytes);
        }
        tensors
    }
}

struct Model {
    config: SaeConfig,
    recipe: Recipe,
    batches: Vec<Vec<f32>>,
}

impl Model {
    fn new() -> Self {
        let topk = TopK { k: K, rescale_acts_by_decoder_norm: true, auxk: None };
        let config = SaeConfig { architecture: topk.into(), ..SaeConfig::top_k(24, 70_000, K) };
        let recipe = Recipe { clip: Some(0.5), ..Recipe::top_k(config.features, BATCH, 100) };
        let mut batches: Vec<_> =
            (0..STEPS as u64).map(|step| monosem::measure::synthetic_rows(BATCH, config.d_in, step)).collect();
        // Equal rows are ties that owners must break as one does.
        for batch in &mut batches {
            let (first, rest) = batch.split_at_mut(config.d_in);
            rest[..config.d_in].copy_from_slice(first);
        }
        Self { config, recipe, batches }
    }

    fn owner(&self, gpu: &Gpu, features: Range<u32>, world: World) -> TrainingStep {
        let planes = Planes::training(&self.config.describe());
        let parameters = Parameters::allocate_part(gpu, &self.config, planes, features).unwrap();
        let tuning = Tuning::estimated(gpu.description(), &self.config, BATCH, Screening::F32);
        let step = TrainingStep::new(gpu, parameters, self.recipe.clone(), tuning, world).unwrap();
        let first = &self.batches[0][..self.config.d_in * 16];
        step.fill(gpu, &initialize(&self.config, 5, first).unwrap()).unwrap();
        step
    }

    fn input(&self, step: usize) -> StepInput<'_> {
        StepInput { rows: RowsView::F32(&self.batches[step]), learning_rate: 1e-3 }
    }
}

/// What a step leaves besides the state: the sums of the decoded rows, and the gradient of b_dec.
fn left(gpu: &Gpu, step: &TrainingStep) -> [Vec<u32>; 2] {
    [&step.forward().field.sums, &step.backward().b_dec_gradient].map(|buffer| gpu.read(buffer).unwrap())
}

#[test]
fn owners_of_chunks_take_the_step_of_one_to_the_bit() {
    let (gpu, model) = (gpu(), Model::new());
    let features = model.config.features as u32;
    let mut solo = model.owner(gpu, 0..features, World::Solo);
    let mut expected = Vec::new();
    for step in 0..STEPS {
        let pending = solo.submit(gpu, model.input(step)).unwrap();
        solo.results(gpu, pending).unwrap();
        expected.push(left(gpu, &solo));
    }
    let mut state = Collected::default();
    solo.copy_state(gpu, &mut state).unwrap();
    let state = state.tensors();
    assert_eq!(state.len(), state_tensors(&model.config, model.recipe.moments).len());

    for owners in [2, 3, 8] {
        // Small bindings, so that an owner has several shards and chunks are cut by them.
        let small = gpu.with_max_binding_bytes(3 * 1024 * 16 * u64::from(quads(model.config.d_in)));
        let chunk = chunk_features(features);
        let cuts: Vec<u32> = (0..=owners).map(|owner| (owner * CHUNKS / owners * chunk).min(features)).collect();
        let shares = cuts.windows(2).map(|cut| cut[0]..cut[1]).filter(|share| !share.is_empty());
        let mut steps: Vec<_> = shares.map(|share| model.owner(&small, share, World::Shared)).collect();
        assert!(steps.len() > 1 && steps.iter().any(|step| step.parameters().shards.len() > 1));
        for (number, expected) in expected.iter().enumerate() {
            for step in &mut steps {
                step.begin(gpu, model.input(number)).unwrap();
            }
            for (stage, exchange) in steps[0].exchanges().enumerate().collect::<Vec<_>>() {
                steps.iter().try_for_each(|step| step.run_stage(gpu, stage)).unwrap();
                match exchange {
                    Exchange::Keys => exchange_keys(gpu, &steps),
                    Exchange::Sums => exchange_sums(gpu, &steps, model.config.d_in),
                    Exchange::Chunks => exchange_chunks(gpu, &steps),
                    other => panic!("TopK exchanges no {other:?}"),
                }
            }
            for step in &steps {
                let pending = step.end(gpu).unwrap();
                step.results(gpu, pending).unwrap();
                assert!(&left(gpu, step) == expected, "{owners} owners, step {number}");
            }
        }
        let mut shared = Collected::default();
        steps.iter().try_for_each(|step| step.copy_state(gpu, &mut shared)).unwrap();
        let names = state_tensors(&model.config, model.recipe.moments);
        for (tensor, (shared, solo)) in names.iter().zip(shared.tensors().iter().zip(&state)) {
            assert!(shared == solo, "{owners} owners: {} differs", tensor.name);
        }
    }
}

/// Unsigned numbers in the order of keys, -0.0 equal to 0.0.
fn order(key: u32) -> u32 {
    match key {
        0 | 0x8000_0000 => 0x8000_0000,
        _ if key >> 31 == 0 => key | 0x8000_0000,
        _ => !key,
    }
}

/// Each owner keeps of its own keys those among the k largest of all: larger first, then the lower feature.
fn exchange_keys(gpu: &Gpu, steps: &[TrainingStep]) {
    let lists: Vec<Vec<[u32; 4]>> = steps.iter().map(|step| gpu.read(&step.forward().entries.list).unwrap()).collect();
    let mut kept = vec![(Vec::<[u32; 4]>::new(), vec![0_u32]); steps.len()];
    for row in 0..BATCH {
        let mut all: Vec<_> = lists.iter().flat_map(|list| &list[row * K..(row + 1) * K]).collect();
        all.sort_by_key(|[feature, _, _, key]| (!order(*key), *feature));
        all.truncate(K);
        for (list, (entries, starts)) in lists.iter().zip(&mut kept) {
            entries.extend(list[row * K..(row + 1) * K].iter().filter(|entry| all.contains(entry)));
            starts.push(entries.len() as u32);
        }
    }
    for (step, (entries, starts)) in steps.iter().zip(&kept) {
        let target = &step.forward().entries;
        gpu.upload(&target.list, 0, entries);
        gpu.upload(&target.starts[0], 0, starts);
        gpu.upload(&target.counts, 0, &[entries.len() as u32, 0]);
    }
}

/// Everybody gets the sums of the root, of which each owner has those of its nodes.
fn exchange_sums(gpu: &Gpu, steps: &[TrainingStep], d: usize) {
    let merge: Pipeline<merge::main::Kernel> = gpu.pipeline(&[]).unwrap();
    let count = BATCH as u32 * quads(d);
    let mut nodes: HashMap<(u32, u32), Buffer> = HashMap::new();
    for Node { chunk, level, sums } in steps.iter().flat_map(|step| &step.forward().field.nodes) {
        nodes.insert((*chunk, *level), sums.clone());
    }
    let mut recording = Recording::default();
    let root = merged(gpu, &mut recording, &merge, &nodes, (0, CHUNKS.ilog2()), count);
    for step in steps {
        recording.copy(&root, &step.forward().field.sums);
    }
    gpu.submit(&gpu.program(recording).unwrap()).unwrap();
}

/// The sums of a node (first chunk, level), from those of its halves unless somebody has it.
fn merged(
    gpu: &Gpu,
    recording: &mut Recording,
    kernel: &Pipeline<merge::main::Kernel>,
    nodes: &HashMap<(u32, u32), Buffer>,
    (chunk, level): (u32, u32),
    count: u32,
) -> Buffer {
    if let Some(sums) = nodes.get(&(chunk, level)) {
        return sums.clone();
    }
    let half = 1 << (level - 1);
    let left = merged(gpu, recording, kernel, nodes, (chunk, level - 1), count);
    let right = merged(gpu, recording, kernel, nodes, (chunk + half, level - 1), count);
    let parent = gpu.buffer("merged sums", 4 * u64::from(count)).unwrap();
    let params = merge::Params { count, one: 1.0 };
    recording.run(kernel, merge::main::Bindings { left: &left, right: &right, parent: &parent, params });
    parent
}

/// Everybody gets the sums of all chunks, of which each owner has its own.
fn exchange_chunks(gpu: &Gpu, steps: &[TrainingStep]) {
    let buffers = |step: &TrainingStep| [step.backward().chunk_sums.clone(), step.backward().chunk_squares.clone()];
    for which in 0..2 {
        let mut all: Vec<u32> = Vec::new();
        for step in steps {
            let own: Vec<u32> = gpu.read(&buffers(step)[which]).unwrap();
            all.resize(own.len(), 0);
            let width = own.len() / CHUNKS as usize;
            let chunk = step.parameters().chunk();
            let shards = &step.parameters().shards;
            let (first, last) = (&shards[0], &shards[shards.len() - 1]);
            let chunks = first.first / chunk..(last.first + last.count).div_ceil(chunk);
            let words = chunks.start as usize * width..chunks.end as usize * width;
            all[words.clone()].copy_from_slice(&own[words]);
        }
        steps.iter().for_each(|step| gpu.upload(&buffers(step)[which], 0, &all));
    }
}
