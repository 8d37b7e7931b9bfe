// Subtracts the decoder bias from every row, and looks for inputs that are not finite; a thread per vector.
// `layer_norm` first takes each row's mean from it and divides it by its standard deviation, with 32 threads per row
// and sums by rule R. `total` puts the sum of all rows (rule B) behind them.
// x: [rows, quads] vec4; b_dec: [quads] vec4; centred: [rows + 1, quads] vec4, or without `total` [rows, quads]; guard:
// Guard; row_norms: [rows] vec2 (mean, standard deviation).
struct Params {
    rows: u32,
    quads: u32,
    /// Values in a row.
    d: u32,
    /// 0 where the SAE takes its input as it is.
    subtract: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> centred: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> guard: Guard;
@group(0) @binding(4) var<storage, read_write> row_norms: array<vec2<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

#import grid
#import guard
#import row_sum
#import rows_block

/// Keeps rows whose values are all equal from being divided by 0, as in SAELens.
const EPSILON: f32 = 1e-5;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at >= params.rows * params.quads {
        return;
    }
    let value = x[at];
    if any_not_finite(value) {
        raise_guard(INPUT_NOT_FINITE, at / params.quads);
    }
    centred[at] = select(value, value - b_dec[at % params.quads], params.subtract != 0u);
}

/// A vector of a row, with 0 behind its last value.
fn within_row(vector: vec4<f32>, quad: u32) -> vec4<f32> {
    return select(vec4(0.0), vector, 4u * quad + vec4(0u, 1u, 2u, 3u) < vec4(params.d));
}

@compute @workgroup_size(64)
fn layer_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let begin = row * params.quads;
    let quads = select(0u, params.quads, row < params.rows);
    let one = vec4(params.one);
    var values = vec4(0.0);
    for (var quad = lane; quad < quads; quad += ROW_THREADS) {
        let value = x[begin + quad];
        if any_not_finite(value) {
            raise_guard(INPUT_NOT_FINITE, row);
        }
        values = fma(one, value, values);
    }
    let mean = row_sum(values, thread) / f32(params.d);
    var squares = vec4(0.0);
    for (var quad = lane; quad < quads; quad += ROW_THREADS) {
        let deviation = within_row(x[begin + quad] - mean, quad);
        squares = fma(deviation, deviation, squares);
    }
    let standard = sqrt(row_sum(squares, thread) / f32(params.d - 1u));
    for (var quad = lane; quad < quads; quad += ROW_THREADS) {
        let value = within_row((x[begin + quad] - mean) / (standard + EPSILON), quad);
        centred[begin + quad] = select(value, value - b_dec[quad], params.subtract != 0u);
    }
    if row < params.rows && lane == 0u {
        row_norms[row] = vec2(mean, standard);
    }
}

@compute @workgroup_size(64)
fn total(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group_index(group) * 64u + thread;
    if quad >= params.quads {
        return;
    }
    var whole = vec4(0.0);
    for (var first = 0u; first < params.rows; first += BLOCK_ROWS) {
        var sum = vec4(0.0);
        for (var row = first; row < min(first + BLOCK_ROWS, params.rows); row++) {
            sum = fma(vec4(params.one), centred[row * params.quads + quad], sum);
        }
        whole = fma(vec4(params.one), sum, whole);
    }
    centred[params.rows * params.quads + quad] = whole;
}
