// The keys that rescore.wgsl computes, group by group, so that rows that share a group read its weights once; for GPUs.
// best_groups: [rows, groups] entries; pairs: [rows * groups] (group, place in best_groups), ascending by group in
// `main`; counts: Counts; centred: [rows of the batch, quads] vec4; w_enc: [features of the shard, quads] vec4;
// scalars: planes of [count]; candidate_values (pre-activations), candidate_keys: [rows, groups * GROUP].
// `load` makes the pairs. A workgroup of `main` takes PAIRS of them that follow each other, a candidate per thread, and
// stages slices of their rows of x and of the features of their groups, each group's once. Dot products are folds (rule
// D, docs/architecture.md), bit for bit those of rescore.wgsl.
#define GROUP 8
struct Params {
    /// Pairs in all: rows times groups per row.
    pairs: u32,
    /// First row of `centred`.
    first_row: u32,
    quads: u32,
    /// Groups per row.
    groups: u32,
    /// First feature of the shard, a multiple of GROUP.
    first: u32,
    /// Features in the shard.
    count: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
}

@group(0) @binding(0) var<storage, read> best_groups: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> pairs_out: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> scalars: array<u32>;
@group(0) @binding(7) var<storage, read_write> candidate_values: array<f32>;
@group(0) @binding(8) var<storage, read_write> candidate_keys: array<u32>;
@group(0) @binding(9) var<uniform> params: Params;

#import grid
#import scalars

const THREADS: u32 = 128u;
/// Pairs of a workgroup.
const PAIRS: u32 = THREADS / ${GROUP}u;
/// Vectors of a slice, and those of all of a workgroup's rows.
const SLICE: u32 = 4u;
const X_LOADS: u32 = PAIRS * SLICE;
/// Features of which a thread loads a vector at a time.
const LOADED: u32 = THREADS / SLICE;

var<workgroup> x_stage: array<vec4<f32>, X_LOADS>;
var<workgroup> w_stage: array<vec4<f32>, THREADS * SLICE>;
/// The group of each pair, and each group once; how many those are, 0 if none is the shard's.
var<workgroup> pair_groups: array<u32, PAIRS>;
var<workgroup> own_groups: array<u32, PAIRS>;
var<workgroup> own_count: u32;

@compute @workgroup_size(64)
fn load(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group_id) * 64u + thread;
    if at < params.pairs {
        pairs_out[at] = vec2(best_groups[at].x, at);
    }
    if at < 3u {
        counts[at] = select(0u, params.pairs, at == 0u);
    }
}

/// Where a stage holds a vector of a line: turned so that eight neighbouring lines spread over the banks.
fn staged_at(line: u32, quad: u32) -> u32 {
    return line * SLICE + (quad ^ (line / 2u % SLICE));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_pair = group_index(group_id) * PAIRS;
    // The same for a whole workgroup.
    if first_pair >= params.pairs {
        return;
    }
    let last_pair = params.pairs - 1u;
    let own_pair = thread / ${GROUP}u;
    let in_group = thread % ${GROUP}u;
    // What is past the end repeats the last pair, and is not stored.
    let pair = pairs[min(first_pair + own_pair, last_pair)];
    if in_group == 0u {
        pair_groups[own_pair] = pair.x;
    }
    workgroupBarrier();
    var own = 0u;
    for (var other = 1u; other <= own_pair; other++) {
        own += select(0u, 1u, pair_groups[other] != pair_groups[other - 1u]);
    }
    if in_group == 0u && (own_pair == 0u || pair_groups[max(own_pair, 1u) - 1u] != pair.x) {
        own_groups[own] = pair.x;
    }
    if thread == THREADS - 1u {
        let is_before = (pair.x + 1u) * ${GROUP}u <= params.first;
        let is_behind = pair_groups[0] * ${GROUP}u >= params.first + params.count;
        own_count = select(own + 1u, 0u, is_before || is_behind);
    }
    let lines = workgroupUniformLoad(&own_count) * ${GROUP}u;
    if lines == 0u {
        return;
    }

    let quad = thread % SLICE;
    let x_line = min(thread / SLICE, PAIRS - 1u);
    let x_row = params.first_row + pairs[min(first_pair + x_line, last_pair)].y / params.groups;
    let x_from = x_row * params.quads + quad;
    let x_to = staged_at(x_line, quad);
    let loads_x = thread < X_LOADS;
    var x_next = vec4(0.0);
    if loads_x {
        x_next = centred[x_from];
    }
#for i in 0..4
    let line_${i} = thread / SLICE + ${i}u * LOADED;
    let first_${i} = own_groups[line_${i} / ${GROUP}u] * ${GROUP}u - params.first;
    // A feature past the shard's end or before its beginning, which wraps around, repeats the last one.
    let w_from_${i} = min(first_${i} + line_${i} % ${GROUP}u, params.count - 1u) * params.quads + quad;
    let w_to_${i} = staged_at(line_${i}, quad);
    var w_next_${i} = vec4(0.0);
    if line_${i} < lines {
        w_next_${i} = w_enc[w_from_${i}];
    }
#end
    let w_line = own * ${GROUP}u + in_group;
    var sum = 0.0;
    for (var at = 0u; at < params.quads; at += SLICE) {
        workgroupBarrier();
        if loads_x {
            x_stage[x_to] = x_next;
        }
#for i in 0..4
        if line_${i} < lines {
            w_stage[w_to_${i}] = w_next_${i};
        }
#end
        workgroupBarrier();
        // The last slice loads itself once more, so that no load is past the end.
        let next = min(at + SLICE, params.quads - SLICE);
        if loads_x {
            x_next = centred[x_from + next];
        }
#for i in 0..4
        if line_${i} < lines {
            w_next_${i} = w_enc[w_from_${i} + next];
        }
#end
#for q in 0..4
        {
            let x = x_stage[staged_at(own_pair, ${q}u)];
            let w = w_stage[staged_at(w_line, ${q}u)];
            sum = fma(x.x, w.x, sum);
            sum = fma(x.y, w.y, sum);
            sum = fma(x.z, w.z, sum);
            sum = fma(x.w, w.w, sum);
        }
#end
    }

    // Groups before the shard wrap around to large numbers.
    let first = pair.x * ${GROUP}u - params.first;
    if first_pair + own_pair > last_pair || first >= params.count {
        return;
    }
    let at = pair.y * ${GROUP}u + in_group;
    let feature = first + in_group;
    if feature >= params.count {
        // A constant that is not finite is only possible as bits.
        candidate_keys[at] = 0xff800000u;
        return;
    }
    let value = sum + scalar(BIAS, feature);
    candidate_values[at] = value;
    candidate_keys[at] = bitcast<u32>(value * select(1.0, scalar(NORM, feature), params.scaled != 0u));
}
