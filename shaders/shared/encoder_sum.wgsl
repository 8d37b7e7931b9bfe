// Needs terms.wgsl, row_sum.wgsl, entry_list.wgsl, sums.wgsl and the globals `terms`, `centred` and `params.quads`.
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
    var sum = Sums();
    var block = 0u;
    for (var at = begin; at < end; at += ${AHEAD}u) {
        // All are read before the first is used.
#for i in 0..${AHEAD}
        let term_${i} = terms[min(at + ${i}u, end - 1u) * STRIDE];
        let line_${i} = row_of(term_${i}.x) * params.quads;
#for c in 0..${COLUMNS}
        let row_${i}_${c} = centred[line_${i} + column_${c}];
#end
#end
#for i in 0..${AHEAD}
        if at + ${i}u < end {
            if block_of(term_${i}.x) != block {
                block = block_of(term_${i}.x);
                total = closed_block(total, sum);
                sum = Sums();
            }
            let p = vec4(bitcast<f32>(term_${i}.y));
#for c in 0..${COLUMNS}
            sum.column_${c} = fma(p, row_${i}_${c}, sum.column_${c});
#end
        }
#end
    }
    total = closed_block(total, sum);
#end
    return total;
}
