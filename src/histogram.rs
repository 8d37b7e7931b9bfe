//! Histograms.

/// Numbers of values between edges, and the sums that a mean and a variance follow from.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Ascending; bin `i` holds the values from `edges[i]` on and below `edges[i + 1]`, the last bin its upper edge
    /// too. Values beyond them are in the outermost bins.
    pub edges: Vec<f64>,
    /// Values of each bin, one fewer than edges.
    pub counts: Vec<u64>,
    /// The least value; infinite if there is none.
    pub min: f64,
    /// The greatest value; negatively infinite if there is none.
    pub max: f64,
    /// Sum of the values.
    pub sum: f64,
    /// Sum of their squares.
    pub sum_of_squares: f64,
}

impl Histogram {
    /// Without values, of `bins` bins of one width from `first` to `last`.
    pub fn new(first: f64, last: f64, bins: usize) -> Self {
        let edge = |at: usize| first + (last - first) * at as f64 / bins as f64;
        Self {
            edges: (0..=bins).map(edge).collect(),
            counts: vec![0; bins],
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            sum_of_squares: 0.0,
        }
    }

    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.add_times(value, 1);
    }

    /// Adds a value `times` times.
    pub fn add_times(&mut self, value: f64, times: u64) {
        if times == 0 {
            return;
        }
        let below = self.edges.partition_point(|edge| *edge <= value);
        self.counts[below.saturating_sub(1).min(self.edges.len() - 2)] += times;
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        self.sum += times as f64 * value;
        self.sum_of_squares += times as f64 * value * value;
    }

    /// The number of values.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn values_are_counted_from_the_lower_edge_on() {
        let mut histogram = Histogram::new(-1.0, 1.0, 4);
        assert_eq!(histogram.edges, [-1.0, -0.5, 0.0, 0.5, 1.0]);
        for value in [-7.0, -1.0, -0.5, 0.25, 1.0, 9.0] {
            histogram.add(value);
        }
        histogram.add_times(0.75, 3);
        histogram.add_times(100.0, 0);
        assert_eq!(histogram.counts, [2, 1, 1, 5]);
        assert_eq!((histogram.total(), histogram.min, histogram.max), (9, -7.0, 9.0));
        assert_eq!((histogram.sum, histogram.sum_of_squares), (4.0, 134.0));
    }
}
