// Adam over a tensor of the model that belongs to no feature, the decoder bias; a thread per vector.
// weights, m, v, gradient: [quads] vec4; guard: Guard; step: Step; clip: Clip.
struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read_write> weights: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> guard: Guard;
@group(0) @binding(5) var<uniform> step: Step;
@group(0) @binding(6) var<uniform> clip: Clip;
@group(0) @binding(7) var<uniform> params: Params;

#import adam
#import grid
#import guard

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    // What this kernel itself raises is known too late to undo.
    if at >= params.quads || (atomicLoad(&guard.status) & ~PARAMETER_NOT_FINITE) != 0u {
        return;
    }
    let after = adam(weights[at], m[at], v[at], gradient[at]);
    weights[at] = after.parameter;
    m[at] = after.m;
    v[at] = after.v;
    if any_not_finite(after.parameter) {
        raise_guard(PARAMETER_NOT_FINITE, NO_ROW);
    }
}
