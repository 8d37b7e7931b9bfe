//! What each feature of an SAE responds to: statistics over activations, examples in their contexts, tokens, nearest
//! features, logit weights and labels (docs/features.md describes what is written).

mod accumulator;
mod candidates;
mod contexts;
mod describe;
mod dimensions;
mod facts;
mod half_octaves;
mod kept_codes;
pub mod labels;
mod lines;
pub mod logits;
pub mod neighbors;
pub mod neuronpedia;
mod reader;
pub mod report;
mod set;
mod statistics;
mod token_texts;
#[cfg(feature = "text")]
mod tokenizer;
mod top_tokens;
pub mod unembedding;
mod vocabulary;
mod weights;
mod write;

pub use candidates::ExampleCounts;
pub use set::{Description, ExampleSizes, NewFeatureSet, Parts};
pub use vocabulary::{SpecialToken, Vocabulary};
pub use write::{
    DecoderParts, FeatureJob, FeatureOptions, FeatureProgress, FeatureSummary, FeatureWork, write_features,
};
