//! The tokens that a feature responds to most, in bounded memory.

/// Tokens that are followed at a time.
const FOLLOWED: usize = 32;

/// Sums by token, of the tokens with the largest sums: the "space-saving" algorithm ("Efficient computation of frequent
/// and top-k elements in data streams", Metwally et al. 2005), weighted by activation.
///
/// A new token takes the place of the followed one with the least weight, and inherits its weight. Every token whose
/// activations sum to more than 1/32 of the feature's is followed at the end; what is told of a token are the rows
/// since it was last taken up. On 32 tokens or fewer all of it is exact.
#[derive(Clone, Debug, Default)]
pub struct TopTokens {
    tokens: Vec<i64>,
    counters: Vec<Counter>,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    count: u64,
    sum: f64,
    inherited: f64,
}

/// A token and what is known of a feature's activations on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenSum {
    /// The token's id.
    pub token: i64,
    /// Active rows of it.
    pub count: u64,
    /// Sum of their activations.
    pub sum: f64,
}

impl TopTokens {
    /// Bytes that a feature's refer to at most.
    pub const HEAP_BYTES: usize = FOLLOWED * (size_of::<i64>() + size_of::<Counter>());

    /// Adds an active row.
    pub fn add(&mut self, token: i64, value: f32) {
        let value = f64::from(value);
        if let Some(place) = self.tokens.iter().position(|known| *known == token) {
            let counter = &mut self.counters[place];
            counter.count += 1;
            counter.sum += value;
            return;
        }
        if self.tokens.len() < FOLLOWED {
            self.tokens.push(token);
            self.counters.push(Counter { count: 1, sum: value, inherited: 0.0 });
            return;
        }
        let weight = |counter: &Counter| counter.sum + counter.inherited;
        let least = (0..FOLLOWED).min_by(|&a, &b| weight(&self.counters[a]).total_cmp(&weight(&self.counters[b])));
        if let Some(least) = least {
            let inherited = weight(&self.counters[least]);
            self.tokens[least] = token;
            self.counters[least] = Counter { count: 1, sum: value, inherited };
        }
    }

    /// The `most` tokens with the largest sums, then the lowest ids.
    pub fn largest(&self, most: usize) -> Vec<TokenSum> {
        let sums = self.tokens.iter().zip(&self.counters);
        let mut sums: Vec<_> =
            sums.map(|(&token, &Counter { count, sum, .. })| TokenSum { token, count, sum }).collect();
        sums.sort_unstable_by(|a, b| b.sum.total_cmp(&a.sum).then(a.token.cmp(&b.token)));
        sums.truncate(most);
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tokens_are_exact_and_heavy_ones_are_never_lost() {
        let mut few = TopTokens::default();
        for row in 0..320_i64 {
            few.add(row % 32, (row % 32 + 1) as f32);
        }
        let sum = |token: i64| TokenSum { token, count: 10, sum: 10.0 * (token + 1) as f64 };
        assert_eq!(few.largest(3), [sum(31), sum(30), sum(29)]);
        assert_eq!(few.largest(100).len(), 32);

        // A token with a tenth of the weight among ever new ones.
        let mut many = TopTokens::default();
        for row in 0..10_000_i64 {
            many.add(if row % 10 == 7 { -1 } else { row }, 0.5);
        }
        let first = many.largest(10)[0];
        assert_eq!(first.token, -1);
        assert!(first.sum <= 500.0 && first.sum > 500.0 - 5000.0 / 32.0, "{first:?}");
    }
}
