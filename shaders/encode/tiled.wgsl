// Pre-activations of a chunk of features, centred · W_encᵀ + b_enc, or the largest key of each group of them, by tiles
// of ROWS rows and FEATURES features, of which DEPTH dimensions at a time are staged in workgroup memory, in one buffer
// or alternately in two. A group of maxima is GROUP features, whose keys are their pre-activations, or those times
// decoder norms.
// Each dot product is one ascending fold (rule D, docs/architecture.md) in any variant.
#define DEPTH 16
#define DOUBLE 0
// The dimensions of a stage are a loop, for compilers that would hold the sums twice about an unrolled one.
#define ROLLED 0
alias Element = vec4<f32>;
#import encode
#import order

/// Features per group of maxima: those of four threads.
const GROUP: u32 = 16u;
const ROWS: u32 = 128u;
const FEATURES: u32 = 128u;
/// A thread has 8 rows by 4 features of each half of the tile's.
const HALF: u32 = FEATURES / 2u;
/// Threads side by side, and in all.
const COLUMNS: u32 = HALF / 4u;
const THREADS: u32 = ROWS / 8u * COLUMNS;
/// Vectors of a stage in a row of x or W_enc.
const STAGE_QUADS: u32 = ${DEPTH}u / 4u;
/// Vectors of one dimension of a stage, those of x first.
const X_LINE: u32 = ROWS / 4u;
const LINE: u32 = X_LINE + FEATURES / 4u;
const STAGE: u32 = LINE * ${DEPTH}u;

var<workgroup> staged: array<vec4<f32>, STAGE * (1u + ${DOUBLE}u)>;

