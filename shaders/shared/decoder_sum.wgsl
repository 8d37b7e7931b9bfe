// Needs terms.wgsl, row_sum.wgsl, entry_list.wgsl and the globals `terms`, `g0`, `g1` where SECOND is 1,
// `params.quads`, `params.project` and `params.one`.
/// The sums of a0 · g0 and a1 · g1 over the terms [begin, end) by rule B, in the columns `column`, `column +
/// ROW_THREADS`, ... Where DENSE is 1 they are the row `begin` of `g0`.
fn decoder_sums(begin: u32, end: u32, column: u32) -> Sums {
    let last = params.quads - 1u;
#for c in 0..${COLUMNS}
    let column_${c} = min(column + ROW_THREADS * ${c}u, last);
#end
    var total = Sums();
#if DENSE
#for c in 0..${COLUMNS}
    total.column_${c} = g0[begin * params.quads + column_${c}];
#end
#else
    var at = begin;
    while at < end {
        let block = block_of(terms[at * STRIDE].x);
        var sum = Sums();
        while at < end {
            let term = terms[at * STRIDE];
            if block_of(term.x) != block {
                break;
            }
            let line = row_of(term.x) * params.quads;
            if (term.z << 1u) != 0u {
                let a = vec4(bitcast<f32>(term.z));
#for c in 0..${COLUMNS}
                sum.column_${c} = fma(a, g0[line + column_${c}], sum.column_${c});
#end
            }
#if SECOND
            if (term.w << 1u) != 0u {
                let a = vec4(bitcast<f32>(term.w));
#for c in 0..${COLUMNS}
                sum.column_${c} = fma(a, g1[line + column_${c}], sum.column_${c});
#end
            }
#end
            at++;
        }
#for c in 0..${COLUMNS}
        total.column_${c} = fma(vec4(params.one), sum.column_${c}, total.column_${c});
#end
    }
#end
    return total;
}

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
