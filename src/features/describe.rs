//! What a set says of itself: what it has, and what it lacks and why.

use super::candidates::ExampleCounts;
use super::facts::{MAX_SOURCES, RowFacts};
use super::set::{Description, ExampleSizes, Parts};
use super::write::{FeatureJob, FeatureOptions};

/// Describes the set that a job has written.
pub(super) fn describe(job: &FeatureJob<'_>, facts: &RowFacts, has_contexts: bool) -> Description {
    let FeatureOptions { counts: ExampleCounts { per_interval, intervals }, before, after, seed, .. } = job.options;
    let [sae, data] = job.about.clone();
    let sources = facts.source_names();
    let has = Parts {
        token_ids: facts.tokens().is_some(),
        contexts: has_contexts,
        text: facts.tokens().is_some() && job.vocabulary.is_some(),
        sources: !sources.is_empty(),
        best_dimension: job.options.best_dimension,
        neighbors: job.of_decoder.neighbors,
        logits: job.of_decoder.logits,
        labels: false,
    };
    let lacking = lacking(&has, facts);
    Description {
        sae,
        data,
        tokens: job.rows.rows(),
        examples: ExampleSizes { per_interval, intervals, before, after, seed },
        missing: [lacking.clone(), left_out(&has)].concat(),
        lacking,
        has,
        sources,
        source_tokens: facts.source_rows().to_vec(),
        special_tokens: job.vocabulary.map(|known| known.special().to_vec()).unwrap_or_default(),
    }
}

/// What the data lack.
fn lacking(has: &Parts, facts: &RowFacts) -> Vec<String> {
    let mut lacking = Vec::new();
    if !has.token_ids {
        lacking.push("tokens: not every file of the data has `token_ids`, one integer for each row".to_owned());
    }
    if !has.contexts {
        lacking.push("contexts: not every file of the data has both `sequence` and `position`".to_owned());
    }
    if !has.sources {
        lacking.push("sources: no file of the data has `source`".to_owned());
    }
    if facts.has_too_many_sources() {
        lacking.push(format!("sources: only the first {MAX_SOURCES} that came are counted"));
    }
    lacking
}

/// What nobody asked for.
fn left_out(has: &Parts) -> Vec<String> {
    let reasons = [
        (has.token_ids && !has.text, "text: no tokenizer was given (--tokenizer)"),
        (!has.best_dimension, "best dimension: it was left out (--no-best-dimension)"),
        (!has.neighbors, "neighbours: none were asked for (--neighbors 0), or the SAE has one feature"),
        (!has.logits, "logit weights: no unembedding was given (--unembed)"),
    ];
    reasons.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, reason)| reason.to_owned()).collect()
}
