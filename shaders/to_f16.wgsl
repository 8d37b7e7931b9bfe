// Rows in f16, each scaled by a power of two so that its largest element lies in [2^14, 2^15), with bounds of what they
// are and of what is lost.
// source: [rows of the source, quads] vec4, of which `count` from `first` on are taken; halves: [count, line], four f16
// in two words, zeros from `quads` on; bounds: [count] of (the power of two that undoes the scale, an upper bound of
// the row's norm, one of the norm of the difference between the row and its halves, 0).
//
// An element is rounded to the nearest f16, ties to even, here and not by the driver, whose conversions may round
// either way; what is below 2^-14 after scaling becomes 0. Of a row below 2^-80 zeros are left. For one that is not
// finite, or whose norm is 2^62 or more, so that an f32 product could overflow, the bounds are infinite.
struct Params {
    quads: u32,
    /// Row length of the halves, at least `quads`.
    line: u32,
    first: u32,
    count: u32,
}

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> halves: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> bounds: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

#import grid
#import bits

const ROW_THREADS: u32 = 32u;
const ROWS_PER_WORKGROUP: u32 = 2u;

var<workgroup> largest_of: array<u32, 64>;
/// Of the rows and of what is lost.
var<workgroup> squares_of: array<vec2<f32>, 64>;

/// The nearest f16 of a value below 2^15.
fn nearest(value: f32) -> f32 {
    let magnitude = bitcast<u32>(value) & 0x7fffffffu;
    let rounded = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u)) & 0xffffe000u;
    let signed = bitcast<f32>((bitcast<u32>(value) & 0x80000000u) | rounded);
    return select(signed, 0.0, magnitude < 0x38800000u);
}

/// The bits of two of them.
fn half_bits(low: f32, high: f32) -> u32 {
    let bits = bitcast<vec2<u32>>(vec2(low, high));
    let magnitudes = bits & vec2(0x7fffffffu);
    let halves = ((bits >> vec2(16u)) & vec2(0x8000u)) | ((magnitudes >> vec2(13u)) - vec2(112u << 10u));
    let or_zero = select(halves, vec2(0u), magnitudes == vec2(0u));
    return or_zero.x | (or_zero.y << 16u);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
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
    var lost_squares = vec4(0.0);
    for (var quad = lane; quad < params.line; quad += ROW_THREADS) {
        var scaled = vec4(0.0);
        if is_scaled && quad < params.quads {
            scaled = source[begin + quad] * vec4(scale);
        }
        let rounded = vec4(nearest(scaled.x), nearest(scaled.y), nearest(scaled.z), nearest(scaled.w));
        let lost = scaled - rounded;
        squares = fma(scaled, scaled, squares);
        lost_squares = fma(lost, lost, lost_squares);
        if row < params.count {
            halves[row * params.line + quad] = vec2(half_bits(rounded.x, rounded.y), half_bits(rounded.z, rounded.w));
        }
    }
    squares_of[thread] = vec2(
        (squares.x + squares.y) + (squares.z + squares.w),
        (lost_squares.x + lost_squares.y) + (lost_squares.z + lost_squares.w),
    );
    workgroupBarrier();
    if lane == 0u && row < params.count {
        var sums = vec2(0.0);
        for (var other = 0u; other < ROW_THREADS; other++) {
            sums += squares_of[thread + other];
        }
        // Sums and roots are off by less than 2^-12 + d 2^-24 of them, and squares below 2^-126 are lost.
        let width = f32(params.quads * 4u);
        let underflow = sqrt(width) * 0x1p-60;
        var norms = (sqrt(sums) * (1.0 + 0x1p-12 + width * 0x1p-24) + vec2(underflow)) * unscale;
        if is_small {
            norms = vec2(select(0.0, 2.0 * sqrt(width) * 0x1p-80, largest > 0u));
        }
        let is_bounded = is_finite && norms.x < 0x1p+62;
        bounds[row] = vec4(unscale, select(vec2(from_bits(0x7f800000u)), norms, is_bounded), 0.0);
    }
}
