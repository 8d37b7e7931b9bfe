// Subtracts the decoder bias from every row, and looks for inputs that are not finite; a thread per vector.
// x, centred: [rows, quads] vec4; b_dec: [quads] vec4; guard: Guard.
struct Params {
    rows: u32,
    quads: u32,
    /// 0 where the SAE takes its input as it is.
    subtract: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> centred: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> guard: Guard;
@group(0) @binding(4) var<uniform> params: Params;

#import grid
#import guard

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
