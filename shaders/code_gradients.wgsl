// The gradient of the loss at each active code: s = g · decoder row, one ascending fold (rule D, docs/architecture.md).
// features, values, code_gradients: [rows, k]; gradient: [rows, quads] vec4; w_dec: [count, quads] vec4.
// Entries of other shards, and those whose value is 0, are left as they are.
struct Params {
    entries: u32,
    quads: u32,
    k: u32,
    /// First feature of the shard.
    first: u32,
    /// Features in the shard.
    count: u32,
}

@group(0) @binding(0) var<storage, read> features: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> code_gradients: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

#import grid

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let entry = workgroup_index(group, groups) * 64u + thread;
    if entry >= params.entries || !(values[entry] > 0.0) {
        return;
    }
    let feature = features[entry] - params.first;
    if feature >= params.count {
        return;
    }
    let g_line = entry / params.k * params.quads;
    let w_line = feature * params.quads;
    var sum = 0.0;
    for (var quad = 0u; quad < params.quads; quad++) {
        let g = gradient[g_line + quad];
        let w = w_dec[w_line + quad];
        sum = fma(g.x, w.x, sum);
        sum = fma(g.y, w.y, sum);
        sum = fma(g.z, w.z, sum);
        sum = fma(g.w, w.w, sum);
    }
    code_gradients[entry] = sum;
}
