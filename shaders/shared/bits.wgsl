/// The number with these bits. A call is no constant expression, in which WGSL refuses what is not finite.
fn from_bits(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}
