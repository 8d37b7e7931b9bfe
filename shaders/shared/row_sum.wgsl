// Rule R (docs/architecture.md): element c of a row belongs to lane c mod 128, so vector q to thread q mod 32; two rows
// per workgroup of 64.
const ROW_THREADS: u32 = 32u;
const ROWS_PER_WORKGROUP: u32 = 2u;

var<workgroup> row_lanes: array<vec4<f32>, 64>;
/// The sums of each row's first, second, third and fourth components.
var<workgroup> row_components: array<f32, 8>;

/// The sum of a row's lanes, for each of its threads; to be called by the whole workgroup.
fn row_sum(lanes: vec4<f32>, thread: u32) -> f32 {
    let one = params.one;
    let component = thread % ROW_THREADS;
    let first = thread - component;
    let sums = first / ROW_THREADS * 4u;
    workgroupBarrier();
    row_lanes[thread] = lanes;
    workgroupBarrier();
    if component < 4u {
        var sum = row_lanes[first][component];
        for (var lane = 1u; lane < ROW_THREADS; lane++) {
            sum = fma(one, row_lanes[first + lane][component], sum);
        }
        row_components[sums + component] = sum;
    }
    workgroupBarrier();
    let first_pair = fma(one, row_components[sums + 1u], row_components[sums]);
    // A factor of its own, for Mesa takes fma(a, b, fma(a, c, d)) for fma(a, b + c, d).
    let other = one * one;
    return fma(other, fma(one, row_components[sums + 3u], row_components[sums + 2u]), first_pair);
}