/// Vectors of four rows that follow each other, one below the other. A stage is one such block per thread, which
/// transposes it and writes whole vectors, because a write to one component may clobber the others.
struct Block {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

/// Tiles of features in a block of tiles: 1,024 features.
const BLOCK_TILES: u32 = 1024u / FEATURES;

/// The tile of rows and the tile of features of a workgroup: row by row of tiles, or block by block, so that a small
/// cache holds what neighbours share.
fn tile_of(group: vec3<u32>) -> vec2<u32> {
    if params.row_tiles == 0u {
        return group.yx;
    }
    let tiles = vec2(params.rows + ROWS - 1u, params.width + FEATURES - 1u) / vec2(ROWS, FEATURES);
    let at = group.y * tiles.y + group.x;
    let of_band = params.row_tiles * tiles.y;
    let first_row = at / of_band * params.row_tiles;
    let in_band = at % of_band;
    // The last band and its last block are what is left.
    let of_block = min(params.row_tiles, tiles.x - first_row) * BLOCK_TILES;
    let first_feature = in_band / of_block * BLOCK_TILES;
    let in_block = in_band % of_block;
    let width = min(BLOCK_TILES, tiles.y - first_feature);
    return vec2(first_row + in_block / width, first_feature + in_block % width);
}

/// The vector of a stage's rows, and the vector of a dimension, that a thread's block is: of eight neighbours each two
/// read 32 bytes that follow each other, and no more than two write to the same bank.
fn block_of(thread: u32) -> vec2<u32> {
    return vec2(thread % 2u + thread / 8u % 2u * 2u, thread / 2u % 4u + thread / 16u * 4u);
}

/// Where the four rows of a block begin.
fn block_lines(block: vec2<u32>, tile_row: u32, tile_feature: u32) -> vec4<u32> {
    let neighbours = vec4(0u, 1u, 2u, 3u);
    // Rows and features past the end repeat the last one: loaded, computed, never stored.
    if block.y < X_LINE {
        let row = vec4(tile_row + block.y * 4u) + neighbours;
        return (params.first_row + min(row, vec4(params.rows - 1u))) * params.quads + block.x;
    }
    let first = tile_feature + (block.y - X_LINE) * 4u;
    let features = vec4(feature_at(first), feature_at(first + 1u), feature_at(first + 2u), feature_at(first + 3u));
    return features * params.quads + block.x;
}

fn load_block(block: vec2<u32>, lines: vec4<u32>) -> Block {
    if block.y < X_LINE {
        return Block(centred[lines.x], centred[lines.y], centred[lines.z], centred[lines.w]);
    }
    return Block(w_enc[lines.x], w_enc[lines.y], w_enc[lines.z], w_enc[lines.w]);
}

/// Puts a block where it is read by dimension.
fn store_block(place: u32, rows: Block) {
#for c in 0..4
    staged[place + ${c}u * LINE] = vec4(rows.a[${c}], rows.b[${c}], rows.c[${c}], rows.d[${c}]);
#end
}

/// The biases of four features of the chunk.
fn biases(feature: u32) -> vec4<f32> {
    return vec4(
        bias(feature_at(feature)),
        bias(feature_at(feature + 1u)),
        bias(feature_at(feature + 2u)),
        bias(feature_at(feature + 3u)),
    );
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
#include tiled_fold
    let feature = tile_feature + column * 4u;
#for h in 0..2
    let feature_${h} = feature + ${h}u * HALF;
    let bias_${h} = biases(feature_${h});
#for i in 0..8
    store(tile_row + ${i}u / 4u * (ROWS / 2u) + row * 4u + ${i}u % 4u, feature_${h}, sum_${h}_${i} + bias_${h});
#end
#end
}

fn store(row: u32, feature: u32, value: vec4<f32>) {
    if row < params.rows && feature < params.stride {
        pre_activations[(row * params.stride + feature) / 4u] = value;
    }
}

/// The largest key of a thread's four features from `feature` on; those past the end do not count.
fn largest_of(sums: vec4<f32>, biases: vec4<f32>, scales: vec4<f32>, feature: u32) -> f32 {
    let keys = (sums + biases) * scales;
    var largest = keys.x;
#for c in 1..4
    largest = select(largest, larger(largest, keys[${c}]), feature + ${c}u < params.width);
#end
    return largest;
}

/// Writes the maxima of a half of a tile's features, from `first` on: a thread those of four rows in one group, whose
/// largest keys by column are staged.
fn write_maxima(tile_row: u32, first: u32, thread: u32) {
    const GROUPS: u32 = COLUMNS / 4u;
    let row = thread / GROUPS * 4u;
    let feature = first + thread % GROUPS * GROUP;
    if row >= ROWS || feature >= params.width {
        return;
    }
    let at = thread / GROUPS * COLUMNS + thread % GROUPS * 4u;
    var largest = staged[at];
#for c in 1..4
    if feature + ${c}u * 4u < params.width {
        largest = larger_of_each(largest, staged[at + ${c}u]);
    }
#end
#for i in 0..4
    if tile_row + row + ${i}u < params.rows {
        maxima[(tile_row + row + ${i}u) * params.stride + feature / GROUP] = largest[${i}];
    }
#end
}

@compute @workgroup_size(THREADS)
fn group_maxima(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
#include tiled_fold
    let feature = tile_feature + column * 4u;
#for h in 0..2
    let feature_${h} = feature + ${h}u * HALF;
    let bias_${h} = biases(feature_${h});
    let scale_${h} = vec4(
        key_scale(feature_at(feature_${h})),
        key_scale(feature_at(feature_${h} + 1u)),
        key_scale(feature_at(feature_${h} + 2u)),
        key_scale(feature_at(feature_${h} + 3u)),
    );
    workgroupBarrier();
    staged[row * COLUMNS + column] = vec4(
#for i in 0..4
        largest_of(sum_${h}_${i}, bias_${h}, scale_${h}, feature_${h}),
#end
    );
    staged[(ROWS / 8u + row) * COLUMNS + column] = vec4(
#for i in 4..8
        largest_of(sum_${h}_${i}, bias_${h}, scale_${h}, feature_${h}),
#end
    );
    workgroupBarrier();
    write_maxima(tile_row, tile_feature + ${h}u * HALF, thread);
#end
}
