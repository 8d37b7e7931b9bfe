// Sums the scalars of each run's terms by rule B into the planes of its feature: RUN, SLOPES, ALONG, FIRED.
// runs: [runs + 1] (feature, first term); terms: [capacity] vec4<u32>; scalars: planes of [count]; range: Range.
// Eight threads per run, a block of rows each at a time.
struct Params {
    /// First feature of the shard.
    first: u32,
    /// Features of the shard.
    count: u32,
    /// Blocks of rows.
    blocks: u32,
    lists: u32,
    /// Workgroups of the dispatch.
    groups: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> runs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> terms: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(3) var<uniform> range: Range;
@group(0) @binding(4) var<uniform> params: Params;

#import entry_list
#import grid
#import range
#import planes

const TEAM: u32 = 8u;
const TEAMS: u32 = 8u;

/// Sums of p, of (a0 + a1) p and of ones where a0 fires.
var<workgroup> block_sums: array<vec4<f32>, 64>;

/// The first term of [low, high) whose block is at least `block`.
fn term_from(block: u32, low: u32, high: u32) -> u32 {
    var first = low;
    var end = high;
    while first < end {
        let middle = first + (end - first) / 2u;
        if block_of(terms[middle].x) < block {
            first = middle + 1u;
        } else {
            end = middle;
        }
    }
    return first;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % TEAM;
    // Read here because llvmpipe (Mesa 26.2.6) crashes where the condition of the inner loop reads it.
    let lists = params.lists;
    let begin = range.first_run + group_index(group) * TEAMS;
    for (var base = begin; base < range.end_run; base += params.groups * TEAMS) {
        let run = base + thread / TEAM;
        let is_run = run < range.end_run;
        var first_term = 0u;
        var end_term = 0u;
        if is_run {
            first_term = runs[run].y;
            end_term = runs[run + 1u].y;
        }
        var total = vec4(0.0);
        for (var list = 0u; list < lists; list++) {
            for (var first = 0u; first < params.blocks; first += TEAM) {
                // Blocks of list 1 follow those of list 0 (entry_list.wgsl).
                let block = (list << 16u) + first + lane;
                var sum = vec4(0.0);
                let last = term_from(block + 1u, first_term, end_term);
                for (var at = term_from(block, first_term, end_term); at < last; at++) {
                    let term = terms[at];
                    let p = bitcast<f32>(term.y);
                    let a = bitcast<vec2<f32>>(term.zw);
                    let fired = select(0.0, 1.0, list == 0u && a.x > 0.0);
                    // Of a0 and a1 one is zero.
                    let along = fma(params.one, a.x, a.y);
                    sum = vec4(fma(params.one, p, sum.x), fma(along, p, sum.y), sum.z + fired, 0.0);
                }
                workgroupBarrier();
                block_sums[thread] = sum;
                workgroupBarrier();
                for (var other = 0u; other < TEAM; other++) {
                    total = fma(vec4(params.one), block_sums[thread - lane + other], total);
                }
            }
        }
        if is_run && lane == 0u {
            let feature = runs[run].x - params.first;
            scalars[RUN * params.count + feature] = run + 1u;
            scalars[SLOPES * params.count + feature] = bitcast<u32>(total.x);
            scalars[ALONG * params.count + feature] = bitcast<u32>(total.y);
            scalars[FIRED * params.count + feature] = u32(total.z);
        }
    }
}
