// A term is what an entry adds to its feature's gradients, (place, bits of p, bits of a0, bits of a1): p c_row to that
// of W_enc, a0 g0_row + a1 g1_row to that of W_dec. A factor of zero skips its row: fma(0, g, sum) changes nothing.
// EXTRAS vectors of sums of scalars follow it (summary.wgsl). Needs planes.wgsl.
#define COLUMNS 3
const STRIDE: u32 = 1u + ${EXTRAS}u;

/// Sums of COLUMNS columns of 4, ROW_THREADS apart.
struct Sums {
#for c in 0..${COLUMNS}
    column_${c}: vec4<f32>,
#end
}
