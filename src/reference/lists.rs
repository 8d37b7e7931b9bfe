//! The operations on lists in f64: entries, the terms that they become, and the sums of these.

use super::{add_scaled, dot, row};

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Its feature.
    pub feature: u32,
    /// Its row.
    pub row: usize,
    /// 0 for the main list, 1 for that of dead features.
    pub list: u32,
    /// It is decoded.
    pub is_active: bool,
    /// Its pre-activation.
    pub u: f64,
}

/// The contribution of an entry to its feature's gradients: `p c_row` to that of its encoder row, `p` to that of its
/// bias, `a0 g0_row + a1 g1_row` to that of its decoder row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Its row.
    pub row: usize,
    /// Its list.
    pub list: u32,
    /// The slope at its pre-activation.
    pub p: f64,
    /// Its value in list 0's field.
    pub a0: f64,
    /// Its value in list 1's field.
    pub a1: f64,
}

/// The sums of a feature's terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Of `p`: the gradient of its bias.
    pub slopes: f64,
    /// Of `(a0 + a1) p`: the gradient of its decoder row times the row.
    pub along: f64,
    /// Rows of list 0 in which it fires.
    pub fired: u32,
}

/// The places of the active entries by feature; those of one feature in the order that they had.
pub fn sort(entries: &[Entry]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..entries.len()).filter(|at| entries[*at].is_active).collect();
    order.sort_by_key(|at| entries[*at].feature);
    order
}

/// The sum of `u · decoder row` over each row's active entries: `[rows, d]`. `w_dec` is `[n, d]`.
pub fn decode(entries: &[Entry], w_dec: &[f64], rows: usize, d: usize) -> Vec<f64> {
    let mut sums = vec![0.0; rows * d];
    for entry in entries.iter().filter(|entry| entry.is_active) {
        let sums = &mut sums[entry.row * d..][..d];
        add_scaled(sums, entry.u, row(w_dec, entry.feature as usize, d));
    }
    sums
}

/// The term of an active entry. `gradients` are those of list 0's and list 1's field, `[rows, d]`.
pub fn term(entry: &Entry, gradients: [&[f64]; 2], w_dec: &[f64], d: usize) -> Term {
    let g = row(gradients[entry.list as usize], entry.row, d);
    let p = dot(g, row(w_dec, entry.feature as usize, d));
    let [a0, a1] = if entry.list == 0 { [entry.u, 0.0] } else { [0.0, entry.u] };
    Term { row: entry.row, list: entry.list, p, a0, a1 }
}

/// The sums of a feature's terms.
pub fn summary(terms: &[Term]) -> Summary {
    Summary {
        slopes: terms.iter().map(|term| term.p).sum(),
        along: terms.iter().map(|term| (term.a0 + term.a1) * term.p).sum(),
        fired: terms.iter().filter(|term| term.list == 0 && term.a0 > 0.0).count() as u32,
    }
}

/// The sums of the vectors of scalars that a feature's terms carry besides.
pub fn sums_of_extras<const COUNT: usize>(extras: &[[f64; COUNT]]) -> [f64; COUNT] {
    std::array::from_fn(|at| extras.iter().map(|extra| extra[at]).sum())
}

/// What the closed form adds to the sums of a feature's terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosedSums {
    /// To that of their slopes.
    pub slopes: f64,
    /// To the gradient of the threshold.
    pub threshold: f64,
    /// To that of the norm of the decoder row.
    pub pull: f64,
    /// To its loss.
    pub loss: f64,
}

/// The penalty `coefficient (t - u) |v|` on every row, above the threshold `t` or not, `us` being the feature's
/// pre-activations.
pub fn closed_sums(us: &[f64], threshold: f64, norm: f64, coefficient: f64) -> ClosedSums {
    let gaps: f64 = us.iter().map(|u| threshold - u).sum();
    let per_row = coefficient * norm;
    let rows = us.len() as f64;
    ClosedSums { slopes: -per_row * rows, threshold: per_row * rows, pull: coefficient * gaps, loss: per_row * gaps }
}

/// The gradient of a feature's encoder row, `[d]`; `centred` is `[rows, d]`.
pub fn encoder_gradient(terms: &[Term], centred: &[f64], d: usize) -> Vec<f64> {
    let mut gradient = vec![0.0; d];
    for term in terms {
        add_scaled(&mut gradient, term.p, row(centred, term.row, d));
    }
    gradient
}

/// The gradient of a feature's decoder row, `[d]`, not projected.
pub fn decoder_gradient(terms: &[Term], gradients: [&[f64]; 2], d: usize) -> Vec<f64> {
    let mut gradient = vec![0.0; d];
    for term in terms {
        for (a, g) in [term.a0, term.a1].into_iter().zip(gradients) {
            if a != 0.0 {
                add_scaled(&mut gradient, a, row(g, term.row, d));
            }
        }
    }
    gradient
}

/// Takes the component parallel to the decoder row `v` from its gradient, `along` being their product, as
/// dictionary_learning does.
pub fn project(gradient: &mut [f64], v: &[f64], along: f64) {
    let divisor = dot(v, v).sqrt() + 1e-6;
    add_scaled(gradient, -along / (divisor * divisor), v);
}

/// The gradient of `b_dec`, `[d]`: the sum of `g` `[rows, d]`, less that of `slopes` `[n]` times encoder rows `[n, d]`
/// where the input is centred.
pub fn b_dec_gradient(g: &[f64], slopes: &[f64], w_enc: &[f64], d: usize, input_centred: bool) -> Vec<f64> {
    let mut gradient = vec![0.0; d];
    for g in g.chunks_exact(d) {
        add_scaled(&mut gradient, 1.0, g);
    }
    if input_centred {
        for (slope, w) in slopes.iter().zip(w_enc.chunks_exact(d)) {
            add_scaled(&mut gradient, -slope, w);
        }
    }
    gradient
}

/// The squared distance of each row of `x`, `[rows, d]`, from the mean of all.
pub fn distances_from_mean(x: &[f64], d: usize) -> Vec<f64> {
    let mut mean = vec![0.0; d];
    for row in x.chunks_exact(d) {
        add_scaled(&mut mean, d as f64 / x.len() as f64, row);
    }
    x.chunks_exact(d).map(|row| row.iter().zip(&mean).map(|(value, mean)| (value - mean).powi(2)).sum()).collect()
}

/// The variance of the rows of `x` over that of the rows of `error`, both `[rows, d]`; 0 where the latter is 0.
pub fn variance_ratio(x: &[f64], error: &[f64], d: usize) -> f64 {
    let [of_rows, of_error] = [x, error].map(|rows| distances_from_mean(rows, d).iter().sum::<f64>());
    if of_error > 0.0 { of_rows / of_error } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_entries_are_sorted_in_order() {
        let entry = |feature, is_active| Entry { feature, row: 0, list: 0, is_active, u: 1.0 };
        assert_eq!(sort(&[entry(3, true), entry(1, false), entry(2, true), entry(3, true)]), [2, 0, 3]);
    }

    #[test]
    fn the_projection_is_perpendicular() {
        let (v, mut gradient) = ([3.0, 4.0], [1.0, 2.0]);
        project(&mut gradient, &v, 11.0);
        assert!(dot(&gradient, &v).abs() < 1e-5, "{gradient:?}");
    }
}
