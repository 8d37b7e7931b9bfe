//! The forward pass: from rows to codes, reconstructions and losses.

use super::entries::{Entries, Pass};
use super::field::{Decoder, Field, Level, Listed};
use super::parameters::Parameters;
use super::rows::StoredRows;
use super::select::{self, ScreenMode, Selector, Tuning};
use crate::data::RowsView;
use crate::error::{Error, Result};
use crate::gpu::shaders::{center, count, residual};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot};
use crate::sae::InputNormalization;
use crate::sae::description::{Input, Value};

/// The sizes of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Rows, at most.
    pub rows: usize,
    /// Active features per row, at most, of each or on average; where that is not fixed it does not matter.
    pub k: usize,
}

/// What codes are found, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Active features per row, of each or on average, where that is fixed.
    pub k: u32,
    /// How far screening is gone by, where there is any.
    pub screen: ScreenMode,
    /// How many times the chunks of features are halved, whose dispatches would last too long otherwise.
    pub halvings: u32,
}

/// Buffers and kernels of a forward pass over at most `rows` rows.
pub struct Forward {
    /// The rows, `[rows, quads]` vec4.
    pub x: Buffer,
    /// The rows, normalised as the SAE does it, less `b_dec` or as they are; then their sum where the closed form needs
    /// it.
    pub centred: Buffer,
    /// Their codes, list 0.
    pub entries: Entries,
    /// Their reconstructions.
    pub field: Field,
    /// (squared error, x · x^, |x^|², L0) of each row.
    pub row_statistics: Buffer,
    /// Reconstructions from the first features alone that are trained too, by ascending width.
    pub inner: Vec<Inner>,
    /// The reconstruction from the gate's values that is trained too, if there is one.
    pub gate: Option<Gate>,
    /// (mean, standard deviation) of each row, where layer norm is done to it; otherwise nothing reads it.
    pub row_norms: Buffer,
    /// Raised by whatever is not finite.
    pub guard: Buffer,
    /// The kernel that decodes lists.
    pub decoder: Decoder,
    /// A factor of 1.
    unit_factor: Buffer,
    selector: Box<dyn Selector>,
    center: Center,
    /// Where the closed form needs the sum of the rows.
    total: Option<Pipeline<center::total::Kernel>>,
    count: Pipeline<count::main::Kernel>,
    residual: Pipeline<residual::main::Kernel>,
    inner_residual: Pipeline<residual::main::Kernel>,
    rows: u32,
    stored: StoredRows,
}

/// What centres the rows.
enum Center {
    Rows(Pipeline<center::main::Kernel>),
    LayerNorm(Pipeline<center::layer_norm::Kernel>),
}

/// A reconstruction from the first features alone (Matryoshka).
pub struct Inner {
    /// The feature that they end before.
    pub below: u32,
    /// Its gradient is that of this level and all wider ones.
    pub field: Field,
    /// (squared error, -, -, -) of each row.
    pub row_statistics: Buffer,
}

/// The reconstruction from the gate's values.
pub struct Gate {
    /// All of it.
    pub field: Field,
    /// (squared error, -, -, -) of each row.
    pub row_statistics: Buffer,
    decoder: Decoder,
    weight: f64,
}

/// Operands of a field's loss and gradient.
#[derive(Clone, Copy)]
struct Residual<'a> {
    rows: u32,
    field: &'a Field,
    statistics: &'a Buffer,
    weight: f64,
    /// The next wider level, whose gradient is added.
    wider: Option<&'a Field>,
}

