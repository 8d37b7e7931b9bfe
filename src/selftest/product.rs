use super::check::{Check, Checker, FOLD};
use super::tensors::{POISON, Tensor, f64s, floats, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::product::{Params, main};

/// Which of the dimensions of the operands is the summed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub left_deep: bool,
    pub right_deep: bool,
    pub adds: bool,
}

/// Those that a step takes.
pub const SHAPES: [Shape; 4] = [
    Shape { left_deep: true, right_deep: true, adds: false },
    Shape { left_deep: true, right_deep: false, adds: true },
    Shape { left_deep: false, right_deep: false, adds: false },
    Shape { left_deep: false, right_deep: false, adds: true },
];

pub struct Case {
    pub shape: Shape,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// `[rows, depth]`.
    pub left: Vec<f32>,
    /// `[columns, depth]`.
    pub right: Vec<f32>,
    /// `[rows, columns]`.
    pub before: Vec<f32>,
}

/// Rows of the right operand before its first.
const SKIPPED: usize = 3;

/// Vectors of a stored row of so many values, and one that nothing may be read from.
fn line(values: usize) -> usize {
    values.div_ceil(4) + 1
}

/// Rows as they are stored: zeros up to a whole vector, then poison.
fn stored(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let row = |row| {
        let value = &value;
        (0..4 * line(columns)).map(move |column| match column {
            _ if column < columns => value(row, column),
            _ if column < columns.next_multiple_of(4) => 0.0,
            _ => f32::from_bits(POISON),
        })
    };
    (0..rows).flat_map(row).collect()
}

impl Case {
    pub fn new(shape: Shape, [rows, columns, depth]: [usize; 3]) -> Self {
        let [left, right] = [random(1, rows * depth), random(2, columns * depth)];
        Self { shape, rows, columns, depth, left, right, before: random(3, rows * columns) }
    }

    pub fn expected(&self) -> Vec<f64> {
        let Self { columns, depth, .. } = *self;
        let (left, right, before) = (f64s(&self.left), f64s(&self.right), f64s(&self.before));
        let product = |at: usize| {
            let [left, right] = [&left[at / columns * depth..][..depth], &right[at % columns * depth..][..depth]];
            left.iter().zip(right).map(|(left, right)| left * right).sum::<f64>()
        };
        let before = |at: usize| if self.shape.adds { before[at] } else { 0.0 };
        (0..self.rows * columns).map(|at| product(at) + before(at)).collect()
    }

    /// `[rows, columns]`.
    pub fn product(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        let Self { shape: Shape { left_deep, right_deep, adds }, rows, columns, depth, .. } = *self;
        let defines = [("LEFT_DEEP", left_deep.into()), ("RIGHT_DEEP", right_deep.into()), ("ADDS", u32::from(adds))];
        let pipeline = gpu.pipeline::<main::Kernel>(&defines)?;
        let operand = |values: &[f32], count: usize, deep: bool| match deep {
            true => (stored(count, depth, |row, at| values[row * depth + at]), line(depth)),
            false => (stored(depth, count, |at, row| values[row * depth + at]), line(count)),
        };
        let (left, left_line) = operand(&self.left, rows, left_deep);
        let (right, right_line) = operand(&self.right, columns, right_deep);
        let skipped = vec![f32::from_bits(POISON); SKIPPED * 4 * right_line];
        let (left, right) = (Tensor::new(gpu, &left)?, Tensor::new(gpu, &[skipped, right].concat())?);
        let product = Tensor::new(gpu, &stored(rows, columns, |row, column| self.before[row * columns + column]))?;
        let params = Params {
            rows: rows as u32,
            columns: columns as u32,
            depth: depth as u32,
            left_line: left_line as u32,
            right_line: right_line as u32,
            right_first: SKIPPED as u32,
            line: line(columns) as u32,
            one: 1.0,
        };
        submit(gpu, |recording| {
            let bindings = main::Bindings { left: &left, right: &right, product: &product, params };
            recording.run(&pipeline, bindings);
        })?;
        let words = product.read::<u32>()?;
        let rows = words.chunks_exact(4 * line(columns));
        Ok(rows.flat_map(|row| floats(&row[..columns])).collect())
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("product", FOLD);
    for shape in SHAPES {
        for sizes in [[1, 1, 1], [129, 65, 17], [5, 200, 48], [130, 7, 300]] {
            let case = Case::new(shape, sizes);
            values.close((shape, sizes), &case.product(checker.gpu)?, &case.expected());
        }
    }
    Ok(vec![values.done()])
}
