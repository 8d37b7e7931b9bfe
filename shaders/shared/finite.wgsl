fn is_not_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u;
}

fn any_not_finite(value: vec4<f32>) -> bool {
    return is_not_finite(value.x) || is_not_finite(value.y) || is_not_finite(value.z) || is_not_finite(value.w);
}
