// Sums the scalars of each run's terms by rule B into the planes of its feature: RUN, SLOPES, ALONG, FIRED, and where
// terms have extras PULL, LOSS, CLOSED_LOSS and the gradients of OWN scalars.
// runs: [runs + 1] (feature, first term); terms: [capacity, 1 + EXTRAS] vec4<u32>; scalars: planes of [count]; hot_runs:
// [slots], where each hot run's number goes (hot.wgsl); range: Range. Eight threads per run, a block of rows each at a
// time.
// The extras of a term: (slope along the decoder row, pull on its norm, gradient of OWN_0, penalty), (gradients of
// OWN_1 and OWN_2, loss of the closed form, -).
#define AHEAD 4
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
@group(0) @binding(3) var<storage, read_write> hot_runs: array<u32>;
@group(0) @binding(4) var<uniform> range: Range;
@group(0) @binding(5) var<uniform> params: Params;

#import entry_list
#import grid
#import range
#import planes
#import terms
#import term_from

const TEAM: u32 = 8u;
const TEAMS: u32 = 8u;

/// Sums of p, of (a0 + a1) p where terms have no extras, and of ones where a0 fires.
var<workgroup> block_sums: array<vec4<f32>, 64>;
#for x in 0..${EXTRAS}
var<workgroup> block_extras_${x}: array<vec4<f32>, 64>;
#end

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
#for x in 0..${EXTRAS}
        var extras_${x} = vec4(0.0);
#end
        for (var list = 0u; list < lists; list++) {
            for (var first = 0u; first < params.blocks; first += TEAM) {
                // Blocks of list 1 follow those of list 0 (entry_list.wgsl).
                let block = (list << 16u) + first + lane;
                var sum = vec4(0.0);
#for x in 0..${EXTRAS}
                var extra_${x} = vec4(0.0);
#end
                let last = term_from(block + 1u, first_term, end_term);
                for (var at = term_from(block, first_term, end_term); at < last; at += ${AHEAD}u) {
                    // All are read before the first is used.
#for i in 0..${AHEAD}
                    let place_${i} = min(at + ${i}u, last - 1u) * STRIDE;
                    let term_${i} = terms[place_${i}];
#for x in 0..${EXTRAS}
                    let extra_${i}_${x} = bitcast<vec4<f32>>(terms[place_${i} + 1u + ${x}u]);
#end
#end
#for i in 0..${AHEAD}
                    if at + ${i}u < last {
                        let p = bitcast<f32>(term_${i}.y);
                        let a = bitcast<vec2<f32>>(term_${i}.zw);
                        let fired = select(0.0, 1.0, list == 0u && a.x > 0.0);
#if EXTRAS
                        sum = vec4(fma(params.one, p, sum.x), 0.0, sum.z + fired, 0.0);
#for x in 0..${EXTRAS}
                        extra_${x} = fma(vec4(params.one), extra_${i}_${x}, extra_${x});
#end
#else
                        // Of a0 and a1 one is zero.
                        let along = fma(params.one, a.x, a.y);
                        sum = vec4(fma(params.one, p, sum.x), fma(along, p, sum.y), sum.z + fired, 0.0);
#end
                    }
#end
                }
                workgroupBarrier();
                block_sums[thread] = sum;
#for x in 0..${EXTRAS}
                block_extras_${x}[thread] = extra_${x};
#end
                workgroupBarrier();
                for (var other = 0u; other < TEAM; other++) {
                    total = fma(vec4(params.one), block_sums[thread - lane + other], total);
#for x in 0..${EXTRAS}
                    extras_${x} = fma(vec4(params.one), block_extras_${x}[thread - lane + other], extras_${x});
#end
                }
            }
        }
        if is_run && lane == 0u {
            let feature = runs[run].x - params.first;
            if end_term - first_term >= range.hot {
                hot_runs[first_term / range.hot] = run;
            }
            scalars[RUN * params.count + feature] = run + 1u;
            scalars[SLOPES * params.count + feature] = bitcast<u32>(total.x);
            scalars[FIRED * params.count + feature] = u32(total.z);
#if EXTRAS
            scalars[ALONG * params.count + feature] = bitcast<u32>(extras_0.x);
            scalars[PULL * params.count + feature] = bitcast<u32>(extras_0.y);
            scalars[LOSS * params.count + feature] = bitcast<u32>(extras_0.w);
            let gradient_0 = extras_0.z;
#for x in 1..${EXTRAS}
            let gradient_1 = extras_${x}.x;
            let gradient_2 = extras_${x}.y;
#end
#for i in 0..${OWN}
            scalars[OWN_SUM_${i} * params.count + feature] = bitcast<u32>(gradient_${i});
#end
#if CLOSED
            scalars[CLOSED_LOSS * params.count + feature] = bitcast<u32>(extras_1.z);
#end
#else
            scalars[ALONG * params.count + feature] = bitcast<u32>(total.y);
#end
        }
    }
}
