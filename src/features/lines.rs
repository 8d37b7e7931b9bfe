//! Examples as lines: their tokens, texts and sources.

use super::accumulator::Found;
use super::contexts::{Context, Focus};
use super::facts::RowFacts;
use super::set::{ExampleLine, FeatureLine, NewFeatureSet, TokenLine};
use super::top_tokens::TokenSum;
use super::vocabulary::Vocabulary;
use crate::error::Result;

/// What is told of some examples.
pub struct Lines<'a> {
    contexts: Option<Vec<Context>>,
    /// Of each example.
    sources: Option<Vec<Option<String>>>,
    /// Of the rows, ascending.
    tokens: Option<(Vec<u64>, Vec<i64>)>,
    vocabulary: Option<&'a Vocabulary>,
}

impl<'a> Lines<'a> {
    /// Reads what stands beside the rows of examples and of their contexts.
    ///
    /// # Errors
    /// Those of reading.
    pub fn new(
        examples: &[Focus],
        contexts: Option<Vec<Context>>,
        facts: &RowFacts,
        vocabulary: Option<&'a Vocabulary>,
    ) -> Result<Self> {
        let own: Vec<u64> = examples.iter().map(|example| example.row).collect();
        let tokens = match facts.tokens() {
            Some(tokens) => {
                let mut rows = match &contexts {
                    Some(contexts) => contexts.iter().flat_map(|context| &context.rows).copied().collect(),
                    None => own.clone(),
                };
                rows.sort_unstable();
                rows.dedup();
                let tokens = tokens.of(&rows)?;
                Some((rows, tokens))
            }
            None => None,
        };
        Ok(Self { contexts, sources: facts.sources_of(&own)?, tokens, vocabulary })
    }

    /// Writes a line for each feature from `first` on; the examples must be theirs, in order.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn write(mut self, first: usize, found: &[Found], set: &mut NewFeatureSet) -> Result<()> {
        let mut example = 0;
        for (feature, found) in (first..).zip(found) {
            let mut examples = Vec::with_capacity(found.chosen.len());
            for chosen in &found.chosen {
                let context = self.contexts.as_mut().map(|contexts| std::mem::take(&mut contexts[example]));
                let source = self.sources.as_mut().and_then(|sources| sources[example].take());
                let line = ExampleLine {
                    interval: chosen.interval,
                    activation: chosen.value,
                    row: chosen.row,
                    sequence: None,
                    position: None,
                    source,
                    tokens: None,
                    text: None,
                    activations: None,
                    focus: None,
                    missing_before: 0,
                    missing_after: 0,
                };
                examples.push(self.with_context(line, context));
                example += 1;
            }
            let top_tokens = self.tokens.is_some().then(|| found.tokens.iter().map(|sum| self.token(sum)).collect());
            set.write_line(&FeatureLine { feature, top_tokens, examples })?;
        }
        Ok(())
    }

    /// The example with its context, or with its own token alone.
    fn with_context(&self, line: ExampleLine<'a>, context: Option<Context>) -> ExampleLine<'a> {
        let (rows, line) = match context {
            Some(context) => {
                let Context { sequence, position, rows, activations, focus, missing_before, missing_after } = context;
                let (sequence, position) = (Some(sequence), Some(position));
                let (activations, focus) = (Some(activations), Some(focus));
                (rows, ExampleLine { sequence, position, activations, focus, missing_before, missing_after, ..line })
            }
            None if self.tokens.is_some() => {
                let (activations, focus) = (Some(vec![line.activation]), Some(0));
                (vec![line.row], ExampleLine { activations, focus, ..line })
            }
            None => return line,
        };
        let tokens = self.tokens.as_ref().map(|(known, tokens)| {
            // Every row of an example is known.
            rows.iter().map(|row| tokens[known.partition_point(|known| known < row)]).collect::<Vec<i64>>()
        });
        let text = tokens.as_ref().and_then(|tokens| self.texts(tokens));
        ExampleLine { tokens, text, ..line }
    }

    fn texts(&self, tokens: &[i64]) -> Option<Vec<&'a str>> {
        let vocabulary = self.vocabulary?;
        // The vocabulary has every token of a row that was counted.
        Some(tokens.iter().map(|token| vocabulary.text(*token).unwrap_or_default()).collect())
    }

    fn token(&self, &TokenSum { token, count, sum }: &TokenSum) -> TokenLine<'a> {
        let text = self.vocabulary.map(|vocabulary| vocabulary.text(token).unwrap_or_default());
        TokenLine { token, text, count, mean: (sum / count as f64) as f32 }
    }
}
