use monosem::kernels::Select;
use monosem::selftest::select::{Case, cases};
use monosem::selftest::tensors::{bits, random, words};

use super::{deterministic, gpu};

#[test]
fn every_k_matches_a_sort_in_any_chunks() {
    for k in [1, 7, 32, 64, 65, 128, 129, 256, 257, 300, 512, 1000, 8192] {
        let select = Select::new(gpu(), k as u32).unwrap();
        for n in [1, 33, k, 1000, 8192] {
            if k > n || (k == 8192 && n > 8192) {
                continue;
            }
            for case in cases(n) {
                let expected = case.expected(k);
                for chunks in [&[n][..], &[5, 3, 64, 1, 700, 4096], &[n.div_ceil(3)], &[k.div_ceil(4)]] {
                    // The largest rows take the longest.
                    if n / chunks[chunks.len() - 1] > if n == 8192 { 3 } else { 40 } {
                        continue;
                    }
                    let selected = case.select(gpu(), &select, k, chunks).unwrap();
                    let scaled = case.norms.is_some();
                    for row in 0..case.rows {
                        let slots = row * k..(row + 1) * k;
                        let what = format!("row {row}, k {k}, n {n}, scaled {scaled}, chunks {chunks:?}");
                        assert_eq!(selected[slots.clone()], expected[slots], "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn more_rows_than_one_dimension_of_a_dispatch_has_groups() {
    let (rows, n, k) = (65_535 + 3, 40, 4);
    let pre_activations: Vec<f32> =
        words(5, rows * n).iter().enumerate().map(|(at, word)| (word % (2 + at as u32 % 97)) as f32 - 8.0).collect();
    let case = Case { rows, n, pre_activations, norms: None };
    let select = Select::new(gpu(), k as u32).unwrap();
    assert_eq!(case.select(gpu(), &select, k, &[n]).unwrap(), case.expected(k));
    assert_eq!(case.select(gpu(), &select, k, &[3, 17]).unwrap(), case.expected(k));
}

#[test]
fn of_many_equals_the_first_are_kept_for_a_large_k() {
    // Each row of one key, of two that alternate, and of one but for a NaN, an infinity and zeros of both signs.
    for (k, n) in [(256, 257), (256, 3000), (300, 1000), (512, 1030), (513, 3000)] {
        let mut rows = vec![vec![1.5_f32; n], vec![-1.5; n], vec![0.0; n], vec![f32::NEG_INFINITY; n]];
        rows.push((0..n).map(|at| if at % 2 == 0 { 2.0 } else { 3.0 }).collect());
        rows.push((0..n).map(|at| if at % 3 == 0 { -0.0 } else { 0.0 }).collect());
        let mut mixed = vec![-0.0; n];
        (mixed[n - 1], mixed[n / 2], mixed[3]) = (f32::NAN, f32::INFINITY, 1.0);
        mixed[k / 2..k].fill(0.0);
        rows.push(mixed);
        let case = Case { rows: rows.len(), n, pre_activations: rows.concat(), norms: None };
        let select = Select::new(gpu(), k as u32).unwrap();
        for chunks in [&[n][..], &[k / 3, 1, k, 64], &[k + 1]] {
            assert!(case.select(gpu(), &select, k, chunks).unwrap() == case.expected(k), "{k} of {n}, {chunks:?}");
        }
    }
}

#[test]
fn what_is_not_above_0_is_kept_as_it_is_without_a_flag() {
    let (n, k) = (6, 3);
    let values = [-3.0, -1.0, -0.0, 0.5, -7.0, -6.0];
    let case = Case { rows: 1, n, pre_activations: values.to_vec(), norms: None };
    let select = Select::new(gpu(), k as u32).unwrap();
    let entry =
        |feature: usize, flag: u32| [feature as u32, flag << 25, bits(&values)[feature], bits(&values)[feature]];
    for chunks in [&[2][..], &[6], &[1]] {
        assert_eq!(case.select(gpu(), &select, k, chunks).unwrap(), [entry(1, 0), entry(2, 0), entry(3, 1)]);
    }
}

#[test]
fn no_rows_and_the_same_bits_every_time() {
    let select = Select::new(gpu(), 7).unwrap();
    let none = Case { rows: 0, n: 9, pre_activations: Vec::new(), norms: None };
    assert_eq!(none.select(gpu(), &select, 7, &[9]).unwrap(), Vec::<[u32; 4]>::new());
    let case = Case { rows: 20, n: 3000, pre_activations: random(8, 60_000), norms: None };
    deterministic(|| case.select(gpu(), &select, 7, &[700]).unwrap().concat());
}
