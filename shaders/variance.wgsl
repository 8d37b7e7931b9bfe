// The squared distance of each row of a batch, or of a field's error on it, from the mean of all; and the ratio of both
// variances, which the normalised auxiliary loss is multiplied by (normalized_mse of OpenAI's sparse_autoencoder,
// beside a main loss that is not divided by the rows' variance).
// x, sums: [rows, quads] vec4; b_dec: [quads] vec4; row_blocks: [row blocks, quads] vec4; mean: [quads] vec4;
// distances, input_distances: [rows]; factor: [1].
// Where ERROR is 1 the rows are those of the error, sums + b_dec - x; else x. `blocks`, `means` and `rows` follow one
// another.
// `blocks` reads AHEAD rows before it uses the first.
#define ERROR 1
#define AHEAD 4
struct Params {
    rows: u32,
    quads: u32,
    /// 1 / rows
    share: f32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> row_blocks: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> mean: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> distances: array<f32>;
@group(0) @binding(6) var<storage, read> input_distances: array<f32>;
@group(0) @binding(7) var<storage, read_write> factor: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

#import grid
#import row_sum
#import rows_block

/// A vector of a row.
fn vector(row: u32, quad: u32) -> vec4<f32> {
    let at = row * params.quads + quad;
#if ERROR
    let one = vec4(params.one);
    return fma(-one, x[at], fma(one, sums[at], b_dec[quad]));
#else
    return x[at];
#end
}

/// Sums by rule B of what the rows differ by from the first one, so that an offset which all share costs no digits; a
/// thread per vector of a block.
@compute @workgroup_size(64)
fn blocks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    let block = at / params.quads;
    let quad = at % params.quads;
    if block * BLOCK_ROWS >= params.rows {
        return;
    }
    let one = vec4(params.one);
    let origin = vector(0u, quad);
    var sum = vec4(0.0);
    let end = min((block + 1u) * BLOCK_ROWS, params.rows);
    for (var row = block * BLOCK_ROWS; row < end; row += ${AHEAD}u) {
#for i in 0..${AHEAD}
        let row_${i} = vector(min(row + ${i}u, end - 1u), quad);
#end
        // In a chain without conditions Mesa would take the common factor out.
#for i in 0..${AHEAD}
        if row + ${i}u < end {
            sum = fma(one, fma(-one, origin, row_${i}), sum);
        }
#end
    }
    row_blocks[at] = sum;
}

/// The mean row; a thread per vector.
@compute @workgroup_size(64)
fn means(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group_index(group) * 64u + thread;
    if quad >= params.quads {
        return;
    }
    var sum = vec4(0.0);
    for (var block = 0u; block * BLOCK_ROWS < params.rows; block++) {
        sum = fma(vec4(params.one), row_blocks[block * params.quads + quad], sum);
    }
    mean[quad] = fma(vec4(params.share), sum, vector(0u, quad));
}

/// The squared distance of each row from the mean; 32 threads per row, sums by rule R.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
    var lanes = vec4(0.0);
    if row < params.rows {
        for (var quad = thread % ROW_THREADS; quad < params.quads; quad += ROW_THREADS) {
            let difference = fma(vec4(-params.one), mean[quad], vector(row, quad));
            lanes = fma(difference, difference, lanes);
        }
    }
    let square = row_sum(lanes, thread);
    if row < params.rows && thread % ROW_THREADS == 0u {
        distances[row] = square;
    }
}

/// Sums of blocks, of the rows and of the error.
var<workgroup> block_sums: array<vec2<f32>, 64>;

/// The sum of the rows' distances over that of the error's, each by rule B; one workgroup, a thread per block in turns.
@compute @workgroup_size(64)
fn ratio(@builtin(local_invocation_index) thread: u32) {
    let one = vec2(params.one);
    var total = vec2(0.0);
    for (var first = 0u; first < params.rows; first += 64u * BLOCK_ROWS) {
        let begin = first + thread * BLOCK_ROWS;
        let end = min(begin + BLOCK_ROWS, params.rows);
        var sum = vec2(0.0);
        for (var row = begin; row < end; row += 8u) {
#for i in 0..8
            let at_${i} = min(row + ${i}u, end - 1u);
            let both_${i} = vec2(input_distances[at_${i}], distances[at_${i}]);
#end
#for i in 0..8
            if row + ${i}u < end {
                sum = fma(one, both_${i}, sum);
            }
#end
        }
        workgroupBarrier();
        block_sums[thread] = sum;
        workgroupBarrier();
        if thread == 0u {
            for (var block = 0u; block < 64u && first + block * BLOCK_ROWS < params.rows; block++) {
                total = fma(one, block_sums[block], total);
            }
        }
    }
    if thread == 0u {
        // Without any error the loss would be 0 / 0, which counts as 0.
        factor[0] = select(0.0, total.x / total.y, total.y > 0.0);
    }
}
