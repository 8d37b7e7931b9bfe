//! The lines of a feature: itself, its examples and its label, with the columns that Neuronpedia's tables have.

use serde::Serialize;
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::batches::{Batches, Kind};
use super::destination::Place;
use super::spread::Spread;
use crate::error::{Error, Result};
use crate::features::labels::Label;
use crate::features::reader::examples::{Example, FeatureLine, token_text};
use crate::features::reader::{FeatureSet, Pairs, Rows, TokenNames};

/// Makes lines of features.
pub(super) struct Lines<'a> {
    set: &'a FeatureSet,
    place: &'a Place,
    names: &'a TokenNames,
    /// Edges of the histogram's bins.
    edges: Vec<f64>,
    /// Columns of a feature and of an activation that are the same for all. The importer takes a file's columns from
    /// its first line, so that every line has all of them.
    constant: [Value; 2],
}

/// A line of features.
#[derive(Serialize)]
struct Neuron<'a> {
    #[serde(flatten)]
    place: NeuronPlace<'a>,
    #[serde(rename = "sourceSetName")]
    source_set: &'a str,
    #[serde(rename = "maxActApprox")]
    maximum: f32,
    #[serde(rename = "topkCosSimIndices")]
    similar: Vec<i32>,
    #[serde(rename = "topkCosSimValues")]
    cosines: Vec<f32>,
    frac_nonzero: f64,
    freq_hist_data_bar_values: Vec<f32>,
    freq_hist_data_bar_heights: Vec<u64>,
    pos_str: Vec<String>,
    pos_values: Vec<f32>,
    neg_str: Vec<String>,
    neg_values: Vec<f32>,
    #[serde(flatten)]
    constant: &'a Value,
}

/// The columns that name a feature, and whose it is.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct NeuronPlace<'a> {
    model_id: &'a str,
    layer: &'a str,
    index: String,
    creator_id: &'a str,
}

/// A line of activations: an example.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Activation<'a> {
    id: String,
    #[serde(flatten)]
    place: NeuronPlace<'a>,
    tokens: &'a [String],
    values: &'a [f32],
    max_value: f32,
    max_value_token_index: usize,
    min_value: f32,
    bin_min: f64,
    bin_max: f64,
    bin_contains: f64,
    qualifying_token_index: usize,
    data_source: Option<&'a str>,
    #[serde(flatten)]
    constant: &'a Value,
}

/// A line of explanations: a label.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    id: String,
    model_id: &'a str,
    layer: &'a str,
    index: String,
    author_id: &'a str,
    description: &'a str,
    type_name: Option<&'a str>,
    explanation_model_name: Option<&'a str>,
    notes: Option<String>,
}

impl<'a> Lines<'a> {
    /// Lines of the features of a set.
    pub fn new(set: &'a FeatureSet, place: &'a Place, names: &'a TokenNames) -> Self {
        let of_feature = json!({
            "hasVector": false, "vector": [], "vectorLabel": null, "vectorDefaultSteerStrength": 10, "hookName": null,
            "neuron_alignment_indices": [], "neuron_alignment_values": [], "neuron_alignment_l1": [],
            "correlated_neurons_indices": [], "correlated_neurons_pearson": [], "correlated_neurons_l1": [],
            "correlated_features_indices": [], "correlated_features_pearson": [], "correlated_features_l1": [],
            "logits_hist_data_bar_heights": [], "logits_hist_data_bar_values": [], "decoder_weights_dist": [],
        });
        let of_activation = json!({
            "dataIndex": null, "dfaValues": [], "dfaTargetIndex": null, "dfaMaxValue": null, "lossValues": [],
            "logitContributions": null,
        });
        let edges = &set.description.histogram_log2_edges;
        let edges = edges.iter().map(|edge| edge.exp2()).collect();
        Self { set, place, names, edges, constant: [of_feature, of_activation] }
    }

    /// Writes the lines of a feature, which has a row of `rows`.
    ///
    /// # Errors
    /// [`Error::Data`] when the set is damaged or has no text, [`Error::Io`].
    pub fn write(&self, line: &FeatureLine, rows: &Rows, row: usize, batches: &mut Batches<'_>) -> Result<()> {
        let FeatureLine { feature, examples, .. } = line;
        let spread = self.spread(*feature, rows, row)?;
        batches.add(Kind::Features, &self.neuron(*feature, rows, row, spread))?;
        for (number, example) in examples.iter().enumerate() {
            let bin = self.bin(*feature, example, rows.count[row], spread)?;
            batches.add(Kind::Activations, &self.activation(*feature, number, example, bin)?)?;
        }
        if let Some(label) = self.set.label(*feature) {
            batches.add(Kind::Explanations, &self.explanation(label))?;
        }
        batches.end_feature()
    }

