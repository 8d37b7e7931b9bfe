//! What comes of a step: what is read after it, and what a raised guard says.

use super::TrainingStep;
use super::follow::AUDIT_STEPS;
use crate::engine::entry;
use crate::error::{Divergence, Error, Result};
use crate::gpu::shaders::{Clip as ClipResult, Guard, Step, center};
use crate::gpu::{Buffer, Gpu, Pending};

/// Results of a step, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResults {
    /// Squared error of each row.
    pub squared_errors: Vec<f32>,
    /// Σ|x - mean of the batch|² over its rows, in f64 from one f32 per row.
    pub variance: f64,
    /// The losses other than that of the whole reconstruction by name, weighted as they are in the loss.
    pub losses: Vec<(String, f64)>,
    /// Active features of all rows.
    pub active: f64,
    /// Norm of the whole gradient, before clipping.
    pub gradient_norm: f32,
    /// Features that have not fired for the recipe's window.
    pub dead: u32,
    /// Rows that screening could not prove exact, and that were selected again in f32.
    pub uncertain_rows: u32,
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was taken.
    Done(StepResults),
    /// Entries did not fit their list: neither it nor any step after it changed the model, and all are to be taken
    /// again ([`TrainingStep::take_again`]).
    ListFull,
    /// The same after a step by slabs whose entries would have fitted their list.
    ListFits,
    /// The same after a step in which screening was not sure of more rows than there is room to select again
    /// ([`TrainingStep::set_screen`]).
    TooManyUncertain,
    /// The same after a step with more dead features than there was room for.
    TooManyDead,
}

/// The buffers that are read after a step.
pub(super) struct Reported<'a> {
    rows: &'a Buffer,
    clip: &'a Buffer,
    dead: &'a Buffer,
    guard: &'a Buffer,
    uncertain: &'a Buffer,
    distances: &'a Buffer,
    /// The statistics of the rows of narrower levels.
    inner: Vec<&'a Buffer>,
    /// The same of the gate's reconstruction.
    gate: Option<&'a Buffer>,
    auxiliary: Option<[&'a Buffer; 3]>,
    /// The losses of chunks, and the step's constants.
    penalty: Option<[&'a Buffer; 2]>,
}

impl<'a> Reported<'a> {
    /// [`ALWAYS`], then the others in their order.
    pub fn buffers(&self) -> Vec<&'a Buffer> {
        let always: [_; ALWAYS] = [self.rows, self.clip, self.dead, self.guard, self.uncertain, self.distances];
        let fields = self.inner.iter().copied().chain(self.gate).chain(self.auxiliary.into_iter().flatten());
        always.into_iter().chain(fields).chain(self.penalty.into_iter().flatten()).collect()
    }
}

/// Buffers that are read after the step of any architecture.
const ALWAYS: usize = 6;

