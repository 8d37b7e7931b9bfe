// The codes by feature: a stable radix sort of the active entries, 8 bits a pass, and the runs of equal features in it.
// features, values: [entries]; keys_in/out, entries_in/out: [entries]; counters: [256 * blocks] or [blocks];
// run_features: [runs], run_starts: [runs + 1]; run_count: [1]; block_bounds: [feature blocks + 1].
//
// `load` makes the keys (entries whose value is 0 get `sentinel`, which sorts last); a pass is `histogram`, `scan`,
// `scatter`; then `count_runs`, `scan`, `write_runs`, and `bounds` finds where each block of features begins.
// Ranks are counted, never taken from an atomic's return value, so the order is the same in every run.
struct Params {
    entries: u32,
    /// Blocks of BLOCK_ENTRIES entries.
    blocks: u32,
    /// Lowest bit of the pass's digit.
    shift: u32,
    /// The number of features.
    sentinel: u32,
    /// Counters to scan, or blocks of features to find.
    length: u32,
}

@group(0) @binding(0) var<storage, read> features: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> keys_in: array<u32>;
@group(0) @binding(3) var<storage, read> entries_in: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys_out: array<u32>;
@group(0) @binding(5) var<storage, read_write> entries_out: array<u32>;
@group(0) @binding(6) var<storage, read_write> counters: array<u32>;
@group(0) @binding(7) var<storage, read_write> run_features: array<u32>;
@group(0) @binding(8) var<storage, read_write> run_starts: array<u32>;
@group(0) @binding(9) var<storage, read_write> run_count: array<u32>;
@group(0) @binding(10) var<storage, read_write> block_bounds: array<u32>;
@group(0) @binding(11) var<uniform> params: Params;

#import blocks
#import grid
#import runs

const TILE: u32 = 256u;
const BLOCK_ENTRIES: u32 = 1024u;

@compute @workgroup_size(256)
fn load(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let entry = workgroup_index(group, groups) * TILE + thread;
    if entry < params.entries {
        keys_out[entry] = select(params.sentinel, features[entry], values[entry] > 0.0);
        entries_out[entry] = entry;
    }
}

var<workgroup> digit_counts: array<atomic<u32>, 256>;

@compute @workgroup_size(256)
fn histogram(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = workgroup_index(group, groups);
    atomicStore(&digit_counts[thread], 0u);
    workgroupBarrier();
    for (var at = thread; at < BLOCK_ENTRIES; at += TILE) {
        let entry = block * BLOCK_ENTRIES + at;
        if entry < params.entries {
            atomicAdd(&digit_counts[(keys_in[entry] >> params.shift) & 255u], 1u);
        }
    }
    workgroupBarrier();
    if block < params.blocks {
        counters[thread * params.blocks + block] = atomicLoad(&digit_counts[thread]);
    }
}

var<workgroup> sums: array<u32, 256>;

/// Replaces each counter by the sum of those before it, and puts the sum of all in `run_count`; one workgroup.
@compute @workgroup_size(256)
fn scan(@builtin(local_invocation_index) thread: u32) {
    let share = (params.length + TILE - 1u) / TILE;
    let begin = min(thread * share, params.length);
    let end = min(begin + share, params.length);
    var sum = 0u;
    for (var at = begin; at < end; at++) {
        sum += counters[at];
    }
    sums[thread] = sum;
    workgroupBarrier();
    var before = 0u;
    for (var other = 0u; other < thread; other++) {
        before += sums[other];
    }
    if thread == TILE - 1u {
        run_count[0] = before + sum;
    }
    for (var at = begin; at < end; at++) {
        let count = counters[at];
        counters[at] = before;
        before += count;
    }
}

/// Entries ranked at once: each thread looks at all before its own, which costs the square.
const RANKED: u32 = 64u;

var<workgroup> tile_digits: array<vec4<u32>, 16>;
var<workgroup> next: array<atomic<u32>, 256>;

/// How many of the tile's words before `thread` are `wanted`.
fn count_before(thread: u32, wanted: u32) -> u32 {
    var rank = 0u;
    for (var quad = 0u; quad * 4u < thread; quad++) {
        let is_before = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u) < vec4(thread);
        let ones = select(vec4(0u), vec4(1u), is_before & (tile_digits[quad] == vec4(wanted)));
        rank += (ones.x + ones.y) + (ones.z + ones.w);
    }
    return rank;
}

@compute @workgroup_size(64)
fn scatter(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = workgroup_index(group, groups);
    if block >= params.blocks {
        return;
    }
    for (var digit = thread; digit < 256u; digit += RANKED) {
        atomicStore(&next[digit], counters[digit * params.blocks + block]);
    }
    for (var at = 0u; at < BLOCK_ENTRIES; at += RANKED) {
        let entry = block * BLOCK_ENTRIES + at + thread;
        let is_entry = entry < params.entries;
        var key = 0u;
        // A digit that no entry has.
        var digit = 256u;
        if is_entry {
            key = keys_in[entry];
            digit = (key >> params.shift) & 255u;
        }
        tile_digits[thread / 4u][thread % 4u] = digit;
        workgroupBarrier();
        if is_entry {
            let to = atomicLoad(&next[digit]) + count_before(thread, digit);
            keys_out[to] = key;
            entries_out[to] = entries_in[entry];
        }
        workgroupBarrier();
        if is_entry {
            atomicAdd(&next[digit], 1u);
        }
        workgroupBarrier();
    }
}

fn begins_run(entry: u32) -> bool {
    if entry >= params.entries {
        return false;
    }
    let key = keys_in[entry];
    if key == params.sentinel {
        return false;
    }
    return entry == 0u || keys_in[max(entry, 1u) - 1u] != key;
}

var<workgroup> run_total: atomic<u32>;

@compute @workgroup_size(256)
fn count_runs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = workgroup_index(group, groups);
    if thread == 0u {
        atomicStore(&run_total, 0u);
    }
    workgroupBarrier();
    for (var at = thread; at < BLOCK_ENTRIES; at += TILE) {
        if begins_run(block * BLOCK_ENTRIES + at) {
            atomicAdd(&run_total, 1u);
        }
    }
    workgroupBarrier();
    if thread == 0u && block < params.blocks {
        counters[block] = atomicLoad(&run_total);
    }
}

@compute @workgroup_size(64)
fn write_runs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = workgroup_index(group, groups);
    if block >= params.blocks {
        return;
    }
    var runs_before = counters[block];
    for (var at = 0u; at < BLOCK_ENTRIES; at += RANKED) {
        let entry = block * BLOCK_ENTRIES + at + thread;
        let begins = begins_run(entry);
        tile_digits[thread / 4u][thread % 4u] = select(0u, 1u, begins);
        workgroupBarrier();
        // The runs that have begun up to and with this entry.
        let runs = runs_before + count_before(thread + 1u, 1u);
        runs_before += count_before(RANKED, 1u);
        if begins {
            run_features[runs - 1u] = keys_in[entry];
            run_starts[runs - 1u] = entry;
        }
        if entry < params.entries {
            let is_active = keys_in[entry] != params.sentinel;
            let is_last = entry + 1u == params.entries || keys_in[min(entry + 1u, params.entries - 1u)] == params.sentinel;
            if is_active && is_last {
                run_starts[runs] = entry + 1u;
            }
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(64)
fn bounds(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block = workgroup_index(group, groups) * 64u + thread;
    if block < params.length {
        block_bounds[block] = first_run_from(block * BLOCK_FEATURES, 0u, run_count[0]);
    }
}
