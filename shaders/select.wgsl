// Merges a chunk of pre-activations into the k largest of each row, exactly; one workgroup a row.
// pre_activations: [rows, stride]; norms: [features of the shard]; features, values (the pre-activations kept), keys
// (what they were compared by): [rows, k], ascending by feature, of which the first `filled` hold what earlier chunks left.
// Larger keys win, then lower features; -0.0 equals 0.0; a NaN wins over everything, so that it is seen.
//
// A lower bound of the k-th largest key is found first: the smallest key kept so far, or the k-th largest of the threads'
// own maxima. What lies above it is gathered, in any order, and ranked by the total order (key, feature). Where too much
// lies above it (ties everywhere, k beyond the workgroup) the row is sorted out by a radix select instead.
#define WORKGROUP 64
#define CAPACITY 768
struct Params {
    rows: u32,
    k: u32,
    filled: u32,
    /// First feature of the chunk.
    first: u32,
    /// The same, counted in the shard.
    first_in_shard: u32,
    /// Features in the chunk.
    count: u32,
    stride: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
    /// Whether this is the row's last chunk: what is kept is then rectified.
    last: u32,
}

@group(0) @binding(0) var<storage, read> pre_activations: array<f32>;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
@group(0) @binding(2) var<storage, read_write> features: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

#import grid

var<workgroup> scratch: array<u32, ${WORKGROUP}>;
var<workgroup> bound: u32;
var<workgroup> gathered: atomic<u32>;
var<workgroup> gathered_count: u32;
var<workgroup> gathered_order: array<u32, ${CAPACITY}>;
var<workgroup> gathered_feature: array<u32, ${CAPACITY}>;
var<workgroup> gathered_value: array<f32, ${CAPACITY}>;
var<workgroup> gathered_key: array<f32, ${CAPACITY}>;
var<workgroup> cut_order: u32;
var<workgroup> cut_feature: u32;

