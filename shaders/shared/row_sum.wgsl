// Rule R (docs/architecture.md): 32 threads a row, each with 4 of its 128 lanes; two rows a workgroup of 64. Needs pieces.wgsl.
const ROW_THREADS: u32 = 32u;
const ROWS_A_WORKGROUP: u32 = 2u;
/// Vectors that all threads take in a pass: each eight a piece.
const PASS: u32 = ROW_THREADS / PIECE_THREADS * PIECE;

/// A thread's first vector in a pass; the others follow, PIECE_THREADS apart.
fn first_in_pass(lane: u32) -> u32 {
    return lane / PIECE_THREADS * PIECE + lane % PIECE_THREADS;
}

var<workgroup> row_lanes: array<vec4<f32>, 64>;

/// The sum of a row's lanes, for each of its threads; to be called by the whole workgroup.
fn row_sum(lanes: vec4<f32>, thread: u32) -> f32 {
    workgroupBarrier();
    row_lanes[thread] = lanes;
    workgroupBarrier();
    let first = thread - thread % ROW_THREADS;
    var sum = row_lanes[first];
    for (var lane = 1u; lane < ROW_THREADS; lane++) {
        sum += row_lanes[first + lane];
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}