    fn place(&self, feature: usize) -> NeuronPlace<'a> {
        let Place { model, source, creator_id, .. } = self.place;
        NeuronPlace { model_id: model, layer: source, index: feature.to_string(), creator_id }
    }

    fn spread<'r>(&'r self, feature: usize, rows: &'r Rows, row: usize) -> Result<Spread<'r>> {
        let counts = rows.histogram.row(row);
        if counts.len() + 1 != self.edges.len() {
            let problem = format!("has {} bins in `histogram` of feature {feature}", counts.len());
            let edges = self.edges.len();
            let problem = format!("{problem}, and features.json {edges} edges of bins; write the set again");
            return Err(Error::data(self.set.statistics.path(), problem));
        }
        Ok(Spread { edges: &self.edges, counts, maximum: rows.maximum[row].into() })
    }

    fn neuron(&self, feature: usize, rows: &Rows, row: usize, spread: Spread<'_>) -> Neuron<'_> {
        let (middles, heights) = spread.bars();
        let [(pos_str, pos_values), (neg_str, neg_values)] = rows.logits.each_ref().map(|end| self.named(end, row));
        // The page takes the first for the feature itself.
        let itself = self.set.neighbors.as_ref().map(|_| (feature as i32, 1.0));
        let (similar, cosines) = itself.into_iter().chain(rows.neighbors.row(row)).unzip();
        Neuron {
            place: self.place(feature),
            source_set: &self.place.source_set,
            maximum: rows.maximum[row],
            similar,
            cosines,
            frac_nonzero: self.share(rows.count[row] as f64),
            freq_hist_data_bar_values: middles,
            freq_hist_data_bar_heights: heights,
            pos_str,
            pos_values,
            neg_str,
            neg_values,
            constant: &self.constant[0],
        }
    }

    /// A number of rows as a share of all.
    fn share(&self, rows: f64) -> f64 {
        rows / self.set.description.tokens.max(1) as f64
    }

    /// Tokens by their texts, and their logit weights.
    fn named(&self, weights: &Pairs, row: usize) -> (Vec<String>, Vec<f32>) {
        let name = |token: i32| token_text(self.names.get(token), Some(token.into()));
        weights.row(row).map(|(token, weight)| (name(token), weight)).unzip()
    }

    /// Least and greatest activation of an example's interval, and the share of rows in it, as SAEDashboard gives them:
    /// those of the largest activations are marked by -1, and the lowest interval has the rows without activation too.
    fn bin(&self, feature: usize, example: &Example, active: u64, spread: Spread<'_>) -> Result<[f64; 3]> {
        let parts = self.set.description.examples.intervals.saturating_sub(1);
        let Some(below) = parts.checked_sub(example.interval) else {
            let problem = format!("feature {feature} has an example of interval {}", example.interval);
            let problem = format!("{problem}, and there are {}; write the set again", parts + 1);
            return Err(Error::data(&self.set.directory, problem));
        };
        if example.interval == 0 {
            return Ok([-1.0, spread.maximum, -1.0]);
        }
        let edge = |part: u64| spread.maximum * part as f64 / parts as f64;
        let [from, to] = [below, below + 1].map(edge);
        let silent = if below == 0 { self.set.description.tokens.saturating_sub(active) } else { 0 };
        Ok([from, to, self.share(spread.up_to(to) - spread.up_to(from) + silent as f64)])
    }

    fn activation<'r>(
        &'r self,
        feature: usize,
        number: usize,
        example: &'r Example,
        [bin_min, bin_max, bin_contains]: [f64; 3],
    ) -> Result<Activation<'r>> {
        let tokens = example.text.as_deref().ok_or_else(|| self.set.lacks_text())?;
        let incomplete = || {
            let problem = format!("feature {feature} has an example of tokens without activations");
            Error::data(&self.set.directory, format!("{problem}; write the set again"))
        };
        let values = example.activations.as_deref().ok_or_else(incomplete)?;
        let (mut greatest, mut least) = (0, *values.first().ok_or_else(incomplete)?);
        for (at, value) in values.iter().enumerate() {
            least = least.min(*value);
            if *value > values[greatest] {
                greatest = at;
            }
        }
        let content = tokens.iter().map(|token| token.as_bytes()).chain([bytemuck::cast_slice(values)]);
        Ok(Activation {
            id: self.id("activation", feature, number, content),
            place: self.place(feature),
            tokens,
            values,
            max_value: values[greatest],
            max_value_token_index: greatest,
            min_value: least,
            bin_min,
            bin_max,
            bin_contains,
            qualifying_token_index: example.focus,
            data_source: example.source.as_deref(),
            constant: &self.constant[1],
        })
    }

    fn explanation<'r>(&'r self, label: &'r Label) -> Explanation<'r> {
        let Place { model, source, creator_id, .. } = self.place;
        let feature = label.feature as usize;
        let notes = [
            label.score.map(|score| format!("score {}", (1e3 * score).round() / 1e3)),
            label.source.as_ref().map(|source| format!("source: {source}")),
        ];
        let notes: Vec<_> = notes.into_iter().flatten().collect();
        Explanation {
            id: self.id("explanation", feature, 0, [label.label.as_bytes()]),
            model_id: model,
            layer: source,
            index: feature.to_string(),
            author_id: creator_id,
            description: &label.label,
            type_name: None,
            explanation_model_name: None,
            notes: (!notes.is_empty()).then(|| notes.join(", ")),
        }
    }

    /// An id as long as theirs and made of what it names: a server that has the line takes it no second time.
    fn id<'r>(&self, kind: &str, feature: usize, number: usize, content: impl IntoIterator<Item = &'r [u8]>) -> String {
        let Place { model, source, .. } = self.place;
        let mut hash = Xxh3::new();
        hash.update(format!("{kind} {model} {source} {feature} {number}").as_bytes());
        for part in content {
            // Ends each, so that parts differently cut differ.
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        // 96 bits.
        format!("c{:024x}", hash.digest128() >> 32)
    }
}