impl TrainingStep {
    pub(super) fn reported(&self) -> Reported<'_> {
        let Self { forward, variance, backward, optimizer, dead, .. } = self;
        Reported {
            rows: &forward.row_statistics,
            clip: &backward.clip,
            dead: &optimizer.dead,
            guard: &forward.guard,
            uncertain: forward.selector().uncertain(),
            distances: &variance.distances,
            inner: forward.inner.iter().map(|inner| &inner.row_statistics).collect(),
            gate: forward.gate.as_ref().map(|gate| &gate.row_statistics),
            auxiliary: dead.as_ref().map(|dead| [&dead.row_statistics, &dead.factor, &dead.found]),
            penalty: self.penalty().map(|_| [&backward.chunk_losses, &optimizer.step]),
        }
    }

    /// The name of the penalty on active features, if there is one.
    fn penalty(&self) -> Option<&'static str> {
        self.parameters.description().lists[0].entry.penalty()
    }

    /// Waits for a step's results.
    ///
    /// # Errors
    /// [`Error::Diverged`] if something was not finite: neither this step nor any after it changed the parameters,
    /// unless it was their own update ([`Divergence::ParameterNotFinite`]).
    pub fn results(&self, gpu: &Gpu, pending: Pending) -> Result<Outcome> {
        let results = pending.wait(gpu)?;
        let guard: Guard = results.get(3)[0];
        for (what, outcome) in [
            (center::LIST_FULL, Outcome::ListFull),
            (center::LIST_FITS, Outcome::ListFits),
            (center::TOO_MANY_UNCERTAIN, Outcome::TooManyUncertain),
            (center::TOO_MANY_DEAD, Outcome::TooManyDead),
        ] {
            if is_raised(guard, what) {
                return Ok(outcome);
            }
        }
        check_guard(guard)?;
        let clip: ClipResult = results.get(1)[0];
        let rows: Vec<[f32; 4]> = results.get(0);
        let rows = &rows[..self.recipe.batch];
        let mean_of = |place: usize| {
            let rows: Vec<[f32; 4]> = results.get(place);
            rows[..self.recipe.batch].iter().map(|row| f64::from(row[0])).sum::<f64>() / self.recipe.batch as f64
        };
        let description = self.parameters.description();
        let mut place = ALWAYS;
        let mut losses = Vec::new();
        let inner = self.forward.inner.len();
        for (_, field) in description.fields.iter().enumerate().filter(|(number, _)| *number != inner) {
            if field.list == 0 {
                losses.push((field.name.clone(), field.weight * mean_of(place)));
                place += 1;
            } else {
                // Where none is dead the device computed nothing.
                let found = results.get::<u32>(place + 2)[0] > 0;
                let factor = || f64::from(results.get::<f32>(place + 1)[0]);
                losses.push((field.name.clone(), if found { field.weight * factor() * mean_of(place) } else { 0.0 }));
                place += 3;
            }
        }
        if let Some(name) = self.penalty() {
            let chunks: Vec<[f32; 2]> = results.get(place);
            let sum = |which: usize| chunks.iter().map(|losses| f64::from(losses[which])).sum::<f64>();
            let step: Step = results.get(place + 1)[0];
            let of_row = |row: &[f32; 4]| entry::row_penalty(description.lists[0].entry, row[3].into());
            let of_rows: Option<f64> = rows.iter().map(of_row).sum();
            let of_rows = of_rows.map(|sum| f64::from(step.sparsity) * sum / rows.len() as f64);
            losses.push((name.into(), of_rows.unwrap_or_else(|| sum(0))));
            losses.extend(description.closed_form.map(|_| ("pre_act_loss".into(), sum(1))));
        }
        Ok(Outcome::Done(StepResults {
            squared_errors: rows.iter().map(|row| row[0]).collect(),
            variance: results.get::<f32>(5)[..self.recipe.batch].iter().map(|&distance| f64::from(distance)).sum(),
            losses,
            active: rows.iter().map(|row| f64::from(row[3])).sum(),
            gradient_norm: clip.norm,
            dead: results.get(2)[0],
            uncertain_rows: results.get(4)[0],
        }))
    }
}

/// Whether entries did not fit their list.
pub fn is_list_full(guard: Guard) -> bool {
    is_raised(guard, center::LIST_FULL)
}

/// Whether this voids the step. What follows from it need not be finite; the rows do not follow from it.
fn is_raised(guard: Guard, what: u32) -> bool {
    guard.status & what != 0 && guard.status & center::INPUT_NOT_FINITE == 0
}

/// Fails if a guard is raised.
///
/// # Errors
/// [`Error::Diverged`], or [`Error::Device`] if a list is full or screening was caught to be wrong.
pub fn check_guard(guard: Guard) -> Result<()> {
    use center::{GRADIENT_NOT_FINITE, INPUT_NOT_FINITE, LOSS_NOT_FINITE};
    // The complement of the row is that of shaders/shared/guard.wgsl.
    let row = Some(u64::from(!guard.row));
    let raised = |bit: u32| guard.status & bit != 0;
    if is_list_full(guard) {
        return Err(Error::Device(
            "the active features of these rows do not fit their list: take fewer rows at a time".into(),
        ));
    }
    let (what, row) = match guard.status {
        0 => return Ok(()),
        center::SCREENED_WRONGLY => {
            return Err(Error::Device(format!(
                "f16 screening found other features than f32 in row {} of the batch: this device or its driver computes \
                 wrongly now and then. Of the last {AUDIT_STEPS} steps any may be wrong: resume from a checkpoint \
                 before them, with --screening f32",
                !guard.row
            )));
        }
        _ if raised(INPUT_NOT_FINITE) => (Divergence::InputNotFinite, row),
        _ if raised(LOSS_NOT_FINITE) => (Divergence::LossNotFinite, row),
        _ if raised(GRADIENT_NOT_FINITE) => (Divergence::GradientNotFinite, None),
        _ => (Divergence::ParameterNotFinite, None),
    };
    Err(Error::Diverged { step: None, row, file: None, what })
}
