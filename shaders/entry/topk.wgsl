// TopK: what is listed and above 0 is decoded as it is. Shaders that import an entry import entry_type.wgsl before it.

/// What the entry's decoder row is multiplied by.
fn decoded_value(e: Entry) -> f32 {
    return select(0.0, e.u, (e.flags & VALUE) != 0u);
}

/// The gradient of the loss at u, from that at the decoded value.
fn slope(e: Entry, s: f32) -> f32 {
    return select(0.0, s, (e.flags & VALUE) != 0u);
}
