// JumpReLU: what exceeds its feature's threshold is decoded as it is; training lists what lies in the window about it,
// too. OWN_0 is the threshold, or with LOG its logarithm; c1 the width of the window, c2 the tanh's scale or the wanted
// number of active features. The gradients are those of src/sae/description.rs.
#define TRAINING 0
#define LOG 0
#define PRE_ACTIVATION 0
#define TANH 0
#define QUADRATIC 1
#define TO_INPUT 1

fn threshold(feature: u32) -> f32 {
#if LOG
    return exp(scalar(OWN_0, feature));
#else
    return scalar(OWN_0, feature);
#end
}

#if ADMITS
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

#if TRAINS
#if TANH
fn squashed(e: Entry) -> f32 {
    return tanh(params.c2 * decoded_value(e) * scalar(NORM, e.feature));
}
#end

/// The gradient of the loss at the decoded value.
fn at_value(e: Entry, s: vec2<f32>) -> f32 {
#if TANH
    let t = squashed(e);
    return fma(sparsity() * params.c2 * scalar(NORM, e.feature), fma(-t, t, 1.0), s.x);
#else
    return s.x;
#end
}

/// The gradient of the penalty at the number of the row's active features.
fn at_count(e: Entry) -> f32 {
#if TANH
    return 0.0;
#else
#if QUADRATIC
    return sparsity() * 4.0 / params.c2 * (rows[e.row].w - params.c2);
#else
    return sparsity();
#end
#end
}

/// The estimated gradient at u by way of the step.
fn through_step(e: Entry, s: vec2<f32>) -> f32 {
    let jump = fma(threshold(e.feature), at_value(e, s), at_count(e)) / params.c1;
    return select(0.0, jump, (e.flags & WINDOW) != 0u);
}

fn slope(e: Entry, s: vec2<f32>) -> f32 {
    var p = select(0.0, at_value(e, s), (e.flags & VALUE) != 0u);
#if TO_INPUT
    p += through_step(e, s);
#end
#if PRE_ACTIVATION
    // What the closed form gives to every row, this one takes back.
    p -= select(0.0, scalar(SHIFT, e.feature), (e.flags & REACHED) != 0u);
#end
    return p;
}

fn extra_0(e: Entry, s: vec2<f32>) -> vec4<f32> {
    let a = decoded_value(e);
    let norm = scalar(NORM, e.feature);
    var own = -through_step(e, s);
    var pull = 0.0;
    var penalty = 0.0;
#if TANH
    let t = squashed(e);
    pull = sparsity() * params.c2 * a * fma(-t, t, 1.0);
    penalty = sparsity() * t;
#end
#if PRE_ACTIVATION
    let shift = select(0.0, scalar(SHIFT, e.feature), (e.flags & REACHED) != 0u);
    own += shift;
    pull += select(0.0, shift / norm * (threshold(e.feature) - e.u), norm > 0.0);
#end
#if LOG
    own *= threshold(e.feature);
#end
    return vec4(a * s.x, pull, own, penalty);
}

fn extra_1(e: Entry, s: vec2<f32>) -> vec4<f32> {
#if PRE_ACTIVATION
    let shift = select(0.0, scalar(SHIFT, e.feature), (e.flags & REACHED) != 0u);
    return vec4(0.0, 0.0, shift * (threshold(e.feature) - e.u), 0.0);
#else
    return vec4(0.0);
#end
}
#end
