// Adds one shard's part to the reconstructions: x^ = b_dec + the sum of value · decoder row, a fold by ascending feature.
// features, values: [rows, k], features ascending in a row; w_dec: [count, quads] vec4; b_dec: [quads] vec4;
// reconstruction: [rows, quads] vec4.
struct Params {
    rows: u32,
    quads: u32,
    k: u32,
    /// First feature of the shard.
    first: u32,
    /// Features in the shard.
    count: u32,
}

@group(0) @binding(0) var<storage, read> features: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> reconstruction: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

#import grid

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = workgroup_index(group, groups) * 64u + thread;
    if at >= params.rows * params.quads {
        return;
    }
    let row = at / params.quads;
    let quad = at % params.quads;
    // The first shard starts the fold, the others continue it.
    var sum: vec4<f32>;
    if params.first == 0u {
        sum = b_dec[quad];
    } else {
        sum = reconstruction[at];
    }
    for (var entry = row * params.k; entry < (row + 1u) * params.k; entry++) {
        let feature = features[entry] - params.first;
        let value = values[entry];
        // Features before the shard wrap around to large numbers. The value's bits, because back ends write != so that a
        // NaN fails it, and a NaN must be seen.
        if feature < params.count && (bitcast<u32>(value) << 1u) != 0u {
            sum = fma(vec4(value), w_dec[feature * params.quads + quad], sum);
        }
    }
    reconstruction[at] = sum;
}
