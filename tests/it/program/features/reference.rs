//! Sets of features against what is counted one row and one feature at a time, in f64.

use std::collections::HashMap;

use serde_json::Value;

use super::fixture::{D, N, Rows, Set};

/// How many examples a set was asked for.
#[derive(Clone, Copy)]
pub struct Asked {
    pub per_interval: usize,
    pub intervals: usize,
    pub before: i64,
    pub after: i64,
}

/// Rows, their codes `[rows][N]`, and where each stands: a number of its own for each sequence.
pub struct Reference<'a> {
    pub rows: &'a Rows,
    pub codes: &'a [Vec<f32>],
    pub asked: Asked,
}

fn close(one: f64, other: f64, within: f64) -> bool {
    (one - other).abs() <= within * one.abs().max(other.abs()).max(1.0)
}

impl Reference<'_> {
    fn active(&self, feature: usize) -> Vec<(usize, f32)> {
        let values = self.codes.iter().map(|row| row[feature]).enumerate();
        values.filter(|(_, value)| *value > 0.0).collect()
    }

    pub fn check_statistics(&self, set: &Set, weights: [&[f32]; 2]) {
        let edges: Vec<f64> = serde_json::from_value(set.description["histogram_log2_edges"].clone()).unwrap();
        let bins = edges.len() - 1;
        assert_eq!((set.shape("count"), set.shape("histogram")), (&[N][..], &[N, bins][..]));
        let sources: Vec<String> = serde_json::from_value(set.description["sources"].clone()).unwrap();
        let names = ["books", "code", "web"];
        let rows_of = |name: &String| {
            let rows = self.rows.sources.iter();
            rows.filter(|source| names[**source as usize] == name).count()
        };
        let source_tokens: Vec<usize> = sources.iter().map(rows_of).collect();
        assert_eq!(set.description["source_tokens"], serde_json::json!(source_tokens));
        let dimensions = set.small_integers("best_dimension");
        for feature in 0..N {
            let active = self.active(feature);
            let count = active.len();
            assert_eq!(set.integers("count")[feature], count as i64, "feature {feature}");
            let maximum = active.iter().map(|(_, value)| *value).fold(0.0, f32::max);
            assert_eq!(set.floats("maximum")[feature], maximum);
            let sum: f64 = active.iter().map(|(_, value)| f64::from(*value)).sum();
            assert!(close(set.floats("mean")[feature].into(), sum / count.max(1) as f64, 1e-6));
            let mut histogram = vec![0; bins];
            for (_, value) in &active {
                let log = f64::from(*value).log2();
                let bin = edges.iter().rposition(|edge| *edge <= log).unwrap_or(0).min(bins - 1);
                histogram[bin] += 1;
            }
            assert_eq!(set.integers("histogram")[feature * bins..][..bins], histogram, "feature {feature}");
            if !sources.is_empty() {
                let of_source = |name: &String| {
                    let rows = active.iter().map(|(row, _)| names[self.rows.sources[*row] as usize]);
                    rows.filter(|source| source == name).count() as i64
                };
                let expected: Vec<i64> = sources.iter().map(of_source).collect();
                let counted = set.integers("source_count");
                assert_eq!(counted[feature * sources.len()..][..sources.len()], expected);
            }
            let [encoder, decoder] = weights.map(|matrix| &matrix[feature * D..][..D]);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let norm = dot(decoder, decoder).sqrt();
            let norms = norm * dot(encoder, encoder).sqrt();
            let cosine = if norms > 0.0 { dot(encoder, decoder) / norms } else { 0.0 };
            assert!(close(set.floats("decoder_norm")[feature].into(), norm, 1e-6));
            assert!(close(set.floats("encoder_decoder_cosine")[feature].into(), cosine, 1e-6));
            let correlations: Vec<f64> = (0..D).map(|dimension| self.correlation(feature, dimension)).collect();
            let best = correlations.iter().map(|r| r.abs()).fold(0.0, f64::max);
            let told = f64::from(set.floats("best_dimension_correlation")[feature]);
            assert!(close(told, correlations[dimensions[feature] as usize], 1e-4), "{told}: {correlations:?}");
            assert!(close(told.abs(), best, 1e-4), "{told}: {correlations:?}");
        }
    }

    fn correlation(&self, feature: usize, dimension: usize) -> f64 {
        let count = self.codes.len() as f64;
        let a: Vec<f64> = self.codes.iter().map(|row| row[feature].into()).collect();
        let x: Vec<f64> = self.rows.values.chunks_exact(D).map(|row| row[dimension].into()).collect();
        let [mean_a, mean_x] = [&a, &x].map(|values| values.iter().sum::<f64>() / count);
        let moment = |p: &[f64], mean_p: f64, q: &[f64], mean_q: f64| -> f64 {
            p.iter().zip(q).map(|(p, q)| (p - mean_p) * (q - mean_q)).sum()
        };
        let norms = moment(&a, mean_a, &a, mean_a) * moment(&x, mean_x, &x, mean_x);
        if norms > 0.0 { moment(&a, mean_a, &x, mean_x) / norms.sqrt() } else { 0.0 }
    }

    /// The examples of all features; `sequence` numbers each row's sequence as no other row's.
    pub fn check_examples(&self, set: &Set, sequence: &dyn Fn(usize) -> i64) {
        let Asked { per_interval, intervals, .. } = self.asked;
        let place = |row: usize| (sequence(row), i64::from(self.rows.positions[row]));
        let rows_by_place: HashMap<(i64, i64), usize> = (0..self.rows.len()).map(|row| (place(row), row)).collect();
        assert_eq!(rows_by_place.len(), self.rows.len());
        assert_eq!(set.lines.len(), N);
        for (feature, line) in set.lines.iter().enumerate() {
            assert_eq!(line["feature"], feature);
            let mut active = self.active(feature);
            active.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
            let maximum = active.first().map_or(0.0, |(_, value)| f64::from(*value));
            let (top, others) = active.split_at(active.len().min(per_interval));
            let examples = line["examples"].as_array().unwrap();
            let of_interval = |interval: usize| examples.iter().filter(move |example| example["interval"] == interval);
            let told: Vec<(usize, f32)> = of_interval(0).map(row_and_value).collect();
            assert_eq!(told, top, "feature {feature}");
            let parts = (intervals - 1) as f64;
            for interval in 1..intervals {
                let [low, high] = [interval, interval - 1].map(|from_top| maximum * (parts - from_top as f64) / parts);
                let within = |value: f32| f64::from(value) > low * (1.0 + 1e-12) && f64::from(value) <= high;
                let told: Vec<(usize, f32)> = of_interval(interval).map(row_and_value).collect();
                let there: Vec<_> = others.iter().filter(|(_, value)| within(*value)).collect();
                assert!(
                    told.iter().all(|one| there.contains(&one)),
                    "feature {feature}, interval {interval}: {told:?}"
                );
                assert!(told.is_sorted_by(|(a, x), (b, y)| x > y || x == y && a < b));
                let most = there.len().min(per_interval);
                let is_complete = active.len() <= 3 * per_interval;
                assert!(told.len() == most || told.len() < most && !is_complete, "{}, {most}", told.len());
            }
            for example in examples {
                self.check_context(feature, example, place(example["row"].as_u64().unwrap() as usize), &rows_by_place);
            }
            self.check_tokens(feature, &line["top_tokens"]);
        }
    }

    fn check_context(&self, feature: usize, example: &Value, place: (i64, i64), rows: &HashMap<(i64, i64), usize>) {
        let (sequence, position) = place;
        let at = |position: i64| rows.get(&(sequence, position)).copied();
        let mut first = position;
        while at(first - 1).is_some() && first > position - self.asked.before {
            first -= 1;
        }
        let mut last = position;
        while at(last + 1).is_some() && last < position + self.asked.after {
            last += 1;
        }
        let shown: Vec<usize> = (first..=last).map(|position| at(position).unwrap()).collect();
        let tokens: Vec<i32> = shown.iter().map(|row| self.rows.tokens[*row]).collect();
        let activations: Vec<f32> = shown.iter().map(|row| self.codes[*row][feature]).collect();
        assert_eq!(serde_json::from_value::<Vec<i32>>(example["tokens"].clone()).unwrap(), tokens, "{example}");
        assert_eq!(
            serde_json::from_value::<Vec<f32>>(example["activations"].clone()).unwrap(),
            activations,
            "{example}"
        );
        assert_eq!(example["focus"], position - first);
        assert_eq!((&example["sequence"], &example["position"]), (&sequence.into(), &position.into()));
        assert_eq!(example["missing_before"], first - (position - self.asked.before).max(0), "{example}");
        let behind = (last..=position + self.asked.after).rev().find(|position| at(*position).is_some()).unwrap();
        assert_eq!(example["missing_after"], behind - last, "{example}");
        let source = ["books", "code", "web"][self.rows.sources[at(position).unwrap()] as usize];
        assert_eq!(example["source"], source);
    }

    /// Exact where a feature fires on few tokens; else every token told of has at most what it truly has.
    fn check_tokens(&self, feature: usize, told: &Value) {
        let mut sums: HashMap<i64, (u64, f64)> = HashMap::new();
        for (row, value) in self.active(feature) {
            let (count, sum) = sums.entry(self.rows.tokens[row].into()).or_default();
            *count += 1;
            *sum += f64::from(value);
        }
        let told = told.as_array().unwrap();
        assert_eq!(told.len(), sums.len().min(10));
        for one in told {
            let (token, count) = (one["token"].as_i64().unwrap(), one["count"].as_u64().unwrap());
            let (all, sum) = sums[&token];
            let mean = one["mean"].as_f64().unwrap();
            assert!(count <= all && mean * count as f64 <= sum * (1.0 + 1e-6), "{one}: {all}, {sum}");
            if sums.len() <= 32 {
                assert!(count == all && close(mean * count as f64, sum, 1e-6), "{one}: {all}, {sum}");
            }
        }
        if sums.len() <= 32 {
            let mut expected: Vec<f64> = sums.values().map(|(_, sum)| *sum).collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            let told = told.iter().map(|one| one["mean"].as_f64().unwrap() * one["count"].as_f64().unwrap());
            assert!(told.zip(expected).all(|(told, expected)| close(told, expected, 1e-6)));
        }
    }
}

fn row_and_value(example: &Value) -> (usize, f32) {
    (example["row"].as_u64().unwrap() as usize, example["activation"].as_f64().unwrap() as f32)
}
