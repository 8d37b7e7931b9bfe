// Pre-activations of a chunk of features, centred · W_encᵀ + b_enc, or the largest key of each group of them, by 128 x 128 tiles
// staged in workgroup memory.
// centred: [rows, quads] vec4; w_enc: [features of the shard, quads] vec4; b_enc, norms: [features of the shard];
// pre_activations: [rows, stride / 4] vec4; maxima: [rows, stride], a group of GROUP features each, whose key is the
// pre-activation or that times the decoder norm. Each dot product is one ascending fold (rule D, docs/architecture.md).
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

const TILE: u32 = 128u;
/// Features a group of maxima: those of four threads.
const GROUP: u32 = 16u;
/// Quads a line of a tile: one more than 32, so that a tile's transposition spreads over the banks.
const LINE: u32 = 33u;

var<workgroup> x_tile: array<vec4<f32>, 264>;
var<workgroup> w_tile: array<vec4<f32>, 264>;

fn bias(feature: u32) -> f32 {
    return b_enc[params.first + min(feature, params.count - 1u)];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
#import tiled_fold
    let feature = tile_feature + column * 4u;
    let bias_low = vec4(bias(feature), bias(feature + 1u), bias(feature + 2u), bias(feature + 3u));
    let bias_high = vec4(bias(feature + 64u), bias(feature + 65u), bias(feature + 66u), bias(feature + 67u));
#for i in 0..8
    store(tile_row + ${i}u / 4u * 64u + row * 4u + ${i}u % 4u, feature, low_${i} + bias_low);
    store(tile_row + ${i}u / 4u * 64u + row * 4u + ${i}u % 4u, feature + 64u, high_${i} + bias_high);
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

/// Where the maxima of four features wait for their neighbours': 64 rows of 16 threads in each tile.
fn stage(row: u32, column: u32, value: f32) {
    let at = row % 64u * 16u + column;
    if row < 64u {
        x_tile[at / 4u][at % 4u] = value;
    } else {
        w_tile[at / 4u][at % 4u] = value;
    }
}

/// Writes the maxima of the 64 features from `first` on, of four groups a row, two a thread.
fn write_maxima(tile_row: u32, first: u32, thread: u32) {
    for (var half = 0u; half < 2u; half++) {
        let row = thread / 4u + half * 64u;
        var staged: vec4<f32>;
        if half == 0u {
            staged = x_tile[thread];
        } else {
            staged = w_tile[thread];
        }
        let feature = first + thread % 4u * GROUP;
        var largest = staged.x;
#for c in 1..4
        largest = select(largest, larger(largest, staged[${c}]), feature + ${c}u * 4u < params.count);
#end
        if tile_row + row < params.rows && feature < params.count {
            maxima[(tile_row + row) * params.stride + feature / GROUP] = largest;
        }
    }
}

@compute @workgroup_size(256)
fn group_maxima(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
#import tiled_fold
    let feature = tile_feature + column * 4u;
#for h in 0..2
    let feature_${h} = feature + ${h}u * 64u;
    let biases_${h} = vec4(bias(feature_${h}), bias(feature_${h} + 1u), bias(feature_${h} + 2u), bias(feature_${h} + 3u));
    let scales_${h} = vec4(scale(feature_${h}), scale(feature_${h} + 1u), scale(feature_${h} + 2u), scale(feature_${h} + 3u));
#end
    workgroupBarrier();
#for i in 0..8
    stage(${i}u / 4u * 64u + row * 4u + ${i}u % 4u, column, largest_of(low_${i}, biases_0, scales_0, feature_0));
#end
    workgroupBarrier();
    write_maxima(tile_row, tile_feature, thread);
    workgroupBarrier();
#for i in 0..8
    stage(${i}u / 4u * 64u + row * 4u + ${i}u % 4u, column, largest_of(high_${i}, biases_1, scales_1, feature_1));
#end
    workgroupBarrier();
    write_maxima(tile_row, tile_feature + 64u, thread);
}
