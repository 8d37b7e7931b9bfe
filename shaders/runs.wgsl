// Finds the runs of equal features in the sorted pairs, and where each block of 64 features and each range of features
// begins in them.
// pairs: [capacity] (feature, entry); heads: [SHARES]; runs: [runs + 1] (feature, first pair), then (sentinel, end);
// bounds: [features / 64 + 1], the first run of each block; totals: (number of runs, of active pairs); feature_ranges:
// [ranges] (first feature, end); ranges: [ranges] Range, 256 bytes apart; counts: Counts.
struct Params {
    /// The number of features.
    sentinel: u32,
    /// Blocks of 64 features.
    blocks: u32,
    ranges: u32,
    /// Room for hot runs.
    hot_slots: u32,
}

@group(0) @binding(0) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> heads: array<u32>;
@group(0) @binding(2) var<storage, read_write> runs: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> bounds: array<u32>;
@group(0) @binding(4) var<storage, read_write> totals: array<u32>;
@group(0) @binding(5) var<storage, read> feature_ranges: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> ranges: array<u32>;
@group(0) @binding(7) var<uniform> counts: Counts;
@group(0) @binding(8) var<uniform> params: Params;

#import counts
#import grid
#import prefix_sum
#import shares

fn feature_at(at: u32, total: u32) -> u32 {
    if at >= total {
        return params.sentinel;
    }
    return pairs[at].x;
}

/// Whether a run begins at a pair; the sentinel's is none, but ends the last one.
fn begins(at: u32, total: u32) -> bool {
    if at >= total || pairs[at].x == params.sentinel {
        return false;
    }
    return at == 0u || pairs[max(at, 1u) - 1u].x != pairs[at].x;
}

var<workgroup> found: atomic<u32>;

/// The runs that begin in each share.
@compute @workgroup_size(256)
fn count(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let total = counts.first + counts.second;
    let share = share_of(total);
    let own = group_index(group);
    if thread == 0u {
        atomicStore(&found, 0u);
    }
    workgroupBarrier();
    for (var at = own * share + thread; at < min((own + 1u) * share, total); at += TILE) {
        if begins(at, total) {
            atomicAdd(&found, 1u);
        }
    }
    workgroupBarrier();
    if thread == 0u && own < ${SHARES}u {
        heads[own] = atomicLoad(&found);
    }
}

/// One workgroup: the counts of the shares become offsets.
@compute @workgroup_size(256)
fn scan(@builtin(local_invocation_index) thread: u32) {
    var value = 0u;
    if thread < ${SHARES}u {
        value = heads[thread];
    }
    let offset = sum_before(thread, value);
    if thread < ${SHARES}u {
        heads[thread] = offset;
    }
    if thread == 255u {
        totals[0] = sums[255];
    }
}

@compute @workgroup_size(256)
fn write(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let total = counts.first + counts.second;
    let share = share_of(total);
    let own = group_index(group);
    var run = heads[min(own, ${SHARES}u - 1u)];
    let end = min((own + 1u) * share, total);
    for (var tile = own * share; tile < end; tile += TILE) {
        let at = tile + thread;
        let head = at < end && begins(at, total);
        let rank = sum_before(thread, select(0u, 1u, head));
        if head {
            runs[run + rank] = vec2(pairs[at].x, at);
        }
        let is_last = feature_at(at, total) != params.sentinel && feature_at(at + 1u, total) == params.sentinel;
        if at < end && is_last {
            runs[run + rank + select(0u, 1u, head)] = vec2(params.sentinel, at + 1u);
            totals[1] = at + 1u;
        }
        run += sums[255];
        workgroupBarrier();
    }
    // Nothing is active.
    if own == 0u && thread == 0u && feature_at(0u, total) == params.sentinel {
        runs[0] = vec2(params.sentinel, 0u);
        totals[1] = 0u;
    }
}

/// The first run whose feature is at least `feature`.
fn run_from(feature: u32) -> u32 {
    var first = 0u;
    var end = totals[0];
    while first < end {
        let middle = first + (end - first) / 2u;
        if runs[middle].x < feature {
            first = middle + 1u;
        } else {
            end = middle;
        }
    }
    return first;
}

@compute @workgroup_size(64)
fn bound(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = group_index(group) * 64u + thread;
    if block <= params.blocks {
        bounds[block] = run_from(block * 64u);
    }
}

/// A run of fewer terms is never hot.
const LEAST_HOT: u32 = 64u;

@compute @workgroup_size(64)
fn range(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let own = group_index(group) * 64u + thread;
    if own < params.ranges {
        let first = run_from(feature_ranges[own].x);
        let end = run_from(feature_ranges[own].y);
        ranges[own * 64u] = first;
        ranges[own * 64u + 1u] = end;
        ranges[own * 64u + 2u] = runs[first].y;
        ranges[own * 64u + 3u] = runs[end].y;
        // There are then no more of them than slots (hot.wgsl).
        ranges[own * 64u + 4u] = max(LEAST_HOT, (totals[1] + params.hot_slots - 1u) / params.hot_slots);
    }
}
