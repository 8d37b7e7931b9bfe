use monosem::gpu::shaders::residual::{Params, main::Bindings};
use monosem::kernels::{Residual, quads};
use monosem::reference;

use super::{
    AT_REST, ELEMENTWISE, FOLD, HostCodes, Tensor, assert_close, bits, coarse, deterministic, f64s, gpu, pad, random,
    rule_r, run, stored, unpad,
};

const LOSS_NOT_FINITE: u32 = 2;

struct Outcome {
    gradient: Vec<f32>,
    /// Squared error, x · x^, |x^|², active features, each `[rows]`.
    statistics: [Vec<f32>; 4],
    guard: Vec<u32>,
}

fn residual(kernel: &Residual, x: &[f32], x_hat: &[f32], values: &[f32], d: usize, batch: usize) -> Outcome {
    let rows = x.len() / d;
    let k = values.len() / rows.max(1);
    let (x, reconstruction, values) = (Tensor::new(&pad(x, d)), Tensor::new(&pad(x_hat, d)), Tensor::new(values));
    let (gradient, row_statistics) = (Tensor::poisoned(rows * stored(d)), Tensor::poisoned(rows * 4));
    let guard = Tensor::new(&AT_REST);
    let params = Params { rows: rows as u32, quads: quads(d), k: k as u32, scale: 2.0 / batch as f32 };
    run(|recording| {
        let bindings = Bindings {
            x: &x,
            reconstruction: &reconstruction,
            values: &values,
            gradient: &gradient,
            row_statistics: &row_statistics,
            guard: &guard,
            params,
        };
        kernel.record(recording, bindings);
    });
    let statistics: Vec<f32> = row_statistics.read();
    let statistics = [0, 1, 2, 3].map(|which| statistics.iter().copied().skip(which).step_by(4).collect());
    Outcome { gradient: unpad(&gradient.read::<f32>(), d), statistics, guard: guard.read() }
}

#[test]
fn every_size_matches_the_reference() {
    let kernel = Residual::new(gpu()).unwrap();
    // The last has more pairs of rows than one dimension of a dispatch has groups.
    for (rows, d, k) in
        [(0, 3, 1), (1, 1, 1), (2, 127, 31), (3, 128, 32), (5, 129, 33), (65, 768, 100), (2 * 65_535 + 1, 5, 1)]
    {
        let (x, x_hat) = (random(1, rows * d), random(2, rows * d));
        let codes = HostCodes::random(3, rows, 200, k, false);
        let batch = 3 * rows.max(1);
        let outcome = residual(&kernel, &x, &x_hat, &codes.values, d, batch);
        let expected = reference::residual(&f64s(&x_hat), &f64s(&x), d, batch);
        let active = codes.values.chunks_exact(k).map(|row| row.iter().filter(|value| **value > 0.0).count() as f64);
        let [squared_error, dot, squared_norm, count] = &outcome.statistics;
        let name = |what| format!("residual {what} {rows} x {d}");
        assert_close(&name("gradient"), &outcome.gradient, &expected.gradient, ELEMENTWISE);
        assert_close(&name("squared error"), squared_error, &expected.squared_error, FOLD);
        assert_close(&name("dot"), dot, &expected.dot, FOLD);
        assert_close(&name("squared norm"), squared_norm, &expected.squared_norm, FOLD);
        assert_close(&name("active"), count, &active.collect::<Vec<_>>(), 0.0);
        assert_eq!(outcome.guard, AT_REST);
    }
}

#[test]
fn the_same_bits_every_time() {
    let kernel = Residual::new(gpu()).unwrap();
    let (x, x_hat, values) = (random(1, 40 * 300), random(2, 40 * 300), random(3, 40 * 50));
    deterministic(|| {
        let outcome = residual(&kernel, &x, &x_hat, &values, 300, 40);
        bits(&[outcome.gradient, outcome.statistics.concat()].concat())
    });
}

#[test]
fn a_loss_that_is_not_finite_raises_the_guard_with_its_lowest_row() {
    let kernel = Residual::new(gpu()).unwrap();
    let (rows, d) = (50, 33);
    // f32::MAX squared overflows.
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for in_x in [false, true] {
            let (mut x, mut x_hat) = (random(1, rows * d), random(2, rows * d));
            for place in [40 * d, 13 * d + 32, 14 * d] {
                if in_x { x[place] = poison } else { x_hat[place] = poison }
            }
            let outcome = residual(&kernel, &x, &x_hat, &vec![1.0; rows], d, rows);
            assert_eq!(outcome.guard, [LOSS_NOT_FINITE, !13], "{poison}, in x: {in_x}");
        }
    }
}

#[test]
fn sums_are_folded_by_rule_r() {
    let kernel = Residual::new(gpu()).unwrap();
    let (rows, d) = (3, 700);
    let (x, x_hat) = (coarse(1, rows * d), coarse(2, rows * d));
    let [squared_error, dot, squared_norm, _] = residual(&kernel, &x, &x_hat, &[1.0; 3], d, rows).statistics;
    for (row, (x, x_hat)) in x.chunks(d).zip(x_hat.chunks(d)).enumerate() {
        let error: Vec<f32> = x_hat.iter().zip(x).map(|(x_hat, x)| x_hat - x).collect();
        let expected = [rule_r(&error, &error), rule_r(x, x_hat), rule_r(x_hat, x_hat)];
        assert_eq!(bits(&[squared_error[row], dot[row], squared_norm[row]]), bits(&expected));
    }
}
