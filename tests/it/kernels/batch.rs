use std::num::NonZero;

use monosem::gpu::shaders::batch::THREADS;
use monosem::selftest::batch::Case;
use monosem::selftest::tensors::{cuts, random, words};

use super::gpu;

const ROWS: usize = 64;
const N: usize = 3000;
const WANTED: usize = 16 * ROWS;

fn with(u: impl IntoIterator<Item = f32>) -> Case {
    Case { u: u.into_iter().collect(), ..Case::new(ROWS, N, WANTED) }
}

/// About normal.
fn gaussian() -> Vec<f32> {
    let sums = |four: &[f32]| four.iter().sum::<f32>();
    random(1, 4 * ROWS * N).chunks_exact(4).map(sums).collect()
}

/// Rows sorted, ascending or descending.
fn sorted(ascending: bool) -> Vec<f32> {
    let mut u = gaussian();
    for row in u.chunks_exact_mut(N) {
        row.sort_by(|a, b| if ascending { a.total_cmp(b) } else { b.total_cmp(a) });
    }
    u
}

/// Compares with a sort, in chunks of `width`.
#[track_caller]
fn is_a_sort(case: &Case, width: usize) {
    let expected = case.expected();
    for cuts in cuts(case.n) {
        let actual = case.select(gpu(), width, &cuts, 8 * THREADS).unwrap();
        assert_eq!(actual.listed.starts, expected.listed.starts, "cut at {cuts:?}");
        assert_eq!(actual.least.map(f32::to_bits), expected.least.map(f32::to_bits));
        assert!(actual == expected || actual.least.is_some_and(f32::is_nan), "cut at {cuts:?}");
        assert!(actual.listed == expected.listed, "cut at {cuts:?}");
    }
}

#[test]
fn usual_keys_are_a_sort() {
    is_a_sort(&with(gaussian()), 700);
    is_a_sort(&with(gaussian()).scaled(), 700);
    is_a_sort(&with(gaussian()), N);
    is_a_sort(&Case { wanted: 100, ..with(gaussian()) }, N);
}

#[test]
fn keys_in_order_are_a_sort() {
    // All chunks bring keys above all before them, or none.
    is_a_sort(&with(sorted(true)), 300);
    is_a_sort(&with(sorted(false)), 300);
}

#[test]
fn ties_go_to_earlier_rows_then_lower_features() {
    is_a_sort(&Case::with_ties(ROWS, N, WANTED), 700);
    is_a_sort(&with(vec![1.0; ROWS * N]), 700);
    let row = random(5, N);
    is_a_sort(&Case { wanted: WANTED + 5, ..with((0..ROWS).flat_map(|_| row.clone())) }, 700);
}

#[test]
fn fewer_positive_keys_than_are_wanted_are_all_kept() {
    let few = words(7, ROWS * N).into_iter().zip(gaussian());
    let few: Vec<f32> = few.map(|(word, u)| if word % 500 == 0 { u.abs() } else { -u.abs() }).collect();
    let case = with(few);
    let kept = case.expected().listed.entries.len();
    assert!(kept > 0 && kept < WANTED);
    is_a_sort(&case, 700);
    let none = with(gaussian().into_iter().map(|u| -u.abs()));
    assert_eq!(none.expected().least, None);
    is_a_sort(&none, 700);
}

#[test]
fn one_row_may_hold_all() {
    let large = |(at, u): (usize, f32)| if at / N == 7 { 10.0 * u.abs() } else { 0.01 * u.abs() };
    is_a_sort(&with(gaussian().into_iter().enumerate().map(large)), 500);
}

#[test]
fn keys_of_any_size_are_a_sort() {
    is_a_sort(&with(gaussian().into_iter().map(|u| u * 1e-30)), 700);
    is_a_sort(&with(gaussian().into_iter().map(|u| (40.0 * u).exp().copysign(u))), 700);
    // Their orders differ in the last bits alone.
    let close = words(9, ROWS * N).into_iter().map(|word| f32::from_bits(0x3f80_0000 + word % 700));
    is_a_sort(&with(close), 700);
}

#[test]
fn what_is_not_finite_is_kept() {
    let mut u = gaussian();
    for (row, feature, value) in [(5, 100, f32::NAN), (6, 1500, f32::INFINITY), (9, 9, f32::NEG_INFINITY)] {
        u[row * N + feature] = value;
    }
    let case = with(u);
    let has = |bits: u32| case.expected().listed.entries.iter().any(|entry| entry[2] == bits);
    assert!(has(f32::NAN.to_bits()) && has(f32::INFINITY.to_bits()));
    is_a_sort(&case, 700);
}

#[test]
fn any_sizes_chunks_and_threads_give_the_same_list() {
    for (rows, n, wanted, width) in [(1, 1, 1, 1), (5, 41, 17, 4), (5, 41, 205, 40), (4096 + 3, 9, 5000, 4)] {
        is_a_sort(&Case::new(rows, n, wanted), width);
    }
    let case = Case::with_ties(33, 2100, 900);
    let expected = case.expected();
    let widths = [2100, 1024, 333].map(|width| NonZero::new(width).unwrap());
    for (width, groups) in widths.into_iter().zip([1, 3, 64]) {
        let actual = case.select(gpu(), width.get(), &[2100], groups * THREADS).unwrap();
        assert!(actual == expected, "by {width}, {groups} workgroups");
    }
}
