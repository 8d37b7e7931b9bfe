//! The files of one line: what the export belongs to. What exists on a server by that name stays as it is.

use serde_json::{Value, json};

use super::destination::Place;

/// The files and their lines: the fields of db_models/*.py, with the values that the converter gives them. The server
/// dates what it takes, and it is told of no machine that could run the model.
pub(super) fn of(place: &Place) -> [(&'static str, Value); 4] {
    let Place { model, source_set, source, creator_id, creator_name, release, title } = place;
    let of_release = json!({
        "name": release, "description": title, "descriptionShort": title, "creatorName": creator_name,
        "creatorNameShort": creator_name, "creatorId": creator_id, "creatorEmail": null, "visibility": "PUBLIC",
        "isNewUi": false, "featured": false, "urls": [], "defaultSourceSetName": null, "defaultSourceId": null,
        "defaultUmapSourceIds": [],
    });
    let of_model = json!({
        "id": model, "instruct": model.ends_with("-it"), "creatorId": creator_id, "displayNameShort": model,
        "displayName": model, "tlensId": null, "dimension": null, "visibility": "PUBLIC",
        "defaultSourceSetName": null, "defaultSourceId": null, "inferenceEnabled": false, "layers": 0,
        "neuronsPerLayer": 0, "owner": "", "website": null,
    });
    let of_source_set = json!({
        "modelId": model, "name": source_set, "creatorId": creator_id, "hasDashboards": true, "visibility": "PUBLIC",
        "description": title, "type": "", "creatorName": creator_name, "urls": [], "creatorEmail": null,
        "releaseName": release, "defaultOfModelId": null, "defaultRange": 1, "defaultShowBreaks": true,
        "showDfa": false, "showCorrelated": false, "showHeadAttribution": false, "showUmap": false,
    });
    let of_source = json!({
        "id": source, "modelId": model, "setName": source_set, "creatorId": creator_id, "hasDashboards": true,
        "inferenceEnabled": false, "inferenceHosts": [], "saelensConfig": null, "saelensRelease": null,
        "saelensSaeId": null, "hfRepoId": null, "hfFolderId": null, "visibility": "PUBLIC",
        "defaultOfModelId": null, "hasUmap": false, "hasUmapLogSparsity": false, "hasUmapClusters": false,
        "num_prompts": null, "num_tokens_in_prompt": null, "dataset": null, "notes": null,
    });
    [
        ("release.jsonl", of_release),
        ("model.jsonl", of_model),
        ("sourceset.jsonl", of_source_set),
        ("source.jsonl", of_source),
    ]
}
