// What the shaders of screen/ read and write, and their bounds; needs bits.wgsl and the type `FourHalves`.
/// Features per group of maxima.
const GROUP: u32 = 8u;

struct Params {
    rows: u32,
    /// Vectors of 4 halves a row.
    line: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk.
    width: u32,
    /// Features of the shard.
    count: u32,
    /// Row length of the maxima.
    stride: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
    /// What sums may be off by, as a fraction of |x| |w| + |b|.
    margin: f32,
}

@group(0) @binding(0) var<storage, read> x_halves: array<FourHalves>;
@group(0) @binding(1) var<storage, read> w_halves: array<FourHalves>;
@group(0) @binding(2) var<storage, read> x_bounds: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> w_bounds: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> scalars: array<u32>;
@group(0) @binding(5) var<storage, read_write> maxima: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

#import scalars

/// What may be lost where products of a row and a feature underflow, and more; and what a row's norm may be multiplied
/// by for it.
const TINY: f32 = 0x1p-80;
const TINY_BY_NORM: f32 = 0x1p-100;

const INFINITY_BITS: u32 = 0x7f800000u;
const PAST_END: u32 = 0xff800000u;

fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) < INFINITY_BITS;
}

/// Of a feature of the chunk, all times its key scale: the power of two that undoes the scaling of its weights, what is
/// lost by |x|, what is lost by what is lost of x, and bias. A feature past the end can be no maximum; one whose key
/// might overflow has an infinite bound.
fn feature_terms(feature: u32) -> vec4<f32> {
    if feature >= params.width {
        return vec4(0.0, 0.0, 0.0, from_bits(PAST_END));
    }
    let bounds = w_bounds[feature];
    let bias = scalar(BIAS, params.first + feature);
    let scale = select(1.0, scalar(NORM, params.first + feature), params.scaled != 0u);
    let by_norm = fma(bounds.y, params.margin, bounds.z);
    let by_lost = bounds.y + bounds.z;
    // A fold of subnormals may be off by d 2^-124, before it is scaled.
    let tiny = fma(scale, params.margin * 0x1p-102, TINY);
    let with_bias = fma(fma(abs(bias), params.margin, bias), scale, tiny);
    let is_bounded = is_finite(with_bias) && (bitcast<u32>(bias) & 0x7fffffffu) < 253u << 23u;
    return vec4(
        bounds.x * scale,
        fma(by_norm, scale, TINY_BY_NORM),
        by_lost * scale,
        select(from_bits(INFINITY_BITS), with_bias, is_bounded),
    );
}

/// No less than the key of a row and a feature whose scaled product in f16 is `product`; infinite where that is no
/// number.
fn upper_bound(product: f32, row: vec4<f32>, terms: vec4<f32>) -> f32 {
    let margin = fma(row.y, terms.y, row.z * terms.z);
    let bound = fma(product, row.x * terms.x, margin) + terms.w;
    let otherwise = select(INFINITY_BITS, PAST_END, bitcast<u32>(terms.w) == PAST_END);
    return select(from_bits(otherwise), bound, is_finite(bound));
}
