// Gated: u is the product alone. OWN_0 is the bias of the value, OWN_1 that of the gate, OWN_2 the logarithm of the
// value's scale. What the gate lets through is active where its value is above 0; training lists the rest of it, too.
// NORMED: the penalty is weighted by the norms of the decoder rows.
#define NORMED 1
#define TRAINING 0

#if ADMITS
fn admits(u: f32, feature: u32) -> u32 {
    var flags = select(0u, VALUE, is_positive(magnitude(Entry(feature, 0u, 0u, u))));
#if TRAINING
    flags |= REACHED;
#end
    return select(0u, flags, is_positive(u + scalar(OWN_1, feature)));
}
#end

fn gate_value(e: Entry) -> f32 {
    return e.u + scalar(OWN_1, e.feature);
}

/// The value, where it is above 0.
fn magnitude(e: Entry) -> f32 {
    return fma(exp(scalar(OWN_2, e.feature)), e.u, scalar(OWN_0, e.feature));
}

fn decoded_value(e: Entry) -> f32 {
    let value = magnitude(e);
    // Not max, which may lose a NaN.
    return select(value, 0.0, value < 0.0);
}

#if TRAINS
fn at_gate(e: Entry, s: vec2<f32>) -> f32 {
#if NORMED
    return fma(sparsity(), scalar(NORM, e.feature), s.y);
#else
    return sparsity() + s.y;
#end
}

fn at_magnitude(e: Entry, s: vec2<f32>) -> f32 {
    return select(0.0, s.x, magnitude(e) > 0.0);
}

fn slope(e: Entry, s: vec2<f32>) -> f32 {
    return fma(exp(scalar(OWN_2, e.feature)), at_magnitude(e, s), at_gate(e, s));
}

fn extra_0(e: Entry, s: vec2<f32>) -> vec4<f32> {
    let h = gate_value(e);
    var along = decoded_value(e) * s.x;
#if DETACHED
#else
    along = fma(h, s.y, along);
#end
    let penalty = sparsity() * h;
#if NORMED
    return vec4(along, penalty, at_magnitude(e, s), penalty * scalar(NORM, e.feature));
#else
    return vec4(along, 0.0, at_magnitude(e, s), penalty);
#end
}

fn extra_1(e: Entry, s: vec2<f32>) -> vec4<f32> {
    return vec4(at_gate(e, s), at_magnitude(e, s) * (magnitude(e) - scalar(OWN_0, e.feature)), 0.0, 0.0);
}
#end
