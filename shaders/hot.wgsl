// Sums the gradients of hot runs once for `squares` and `update`, by rule B as these sum those of all others. A run is
// hot that has at least `range.hot` terms, so the quotient of its first term's number and that is its own: its slot.
// runs: [runs + 1] (feature, first term); hot_runs: [slots], the run that begins in each, as `summary` leaves it;
// terms: [capacity, 1 + EXTRAS] vec4<u32>; rows_0, rows_1: [rows, quads] vec4, what factors of terms multiply: centred
// for the encoder's sums, and where DECODER is 1 g0 and g1; sums: [slots, quads] vec4; range: Range.
// A workgroup takes 16 vectors of a run in turns, a block of rows per 16 threads.
#define DECODER 1
#define SECOND 1
#define GATE 0
#define AHEAD 4
struct Params {
    quads: u32,
    /// Blocks of rows.
    blocks: u32,
    lists: u32,
    /// Workgroups of the dispatch.
    groups: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> runs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> hot_runs: array<u32>;
@group(0) @binding(2) var<storage, read> terms: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> rows_0: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> rows_1: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> range: Range;
@group(0) @binding(7) var<uniform> params: Params;

#import entry_list
#import grid
#import range
#import planes
#import terms
#import term_from

/// What the rows of `rows_0` and `rows_1` are multiplied by.
fn factor_0(term: vec4<u32>) -> f32 {
#if DECODER
    return bitcast<f32>(term.z);
#else
    return bitcast<f32>(term.y);
#end
}

fn factor_1(term: vec4<u32>) -> f32 {
    return bitcast<f32>(term.w);
}

#for list in 0..${SECOND+1}
/// The sum over the terms [begin, end), of one block of list ${list}.
fn block_sum_${list}(begin: u32, end: u32, column: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var at = begin; at < end; at += ${AHEAD}u) {
        // All are read before the first is used.
#for i in 0..${AHEAD}
        let term_${i} = terms[min(at + ${i}u, end - 1u) * STRIDE];
        let row_${i} = rows_${list}[row_of(term_${i}.x) * params.quads + column];
#if GATE
        let gate_${i} = rows_1[row_of(term_${i}.x) * params.quads + column];
#end
#end
#for i in 0..${AHEAD}
        let is_term_${i} = at + ${i}u < end;
        sum = fma(vec4(select(0.0, factor_${list}(term_${i}), is_term_${i})), row_${i}, sum);
#if GATE
        sum = fma(vec4(select(0.0, factor_1(term_${i}), is_term_${i})), gate_${i}, sum);
#end
#end
    }
    return sum;
}
#end

const LANES: u32 = 16u;
const TEAMS: u32 = 16u;

/// Where the blocks of the teams begin, and the sums over them.
var<workgroup> starts: array<u32, 17>;
var<workgroup> block_sums: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let slices = (params.quads + LANES - 1u) / LANES;
    let first_slot = range.first_term / range.hot;
    let slots = range.end_term / range.hot - first_slot;
    let team = thread / LANES;
    for (var item = group_index(group); item < slots * slices; item += params.groups) {
        let slot = first_slot + item / slices;
        // What an earlier batch left there is no hot run, or the one.
        let run = hot_runs[slot];
        if run < range.first_run || run >= range.end_run {
            continue;
        }
        let begin = runs[run].y;
        let end = runs[run + 1u].y;
        if end - begin < range.hot || begin / range.hot != slot {
            continue;
        }
        let quad = item % slices * LANES + thread % LANES;
        let column = min(quad, params.quads - 1u);
        var total = vec4(0.0);
        for (var first = 0u; first < params.lists * params.blocks; first += TEAMS) {
            workgroupBarrier();
            if thread <= TEAMS {
                let at = first + thread;
                // Blocks of list 1 follow those of list 0 (entry_list.wgsl).
                let block = select(at, (1u << 16u) + at - params.blocks, at >= params.blocks);
                starts[thread] = term_from(block, begin, end);
            }
            workgroupBarrier();
#if SECOND
            if first + team < params.blocks {
                block_sums[thread] = block_sum_0(starts[team], starts[team + 1u], column);
            } else {
                block_sums[thread] = block_sum_1(starts[team], starts[team + 1u], column);
            }
#else
            block_sums[thread] = block_sum_0(starts[team], starts[team + 1u], column);
#end
            workgroupBarrier();
            if thread < LANES {
                // Another factor each time, for Mesa takes fma(a, b, fma(a, c, d)) for fma(a, b + c, d).
                let one = params.one;
                let another = one * one;
                for (var other = 0u; other < TEAMS; other += 2u) {
                    total = fma(vec4(one), block_sums[other * LANES + thread], total);
                    total = fma(vec4(another), block_sums[(other + 1u) * LANES + thread], total);
                }
            }
        }
        if thread < LANES && quad < params.quads {
            sums[slot * params.quads + quad] = total;
        }
    }
}
