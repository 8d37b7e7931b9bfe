// Gated: u is the product alone. OWN_0 is the bias of the value, OWN_1 that of the gate, OWN_2 the logarithm of the
// value's scale. What is listed is what the gate lets through, whose value may still be 0.

#if ADMITS
fn admits(u: f32, feature: u32) -> u32 {
    return select(0u, VALUE, is_positive(u + scalar(OWN_1, feature)));
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

#if SLOPES
fn slope(e: Entry, s: f32) -> f32 {
    return select(0.0, s, (e.flags & VALUE) != 0u);
}
#end
