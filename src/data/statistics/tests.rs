use std::path::PathBuf;

use safetensors::Dtype as Stored;
use tempfile::TempDir;

use super::*;
use crate::rng::{Purpose, Rng, symmetric};
use crate::storage::fixtures::{Tensor, write};

const WIDTH: usize = 20;

fn file(directory: &TempDir, name: &str, values: &[f32]) -> PathBuf {
    let path = directory.path().join(name);
    let rows = values.len() / WIDTH;
    let tokens = (0..rows as i32).flat_map(|row| (1000 + row).to_le_bytes()).collect();
    let (shape, column) = ([rows, WIDTH], [rows]);
    let tensors = [Tensor::f32("activations", &shape, values), Tensor::new("token_ids", Stored::I32, &column, tokens)];
    write(&path, &tensors, &[]);
    path
}

/// Rows around a mean far from the origin, their dimension 7 larger than the others.
fn rows(count: usize) -> Vec<f32> {
    let rng = Rng::new(3, Purpose::Weights);
    let value = |at: usize| 2.0 + symmetric(rng.block(at as u64, 0)[0]);
    (0..count * WIDTH).map(|at| if at % WIDTH == 7 { 30.0 * value(at) } else { value(at) }).collect()
}

fn close(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance * expected.abs(), "{value}, expected {expected}");
}

#[test]
fn statistics_are_those_of_their_definitions() {
    let directory = tempfile::tempdir().unwrap();
    let values = rows(1001);
    let files = [file(&directory, "a", &values[..400 * WIDTH]), file(&directory, "b", &values[400 * WIDTH..])];
    let statistics = DataStatistics::of(&Activations::open(&files).unwrap()).unwrap();
    let rows: Vec<Vec<f64>> =
        values.chunks(WIDTH).map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect();
    let mean_of = |of: &dyn Fn(&[f64]) -> f64| rows.iter().map(|row| of(row)).sum::<f64>() / 1001.0;
    let mean: Vec<f64> = (0..WIDTH).map(|at| mean_of(&|row| row[at])).collect();
    let square = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>();
    let variance = mean_of(&|row| row.iter().zip(&mean).map(|(value, mean)| (value - mean).powi(2)).sum());
    let mut norms: Vec<f64> = rows.iter().map(|row| square(row).sqrt()).collect();
    norms.sort_by(f64::total_cmp);
    assert_eq!((statistics.rows, statistics.non_finite_rows), (1001, 0));
    statistics.mean.iter().zip(&mean).for_each(|(&value, &expected)| close(value, expected, 1e-12));
    close(statistics.mean_norm, mean_of(&|row| square(row).sqrt()), 1e-12);
    close(statistics.mean_squared_norm, mean_of(&square), 1e-12);
    close(statistics.variance, variance, 1e-12);
    close(statistics.median_norm, norms[500], 1.0 / 2048.0);
    close(statistics.gamma(), square(&mean).sqrt() / variance.sqrt(), 1e-12);
}

#[test]
fn what_stands_out_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut values = rows(3000);
    for (row, scale) in [(5, 40.0), (2999, 90.0), (1500, 20.0)] {
        values[row * WIDTH..][..WIDTH].iter_mut().for_each(|value| *value *= scale);
    }
    values[1700 * WIDTH + 3] = f32::NAN;
    values[1800 * WIDTH] = f32::NEG_INFINITY;
    let files = [file(&directory, "a", &values[..1000 * WIDTH]), file(&directory, "b", &values[1000 * WIDTH..])];
    let data = Activations::open(&files).unwrap();
    let mut advanced = 0;
    let survey = DataSurvey::of(&data, |rows| advanced = rows).unwrap();
    assert_eq!((survey.statistics.rows, survey.statistics.non_finite_rows), (2998, 2));
    assert_eq!((survey.first_non_finite, advanced), (Some(1700), 3000));
    let rows: Vec<_> = survey.largest_rows.iter().map(|row| (row.row, row.token)).collect();
    assert_eq!(rows, [(2999, Some(2999)), (5, Some(1005)), (1500, Some(1500))]);
    assert_eq!((survey.outlier_rows, survey.max_norm), (3, survey.largest_rows[0].norm));
    assert!(survey.norm_quantiles.is_sorted_by_key(|(_, norm)| *norm));
    assert_eq!((survey.outlier_dimensions, survey.largest_dimensions[0].dimension), (1, 7));

    // A row of the largest values has a norm, and a square that f64 holds.
    let large = file(&directory, "large", &[f32::MAX; WIDTH]);
    let survey = DataSurvey::of(&Activations::open(&[large]).unwrap(), |_| {}).unwrap();
    close(survey.max_norm, f64::from(f32::MAX) * (WIDTH as f64).sqrt(), 1e-12);
    let none = file(&directory, "none", &[f32::NAN; WIDTH]);
    let survey = DataSurvey::of(&Activations::open(&[none]).unwrap(), |_| {}).unwrap();
    assert_eq!((survey.statistics.rows, survey.statistics.non_finite_rows, survey.outlier_rows), (0, 1, 0));
    assert_eq!(survey.statistics.mean, [0.0; WIDTH]);
}

#[test]
fn many_rows_that_stand_out_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let values: Vec<f32> =
        (0..100 * WIDTH).map(|at| if (at / WIDTH).is_multiple_of(4) { 100.0 } else { 1.0 }).collect();
    let data = Activations::open(&[file(&directory, "a", &values)]).unwrap();
    let survey = DataSurvey::of(&data, |_| {}).unwrap();
    let rows: Vec<u64> = survey.largest_rows.iter().map(|row| row.row).collect();
    assert_eq!((survey.outlier_rows, rows), (25, (0..10).map(|at| 4 * at).collect()));
}

#[test]
fn statistics_are_kept_for_their_files_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("set.safetensors")).unwrap();
    let values = rows(50);
    let one = file(&directory, "set.safetensors/a.safetensors", &values);
    for (path, expected) in [(directory.path().join("set.safetensors"), "statistics.json"), (one, ".statistics.json")] {
        let open = || Activations::open(std::slice::from_ref(&path)).unwrap();
        let data = open();
        assert_eq!(DataStatistics::read_beside(&path, &data).unwrap(), None);
        let statistics = DataStatistics::of(&data).unwrap();
        let kept = statistics.write_beside(&path, &data).unwrap();
        assert!(kept.to_string_lossy().ends_with(expected), "{kept:?}");
        assert_eq!(DataStatistics::read_beside(&path, &open()).unwrap().as_ref(), Some(&statistics));
        std::fs::write(&kept, "{").unwrap();
        assert_eq!(DataStatistics::read_beside(&path, &data).unwrap(), None);
        statistics.write_beside(&path, &data).unwrap();
        // Another row in the file.
        file(&directory, "set.safetensors/a.safetensors", &[&values[WIDTH..], &[1.0; WIDTH]].concat());
        assert_eq!(DataStatistics::read_beside(&path, &open()).unwrap(), None);
        file(&directory, "set.safetensors/a.safetensors", &values);
    }
}
