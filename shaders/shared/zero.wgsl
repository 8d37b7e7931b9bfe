/// A sum that is stored is never -0.0: whether an empty part of it was added or passed over then makes no difference.
fn stored(sum: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(sum);
    return bitcast<vec4<f32>>(select(bits, vec4(0u), bits == vec4(0x80000000u)));
}
