// Needs row_sum.wgsl and the global `params.one`.
// A thread sums COLUMNS vectors of a row at once, and reads AHEAD terms before it adds the first.
#define COLUMNS 1
#define AHEAD 4

/// Sums of COLUMNS columns of 4, ROW_THREADS apart.
struct Sums {
#for c in 0..${COLUMNS}
    column_${c}: vec4<f32>,
#end
}

/// The fold of blocks of rows (rule B), taken a block further.
fn closed_block(total: Sums, sum: Sums) -> Sums {
    var next = Sums();
#for c in 0..${COLUMNS}
    next.column_${c} = fma(vec4(params.one), sum.column_${c}, total.column_${c});
#end
    return next;
}
