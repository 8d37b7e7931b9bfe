// Rule R (docs/architecture.md): element c of a row belongs to lane c mod 128, so vector q to thread q mod 32; two rows
// per workgroup of 64.
const ROW_THREADS: u32 = 32u;
const ROWS_PER_WORKGROUP: u32 = 2u;

var<workgroup> row_lanes: array<vec4<f32>, 64>;

/// The sum of a row's lanes, for each of its threads; to be called by the whole workgroup.
fn row_sum(lanes: vec4<f32>, thread: u32) -> f32 {
    let one = params.one;
    workgroupBarrier();
    row_lanes[thread] = lanes;
    workgroupBarrier();
    let first = thread - thread % ROW_THREADS;
    var sum = row_lanes[first];
    for (var lane = 1u; lane < ROW_THREADS; lane++) {
        sum = fma(vec4(one), row_lanes[first + lane], sum);
    }
    // A factor of its own, for Mesa takes fma(a, b, fma(a, c, d)) for fma(a, b + c, d).
    let other = one * one;
    return fma(other, fma(one, sum.w, sum.z), fma(one, sum.y, sum.x));
}
