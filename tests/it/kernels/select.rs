use monosem::gpu::shaders::select::{Params, main::Bindings};
use monosem::kernels::Select;
use monosem::reference;

use super::{Tensor, bits, deterministic, f64s, gpu, random, run, words};

struct Case {
    rows: usize,
    n: usize,
    pre_activations: Vec<f32>,
    /// Scaled by these where there are any.
    norms: Option<Vec<f32>>,
}

/// Features, and the bits of values and keys, where every NaN counts as one.
type Selected = (Vec<u32>, Vec<u32>, Vec<u32>);

fn comparable(values: &[f32]) -> Vec<u32> {
    bits(&values.iter().map(|value| if value.is_nan() { f32::NAN } else { *value }).collect::<Vec<_>>())
}

impl Case {
    fn expected(&self, k: usize) -> Selected {
        let keys: Vec<f32> = match &self.norms {
            Some(norms) => self.pre_activations.iter().zip(norms.iter().cycle()).map(|(u, norm)| u * norm).collect(),
            None => self.pre_activations.clone(),
        };
        let codes = reference::select(&f64s(&keys), &f64s(&self.pre_activations), self.n, k);
        (codes.features, comparable(&super::f32s(&codes.values)), comparable(&super::f32s(&codes.keys)))
    }

    /// Selects from chunks of these sizes, the last one repeated.
    fn select(&self, select: &Select, k: usize, chunks: &[usize]) -> Selected {
        let [features, values, keys] = [(); 3].map(|()| Tensor::poisoned(self.rows * k));
        let mut sizes = chunks.iter().chain(std::iter::repeat(chunks.last().unwrap()));
        let mut first = 0;
        while first < self.n {
            let count = (*sizes.next().unwrap()).min(self.n - first);
            let stride = count.next_multiple_of(4) + 4;
            let mut chunk = vec![f32::NAN; self.rows * stride];
            for row in 0..self.rows {
                chunk[row * stride..][..count].copy_from_slice(&self.pre_activations[row * self.n + first..][..count]);
            }
            let first_in_shard = first.min(5);
            let norms = self.norms.as_ref().map_or(&[][..], |norms| &norms[first - first_in_shard..first + count]);
            let (pre_activations, norms) = (Tensor::new(&chunk), Tensor::new(norms));
            let params = Params {
                rows: self.rows as u32,
                k: k as u32,
                filled: first.min(k) as u32,
                first: first as u32,
                first_in_shard: first_in_shard as u32,
                count: count as u32,
                stride: stride as u32,
                scaled: self.norms.is_some().into(),
                last: (first + count == self.n).into(),
            };
            run(|recording| {
                let bindings = Bindings {
                    pre_activations: &pre_activations,
                    norms: &norms,
                    features: &features,
                    values: &values,
                    keys: &keys,
                    params,
                };
                select.record(recording, bindings);
            });
            first += count;
        }
        (features.read(), comparable(&values.read::<f32>()), comparable(&keys.read::<f32>()))
    }
}

/// A row of each kind that has ever broken a selection.
fn rows(seed: u64, n: usize) -> Vec<Vec<f32>> {
    let base = random(seed, n);
    let of = |value: &dyn Fn(usize) -> f32| (0..n).map(value).collect::<Vec<_>>();
    let place = |at: usize| at * 7919 % n;
    let mut rows = vec![
        of(&|at| base[at]),
        of(&|at| (base[at] * 3.0).round()),
        of(&|at| if base[at] > 0.9 { 1.0 } else { -1.0 }),
        of(&|_| 0.5),
        of(&|_| 0.0),
        of(&|at| -base[at].abs() - 0.1),
        of(&|at| at as f32 - n as f32 / 2.0),
        of(&|at| n as f32 / 2.0 - at as f32),
        of(&|at| if place(at) % 2 == 0 { -0.0 } else { 0.0 }),
        of(&|at| if place(at) % 3 == 0 { -0.0 } else { -base[at].abs() }),
        of(&|at| [base[at], f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY][place(at) % 5]),
        of(&|at| if place(at) % 50 == 3 { f32::NAN } else { base[at] }),
        of(&|_| f32::NAN),
        of(&|_| f32::NEG_INFINITY),
        of(&|at| [f32::MAX, -f32::MAX, f32::MIN_POSITIVE, -f32::MIN_POSITIVE][place(at) % 4]),
        // All that is large on one thread of every workgroup size, and at the end.
        of(&|at| if at % 256 == 3 { 2.0 + base[at] } else { base[at] }),
        of(&|at| if at + 20 > n { 2.0 + base[at] } else { base[at] }),
    ];
    rows.push(random(seed + 1, n));
    rows
}

fn cases(n: usize) -> Vec<Case> {
    let rows = rows(n as u64, n);
    let norms = random(99, n).into_iter().map(|norm| norm.abs() + 0.5).collect();
    let case = |norms| Case { rows: rows.len(), n, pre_activations: rows.concat(), norms };
    vec![case(None), case(Some(norms))]
}

#[test]
fn every_k_matches_a_sort_in_any_chunks() {
    for k in [1, 7, 32, 64, 65, 128, 129, 256, 257, 1000, 8192] {
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
                    let selected = case.select(&select, k, chunks);
                    let scaled = case.norms.is_some();
                    for row in 0..case.rows {
                        let slots = row * k..(row + 1) * k;
                        let what = format!("row {row}, k {k}, n {n}, scaled {scaled}, chunks {chunks:?}");
                        assert_eq!(selected.0[slots.clone()], expected.0[slots.clone()], "features, {what}");
                        assert_eq!(selected.1[slots.clone()], expected.1[slots.clone()], "values, {what}");
                        assert_eq!(selected.2[slots.clone()], expected.2[slots], "keys, {what}");
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
    assert_eq!(case.select(&select, k, &[n]), case.expected(k));
    assert_eq!(case.select(&select, k, &[3, 17]), case.expected(k));
}

#[test]
fn only_the_last_chunk_rectifies() {
    let (n, k) = (6, 3);
    let case = Case { rows: 1, n, pre_activations: vec![-3.0, -1.0, -2.0, -0.5, -7.0, -6.0], norms: None };
    let select = Select::new(gpu(), k as u32).unwrap();
    // Rectified too early, -3 would enter as 0 and stay.
    let (features, values, keys) = case.select(&select, k, &[2]);
    assert_eq!((features, values, keys), (vec![1, 2, 3], vec![0; 3], vec![0; 3]));
}

#[test]
fn no_rows_and_the_same_bits_every_time() {
    let select = Select::new(gpu(), 7).unwrap();
    let none = Case { rows: 0, n: 9, pre_activations: Vec::new(), norms: None };
    assert_eq!(none.select(&select, 7, &[9]), (vec![], vec![], vec![]));
    let case = Case { rows: 20, n: 3000, pre_activations: random(8, 60_000), norms: None };
    deterministic(|| {
        let (features, values, keys) = case.select(&select, 7, &[700]);
        [features, values, keys].concat()
    });
}
