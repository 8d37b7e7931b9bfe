// ReLU with an L1 penalty: what is above 0 is listed and decoded as it is.

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

#if SLOPES
fn slope(e: Entry, s: f32) -> f32 {
    return select(0.0, s, (e.flags & VALUE) != 0u);
}
#end
