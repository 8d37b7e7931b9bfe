// Needs planes.wgsl and the global `params.project`.
/// What of a decoder row v is added to the sum of its terms to make its gradient: the pull on its norm, less what is
/// parallel to v where the recipe projects that away (dictionary_learning's
/// remove_gradient_parallel_to_decoder_directions). `along` is the product of v and the terms' sum.
fn decoder_share(norm: f32, along: f32, pull: f32) -> f32 {
    let divisor = norm + 1e-6;
#if EXTRAS
    let parallel = select(0.0, fma(pull, norm, along) / (divisor * divisor), params.project != 0u);
    // The norm of a row of zeros has no gradient.
    let outward = select(0.0, pull / norm, norm > 0.0);
    return outward - parallel;
#else
    let parallel = select(0.0, along / (divisor * divisor), params.project != 0u);
    return -parallel;
#end
}
