//! How a feature's activations are spread, as far as its histogram tells.

/// Bars that the range up to the maximum is drawn with, as SAEDashboard does.
const BARS: usize = 50;

/// A feature's histogram. Within a bin the rows are taken as evenly spread.
#[derive(Clone, Copy)]
pub(super) struct Spread<'a> {
    /// Edges of the bins, one more than these; what is beyond is in the outermost bins.
    pub edges: &'a [f64],
    pub counts: &'a [u64],
    pub maximum: f64,
}

impl Spread<'_> {
    /// Active rows whose activation is at most `value`.
    pub fn up_to(&self, value: f64) -> f64 {
        let last = self.counts.len().saturating_sub(1);
        let in_bin = |(bin, &count): (usize, &u64)| {
            let from = if bin == 0 { 0.0 } else { self.edges[bin] };
            let to = if bin == last { self.maximum } else { self.maximum.min(self.edges[bin + 1]) };
            let share = if from < to { ((value - from) / (to - from)).clamp(0.0, 1.0) } else { f64::from(value >= to) };
            count as f64 * share
        };
        self.counts.iter().enumerate().map(in_bin).sum()
    }

    /// Bars of equal width from 0 to the maximum, middles and whole rows, which sum to those of the histogram; none of
    /// a feature that was never active.
    pub fn bars(&self) -> (Vec<f32>, Vec<u64>) {
        if self.maximum <= 0.0 {
            return Default::default();
        }
        let edge = |bar: f64| self.maximum * bar / BARS as f64;
        let below: Vec<u64> = (0..=BARS).map(|bar| self.up_to(edge(bar as f64)).round() as u64).collect();
        let middles = (0..BARS).map(|bar| edge(bar as f64 + 0.5) as f32).collect();
        (middles, below.windows(2).map(|ends| ends[1] - ends[0]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_within_their_bins() {
        let edges = [0.25, 0.5, 1.0, 2.0];
        let spread = Spread { edges: &edges, counts: &[10, 40, 6], maximum: 1.5 };
        // The first bin has all that is below, and the last one ends at the maximum.
        for (value, rows) in [(0.0, 0.0), (0.25, 5.0), (0.5, 10.0), (0.75, 30.0), (1.0, 50.0), (1.25, 53.0)] {
            assert_eq!(spread.up_to(value), rows, "{value}");
        }
        assert_eq!([1.5, 9.0].map(|value| spread.up_to(value)), [56.0; 2]);
        let (middles, heights) = spread.bars();
        assert_eq!((heights.len(), heights.iter().sum::<u64>()), (50, 56));
        assert_eq!((middles[0], middles[49]), (0.015, 1.485));
        // From 18 to 20.4 rows, and from 52.4 to 52.76.
        assert_eq!((heights[20], heights[40]), (2, 1));
    }

    #[test]
    fn edges_and_extremes_lose_no_row() {
        let edges = [0.25, 0.5, 1.0];
        // All at an edge, beyond the last edge, and never active.
        for (counts, maximum) in [([0, 7], 0.5), ([0, 7], 64.0), ([3, 0], 1e-9), ([0, 0], 0.0)] {
            let spread = Spread { edges: &edges, counts: &counts, maximum };
            let (middles, heights) = spread.bars();
            assert_eq!(heights.iter().sum::<u64>(), counts.iter().sum::<u64>(), "{maximum}");
            assert_eq!(middles.is_empty(), maximum == 0.0);
        }
    }
}
