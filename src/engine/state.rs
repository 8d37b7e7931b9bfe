//! All that a training run has on the device, as tensors that do not depend on the device or its shards, and their way
//! out and in again, a tile at a time.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::thread::sleep;
use std::time::Duration;

use super::apply::{Moments, Optimizer};
use super::parameters::Parameters;
use super::planes::Plane;
use super::recipe::MomentPrecision;
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Pending};
use crate::sae::SaeConfig;
use crate::sae::description::{Inference, Role, Shape, TensorSpec};
use crate::storage::Dtype;

/// A tensor of the training state. Rows are features, but those of the decoder bias, of which there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// As in a checkpoint.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// `[rows, columns]`.
    pub shape: [usize; 2],
}

impl StateTensor {
    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        (self.shape[1] * self.dtype.bytes()) as u64
    }
}

/// The name of the counters of how often each feature fired.
pub const TIMES_FIRED: &str = "times_fired";

/// The name of the threshold's sum and weight ([`super::threshold::mean`]).
pub const RUNNING_THRESHOLD: &str = "running_threshold";

/// The state of training an SAE: of each tensor its values and Adam's moments, NAME, NAME.m and NAME.v; then when each
/// feature last fired and how often, and the threshold of a whole batch's ranking. Decoder norms follow from the
/// weights, to the bit.
pub fn state_tensors(config: &SaeConfig, moments: MomentPrecision) -> Vec<StateTensor> {
    let tensors = config.tensors();
    let of_tensors = tensors.iter().flat_map(|tensor| {
        let moment = match (tensor.shape, moments) {
            (Shape::FeatureRows, MomentPrecision::Bf16 { .. }) => Dtype::BF16,
            _ => Dtype::F32,
        };
        [("", Dtype::F32), (".m", moment), (".v", moment)].map(|(suffix, dtype)| StateTensor {
            name: format!("{}{suffix}", tensor.name),
            dtype,
            shape: tensor.shape(config),
        })
    });
    let counters = ["last_fired", TIMES_FIRED].map(|name| StateTensor {
        name: name.into(),
        dtype: Dtype::U32,
        shape: [config.features, 1],
    });
    let threshold = (config.describe().inference == Inference::Threshold).then(|| StateTensor {
        name: RUNNING_THRESHOLD.into(),
        dtype: Dtype::F32,
        shape: [1, 2],
    });
    of_tensors.chain(counters).chain(threshold).collect()
}

/// Some rows of a tensor of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// Index into [`state_tensors`].
    pub tensor: usize,
    /// Its first row.
    pub first: u64,
    /// Whole rows, without padding.
    pub bytes: Vec<u8>,
}

/// Where the state goes. The tiles of a tensor come in ascending order.
pub trait StateSink {
    /// Takes a tile, or gives it back if it had to wait.
    ///
    /// # Errors
    /// Its own.
    fn offer(&mut self, tile: Tile) -> Result<Option<Tile>>;

    /// Takes a tile, and waits if it must.
    ///
    /// # Errors
    /// Its own.
    fn put(&mut self, tile: Tile) -> Result<()>;
}

/// Where a state comes from. The tiles of a tensor are asked for in ascending order.
pub trait StateSource {
    /// Fills `bytes` with whole rows of a tensor, an index into [`state_tensors`], from its row `first` on.
    ///
    /// # Errors
    /// Its own.
    fn read(&mut self, tensor: usize, first: u64, bytes: &mut [u8]) -> Result<()>;
}

/// The rows of a tensor that one buffer holds.
pub(super) struct StatePart {
    /// Index into [`state_tensors`].
    pub tensor: usize,
    /// Its first row.
    pub first: u64,
    pub rows: u64,
    pub buffer: Buffer,
    /// Where the rows begin in the buffer, in bytes.
    pub offset: u64,
    /// Bytes of a row in the buffer, its padding included.
    pub stored_row_bytes: u64,
}

