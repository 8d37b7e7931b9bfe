// Needs the global `run_features`.
/// The first run in [low, high) whose feature is at least `feature`.
fn first_run_from(feature: u32, low: u32, high: u32) -> u32 {
    var first = low;
    var end = high;
    while first < end {
        let middle = first + (end - first) / 2u;
        if run_features[middle] < feature {
            first = middle + 1u;
        } else {
            end = middle;
        }
    }
    return first;
}
