// An upper bound of the largest key of each group of features, from rows in f16; for adapters without matrix units.
// x_halves: [rows, line] and w_halves: [count, line], four f16 in two words, with their bounds [rows] and [count] as
// `to_f16` leaves them; scalars: planes of [features of the shard]; maxima: [rows, stride], a group of GROUP features
// each.
alias FourHalves = vec2<u32>;
#import screen
#import bits
#import grid

/// Four f16, none of which is subnormal or not finite.
fn values(halves: vec2<u32>) -> vec4<f32> {
    let words = vec4(halves.x & 0xffffu, halves.x >> 16u, halves.y & 0xffffu, halves.y >> 16u);
    let magnitudes = words & vec4(0x7fffu);
    let bits = ((words & vec4(0x8000u)) << vec4(16u)) | ((magnitudes + vec4(112u << 10u)) << vec4(13u));
    return bitcast<vec4<f32>>(select(vec4(0u), bits, magnitudes > vec4(0u)));
}

/// Eight rows by eight groups per workgroup.
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (params.width + 8u * GROUP - 1u) / (8u * GROUP);
    let at = group_index(group);
    let row = at / tiles * 8u + thread / 8u;
    let own_group = at % tiles * 8u + thread % 8u;
    let first = own_group * GROUP;
    if row >= params.rows || first >= params.width {
        return;
    }
    let x_line = row * params.line;
#for j in 0..8
    let w_line_${j} = min(first + ${j}u, params.width - 1u) * params.line;
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
    var largest = upper_bound(sum_0, bounds, feature_terms(first));
#for j in 1..8
    largest = max(largest, upper_bound(sum_${j}, bounds, feature_terms(first + ${j}u)));
#end
    maxima[row * params.stride + own_group] = largest;
}