/// The state by the marks before which it must be copied: each shard's, then that of the model's own tensors.
pub(super) fn state_parts(
    parameters: &Parameters,
    optimizer: &Optimizer,
    precision: MomentPrecision,
) -> Vec<Vec<StatePart>> {
    let tensors: Vec<(usize, TensorSpec)> = (0..).step_by(3).zip(parameters.config().tensors()).collect();
    let counters = 3 * tensors.len();
    let row = u64::from(parameters.quads()) * 16;
    let moment_row = row / 4 * precision.bytes();
    let of_features = |tensor: &&(usize, TensorSpec)| tensor.1.shape != Shape::ModelRow;
    let mut stages = Vec::new();
    for (shard, moments) in parameters.shards.iter().zip(&optimizer.moments) {
        let (first, rows) = (shard.first.into(), shard.count.into());
        let part = |tensor: usize, buffer: &Buffer, offset: u64, stored_row_bytes: u64| StatePart {
            tensor,
            first,
            rows,
            buffer: buffer.clone(),
            offset,
            stored_row_bytes,
        };
        let plane = |tensor: usize, plane: Plane| {
            part(tensor, &shard.scalars, parameters.planes().bytes(plane, shard.count).start, 4)
        };
        let scalar = |at: usize, planes: [Plane; 3]| [0, 1, 2].map(|offset| plane(at + offset, planes[offset]));
        let matrix = |at: usize, weights: &Buffer, Moments { m, v }: &Moments| {
            [part(at, weights, 0, row), part(at + 1, m, 0, moment_row), part(at + 2, v, 0, moment_row)]
        };
        let mut parts: Vec<StatePart> = tensors
            .iter()
            .filter(of_features)
            .flat_map(|&(at, tensor)| match tensor.role {
                Role::Encoder => matrix(at, &shard.w_enc, &moments.w_enc),
                Role::Decoder => matrix(at, &shard.w_dec, &moments.w_dec),
                Role::Own(number) => {
                    let moments = [Plane::OwnFirstMoment(number), Plane::OwnSecondMoment(number)];
                    scalar(at, [Plane::Own(number), moments[0], moments[1]])
                }
                Role::EncoderBias | Role::OutputBias => {
                    scalar(at, [Plane::Bias, Plane::FirstMoment, Plane::SecondMoment])
                }
            })
            .collect();
        parts.extend([plane(counters, Plane::LastFired), plane(counters + 1, Plane::TimesFired)]);
        stages.push(parts);
    }
    let of_model = tensors.iter().filter(|tensor| !of_features(tensor)).flat_map(|&(at, _)| {
        let Moments { m, v } = &optimizer.b_dec;
        let buffers = [&parameters.b_dec, m, v];
        [0, 1, 2].map(|offset| StatePart {
            tensor: at + offset,
            first: 0,
            rows: 1,
            buffer: buffers[offset].clone(),
            offset: 0,
            stored_row_bytes: row,
        })
    });
    let threshold = optimizer.threshold.iter().map(|threshold| StatePart {
        tensor: counters + 2,
        first: 0,
        rows: 1,
        buffer: threshold.running.clone(),
        offset: 0,
        stored_row_bytes: threshold.running.bytes(),
    });
    stages.push(of_model.chain(threshold).collect());
    stages
}

/// The largest tile.
const TILE_BYTES: u64 = 8 << 20;

/// Tiles on their way from the device at once.
const TILES_AHEAD: usize = 4;

/// How long to wait when neither the device nor the sink is ready.
const IDLE: Duration = Duration::from_micros(200);

/// A tile before it is read.
pub(super) struct Place<'a> {
    part: &'a StatePart,
    /// First row, counted in the part.
    first: u64,
    rows: u64,
    row_bytes: u64,
}

impl StatePart {
    /// Rows of a tile.
    fn tile_rows(&self) -> u64 {
        (TILE_BYTES / self.stored_row_bytes).clamp(1, self.rows)
    }
}

/// Makes room for the tiles of a copy.
pub(super) fn reserve_staging(gpu: &Gpu, stages: &[Vec<StatePart>]) -> Result<()> {
    let tiles = stages.iter().flatten().map(|part| part.tile_rows() * part.stored_row_bytes);
    gpu.reserve_staging(tiles.max().unwrap_or(0), TILES_AHEAD)
}

fn places<'a>(tensors: &'a [StateTensor], parts: &'a [StatePart]) -> impl Iterator<Item = Place<'a>> {
    parts.iter().flat_map(|part| {
        let rows = part.tile_rows();
        let row_bytes = tensors[part.tensor].row_bytes();
        let starts = (0..part.rows).step_by(rows as usize);
        starts.map(move |first| Place { part, first, rows: rows.min(part.rows - first), row_bytes })
    })
}

impl Place<'_> {
    fn request(&self, gpu: &Gpu) -> Result<Pending> {
        let StatePart { buffer, offset, stored_row_bytes, .. } = self.part;
        let byte = |row: u64| offset + row * stored_row_bytes;
        gpu.read_range(buffer, byte(self.first)..byte(self.first + self.rows))
    }

    fn tile(&self, mut bytes: Vec<u8>) -> Tile {
        let (row, stored) = (self.row_bytes as usize, self.part.stored_row_bytes as usize);
        if row != stored {
            for at in 0..self.rows as usize {
                bytes.copy_within(at * stored..at * stored + row, at * row);
            }
            bytes.truncate(self.rows as usize * row);
        }
        Tile { tensor: self.part.tensor, first: self.part.first + self.first, bytes }
    }
}

