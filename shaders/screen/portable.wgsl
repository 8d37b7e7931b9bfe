// An upper bound of the largest key of each group of features, from rows in f16; for adapters without matrix units.
// x_halves: [rows, line] and w_halves: [count, line], four f16 in two words, with their bounds [rows] and [count] as `halve` leaves
// them; b_enc, norms: [features of the shard]; maxima: [rows, stride], a group of GROUP features each.
#import screen

@group(0) @binding(0) var<storage, read> x_halves: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> w_halves: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> x_bounds: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> w_bounds: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> b_enc: array<f32>;
@group(0) @binding(5) var<storage, read> norms: array<f32>;
@group(0) @binding(6) var<storage, read_write> maxima: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

/// Four f16, none of which is subnormal or not finite.
fn values(halves: vec2<u32>) -> vec4<f32> {
    let words = vec4(halves.x & 0xffffu, halves.x >> 16u, halves.y & 0xffffu, halves.y >> 16u);
    let magnitudes = words & vec4(0x7fffu);
    let bits = ((words & vec4(0x8000u)) << vec4(16u)) | ((magnitudes + vec4(112u << 10u)) << vec4(13u));
    return bitcast<vec4<f32>>(select(vec4(0u), bits, magnitudes > vec4(0u)));
}

/// Eight rows by eight groups a workgroup.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x * 8u + thread / 8u;
    let own_group = group.y * 8u + thread % 8u;
    let first = own_group * GROUP;
    if row >= params.rows || first >= params.count {
        return;
    }
    let x_line = row * params.line;
#for j in 0..8
    let w_line_${j} = min(first + ${j}u, params.count - 1u) * params.line;
    var sum_${j} = 0.0;
#end
    for (var quad = 0u; quad < params.line; quad++) {
        let x = values(x_halves[x_line + quad]);
#for j in 0..8
        let w_${j} = values(w_halves[w_line_${j} + quad]);
        sum_${j} = fma(x.w, w_${j}.w, fma(x.z, w_${j}.z, fma(x.y, w_${j}.y, fma(x.x, w_${j}.x, sum_${j}))));
#end
    }
    let bounds = x_bounds[row];
    var largest = bitcast<f32>(0xff800000u);
#for j in 0..8
    largest = max(largest, upper_bound(sum_${j}, bounds, feature_terms(first + ${j}u)));
#end
    maxima[row * params.stride + own_group] = largest;
}
