// Merges a chunk of pre-activations into the k largest of each row, exactly; one workgroup per row.
// pre_activations: [rows, stride / 4] vec4; scalars: planes of [count]; entries: [rows of the batch, k] vec4<u32>,
// ascending by feature, of which the first `filled` of each row hold what earlier chunks left. An entry that is not
// above 0 gets no flag.
// Larger keys win, then lower features; -0.0 equals 0.0; a NaN wins over everything, so that it is seen.
//
// A lower bound of the k-th largest key is found first: the smallest key kept so far, or the k-th largest of the
// threads' own maxima. What lies above it is gathered, in any order, and ranked by the total order (key, feature); only
// order and number of what is gathered wait in workgroup memory, of which the less the more rows are under way.
// Where too much lies above it (ties everywhere, k beyond the workgroup) the row is sorted out by a radix select
// instead, whose counts and places are prefix sums by the whole workgroup.
#define WORKGROUP 64
// Candidates gathered at most, at least WORKGROUP.
#define CAPACITY 256
struct Params {
    rows: u32,
    /// First row of the entries.
    first_row: u32,
    k: u32,
    filled: u32,
    /// First feature of the chunk.
    first: u32,
    /// The same, counted in the shard.
    first_in_shard: u32,
    /// Features in the chunk.
    width: u32,
    /// Features of the shard.
    count: u32,
    /// Row length of the pre-activations, a multiple of 4.
    stride: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
}

@group(0) @binding(0) var<storage, read> pre_activations: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> scalars: array<u32>;
@group(0) @binding(2) var<storage, read_write> entries: array<vec4<u32>>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> bound: u32;
var<workgroup> gathered: atomic<u32>;
var<workgroup> gathered_count: u32;
var<workgroup> gathered_order: array<u32, ${CAPACITY}>;
/// Their numbers, which ascend with their features.
var<workgroup> gathered_at: array<u32, ${CAPACITY}>;
var<workgroup> cut_order: u32;
var<workgroup> cut_at: u32;

#import bits
#import entry_list
#import grid
#import order
#import prefix_sum
#import radix_select
#import scalars