/// A copy of the state under way: tiles are requested from the device, fetched, and handed to a sink.
pub(super) struct StateCopy<'a, P: Iterator<Item = (usize, Place<'a>)>> {
    gpu: &'a Gpu,
    sink: &'a mut dyn StateSink,
    /// Not requested yet, each with the stage whose kernels will write over it.
    places: Peekable<P>,
    requested: VecDeque<(Place<'a>, Pending)>,
    /// Fetched, but the sink had no room for it.
    fetched: Option<Tile>,
}

/// A copy of the parts of each stage.
pub(super) fn copy<'a>(
    gpu: &'a Gpu,
    sink: &'a mut dyn StateSink,
    tensors: &'a [StateTensor],
    stages: &'a [Vec<StatePart>],
) -> StateCopy<'a, impl Iterator<Item = (usize, Place<'a>)>> {
    let stages = stages.iter().enumerate();
    let places = stages.flat_map(|(stage, parts)| places(tensors, parts).map(move |place| (stage, place)));
    StateCopy { gpu, sink, places: places.peekable(), requested: VecDeque::new(), fetched: None }
}

impl<'a, P: Iterator<Item = (usize, Place<'a>)>> StateCopy<'a, P> {
    /// Does what can be done without waiting.
    pub fn advance(&mut self) -> Result<()> {
        if let Some(tile) = self.fetched.take() {
            self.fetched = self.sink.offer(tile)?;
        }
        let is_ready = match self.requested.front() {
            Some((_, pending)) => self.fetched.is_none() && pending.is_ready(self.gpu)?,
            None => false,
        };
        if is_ready {
            self.fetched = self.fetch()?;
        }
        if self.requested.len() < TILES_AHEAD {
            return self.request_next();
        }
        if self.fetched.is_some() || !is_ready {
            sleep(IDLE);
        }
        Ok(())
    }

    /// Requests everything up to a stage, handing on what was requested before to make room.
    pub fn reach(&mut self, stage: usize) -> Result<()> {
        while self.places.peek().is_some_and(|(next, _)| *next <= stage) {
            if self.requested.len() >= TILES_AHEAD {
                self.hand_on()?;
            }
            self.request_next()?;
        }
        Ok(())
    }

    /// Hands on whatever is left.
    pub fn finish(mut self) -> Result<()> {
        self.reach(usize::MAX)?;
        while self.fetched.is_some() || !self.requested.is_empty() {
            self.hand_on()?;
        }
        Ok(())
    }

    fn request_next(&mut self) -> Result<()> {
        if let Some((_, place)) = self.places.next() {
            let pending = place.request(self.gpu)?;
            self.requested.push_back((place, pending));
        }
        Ok(())
    }

    /// The oldest request's tile, waiting for it.
    fn fetch(&mut self) -> Result<Option<Tile>> {
        let Some((place, pending)) = self.requested.pop_front() else { return Ok(None) };
        Ok(Some(place.tile(pending.wait(self.gpu)?.get(0))))
    }

    fn hand_on(&mut self) -> Result<()> {
        let tile = match self.fetched.take() {
            Some(tile) => Some(tile),
            None => self.fetch()?,
        };
        tile.map_or(Ok(()), |tile| self.sink.put(tile))
    }
}

/// Writes the state to the device.
pub(super) fn restore(
    gpu: &Gpu,
    source: &mut dyn StateSource,
    tensors: &[StateTensor],
    stages: &[Vec<StatePart>],
) -> Result<()> {
    let (mut rows, mut stored) = (Vec::new(), Vec::new());
    for place in stages.iter().flat_map(|parts| places(tensors, parts)) {
        let StatePart { tensor, buffer, offset, stored_row_bytes, .. } = place.part;
        rows.resize((place.rows * place.row_bytes) as usize, 0);
        source.read(*tensor, place.part.first + place.first, &mut rows)?;
        stored.clear();
        stored.resize((place.rows * stored_row_bytes) as usize, 0);
        let targets = stored.chunks_exact_mut(*stored_row_bytes as usize);
        for (row, target) in rows.chunks_exact(place.row_bytes as usize).zip(targets) {
            target[..row.len()].copy_from_slice(row);
        }
        gpu.upload(buffer, offset + place.first * stored_row_bytes, &stored);
        // Otherwise the copies on their way would pile up to the size of the state.
        gpu.wait_for_uploads()?;
    }
    Ok(())
}
