// temporary
struct Params { entries: u32, k: u32 }
@group(0) @binding(0) var<storage, read> features: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<f32>;
@group(0) @binding(3) var<storage, read_write> entries: array<vec4<u32>>;
@group(0) @binding(4) var<uniform> params: Params;
#import grid
#import entry_list
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at >= params.entries { return; }
    let positive = values[at] > 0.0 || (bitcast<u32>(values[at]) & 0x7f800000u) == 0x7f800000u;
    entries[at] = vec4(features[at], place(at / params.k, 0u, select(0u, VALUE, positive)), bitcast<u32>(values[at]), bitcast<u32>(keys[at]));
}
