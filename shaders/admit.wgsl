// Continues a list by a chunk of features: of each row first what is kept of its entries so far, then the entries of
// the chunk, by ascending feature. BY_CUT keeps what the batch's cut keeps; otherwise an entry decides, and nothing
// that is listed is dropped.
// pre_activations: [rows, stride]; scalars: planes of [count]; list_in, list_out: [capacity] vec4<u32>; starts_in,
// starts_out: [rows + 1]; row_counts: [rows] (above the floor, equal to it, equal and kept, -); counted: Counts.
// `count` and `write` take a workgroup per row, `scan` one in all. A list that is full stays as it is, and raises the
// guard.
#define BY_CUT 1
#define SCALED 1
#define ADMITS 1
#define TRAINS 0
struct Params {
    rows: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk; 0 for the list alone.
    width: u32,
    /// Row length of the pre-activations.
    stride: u32,
    /// First feature of the shard.
    shard: u32,
    /// Features of the shard.
    count: u32,
    capacity: u32,
    /// The entry's constants.
    c0: f32,
    c1: f32,
    c2: f32,
    c3: f32,
}

@group(0) @binding(0) var<storage, read> pre_activations: array<f32>;
@group(0) @binding(1) var<storage, read> scalars: array<u32>;
@group(0) @binding(2) var<storage, read> list_in: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> starts_in: array<u32>;
@group(0) @binding(4) var<storage, read_write> row_counts: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> starts_out: array<u32>;
@group(0) @binding(6) var<storage, read_write> list_out: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read_write> counted: Counts;
@group(0) @binding(8) var<storage, read_write> guard: Guard;
@group(0) @binding(9) var<uniform> counts: Counts;
@group(0) @binding(10) var<uniform> cut: Cut;
@group(0) @binding(11) var<uniform> params: Params;

#import counts
#import cut
#import entry_type
#import grid
#import guard
#import order
#import prefix_sum
#import scalars
#if BY_CUT
#else
#import entry
#end

const TILE: u32 = 256u;

/// An entry that may be kept. Its kind is ABOVE, EQUAL if it is kept as ties are, 0 if it is not.
struct Candidate {
    kind: u32,
    flags: u32,
    key: f32,
}

/// Counts of both fit one word, for those of a tile.
const ABOVE: u32 = 1u;
const EQUAL: u32 = 0x10000u;

fn kind_of(key: f32) -> u32 {
    let key_order = order(key);
    return select(0u, ABOVE, key_order > cut.floor) | select(0u, EQUAL, key_order == cut.floor);
}

/// The kind of an entry that is listed.
fn listed_kind(entry: vec4<u32>) -> u32 {
#if BY_CUT
    return kind_of(bitcast<f32>(entry.w));
#else
    return ABOVE;
#end
}

/// The candidate of a row in a column of the chunk.
fn candidate(row: u32, column: u32, u: f32) -> Candidate {
    let feature = params.first + column;
#if BY_CUT
    var key = u;
#if SCALED
    key *= scalar(NORM, feature);
#end
    return Candidate(kind_of(key), VALUE, key);
#else
    let flags = admits(u, feature);
    return Candidate(select(0u, ABOVE, flags != 0u), flags, decoded_value(Entry(feature, row, flags, u)));
#end
}

@compute @workgroup_size(256)
fn count(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group);
    if row >= params.rows {
        return;
    }
    var above = 0u;
    var equal = 0u;
    for (var at = starts_in[row] + thread; at < starts_in[row + 1u]; at += TILE) {
        let kind = listed_kind(list_in[at]);
        above += kind & ABOVE;
        equal += kind / EQUAL;
    }
    for (var column = thread; column < params.width; column += TILE) {
        let kind = candidate(row, column, pre_activations[row * params.stride + column]).kind;
        above += kind & ABOVE;
        equal += kind / EQUAL;
    }
    sum_before(thread, above);
    let all_above = sums[255];
    workgroupBarrier();
    sum_before(thread, equal);
    if thread == 0u {
        row_counts[row] = vec4(all_above, sums[255], 0u, 0u);
    }
}

/// One workgroup: how many ties each row keeps, where its entries begin, and how many there are in all.
@compute @workgroup_size(256)
fn scan(@builtin(local_invocation_index) thread: u32) {
    let share = (params.rows + TILE - 1u) / TILE;
    let begin = min(thread * share, params.rows);
    let end = min(begin + share, params.rows);
    var equal = 0u;
    for (var row = begin; row < end; row++) {
        equal += row_counts[row].y;
    }
    var ties = sum_before(thread, equal);
    workgroupBarrier();
    var kept = 0u;
    for (var row = begin; row < end; row++) {
        let found = row_counts[row];
        let ties_kept = min(found.y, cut.ties - min(cut.ties, ties));
        row_counts[row] = vec4(found.x, found.y, ties_kept, 0u);
        ties += found.y;
        kept += found.x + ties_kept;
    }
    var start = sum_before(thread, kept);
    let total = sums[255];
    for (var row = begin; row < end; row++) {
        starts_out[row] = min(start, params.capacity);
        start += row_counts[row].x + row_counts[row].z;
    }
    if thread == 0u {
        starts_out[params.rows] = min(total, params.capacity);
        counted.first = min(total, params.capacity);
        if total > params.capacity {
            counted.full = max(counted.full, total);
            raise_guard(LIST_FULL, NO_ROW);
        }
    }
}

@compute @workgroup_size(256)
fn write(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group);
    if row >= params.rows || counts.full != 0u {
        return;
    }
    let ties_kept = row_counts[row].z;
    let start = starts_out[row];
    let begin = starts_in[row];
    let listed = starts_in[row + 1u] - begin;
    var above = 0u;
    var equal = 0u;
    for (var tile = 0u; tile < listed + params.width; tile += TILE) {
        let at = tile + thread;
        var entry = vec4(0u);
        var kind = 0u;
        if at < listed {
            entry = list_in[begin + at];
            kind = listed_kind(entry);
        } else if at < listed + params.width {
            let column = at - listed;
            let u = pre_activations[row * params.stride + column];
            let own = candidate(row, column, u);
            kind = own.kind;
            let own_place = place(row, 0u, own.flags);
            entry = vec4(params.shard + params.first + column, own_place, bitcast<u32>(u), bitcast<u32>(own.key));
        }
        let rank = sum_before(thread, kind);
        let above_before = above + (rank & 0xffffu);
        let equal_before = equal + rank / EQUAL;
        if kind == ABOVE || (kind == EQUAL && equal_before < ties_kept) {
            list_out[start + above_before + min(equal_before, ties_kept)] = entry;
        }
        above += sums[255] & 0xffffu;
        equal += sums[255] / EQUAL;
        workgroupBarrier();
    }
}
