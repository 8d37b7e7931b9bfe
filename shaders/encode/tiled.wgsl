// Pre-activations of a chunk of features, centred · W_encᵀ + b_enc, or the largest key of each group of them, by tiles of ROWS rows
// and FEATURES features, of which DEPTH dimensions at a time are staged in workgroup memory, in one buffer or in two by turns.
// centred: [rows, quads] vec4; w_enc: [features of the shard, quads] vec4; b_enc, norms: [features of the shard];
// pre_activations: [rows, stride / 4] vec4; maxima: [rows, stride], a group of GROUP features each, whose key is the
// pre-activation or that times the decoder norm. Each dot product is one ascending fold (rule D, docs/architecture.md) in any shape.
#define ROWS 128
#define FEATURES 128
#define DEPTH 8
#define DOUBLE 0
// Vectors of a stage that a thread loads: 16 DEPTH / FEATURES of x, 16 DEPTH / ROWS of W_enc.
#define X_LOADS 1
#define W_LOADS 1
struct Params {
    rows: u32,
    quads: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk.
    count: u32,
    /// Row length of the pre-activations, a multiple of 4, or of the maxima.
    stride: u32,
    /// Whether negative pre-activations become 0.
    relu: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
}

@group(0) @binding(0) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_enc: array<f32>;
@group(0) @binding(3) var<storage, read_write> pre_activations: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norms: array<f32>;
@group(0) @binding(5) var<storage, read_write> maxima: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

#import order

/// Features a group of maxima: those of four threads.
const GROUP: u32 = 16u;
/// Threads side by side, of 4 + 4 features each, and in all, of 8 rows each.
const COLUMNS: u32 = ${FEATURES}u / 8u;
const THREADS: u32 = ${ROWS}u / 8u * COLUMNS;
/// Vectors of a stage in a row of x or W_enc.
const STAGE_QUADS: u32 = ${DEPTH}u / 4u;
/// Vectors of one dimension of a stage, and those that follow every fourth so that its transposition spreads over the banks.
const X_LINE: u32 = ${ROWS}u / 4u;
const W_LINE: u32 = ${FEATURES}u / 4u;
const GAP: u32 = 32u / ${DEPTH}u;
const X_TILE: u32 = X_LINE * ${DEPTH}u + GAP * STAGE_QUADS;
const W_TILE: u32 = W_LINE * ${DEPTH}u + GAP * STAGE_QUADS;
const STAGE: u32 = X_TILE + W_TILE;

/// Stages: x, then W_enc.
var<workgroup> staged: array<vec4<f32>, STAGE * (1u + ${DOUBLE}u)>;

/// Puts four dimensions of a row where they are read by dimension.
fn stage(at: u32, component: u32, line: u32, quad: vec4<f32>) {
#for k in 0..4
    staged[at + ${k}u * line][component] = quad[${k}];
#end
}

fn bias(feature: u32) -> f32 {
    return b_enc[params.first + min(feature, params.count - 1u)];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
#include tiled_fold
    let feature = tile_feature + column * 4u;
    let bias_low = vec4(bias(feature), bias(feature + 1u), bias(feature + 2u), bias(feature + 3u));
    let other = feature + ${FEATURES}u / 2u;
    let bias_high = vec4(bias(other), bias(other + 1u), bias(other + 2u), bias(other + 3u));
#for i in 0..8
    store(tile_row + ${i}u / 4u * (${ROWS}u / 2u) + row * 4u + ${i}u % 4u, feature, low_${i} + bias_low);
    store(tile_row + ${i}u / 4u * (${ROWS}u / 2u) + row * 4u + ${i}u % 4u, other, high_${i} + bias_high);
#end
}

fn store(row: u32, feature: u32, value: vec4<f32>) {
    if row < params.rows && feature < params.stride {
        let rectified = select(value, vec4(0.0), value <= vec4(0.0));
        pre_activations[(row * params.stride + feature) / 4u] = select(value, rectified, params.relu != 0u);
    }
}

fn scale(feature: u32) -> f32 {
    if params.scaled != 0u {
        return norms[params.first + min(feature, params.count - 1u)];
    }
    return 1.0;
}

/// The largest key of a thread's four features from `feature` on; those past the end do not count.
fn largest_of(sums: vec4<f32>, biases: vec4<f32>, scales: vec4<f32>, feature: u32) -> f32 {
    let keys = (sums + biases) * scales;
    var largest = keys.x;
#for c in 1..4
    largest = select(largest, larger(largest, keys[${c}]), feature + ${c}u < params.count);
#end
    return largest;
}

/// Where the largest of four features waits for its neighbours'.
fn stage_largest(row: u32, column: u32, value: f32) {
    let at = row * COLUMNS + column;
    staged[at / 4u][at % 4u] = value;
}

/// Writes the maxima of half a tile's features, from `first` on, two a thread.
fn write_maxima(tile_row: u32, first: u32, thread: u32) {
    const GROUPS: u32 = COLUMNS / 4u;
    for (var half = 0u; half < 2u; half++) {
        let at = thread + half * THREADS;
        let row = at / GROUPS;
        let values = staged[at];
        let feature = first + at % GROUPS * GROUP;
        var largest = values.x;
#for c in 1..4
        largest = select(largest, larger(largest, values[${c}]), feature + ${c}u * 4u < params.count);
#end
        if tile_row + row < params.rows && feature < params.count {
            maxima[(tile_row + row) * params.stride + feature / GROUP] = largest;
        }
    }
}

@compute @workgroup_size(THREADS)
fn group_maxima(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
#include tiled_fold
    let feature = tile_feature + column * 4u;
#for h in 0..2
    let feature_${h} = feature + ${h}u * (${FEATURES}u / 2u);
    let biases_${h} = vec4(bias(feature_${h}), bias(feature_${h} + 1u), bias(feature_${h} + 2u), bias(feature_${h} + 3u));
    let scales_${h} = vec4(scale(feature_${h}), scale(feature_${h} + 1u), scale(feature_${h} + 2u), scale(feature_${h} + 3u));
#end
    workgroupBarrier();
#for i in 0..8
    stage_largest(${i}u / 4u * (${ROWS}u / 2u) + row * 4u + ${i}u % 4u, column, largest_of(low_${i}, biases_0, scales_0, feature_0));
#end
    workgroupBarrier();
    write_maxima(tile_row, tile_feature, thread);
    workgroupBarrier();
#for i in 0..8
    stage_largest(${i}u / 4u * (${ROWS}u / 2u) + row * 4u + ${i}u % 4u, column, largest_of(high_${i}, biases_1, scales_1, feature_1));
#end
    workgroupBarrier();
    write_maxima(tile_row, tile_feature + ${FEATURES}u / 2u, thread);
}
