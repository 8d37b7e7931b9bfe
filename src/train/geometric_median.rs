/// Updates at most.
const ITERATIONS: usize = 100;
/// An update shorter than this is the last.
const TOLERANCE: f64 = 1e-5;

/// The point with the least summed distance to the rows `[rows, d]` (at least one), in f64: where `b_dec` starts.
///
/// Weiszfeld's iteration from the mean, with the bounds of dictionary_learning 0.1.0 (`trainers/top_k.py`).
pub fn geometric_median(rows: &[f32], d: usize) -> Vec<f64> {
    let count = rows.len() / d;
    let mut guess = weighted_sum(rows, d, &vec![1.0; count]);
    for sum in &mut guess {
        *sum /= count as f64;
    }
    for _ in 0..ITERATIONS {
        let mut weights: Vec<f64> = rows
            .chunks_exact(d)
            .map(|row| {
                let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
                1.0 / distance(&row, &guess)
            })
            .collect();
        // A guess on a row is the iteration's limit there; dictionary_learning divides by zero and returns NaN.
        if weights.contains(&f64::INFINITY) {
            break;
        }
        let total: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= total;
        }
        let previous = std::mem::replace(&mut guess, weighted_sum(rows, d, &weights));
        if distance(&guess, &previous) < TOLERANCE {
            break;
        }
    }
    guess
}

fn weighted_sum(rows: &[f32], d: usize, weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; d];
    for (row, weight) in rows.chunks_exact(d).zip(weights) {
        for (sum, &x) in sum.iter_mut().zip(row) {
            *sum += weight * f64::from(x);
        }
    }
    sum
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::geometric_median;

    #[test]
    fn of_a_quadrilateral_is_where_its_diagonals_cross() {
        let corners = [0.0, 0.0, 4.0, 0.0, 3.0, 3.0, 0.0, 2.0];
        for coordinate in geometric_median(&corners, 2) {
            assert!((coordinate - 4.0 / 3.0).abs() < 1e-4, "{coordinate}");
        }
    }

    #[test]
    fn resists_an_outlier() {
        let rows = [1.0, 2.0, 3.0, 4.0, 1e6];
        let median = geometric_median(&rows, 1)[0];
        assert!((2.0..=4.0).contains(&median), "{median}");
    }

    #[test]
    fn on_a_row_is_a_number() {
        assert_eq!(geometric_median(&[0.5, -2.0], 2), [0.5, -2.0]);
        assert_eq!(geometric_median(&[-1.0, 0.0, 1.0], 1), [0.0]);
    }
}
