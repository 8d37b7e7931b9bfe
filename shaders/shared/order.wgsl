/// Numbers whose unsigned order is the keys' order: -0.0 equals 0.0, and a NaN is above everything; none is 0.
fn orders(keys: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(keys);
    let magnitude = bits & vec4(0x7fffffffu);
    let ordered = select(bits | vec4(0x80000000u), ~bits, bits >= vec4(0x80000000u));
    let with_zero = select(ordered, vec4(0x80000000u), magnitude == vec4(0u));
    return select(with_zero, vec4(0xffffffffu), magnitude > vec4(0x7f800000u));
}

fn order(key: f32) -> u32 {
    return orders(vec4(key)).x;
}

fn larger_of_each(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(a, b, orders(b) > orders(a));
}

fn larger(a: f32, b: f32) -> f32 {
    return select(a, b, order(b) > order(a));
}

/// Whether a number is above 0; a NaN counts, so that it is seen.
fn is_positive(value: f32) -> bool {
    return order(value) > 0x80000000u;
}