impl Forward {
    /// Compiles the kernels, and makes the buffers.
    ///
    /// # Errors
    /// [`Error::Config`] if a batch of that many rows exceeds a binding, [`Error::OutOfMemory`] if it does not fit,
    /// [`Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, room: Room, tuning: Tuning, pass: Pass) -> Result<Self> {
        let Room { rows, k } = room;
        let widest = parameters.description().clone().with_k(k);
        let entries = Entries::new(gpu, &widest, parameters.features(), rows, pass)?;
        let rows = rows as u32;
        let batch = &gpu.for_part("batch");
        let vectors = || batch.buffer("a field of the batch", u64::from(rows) * u64::from(parameters.quads()) * 4);
        let x = vectors()?;
        let closed = pass == Pass::Training && parameters.description().closed_form.is_some();
        let inner = |below: usize| {
            Ok(Inner {
                below: below as u32,
                field: Field::new(gpu, parameters, rows)?,
                row_statistics: batch.buffer("row statistics", u64::from(rows) * 4)?,
            })
        };
        let inner: Vec<Inner> = match pass {
            Pass::Training => {
                let widths = parameters.description().levels().filter_map(|level| level.below);
                widths.map(inner).collect::<Result<_>>()?
            }
            Pass::Evaluation => Vec::new(),
        };
        let gate = parameters.description().gate().filter(|_| pass == Pass::Training).map(|gate| {
            Ok(Gate {
                field: Field::new(gpu, parameters, rows)?,
                row_statistics: batch.buffer("row statistics", u64::from(rows) * 4)?,
                decoder: Decoder::new(gpu, parameters, rows, 1, (Value::Gate, pass))?,
                weight: gate.weight,
            })
        });
        let gate = gate.transpose()?;
        let normalization = parameters.description().normalization;
        let has_layer_norm = !normalization.is_none();
        Ok(Self {
            stored: StoredRows::new(gpu, &x, rows, parameters.config().d_in)?,
            x,
            centred: batch
                .buffer("centred rows", (u64::from(rows) + u64::from(closed)) * u64::from(parameters.quads()) * 4)?,
            field: Field::new(gpu, parameters, rows)?,
            row_statistics: batch.buffer("row statistics", u64::from(rows) * 4)?,
            guard: batch.buffer("guard", 2)?,
            decoder: Decoder::new(gpu, parameters, rows, inner.len() + 1, (Value::Decoded, pass))?,
            gate,
            inner,
            unit_factor: batch.buffer_from("factor", &[1.0_f32])?,
            selector: select::selector(&gpu.for_part("selection"), parameters, &entries, rows, tuning, pass)?,
            center: match normalization {
                InputNormalization::None => Center::Rows(gpu.pipeline(&[])?),
                InputNormalization::LayerNorm => Center::LayerNorm(gpu.pipeline(&[])?),
            },
            row_norms: batch.buffer("row norms", if has_layer_norm { 2 * u64::from(rows) } else { 2 })?,
            total: if closed { Some(gpu.pipeline(&[])?) } else { None },
            count: gpu.pipeline(&[])?,
            residual: gpu.pipeline(&[
                ("ERROR", 0),
                ("LAYER_NORM", has_layer_norm.into()),
                ("EVALUATED", u32::from(pass == Pass::Evaluation)),
            ])?,
            inner_residual: gpu.pipeline(&[("ERROR", 0), ("SUFFIX", 1), ("LAYER_NORM", has_layer_norm.into())])?,
            entries,
            rows,
        })
    }

    /// The most rows that a pass can take.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The selector of the codes.
    pub fn selector(&self) -> &dyn Selector {
        &*self.selector
    }

    /// List 0.
    pub fn listed(&self) -> Listed<'_> {
        Listed { entries: &self.entries.list, starts: &self.entries.starts[0] }
    }

    /// Makes room for `batches` batches that are uploaded at once.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_uploads(&self, gpu: &Gpu, batches: usize) -> Result<()> {
        self.stored.reserve(gpu, &self.x, batches)
    }

    /// From now on multiplies the rows that are uploaded by a factor.
    ///
    /// # Errors
    /// [`Error::Shader`].
    pub fn scale_rows(&mut self, gpu: &Gpu, factor: f32) -> Result<()> {
        self.stored.scale(gpu, &self.x, self.rows, factor)
    }

    /// Uploads `[rows, d]` rows for what is submitted next.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device has failed.
    pub fn upload(&mut self, gpu: &Gpu, rows: RowsView<'_>, d: usize) -> Result<()> {
        self.stored.upload(gpu, rows, d, &self.x)
    }

    /// Normalises and centres the first `rows` rows.
    pub fn record_center(&self, recording: &mut Recording, parameters: &Parameters, rows: u32) {
        let (x, b_dec, centred, guard) = (&self.x, &parameters.b_dec, &self.centred, &self.guard);
        let params = center::Params {
            rows,
            quads: parameters.quads(),
            d: parameters.config().d_in as u32,
            subtract: u32::from(parameters.description().input == Input::Centred),
            one: 1.0,
        };
        match &self.center {
            Center::Rows(pipeline) => {
                recording.run(pipeline, center::main::Bindings { x, b_dec, centred, guard, params });
            }
            Center::LayerNorm(pipeline) => {
                let row_norms = &self.row_norms;
                recording.run(pipeline, center::layer_norm::Bindings { x, b_dec, centred, guard, row_norms, params });
            }
        }
        if let Some(total) = &self.total {
            recording.run(total, center::total::Bindings { centred, params });
        }
    }

    /// Finds the codes of the first `rows` rows.
    pub fn record_codes(&self, recording: &mut Recording, parameters: &Parameters, rows: u32, finding: Finding) {
        let (centred, entries, guard) = (&self.centred, &self.entries, &self.guard);
        let Finding { k, screen, halvings } = finding;
        let inputs = select::Inputs { parameters, centred, entries, guard, rows, k, screen, halvings };
        self.selector.record(recording, &inputs);
    }

    /// Counts and decodes the codes of the first `rows` rows.
    pub fn record_decode(&self, recording: &mut Recording, parameters: &Parameters, rows: u32) {
        let Listed { entries, starts } = self.listed();
        let params = count::Params { rows };
        recording.run(&self.count, count::main::Bindings { entries, starts, rows: &self.row_statistics, params });
        let inner = self.inner.iter().map(|inner| (inner.below, &inner.field));
        let levels = inner.chain([(parameters.features(), &self.field)]);
        let levels: Vec<Level<'_>> = levels.map(|(below, field)| Level { below, nodes: &field.nodes }).collect();
        self.decoder.record(recording, parameters, self.listed(), &levels, rows);
        if let Some(Gate { field, decoder, .. }) = &self.gate {
            let level = Level { below: parameters.features(), nodes: &field.nodes };
            decoder.record(recording, parameters, self.listed(), &[level], rows);
        }
    }

    /// Losses and gradients of the reconstructions; the gradient is that of the mean over `rows` rows.
    pub fn record_residual(&self, recording: &mut Recording, parameters: &Parameters, rows: u32) {
        let mut widths: Vec<(&Field, &Buffer)> =
            self.inner.iter().map(|inner| (&inner.field, &inner.row_statistics)).collect();
        widths.push((&self.field, &self.row_statistics));
        let weights: Vec<f64> = parameters.description().levels().map(|level| level.weight).collect();
        let weights = &weights[weights.len() - widths.len()..];
        let mut wider: Option<&Field> = None;
        for (&(field, statistics), &weight) in widths.iter().zip(weights).rev() {
            self.record_residual_of(recording, parameters, Residual { rows, field, statistics, weight, wider });
            wider = Some(field);
        }
        if let Some(Gate { field, row_statistics: statistics, weight, .. }) = &self.gate {
            let residual = Residual { rows, field, statistics, weight: *weight, wider: None };
            self.record_residual_of(recording, parameters, residual);
        }
    }

    fn record_residual_of(
        &self,
        recording: &mut Recording,
        parameters: &Parameters,
        Residual { rows, field, statistics, weight, wider }: Residual<'_>,
    ) {
        let bindings = residual::main::Bindings {
            x: &self.x,
            sums: &field.sums,
            b_dec: &parameters.b_dec,
            other: wider.map_or(&field.sums, |wider| &wider.gradient),
            row_norms: &self.row_norms,
            gradient: &field.gradient,
            rows: statistics,
            guard: &self.guard,
            factor: Slot::from(&self.unit_factor),
            params: residual::Params {
                rows,
                quads: parameters.quads(),
                d: parameters.config().d_in as u32,
                scale: weight as f32 * 2.0 / rows as f32,
                one: 1.0,
            },
        };
        recording.run(if wider.is_some() { &self.inner_residual } else { &self.residual }, bindings);
    }

    /// The gradient at what the features of a level decode to; the narrowest is level 0.
    pub fn gradient(&self, level: usize) -> &Buffer {
        &self.inner.get(level).map_or(&self.field, |inner| &inner.field).gradient
    }
}

/// Fails unless a batch has at most `most` whole rows of `d` values; gives their number.
///
/// # Errors
/// [`Error::Config`].
pub fn count_rows(values: usize, d: usize, most: u32) -> Result<u32> {
    let rows = values / d;
    if !values.is_multiple_of(d) || rows > most as usize {
        return Err(Error::Config(format!("{values} values are not at most {most} rows of {d}")));
    }
    Ok(rows as u32)
}
