// TopK: what is listed and above 0 is decoded as it is. Shaders that import an entry import entry_type.wgsl before it,
// and say by ADMITS and TRAINS which of its functions they need.

#if ADMITS
/// The flags of an entry with this pre-activation; without any it is not listed.
fn admits(u: f32, feature: u32) -> u32 {
    return select(0u, VALUE, is_positive(u));
}
#end

/// What the entry's decoder row is multiplied by.
fn decoded_value(e: Entry) -> f32 {
    return select(0.0, e.u, (e.flags & VALUE) != 0u);
}

/// The same in the second field.
fn gate_value(e: Entry) -> f32 {
    return 0.0;
}

#if TRAINS
/// The gradient of the loss at u, from those at the decoded value and at the gate's.
fn slope(e: Entry, s: vec2<f32>) -> f32 {
    return select(0.0, s.x, (e.flags & VALUE) != 0u);
}
#end