/// A number whose unsigned order is the keys' order.
fn order(key: f32) -> u32 {
    let bits = bitcast<u32>(key);
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u {
        return 0xffffffffu;
    }
    if magnitude == 0u {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn rectify(value: f32) -> f32 {
    return select(value, 0.0, params.last != 0u && value <= 0.0);
}

struct Candidate {
    feature: u32,
    value: f32,
    key: f32,
}

/// The candidates of a row: those kept so far, then the chunk's, by ascending feature.
fn candidate(row: u32, at: u32) -> Candidate {
    if at < params.filled {
        let entry = row * params.k + at;
        return Candidate(features[entry], values[entry], keys[entry]);
    }
    let in_chunk = at - params.filled;
    let value = pre_activations[row * params.stride + in_chunk];
    let key = chunk_key(value, in_chunk);
    return Candidate(params.first + in_chunk, value, key);
}

fn chunk_key(value: f32, in_chunk: u32) -> f32 {
    if params.scaled != 0u {
        return value * norms[params.first_in_shard + in_chunk];
    }
    return value;
}

fn gather(found: Candidate, found_order: u32) {
    let slot = atomicAdd(&gathered, 1u);
    if slot < ${CAPACITY}u {
        gathered_order[slot] = found_order;
        gathered_feature[slot] = found.feature;
        gathered_value[slot] = found.value;
        gathered_key[slot] = found.key;
    }
}

fn keep(row: u32, at: u32, feature: u32, value: f32, key: f32) {
    let entry = row * params.k + at;
    features[entry] = feature;
    values[entry] = rectify(value);
    keys[entry] = rectify(key);
}

@compute @workgroup_size(${WORKGROUP})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(group, groups);
    // The same for a whole workgroup.
    if row >= params.rows {
        return;
    }
    if params.k > ${WORKGROUP}u {
        radix_select(row, thread);
        return;
    }
    find_bound(row, thread);
    let above = workgroupUniformLoad(&bound);

    for (var at = thread; at < params.filled; at += ${WORKGROUP}u) {
        let kept = candidate(row, at);
        gather(kept, order(kept.key));
    }
    for (var in_chunk = thread; in_chunk < params.count; in_chunk += ${WORKGROUP}u) {
        let value = pre_activations[row * params.stride + in_chunk];
        let key = chunk_key(value, in_chunk);
        let key_order = order(key);
        if key_order > above {
            gather(Candidate(params.first + in_chunk, value, key), key_order);
        }
    }
    workgroupBarrier();
    if thread == 0u {
        gathered_count = atomicLoad(&gathered);
    }
    let count = workgroupUniformLoad(&gathered_count);
    if count > ${CAPACITY}u {
        radix_select(row, thread);
    } else if count > params.filled || params.filled < params.k || params.last != 0u {
        rank_select(row, thread, count);
    }
}

/// Sets `bound` so that only candidates above it, and those kept so far, can be among the k largest.
fn find_bound(row: u32, thread: u32) {
    if thread == 0u {
        atomicStore(&gathered, 0u);
        bound = 0u;
    }
    if params.filled == params.k {
        var smallest = 0xffffffffu;
        for (var at = thread; at < params.filled; at += ${WORKGROUP}u) {
            smallest = min(smallest, order(keys[row * params.k + at]));
        }
        scratch[thread] = smallest;
        workgroupBarrier();
        if thread == 0u {
            for (var other = 0u; other < ${WORKGROUP}u; other++) {
                smallest = min(smallest, scratch[other]);
            }
            bound = smallest;
        }
    } else {
        var largest = 0u;
        for (var in_chunk = thread; in_chunk < params.count; in_chunk += ${WORKGROUP}u) {
            largest = max(largest, order(chunk_key(pre_activations[row * params.stride + in_chunk], in_chunk)));
        }
        scratch[thread] = largest;
        workgroupBarrier();
        var rank = 0u;
        for (var other = 0u; other < ${WORKGROUP}u; other++) {
            let theirs = scratch[other];
            rank += select(0u, 1u, theirs > largest || (theirs == largest && other < thread));
        }
        if rank == params.k - 1u && largest > 0u {
            bound = largest - 1u;
        }
    }
    workgroupBarrier();
}

/// Keeps the k first of `count` gathered candidates by (key, feature).
fn rank_select(row: u32, thread: u32, count: u32) {
    let kept_count = min(params.k, count);
    for (var mine = thread; mine < count; mine += ${WORKGROUP}u) {
        let my_order = gathered_order[mine];
        let my_feature = gathered_feature[mine];
        var rank = 0u;
        for (var other = 0u; other < count; other++) {
            let theirs = gathered_order[other];
            rank += select(0u, 1u, theirs > my_order || (theirs == my_order && gathered_feature[other] < my_feature));
        }
        if rank == kept_count - 1u {
            cut_order = my_order;
            cut_feature = my_feature;
        }
    }
    let least_order = workgroupUniformLoad(&cut_order);
    let last_feature = workgroupUniformLoad(&cut_feature);
    for (var mine = thread; mine < count; mine += ${WORKGROUP}u) {
        let my_order = gathered_order[mine];
        let my_feature = gathered_feature[mine];
        if my_order > least_order || (my_order == least_order && my_feature <= last_feature) {
            var at = 0u;
            for (var other = 0u; other < count; other++) {
                let theirs = gathered_order[other];
                let their_feature = gathered_feature[other];
                let is_kept = theirs > least_order || (theirs == least_order && their_feature <= last_feature);
                at += select(0u, 1u, is_kept && their_feature < my_feature);
            }
            keep(row, at, my_feature, gathered_value[mine], gathered_key[mine]);
        }
    }
}

var<workgroup> digit_counts: array<atomic<u32>, 256>;
var<workgroup> prefix: u32;
var<workgroup> wanted: u32;
var<workgroup> taken_above: u32;
var<workgroup> taken_equal: u32;

/// Finds the k-th largest key digit by digit, then keeps what is above it and the first of its equals, in order.
fn radix_select(row: u32, thread: u32) {
    let candidates = params.filled + params.count;
    if thread == 0u {
        prefix = 0u;
        wanted = min(params.k, candidates);
        taken_above = 0u;
        taken_equal = 0u;
    }
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - 8u * digit;
        for (var at = thread; at < 256u; at += ${WORKGROUP}u) {
            atomicStore(&digit_counts[at], 0u);
        }
        let decided = workgroupUniformLoad(&prefix);
        for (var at = thread; at < candidates; at += ${WORKGROUP}u) {
            let key_order = order(candidate(row, at).key);
            if digit == 0u || key_order >> (shift + 8u) == decided {
                atomicAdd(&digit_counts[(key_order >> shift) & 255u], 1u);
            }
        }
        workgroupBarrier();
        if thread == 0u {
            var still_wanted = wanted;
            var value = 255u;
            while value > 0u && atomicLoad(&digit_counts[value]) < still_wanted {
                still_wanted -= atomicLoad(&digit_counts[value]);
                value--;
            }
            wanted = still_wanted;
            prefix = (decided << 8u) | value;
        }
        workgroupBarrier();
    }
    let threshold = workgroupUniformLoad(&prefix);
    let equal_wanted = workgroupUniformLoad(&wanted);
    // What is kept never lands behind the candidate it came from, so a tile's writes cannot reach what is still to be read.
    for (var tile = 0u; tile < candidates; tile += ${WORKGROUP}u) {
        let at = tile + thread;
        var mine: Candidate;
        var my_order = 0u;
        if at < candidates {
            mine = candidate(row, at);
            my_order = order(mine.key);
        }
        let is_above = at < candidates && my_order > threshold;
        let is_equal = at < candidates && my_order == threshold;
        // Both counts in one word: a workgroup has fewer than 2^16 threads.
        scratch[thread] = select(0u, 1u, is_above) | select(0u, 0x10000u, is_equal);
        // The whole tile is read before any of it is overwritten.
        storageBarrier();
        workgroupBarrier();
        var before = 0u;
        var all = 0u;
        for (var other = 0u; other < ${WORKGROUP}u; other++) {
            all += scratch[other];
            before += select(0u, scratch[other], other < thread);
        }
        let above_before = workgroupUniformLoad(&taken_above) + (before & 0xffffu);
        let equal_before = workgroupUniformLoad(&taken_equal) + (before >> 16u);
        if is_above || (is_equal && equal_before < equal_wanted) {
            keep(row, above_before + min(equal_before, equal_wanted), mine.feature, mine.value, mine.key);
        }
        workgroupBarrier();
        if thread == 0u {
            taken_above += all & 0xffffu;
            taken_equal += all >> 16u;
        }
        workgroupBarrier();
    }
}
