// Needs the globals `b_enc`, `norms`, `w_bounds` and `params`.
/// Features a group of maxima.
const GROUP: u32 = 8u;

struct Params {
    rows: u32,
    /// Vectors of 4 halves a row.
    line: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk.
    count: u32,
    /// Row length of the maxima.
    stride: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
    /// The margin as a fraction of |x| |w|, and as one of |b|.
    margin: f32,
    bias_margin: f32,
}

/// What is underflow, at most.
const TINY: f32 = 0x1p-80;

/// Of a feature of the chunk: the power of two that undoes its scale, its margin by |x|, bias and what that may lose, key scale.
/// A feature past the end can be no maximum.
fn feature_terms(feature: u32) -> vec4<f32> {
    if feature >= params.count {
        return vec4(0.0, 0.0, bitcast<f32>(0xff800000u), 1.0);
    }
    let bounds = w_bounds[feature];
    let bias = b_enc[params.first + feature];
    let lost = fma(abs(bias), params.bias_margin, TINY);
    return vec4(bounds.x, bounds.y * params.margin, bias + lost, select(1.0, norms[params.first + feature], params.scaled != 0u));
}

/// No less than the key of a row and a feature whose scaled product in f16 is `product`; infinite where that is no number.
fn upper_bound(product: f32, row: vec2<f32>, terms: vec4<f32>) -> f32 {
    let bound = (fma(row.y, terms.y, product * (row.x * terms.x)) + terms.z) * terms.w;
    return select(bitcast<f32>(0x7f800000u), bound, bound <= 0x1.fffffep+127);
}
