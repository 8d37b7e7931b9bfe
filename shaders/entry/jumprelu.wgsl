// JumpReLU: what exceeds its feature's threshold is decoded as it is; training lists what lies in the window about it,
// too. OWN_0 is the threshold, or with LOG its logarithm; c1 the width of the window.
#define TRAINING 0
#define LOG 0
#define PRE_ACTIVATION 0

#if ADMITS
fn threshold(feature: u32) -> f32 {
#if LOG
    return exp(scalar(OWN_0, feature));
#else
    return scalar(OWN_0, feature);
#end
}

fn admits(u: f32, feature: u32) -> u32 {
    let t = threshold(feature);
    // By their orders, so that a NaN is seen.
    var flags = select(0u, VALUE, order(u) > order(t));
#if TRAINING
    flags |= select(0u, WINDOW, abs(u - t) < params.c1 * 0.5);
#if PRE_ACTIVATION
    flags |= select(0u, REACHED, order(u) >= order(t));
#end
#end
    return flags;
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
