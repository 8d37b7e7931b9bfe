//! What is known of every feature before one is opened: a few bytes each, loaded at once.

use std::collections::HashMap;

use serde::Serialize;

use super::chunks;
use super::script::{Shown, base64, call};
use crate::error::Result;
use crate::features::reader::examples::{FeatureLine, token_text};
use crate::features::reader::{Description, FeatureSet};
use crate::storage::Dtype;

/// Stands for no token; as u16 too.
const NONE: u32 = u32::MAX;

/// Top tokens of each feature.
const TOP: usize = 3;

/// The overview that is being filled.
pub(super) struct Overview<'a> {
    set: &'a FeatureSet,
    density: Vec<f32>,
    maximum: Vec<f32>,
    /// The first of each feature's top tokens, by their places in `texts`.
    top: Vec<u32>,
    texts: Vec<Shown>,
    places: HashMap<String, u32>,
}

#[derive(Serialize)]
struct Written<'a> {
    description: &'a Description,
    chunk: usize,
    has_neighbors: bool,
    has_logits: bool,
    /// f32 a feature.
    density: String,
    /// f32 a feature.
    maximum: String,
    /// [`TOP`] places in `texts` a feature: u16 if there are fewer than 2^16 - 1, u32 otherwise.
    top: String,
    texts: &'a [Shown],
    /// u32 a label.
    labelled: String,
    labels: Vec<Shown>,
    /// Two u16 a feature.
    map: Option<String>,
}

impl<'a> Overview<'a> {
    /// Reads what the statistics say of all features.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when they are damaged, [`crate::Error::Io`].
    pub fn new(set: &'a FeatureSet) -> Result<Self> {
        let (statistics, all) = (&set.statistics, 0..set.features);
        let counts = statistics.counts(&statistics.column("count", Dtype::I64)?, all.clone())?;
        let tokens = set.description.tokens.max(1) as f64;
        Ok(Self {
            set,
            density: counts.iter().map(|&count| (count as f64 / tokens) as f32).collect(),
            maximum: statistics.floats(&statistics.column("maximum", Dtype::F32)?, all)?,
            top: vec![NONE; TOP * set.features],
            texts: Vec::new(),
            places: HashMap::new(),
        })
    }

    /// Notes a feature's first tokens.
    pub fn add(&mut self, feature: usize, line: &FeatureLine) {
        for (place, top) in line.top_tokens.iter().take(TOP).enumerate() {
            let text = token_text(top.text.as_deref(), top.token);
            let texts = &mut self.texts;
            self.top[TOP * feature + place] = *self.places.entry(text).or_insert_with_key(|text| {
                texts.push(Shown::from(&**text));
                texts.len() as u32 - 1
            });
        }
    }

    /// The file, with a place on the map for each feature.
    pub fn script(&self, map: Option<&[[u16; 2]]>) -> String {
        let labels = &self.set.labels;
        let labelled: Vec<u32> = labels.keys().map(|feature| *feature as u32).collect();
        let written = Written {
            description: &self.set.description,
            chunk: chunks::FEATURES,
            has_neighbors: self.set.neighbors.is_some(),
            has_logits: self.set.logits.is_some(),
            density: base64(&self.density),
            maximum: base64(&self.maximum),
            top: self.top_script(),
            texts: &self.texts,
            labelled: base64(&labelled),
            labels: labels.values().map(|label| Shown::from(&*label.label)).collect(),
            map: map.map(base64),
        };
        call("addOverview", None, &written)
    }

    fn top_script(&self) -> String {
        match self.texts.len() < usize::from(u16::MAX) {
            true => base64(&self.top.iter().map(|&place| place as u16).collect::<Vec<_>>()),
            false => base64(&self.top),
        }
    }
}
