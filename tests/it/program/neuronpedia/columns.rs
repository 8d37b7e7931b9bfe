//! The columns of Neuronpedia's tables (apps/webapp/prisma/schema.prisma at ebb8426), each with a letter for its type
//! (text, whole number, number, Boolean), `[]` for an array of it, `?` for one that may be null.

use serde_json::Value;

pub const NEURON: &str = "\
    modelId:t layer:t index:t sourceSetName:t creatorId:t maxActApprox:n hasVector:b vector:n[] vectorLabel:t? \
    vectorDefaultSteerStrength:n hookName:t? topkCosSimIndices:w[] topkCosSimValues:n[] neuron_alignment_indices:w[] \
    neuron_alignment_values:n[] neuron_alignment_l1:n[] correlated_neurons_indices:w[] \
    correlated_neurons_pearson:n[] correlated_neurons_l1:n[] correlated_features_indices:w[] \
    correlated_features_pearson:n[] correlated_features_l1:n[] neg_str:t[] neg_values:n[] pos_str:t[] pos_values:n[] \
    frac_nonzero:n freq_hist_data_bar_heights:n[] freq_hist_data_bar_values:n[] logits_hist_data_bar_heights:n[] \
    logits_hist_data_bar_values:n[] decoder_weights_dist:n[]";
pub const ACTIVATION: &str = "\
    id:t tokens:t[] dataIndex:t? index:t layer:t modelId:t dataSource:t? maxValue:n maxValueTokenIndex:w minValue:n \
    values:n[] dfaValues:n[] dfaTargetIndex:w? dfaMaxValue:n? creatorId:t lossValues:n[] logitContributions:t? \
    binMin:n binMax:n binContains:n qualifyingTokenIndex:w";
pub const EXPLANATION: &str = "\
    id:t modelId:t layer:t index:t description:t authorId:t notes:t? typeName:t? explanationModelName:t?";

/// Columns of the files of one line that have no default.
pub const RECORDS: [(&str, &str); 4] = [
    ("release.jsonl", "name:t description:t urls:t[] creatorName:t creatorId:t"),
    ("model.jsonl", "id:t creatorId:t layers:w neuronsPerLayer:w owner:t"),
    ("sourceset.jsonl", "modelId:t name:t description:t creatorName:t urls:t[] creatorId:t"),
    ("source.jsonl", "id:t modelId:t setName:t creatorId:t"),
];

/// Names and types.
pub fn columns(text: &str) -> Vec<(&str, &str)> {
    text.split_whitespace().map(|column| column.split_once(':').unwrap()).collect()
}

/// Whether a value is of a type.
pub fn is_of(value: &Value, kind: &str) -> bool {
    if let Some(kind) = kind.strip_suffix('?') {
        return value.is_null() || is_of(value, kind);
    }
    if let Some(kind) = kind.strip_suffix("[]") {
        return value.as_array().is_some_and(|values| values.iter().all(|value| is_of(value, kind)));
    }
    match kind {
        "t" => value.is_string(),
        "w" => value.as_i64().is_some_and(|whole| i32::try_from(whole).is_ok()),
        "n" => value.is_number(),
        "b" => value.is_boolean(),
        _ => unreachable!("{kind}"),
    }
}
