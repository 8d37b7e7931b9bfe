// Pre-activations of a chunk of features, centred · W_encᵀ + b_enc, or the largest key of each group of them; for
// adapters on the CPU. Sums as in encode/tiled.wgsl, groups of GROUPS features. One subgroup per workgroup: a lane owns
// GROUPS features, the rows of x are read one element per lane and broadcast; no workgroup memory, for there it is only
// more memory.
#define LANES 8
#define LANE_QUADS 2
#define ROWS 16
#define GROUPS 8
alias Element = f32;
#import encode
#import order

@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile_row = (group.z * params.row_tiles + group.x) * ${ROWS}u;
    let tile_feature = group.y * ${LANES}u * ${GROUPS}u + lane;
    // Rows and features past the end repeat the last one: loaded, computed, never stored.
    let last_row = params.rows - 1u;
#for i in 0..${ROWS}
    let row_${i} = (params.first_row + min(tile_row + ${i}u, last_row)) * params.quads * 4u + lane;
#end
#for j in 0..${GROUPS}
    let feature_${j} = feature_at(tile_feature + ${j}u * ${LANES}u);
    let line_${j} = feature_${j} * params.quads;
#for i in 0..${ROWS}
    var sum_${i}_${j} = 0.0;
#end
#end
#include subgroup_fold
#for j in 0..${GROUPS}
    let bias_${j} = bias(feature_${j});
#for i in 0..${ROWS}
    store(tile_row + ${i}u, tile_feature + ${j}u * ${LANES}u, sum_${i}_${j} + bias_${j});
#end
#end
}

fn store(row: u32, feature: u32, value: f32) {
    if row < params.rows && feature < params.width {
        pre_activations[row * params.stride + feature] = value;
    }
}

/// A lane's features are neighbours here: they are one group.
@compute @workgroup_size(${LANES})
fn group_maxima(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile_row = (group.z * params.row_tiles + group.x) * ${ROWS}u;
    let own_group = group.y * ${LANES}u + lane;
    let own_feature = own_group * ${GROUPS}u;
    // Rows and features past the end repeat the last one: the latter change no maximum.
    let last_row = params.rows - 1u;
#for i in 0..${ROWS}
    let row_${i} = (params.first_row + min(tile_row + ${i}u, last_row)) * params.quads * 4u + lane;
#end
#for j in 0..${GROUPS}
    let feature_${j} = feature_at(own_feature + ${j}u);
    let line_${j} = feature_${j} * params.quads;
#for i in 0..${ROWS}
    var sum_${i}_${j} = 0.0;
#end
#end
#include subgroup_fold
#for j in 0..${GROUPS}
    let bias_${j} = bias(feature_${j});
    let scale_${j} = key_scale(feature_${j});
#end
#for i in 0..${ROWS}
    if tile_row + ${i}u < params.rows && own_feature < params.width {
        var largest = (sum_${i}_0 + bias_0) * scale_0;
#for j in 1..${GROUPS}
        largest = larger(largest, (sum_${i}_${j} + bias_${j}) * scale_${j});
#end
        maxima[(tile_row + ${i}u) * params.stride + own_group] = largest;
    }
#end
}
