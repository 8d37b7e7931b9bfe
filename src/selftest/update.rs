use super::check::{Check, Checker};
use super::lists::{Batch, Lists};
use super::tensors::cuts;
use super::trained::{Model, ROUNDING_SEED, Settings};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::reference;
use crate::rng::{Purpose, Rng};

/// Largest difference after three steps: a step of Adam is lr · m / sqrt(v), and lr is 1e-3 of the parameters, so even
/// gradients that cancelled to 1e-4 of their terms leave no more than this.
pub const PARAMETERS: f64 = 2e-6;

/// The same for the moments, which hold folds of up to 600 terms and their squares.
pub const MOMENTS: f64 = 1e-5;

/// What steps left on the device, and what they should have.
pub struct Updated {
    pub what: &'static str,
    pub actual: Vec<f32>,
    pub expected: Vec<f64>,
    pub tolerance: f64,
}

/// Three steps, from `rows` rows on fewer each time: what was active becomes inactive.
pub fn three_steps(
    gpu: &Gpu,
    lists: impl Fn(u64) -> Lists,
    d: usize,
    (coefficient, unit_norm): (f32, bool),
    cuts: &[usize],
) -> Result<Vec<Updated>> {
    let mut expected = Model::new(d, lists(1).n, unit_norm);
    let mut actual = expected.narrow();
    for step in 1..=3 {
        let batch = Batch::new(step, lists(step), d);
        let settings = Settings { coefficient, unit_norm, ..Settings::of_step(step) };
        actual.update(gpu, &batch, &settings, cuts)?;
        expected.update(&batch, &settings);
    }
    let mut updated = Vec::new();
    let mut add = |what, actual: &[f32], expected: &[f64], tolerance| {
        updated.push(Updated { what, actual: actual.to_vec(), expected: expected.to_vec(), tolerance });
    };
    for (names, actual, expected) in [
        (["w_enc", "w_enc m", "w_enc v"], &actual.w_enc, &expected.w_enc),
        (["w_dec", "w_dec m", "w_dec v"], &actual.w_dec, &expected.w_dec),
        (["b_enc", "b_enc m", "b_enc v"], &actual.b_enc, &expected.b_enc),
    ] {
        add(names[0], &actual.values, &expected.values, PARAMETERS);
        add(names[1], &actual.m, &expected.m, MOMENTS);
        add(names[2], &actual.v, &expected.v, MOMENTS);
    }
    add("norms", &actual.norms, &expected.norms, PARAMETERS);
    Ok(updated)
}

/// The lists of a step of [`three_steps`].
pub fn shrinking(rows: usize, n: usize, per_row: [usize; 2]) -> impl Fn(u64) -> Lists {
    move |step| Lists::random(step, rows.div_ceil(step as usize), n, per_row, true)
}

/// A step with moments in bf16 against one with moments in f32 whose results are then rounded on the host: how many
/// parameters, and how many moments, differ.
pub fn bf16_differences(gpu: &Gpu, model: &Model<f64>, lists: Lists, step: u64, cuts: &[usize]) -> Result<[usize; 2]> {
    let d = model.d;
    let batch = Batch::new(step, lists, d);
    let (mut wide, mut narrow) = (model.narrow(), model.narrow());
    let settings = Settings::of_step(step);
    wide.update(gpu, &batch, &settings, &[model.flawed.len()])?;
    narrow.update(gpu, &batch, &Settings { bf16: true, ..settings }, cuts)?;
    let (mut parameters, mut moments) = (0, 0);
    for (matrix, actual, expected) in [(0, &narrow.w_enc, &wide.w_enc), (1, &narrow.w_dec, &wide.w_dec)] {
        parameters += unequal(&actual.values, &expected.values);
        for (is_v, actual, expected) in [(false, &actual.m, &expected.m), (true, &actual.v, &expected.v)] {
            let round = |(at, &value): (usize, &f32)| {
                let place = Place { feature: at / d, column: at % d, matrix, is_v };
                reference::stochastic_bf16(value, rounding_noise(step, place)).to_f32()
            };
            moments += unequal(actual, &expected.iter().enumerate().map(round).collect::<Vec<_>>());
        }
    }
    Ok([parameters, moments])
}

fn unequal(actual: &[f32], expected: &[f32]) -> usize {
    assert_eq!(actual.len(), expected.len());
    actual.iter().zip(expected).filter(|(actual, expected)| actual.to_bits() != expected.to_bits()).count()
}

/// The place of a moment.
struct Place {
    feature: usize,
    column: usize,
    matrix: u32,
    is_v: bool,
}

/// Its 16 random bits.
fn rounding_noise(step: u64, Place { feature, column, matrix, is_v }: Place) -> u16 {
    let words = Rng::new(ROUNDING_SEED, Purpose::Rounding)
        .block(feature as u64 | (step << 32), (column / 4) as u32 * 2 + matrix);
    let word = words[2 * usize::from(is_v) + column % 4 / 2];
    (word >> (16 * (column as u32 % 2))) as u16
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut parameters = checker.compare("update.parameters", PARAMETERS);
    let mut moments = checker.compare("update.moments", MOMENTS);
    for (rows, d, n, per_row, coefficient, unit_norm) in [
        (1, 1, 1, [1, 0], 1.0, false),
        (257, 128, 61, [3, 2], 0.125, true),
        (300, 33, 1100, [4, 0], 1.0, true),
        (9, 800, 40, [2, 3], 0.125, false),
    ] {
        for cuts in cuts(n) {
            let lists = shrinking(rows, n, per_row);
            for updated in three_steps(checker.gpu, lists, d, (coefficient, unit_norm), &cuts)? {
                let check = if updated.tolerance == PARAMETERS { &mut parameters } else { &mut moments };
                check.close((updated.what, rows, d, n, unit_norm, &cuts), &updated.actual, &updated.expected);
            }
        }
    }
    let mut rounding = checker.compare("update.rounding", 0.0);
    for (d, n) in [(1, 1), (33, 1100), (130, 61)] {
        for cuts in cuts(n) {
            let lists = Lists::random(7, 50, n, [n.min(3), n.min(2)], true);
            let differences = bf16_differences(checker.gpu, &Model::with_moments(d, n), lists, 7, &cuts)?;
            rounding.equal((d, n, &cuts), &differences, &[0, 0]);
        }
    }
    Ok(vec![parameters.done(), moments.done(), rounding.done()])
}
