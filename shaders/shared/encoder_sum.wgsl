// Needs terms.wgsl, row_sum.wgsl, entry_list.wgsl and the globals `terms`, `centred`, `params.quads` and `params.one`.
/// The sums of p · c over the terms [begin, end) by rule B, in the columns `column`, `column + ROW_THREADS`, ... Where
/// DENSE is 1 they are the row `begin` of `centred`.
fn encoder_sums(begin: u32, end: u32, column: u32) -> Sums {
    let last = params.quads - 1u;
#for c in 0..${COLUMNS}
    let column_${c} = min(column + ROW_THREADS * ${c}u, last);
#end
    var total = Sums();
#if DENSE
#for c in 0..${COLUMNS}
    total.column_${c} = centred[begin * params.quads + column_${c}];
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
            if (term.y << 1u) != 0u {
                let p = vec4(bitcast<f32>(term.y));
                let line = row_of(term.x) * params.quads;
#for c in 0..${COLUMNS}
                sum.column_${c} = fma(p, centred[line + column_${c}], sum.column_${c});
#end
            }
            at++;
        }
#for c in 0..${COLUMNS}
        total.column_${c} = fma(vec4(params.one), sum.column_${c}, total.column_${c});
#end
    }
#end
    return total;
}
