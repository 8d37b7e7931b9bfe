// A term is what an entry adds to its feature's gradients, (place, bits of p, bits of a0, bits of a1): p c_row to that
// of W_enc, a0 g0_row + a1 g1_row to that of W_dec. Where GATE is 0 one of a0 and a1 is 0: with SECOND that which is not
// of its list, else a1. EXTRAS vectors of sums of scalars follow it (summary.wgsl). Needs planes.wgsl.
const STRIDE: u32 = 1u + ${EXTRAS}u;
