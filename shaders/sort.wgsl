// Sorts the entries of all lists by feature: a stable radix sort of pairs, 8 bits per pass, of as many as the device
// counted.
// entries: [capacity of all lists] vec4<u32>; pairs_in, pairs_out: [capacity] (feature, index of the entry); counters:
// [256, SHARES];
// bases: [256]; counts: Counts.
// `load` makes the pairs, of list 0, then of list 1; an entry without flags gets `sentinel`, which sorts last. SHARES
// workgroups take a contiguous share each, so no dispatch depends on a count. Ranks come from prefix sums, never from
// what an atomic returns.
struct Params {
    /// Where list 1 begins in `entries`.
    second: u32,
    /// Lowest bit of the digit.
    shift: u32,
    /// The number of features.
    sentinel: u32,
}

@group(0) @binding(0) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> pairs_in: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> pairs_out: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> counters: array<u32>;
@group(0) @binding(4) var<storage, read_write> bases: array<u32>;
@group(0) @binding(5) var<uniform> counts: Counts;
@group(0) @binding(6) var<uniform> params: Params;

#import counts
#import entry_list
#import grid
#import prefix_sum
#import shares

@compute @workgroup_size(256)
fn load(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let total = counts.first + counts.second;
    let share = share_of(total);
    let begin = group_index(group) * share;
    for (var at = begin + thread; at < min(begin + share, total); at += TILE) {
        let index = select(at, params.second + at - counts.first, at >= counts.first);
        let entry = entries[index];
        pairs_out[at] = vec2(select(params.sentinel, entry.x, flags_of(entry.y) != 0u), index);
    }
}

var<workgroup> digit_counts: array<atomic<u32>, 256>;

@compute @workgroup_size(256)
fn histogram(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let total = counts.first + counts.second;
    let share = share_of(total);
    let own = group_index(group);
    let begin = own * share;
    atomicStore(&digit_counts[thread], 0u);
    workgroupBarrier();
    for (var at = begin + thread; at < min(begin + share, total); at += TILE) {
        atomicAdd(&digit_counts[(pairs_in[at].x >> params.shift) & 255u], 1u);
    }
    workgroupBarrier();
    if own < ${SHARES}u {
        counters[thread * ${SHARES}u + own] = atomicLoad(&digit_counts[thread]);
    }
}

var<workgroup> share_counts: array<u32, ${SHARES}>;

/// One digit per workgroup: the counters of its shares become offsets, their sum a base.
@compute @workgroup_size(${SHARES})
fn digits(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group.x * ${SHARES}u + thread;
    let value = counters[at];
    share_counts[thread] = value;
    workgroupBarrier();
    var offset = 0u;
    for (var other = 0u; other < thread; other++) {
        offset += share_counts[other];
    }
    counters[at] = offset;
    if thread == ${SHARES}u - 1u {
        bases[group.x] = offset + value;
    }
}

/// One workgroup: the bases become offsets.
@compute @workgroup_size(256)
fn offsets(@builtin(local_invocation_index) thread: u32) {
    let value = bases[thread];
    bases[thread] = sum_before(thread, value);
}

/// Pairs ranked at once: each thread looks at all before its own, which costs the square.
const RANKED: u32 = 64u;

var<workgroup> next: array<atomic<u32>, 256>;
var<workgroup> tile_digits: array<u32, 64>;

@compute @workgroup_size(64)
fn scatter(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let total = counts.first + counts.second;
    let share = share_of(total);
    let own = min(group_index(group), ${SHARES}u - 1u);
    let begin = own * share;
    let end = min(begin + share, total);
    for (var digit = thread; digit < 256u; digit += RANKED) {
        atomicStore(&next[digit], bases[digit] + counters[digit * ${SHARES}u + own]);
    }
    for (var tile = begin; tile < end; tile += RANKED) {
        let at = tile + thread;
        var pair = vec2(0u);
        // A digit that no pair has.
        var digit = 256u;
        if at < end {
            pair = pairs_in[at];
            digit = (pair.x >> params.shift) & 255u;
        }
        tile_digits[thread] = digit;
        workgroupBarrier();
        if at < end {
            var rank = atomicLoad(&next[digit]);
            for (var other = 0u; other < thread; other++) {
                rank += select(0u, 1u, tile_digits[other] == digit);
            }
            pairs_out[rank] = pair;
        }
        workgroupBarrier();
        if at < end {
            atomicAdd(&next[digit], 1u);
        }
        workgroupBarrier();
    }
}
