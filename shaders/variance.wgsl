// The variance of the batch's rows over that of a field's error about its own mean: what the normalised auxiliary loss
// is multiplied by (normalized_mse of OpenAI's sparse_autoencoder, beside a main loss that is not divided
// by the rows' variance).
// x, sums: [rows, quads] vec4; b_dec: [quads] vec4; row_blocks: [row blocks, quads] vec4, the field's gradient by
// blocks of rows;
// mean: [quads] vec4; distances: [rows]; factor: [1]; step: Step.
struct Params {
    rows: u32,
    quads: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> row_blocks: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> mean: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> distances: array<f32>;
@group(0) @binding(6) var<storage, read_write> factor: array<f32>;
@group(0) @binding(7) var<uniform> step: Step;
@group(0) @binding(8) var<uniform> params: Params;

#import grid
#import row_sum
#import rows_block
#import step

/// The mean error; a thread per vector.
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
    // The gradient is 2 / rows times the error.
    mean[quad] = sum * 0.5;
}

/// The squared distance of each row's error from the mean; 32 threads per row.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
    let one = vec4(params.one);
    var lanes = vec4(0.0);
    if row < params.rows {
        for (var quad = thread % ROW_THREADS; quad < params.quads; quad += ROW_THREADS) {
            let at = row * params.quads + quad;
            let error = fma(-one, x[at], fma(one, sums[at], b_dec[quad]));
            let distance = fma(-one, mean[quad], error);
            lanes = fma(distance, distance, lanes);
        }
    }
    let square = row_sum(lanes, thread);
    if row < params.rows && thread % ROW_THREADS == 0u {
        distances[row] = square;
    }
}

/// Their mean, by rule B, below the rows' variance; one workgroup.
@compute @workgroup_size(64)
fn finish(@builtin(local_invocation_index) thread: u32) {
    if thread != 0u {
        return;
    }
    var whole = 0.0;
    for (var first = 0u; first < params.rows; first += BLOCK_ROWS) {
        var sum = 0.0;
        for (var row = first; row < min(first + BLOCK_ROWS, params.rows); row++) {
            sum = fma(params.one, distances[row], sum);
        }
        whole = fma(params.one, sum, whole);
    }
    // Without any error the loss would be 0 / 0, which counts as 0.
    factor[0] = select(0.0, step.input_variance * f32(params.rows) / whole, whole > 0.0);
}
