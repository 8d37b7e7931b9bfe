// Needs terms.wgsl, entry_list.wgsl and the global `terms`.
/// The first term of [low, high) whose block is at least `block`.
fn term_from(block: u32, low: u32, high: u32) -> u32 {
    var first = low;
    var end = high;
    while first < end {
        let middle = first + (end - first) / 2u;
        if block_of(terms[middle * STRIDE].x) < block {
            first = middle + 1u;
        } else {
            end = middle;
        }
    }
    return first;
}
