// Multiplies every row by one factor, in place; a thread per vector.
// x: [rows, quads] vec4.
struct Params {
    rows: u32,
    quads: u32,
    factor: f32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<uniform> params: Params;

#import grid

@compute @workgroup_size(64)
fn scale(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at >= params.rows * params.quads {
        return;
    }
    x[at] = x[at] * vec4(params.factor);
}
