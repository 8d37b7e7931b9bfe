// Rows of 16-bit floats as f32, exactly and by integers, because a driver's own conversions may flush small values; a
// thread per vector.
// stored: [rows, d] of 16 bits, two in a word, without padding between rows; x: [rows, quads] vec4, zeros from d on.
struct Params {
    rows: u32,
    quads: u32,
    d: u32,
    /// 0 for IEEE's halves, else bf16.
    is_bf16: u32,
}

@group(0) @binding(0) var<storage, read> stored: array<u32>;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

#import grid

fn widened(bits: u32) -> f32 {
    if params.is_bf16 != 0u {
        return bitcast<f32>(bits << 16u);
    }
    let sign = (bits & 0x8000u) << 16u;
    let magnitude = bits & 0x7fffu;
    // What is not finite stays so: its exponent is the largest of either type.
    let rebiased = (magnitude << 13u) + select(112u << 23u, 224u << 23u, magnitude >= 0x7c00u);
    let subnormal = bitcast<u32>(f32(magnitude) * 0x1p-24);
    return bitcast<f32>(sign | select(rebiased, subnormal, magnitude < 0x400u));
}

fn value_at(row: u32, column: u32) -> f32 {
    if column >= params.d {
        return 0.0;
    }
    let at = row * params.d + column;
    return widened((stored[at / 2u] >> (at % 2u * 16u)) & 0xffffu);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at >= params.rows * params.quads {
        return;
    }
    let row = at / params.quads;
    let first = at % params.quads * 4u;
    x[at] = vec4(value_at(row, first), value_at(row, first + 1u), value_at(row, first + 2u), value_at(row, first + 3u));
}
