// Needs pieces.wgsl and the globals `run_entries`, `values`, `code_gradients`, `centred`, `gradient`, `params.k` and `params.quads`.
/// Gradients of one feature in COLUMNS columns of 4: W_enc's, W_dec's, b_enc's, and v · dW_dec.
struct FeatureGradient {
#for c in 0..${COLUMNS}
    w_enc_${c}: vec4<f32>,
    w_dec_${c}: vec4<f32>,
#end
    b_enc: f32,
    along: f32,
}

/// Sums the entries [begin, end) of one feature by rule B, for the columns `column`, `column + PIECE_THREADS`, ...
fn feature_gradient(begin: u32, end: u32, column: u32) -> FeatureGradient {
    let last = params.quads - 1u;
#for c in 0..${COLUMNS}
    let column_${c} = min(column + PIECE_THREADS * ${c}u, last);
#end
    var total: FeatureGradient;
    var at = begin;
    while at < end {
        let block = run_entries[at] / params.k / BLOCK_ROWS;
        var sum: FeatureGradient;
        while at < end {
            let entry = run_entries[at];
            let row = entry / params.k;
            if row / BLOCK_ROWS != block {
                break;
            }
            let value = values[entry];
            let slope = code_gradients[entry];
            let base = row * params.quads;
#for c in 0..${COLUMNS}
            sum.w_enc_${c} = fma(vec4(slope), centred[base + column_${c}], sum.w_enc_${c});
            sum.w_dec_${c} = fma(vec4(value), gradient[base + column_${c}], sum.w_dec_${c});
#end
            sum.b_enc += slope;
            sum.along = fma(value, slope, sum.along);
            at++;
        }
#for c in 0..${COLUMNS}
        total.w_enc_${c} += sum.w_enc_${c};
        total.w_dec_${c} += sum.w_dec_${c};
#end
        total.b_enc += sum.b_enc;
        total.along += sum.along;
    }
    return total;
}

/// How much of v must be taken from dW_dec so that nothing of it is parallel to v
/// (dictionary_learning's remove_gradient_parallel_to_decoder_directions).
fn parallel_component(along: f32, norm: f32) -> f32 {
    let divisor = norm + 1e-6;
    return along / (divisor * divisor);
}
