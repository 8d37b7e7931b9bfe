// Needs planes.wgsl and the global `params.project`.
/// The gradient of a decoder row v: the sum of its terms and the pull on its norm, less its component parallel to v
/// where the recipe projects that away (dictionary_learning's remove_gradient_parallel_to_decoder_directions). `along`
/// is the product of v and the terms' sum.
fn decoder_gradient(sum: vec4<f32>, v: vec4<f32>, norm: f32, along: f32, pull: f32) -> vec4<f32> {
    let divisor = norm + 1e-6;
#if EXTRAS
    let parallel = select(0.0, fma(pull, norm, along) / (divisor * divisor), params.project != 0u);
    // The norm of a row of zeros has no gradient.
    let outward = select(0.0, pull / norm, norm > 0.0);
    return fma(vec4(outward - parallel), v, sum);
#else
    let parallel = select(0.0, along / (divisor * divisor), params.project != 0u);
    return fma(vec4(-parallel), v, sum);
#end
}
