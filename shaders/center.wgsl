// Subtracts the decoder bias from every row, and looks for inputs that are not finite; a thread per vector. `total`
// puts the sum of all rows (rule B) behind them.
// x: [rows, quads] vec4; centred: [rows + 1, quads] vec4, or without `total` [rows, quads]; b_dec: [quads] vec4; guard:
// Guard.
struct Params {
    rows: u32,
    quads: u32,
    /// 0 where the SAE takes its input as it is.
    subtract: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> centred: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> guard: Guard;
@group(0) @binding(4) var<uniform> params: Params;

#import grid
#import guard
#import rows_block

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