// Scalars in workgroup memory, because a write to one component of a vector may clobber the others.
fn four_maxima(quad: u32) -> vec4<u32> {
    let at = quad * 4u;
    return vec4(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
}

fn four_orders(quad: u32) -> vec4<u32> {
    let at = quad * 4u;
    return vec4(gathered_order[at], gathered_order[at + 1u], gathered_order[at + 2u], gathered_order[at + 3u]);
}

fn four_numbers(quad: u32) -> vec4<u32> {
    let at = quad * 4u;
    return vec4(gathered_at[at], gathered_at[at + 1u], gathered_at[at + 2u], gathered_at[at + 3u]);
}

/// How many of four conditions hold.
fn count(conditions: vec4<bool>) -> u32 {
    let ones = select(vec4(0u), vec4(1u), conditions);
    return (ones.x + ones.y) + (ones.z + ones.w);
}

struct Candidate {
    feature: u32,
    value: f32,
    key: f32,
}

fn first_entry(row: u32) -> u32 {
    return (params.first_row + row) * params.k;
}

/// The candidates of a row: those kept so far, then the chunk's, by ascending feature.
fn candidate(row: u32, at: u32) -> Candidate {
    if at < params.filled {
        let entry = entries[first_entry(row) + at];
        return Candidate(entry.x, bitcast<f32>(entry.z), bitcast<f32>(entry.w));
    }
    let in_chunk = at - params.filled;
    let value = chunk_values(row, in_chunk / 4u)[in_chunk % 4u];
    return Candidate(params.first + in_chunk, value, key(value, in_chunk));
}

/// Four pre-activations of the chunk; what lies past its end is whatever the buffer held.
fn chunk_values(row: u32, quad: u32) -> vec4<f32> {
    return pre_activations[row * (params.stride / 4u) + quad];
}

/// What makes a feature's pre-activation its key, where keys are scaled.
fn scale(in_chunk: u32) -> f32 {
    return scalar(NORM, params.first_in_shard + min(in_chunk, params.width - 1u));
}

fn key(value: f32, in_chunk: u32) -> f32 {
    if params.scaled != 0u {
        return value * scale(in_chunk);
    }
    return value;
}

fn chunk_keys(values: vec4<f32>, quad: u32) -> vec4<f32> {
    if params.scaled != 0u {
        let first = quad * 4u;
        return values * vec4(scale(first), scale(first + 1u), scale(first + 2u), scale(first + 3u));
    }
    return values;
}

/// Orders of four candidates of the chunk, 0 for those past its end.
fn chunk_orders(keys: vec4<f32>, quad: u32) -> vec4<u32> {
    let in_chunk = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    return select(vec4(0u), orders(keys), in_chunk < vec4(params.width));
}

/// Threads that take vectors of one piece of a row alternately: few pieces are read at a time, each on and on.
const NEIGHBOURS: u32 = 8u;

/// A thread's first vector of so many, and the end of its piece.
fn own_quads(quads: u32, thread: u32) -> vec2<u32> {
    let piece = (quads + ${WORKGROUP}u - 1u) / ${WORKGROUP}u * NEIGHBOURS;
    let first = thread / NEIGHBOURS * piece;
    return vec2(first + thread % NEIGHBOURS, min(first + piece, quads));
}

fn gather(at: u32, found_order: u32) {
    let slot = atomicAdd(&gathered, 1u);
    if slot < ${CAPACITY}u {
        gathered_order[slot] = found_order;
        gathered_at[slot] = at;
    }
}

fn keep(row: u32, at: u32, kept: Candidate) {
    let own_place = place(params.first_row + row, 0u, select(0u, VALUE, is_positive(kept.value)));
    entries[first_entry(row) + at] = vec4(kept.feature, own_place, bitcast<u32>(kept.value), bitcast<u32>(kept.key));
}

@compute @workgroup_size(${WORKGROUP})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group);
    // The same for a whole workgroup.
    if row >= params.rows {
        return;
    }
    var is_sorted_out = params.k > ${WORKGROUP}u;
    if !is_sorted_out {
        find_bound(row, thread);
        is_sorted_out = !gather_and_rank(row, thread);
    }
    if is_sorted_out {
        radix_select(row, thread);
    }
}

/// Keeps the k first of those kept so far and the candidates above the bound; false if those are too many.
fn gather_and_rank(row: u32, thread: u32) -> bool {
    let above = workgroupUniformLoad(&bound);
    // Each thread holds one of those kept so far, whose entry may be written before it is kept again.
    var held: Candidate;
    if thread < params.filled {
        held = candidate(row, thread);
        gathered_order[thread] = order(held.key);
        gathered_at[thread] = thread;
    }
    let own = own_quads((params.width + 3u) / 4u, thread);
    let most = vec4(at_most(above));
    for (var quad = own.x; quad < own.y; quad += NEIGHBOURS) {
        let keys = chunk_keys(chunk_values(row, quad), quad);
        // Most are not above, which one comparison tells.
        if !all(keys <= most) {
            let key_orders = chunk_orders(keys, quad);
#for c in 0..4
            if key_orders[${c}] > above {
                gather(params.filled + quad * 4u + ${c}u, key_orders[${c}]);
            }
#end
        }
    }
    workgroupBarrier();
    if thread == 0u {
        let found = atomicLoad(&gathered);
        gathered_count = found;
        // The rest of the last four ranks behind everything.
        for (var slot = found; slot % 4u != 0u && slot < ${CAPACITY}u; slot++) {
            gathered_order[slot] = 0u;
        }
    }
    let found = workgroupUniformLoad(&gathered_count);
    if found > ${CAPACITY}u {
        return false;
    }
    if found > params.filled || params.filled < params.k {
        rank_select(row, thread, found, held);
    }
    return true;
}

/// The order of the least negative number that is not subnormal.
const NEAR_ZERO: u32 = 0x7f7fffffu;

/// A key that keys of a higher order than this are never at most. Subnormals compare as the driver pleases, and NaNs
/// not at all.
fn at_most(key_order: u32) -> f32 {
    if key_order >= NEAR_ZERO && key_order < 0x80800000u {
        return from_bits(0x80800000u);
    }
    return bitcast<f32>(select(~key_order, key_order & 0x7fffffffu, key_order >= 0x80000000u));
}

