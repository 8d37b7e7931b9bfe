// Needs terms.wgsl, row_sum.wgsl, entry_list.wgsl, sums.wgsl, term_from.wgsl and the globals `terms`, `g0`, `g1` where
// SECOND or GATE is 1, and `params.quads`.
/// The first term of list 1 among [begin, end), which follow those of list 0. Few features have terms of both.
fn second_list(begin: u32, end: u32) -> u32 {
#if SECOND
    if begin == end || list_of(terms[begin * STRIDE].x) == 1u {
        return begin;
    }
    if list_of(terms[(end - 1u) * STRIDE].x) == 1u {
        return term_from(block_of(place(0u, 1u, 0u)), begin, end);
    }
#end
    return end;
}

/// The sums of a0 · g0 over the terms [begin, second) and of a1 · g1 over those in [second, end), with GATE of both over
/// all, by rule B, in the columns `column`, `column + ROW_THREADS`, ... Where DENSE is 1 they are the row `begin` of `g0`.
fn decoder_sums(begin: u32, second: u32, end: u32, column: u32) -> Sums {
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
    let first_0 = begin;
    let first_1 = second;
    let first_2 = end;
    var sum = Sums();
    var block = 0u;
#for list in 0..${SECOND+1}
    for (var at = first_${list}; at < first_${list+1}; at += ${AHEAD}u) {
        // All are read before the first is used.
#for i in 0..${AHEAD}
        let term_${i} = terms[min(at + ${i}u, first_${list+1} - 1u) * STRIDE];
        let line_${i} = row_of(term_${i}.x) * params.quads;
#for c in 0..${COLUMNS}
        let row_${i}_${c} = g${list}[line_${i} + column_${c}];
#if GATE
        let gate_${i}_${c} = g1[line_${i} + column_${c}];
#end
#end
#end
#for i in 0..${AHEAD}
        if at + ${i}u < first_${list+1} {
            if block_of(term_${i}.x) != block {
                block = block_of(term_${i}.x);
                total = closed_block(total, sum);
                sum = Sums();
            }
            let a = bitcast<vec2<f32>>(term_${i}.zw);
#for c in 0..${COLUMNS}
            sum.column_${c} = fma(vec4(a[${list}]), row_${i}_${c}, sum.column_${c});
#if GATE
            sum.column_${c} = fma(vec4(a.y), gate_${i}_${c}, sum.column_${c});
#end
#end
        }
#end
    }
#end
    total = closed_block(total, sum);
#end
    return total;
}
