// Rows in f16, each scaled by a power of two so that its largest element lies in [2^14, 2^15), and an upper bound of its norm.
// source: [rows of the source, quads] vec4, of which `count` from `first` on are taken; halves: [count, line], four f16 in two words, zeros
// from `quads` on; bounds: [count] of (the power of two that undoes the scale, the norm's bound).
//
// An element is rounded to the nearest f16, ties to even, here and not by the driver, whose conversions may round either way; what is
// below 2^-14 after scaling becomes 0. The bound is infinite for a row that is not finite, and for one below 2^-80, which
// becomes zeros, so large that the margin of `screen` covers all of it.
struct Params {
    quads: u32,
    /// Row length of the halves, at least `quads`.
    line: u32,
    first: u32,
    count: u32,
}

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> halves: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> bounds: array<vec2<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

#import grid

const ROW_THREADS: u32 = 32u;
const ROWS_A_WORKGROUP: u32 = 2u;

var<workgroup> largest_of: array<u32, 64>;
var<workgroup> squares_of: array<f32, 64>;

/// The bits of the nearest f16 of a value below 2^15.
fn half_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = bits & 0x7fffffffu;
    let rounded = magnitude + 0xfffu + ((magnitude >> 13u) & 1u);
    let half = (rounded >> 13u) - (112u << 10u);
    return select((bits >> 16u & 0x8000u) | half, 0u, magnitude < 0x38800000u);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(group, groups) * ROWS_A_WORKGROUP + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    // A row past the end repeats the last one, and is not stored.
    let begin = (params.first + min(row, params.count - 1u)) * params.quads;
    // As integers, because a maximum of floats may pass over a NaN.
    var largest = 0u;
    for (var quad = lane; quad < params.quads; quad += ROW_THREADS) {
        let magnitudes = bitcast<vec4<u32>>(source[begin + quad]) & vec4(0x7fffffffu);
        largest = max(largest, max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w)));
    }
    largest_of[thread] = largest;
    workgroupBarrier();
    let first_thread = thread - lane;
    for (var other = 0u; other < ROW_THREADS; other++) {
        largest = max(largest, largest_of[first_thread + other]);
    }

    let is_finite = largest < 0x7f800000u;
    let is_small = largest < 47u << 23u;
    // 2^(14 - e) and 2^(e - 14), for a largest element of 2^e or more.
    let exponent = largest >> 23u;
    let is_scaled = is_finite && !is_small;
    let scale = select(0.0, bitcast<f32>((268u - exponent) << 23u), is_scaled);
    let unscale = select(0.0, bitcast<f32>((exponent - 14u) << 23u), is_scaled);
    var squares = vec4(0.0);
    for (var quad = lane; quad < params.line; quad += ROW_THREADS) {
        var scaled = vec4(0.0);
        if is_scaled && quad < params.quads {
            scaled = source[begin + quad] * vec4(scale);
        }
        squares = fma(scaled, scaled, squares);
        if row < params.count {
            halves[row * params.line + quad] = vec2(
                half_bits(scaled.x) | half_bits(scaled.y) << 16u,
                half_bits(scaled.z) | half_bits(scaled.w) << 16u,
            );
        }
    }
    squares_of[thread] = (squares.x + squares.y) + (squares.z + squares.w);
    workgroupBarrier();
    if lane == 0u && row < params.count {
        var sum = 0.0;
        for (var other = 0u; other < ROW_THREADS; other++) {
            sum += squares_of[thread + other];
        }
        let width = f32(params.quads * 4u);
        // Rounding of the sum and of the root: less than 2^-12 + d 2^-24 of it.
        var norm = sqrt(sum) * unscale * (1.0 + 0x1p-12 + width * 0x1p-24);
        if is_small {
            // 2^11 sqrt(d) 2^-80, twice.
            norm = select(0.0, sqrt(width) * 0x1p-68, largest > 0u);
        }
        bounds[row] = vec2(unscale, select(bitcast<f32>(0x7f800000u), norm, is_finite));
    }
}
