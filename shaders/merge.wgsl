// Adds the sums of two nodes into their parent's (rule T): what owners of parts of a model exchange. left, right,
// parent: [count] vec4.
struct Params {
    count: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> right: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> parent: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

#import grid
#import zero

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at < params.count {
        parent[at] = stored(fma(vec4(params.one), right[at], left[at]));
    }
}
