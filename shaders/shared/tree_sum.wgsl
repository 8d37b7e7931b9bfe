// Needs `leaf(chunk, column)` and the global `params.one`.
#import tree

/// The sum of the leaves of a column in the tree's order.
fn tree_sum(column: u32) -> vec4<f32> {
    let one = vec4(params.one);
#for l in 0..${LEVELS+1}
    var node_${l} = vec4(0.0);
#end
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
        node_0 = leaf(chunk, column);
#for l in 0..${LEVELS}
        if (chunk >> ${l}u) != ((chunk + 1u) >> ${l}u) {
            node_${l+1} = fma(one, node_${l}, node_${l+1});
            node_${l} = vec4(0.0);
        }
#end
    }
    return node_${LEVELS};
}