/// Sets `bound` so that only candidates above it, and those kept so far, can be among the k largest.
fn find_bound(row: u32, thread: u32) {
    if thread == 0u {
        atomicStore(&gathered, params.filled);
        bound = 0u;
    }
    if params.filled == params.k {
        var smallest = 0xffffffffu;
        for (var at = thread; at < params.filled; at += ${WORKGROUP}u) {
            smallest = min(smallest, order(bitcast<f32>(entries[first_entry(row) + at].w)));
        }
        sums[thread] = smallest;
        workgroupBarrier();
        if thread == 0u {
            var least = sums[0];
            for (var other = 1u; other < ${WORKGROUP}u; other++) {
                least = min(least, sums[other]);
            }
            bound = least;
        }
    } else {
        // A NaN may be passed over here, and a maximum with it: the bound is then lower than it could be, and still
        // one.
        var greatest = vec4(from_bits(0xff800000u));
        let whole_quads = params.width / 4u;
        let own = own_quads(whole_quads, thread);
        for (var quad = own.x; quad < own.y; quad += NEIGHBOURS) {
            greatest = max(greatest, chunk_keys(chunk_values(row, quad), quad));
        }
        // A driver may have taken a subnormal for 0; a thread without a key has no maximum.
        let found = orders(greatest);
        let is_near_zero = (found >= vec4(NEAR_ZERO)) & (found < vec4(0x80800000u));
        let at_least = select(found, vec4(NEAR_ZERO), is_near_zero);
        var greatest_orders = select(vec4(0u), at_least, vec4(own.x < own.y));
        if thread == ${WORKGROUP}u - 1u && params.width % 4u != 0u {
            let tail = chunk_keys(chunk_values(row, whole_quads), whole_quads);
            greatest_orders = max(greatest_orders, chunk_orders(tail, whole_quads));
        }
        let largest = max(max(greatest_orders.x, greatest_orders.y), max(greatest_orders.z, greatest_orders.w));
        sums[thread] = largest;
        workgroupBarrier();
        var rank = 0u;
        for (var quad = 0u; quad < ${WORKGROUP}u / 4u; quad++) {
            let theirs = four_maxima(quad);
            let others = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
            rank += count((theirs > vec4(largest)) | ((theirs == vec4(largest)) & (others < vec4(thread))));
        }
        if rank == params.k - 1u && largest > 0u {
            bound = largest - 1u;
        }
    }
    workgroupBarrier();
}

/// Keeps the k first of the candidates gathered by (key, feature).
fn rank_select(row: u32, thread: u32, found: u32, held: Candidate) {
    let kept_count = min(params.k, found);
    let quads = (found + 3u) / 4u;
    for (var mine = thread; mine < found; mine += ${WORKGROUP}u) {
        let my_order = gathered_order[mine];
        let my_at = gathered_at[mine];
        var rank = 0u;
        for (var quad = 0u; quad < quads; quad++) {
            let theirs = four_orders(quad);
            let is_before = four_numbers(quad) < vec4(my_at);
            rank += count((theirs > vec4(my_order)) | ((theirs == vec4(my_order)) & is_before));
        }
        if rank == kept_count - 1u {
            cut_order = my_order;
            cut_at = my_at;
        }
    }
    let least_order = workgroupUniformLoad(&cut_order);
    let last_at = workgroupUniformLoad(&cut_at);
    for (var mine = thread; mine < found; mine += ${WORKGROUP}u) {
        let my_order = gathered_order[mine];
        let my_at = gathered_at[mine];
        if my_order > least_order || (my_order == least_order && my_at <= last_at) {
            var at = 0u;
            for (var quad = 0u; quad < quads; quad++) {
                let theirs = four_orders(quad);
                let numbers = four_numbers(quad);
                let is_equal = (theirs == vec4(least_order)) & (numbers <= vec4(last_at));
                at += count(((theirs > vec4(least_order)) | is_equal) & (numbers < vec4(my_at)));
            }
            var kept = held;
            if my_at >= params.filled {
                kept = candidate(row, my_at);
            }
            keep(row, at, kept);
        }
    }
}
