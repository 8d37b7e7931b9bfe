// ReLU with an L1 penalty: what is above 0 is listed and decoded as it is. NORMED: the penalty is weighted by
// the norms of the decoder rows.
#define NORMED 1

#if ADMITS
fn admits(u: f32, feature: u32) -> u32 {
    return select(0u, VALUE, is_positive(u));
}
#end

fn decoded_value(e: Entry) -> f32 {
    return select(0.0, e.u, (e.flags & VALUE) != 0u);
}

fn gate_value(e: Entry) -> f32 {
    return 0.0;
}

#if TRAINS
fn slope(e: Entry, s: vec2<f32>) -> f32 {
#if NORMED
    return fma(sparsity(), scalar(NORM, e.feature), s.x);
#else
    return sparsity() + s.x;
#end
}

fn extra_0(e: Entry, s: vec2<f32>) -> vec4<f32> {
    let a = decoded_value(e);
    let penalty = sparsity() * a;
#if NORMED
    return vec4(a * s.x, penalty, 0.0, penalty * scalar(NORM, e.feature));
#else
    return vec4(a * s.x, 0.0, 0.0, penalty);
#end
}
#end
