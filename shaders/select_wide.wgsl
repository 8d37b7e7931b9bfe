// Merges a chunk of pre-activations into the k largest keys of each row, exactly and for any k, by three levels of
// bins; one workgroup per row. pre_activations: [rows, stride]; scalars: planes of [count]; entries: [capacity]
// vec4<u32>, of which [rows, k] from `base` on are the list, ascending by candidate; extent: Extent.
// Larger keys win, then earlier candidates. A candidate is numbered by its place among those of all chunks.
// RAW takes keys as they are, otherwise what is not above 0 counts as 0 and carries nothing; SCALED multiplies by
// decoder norms.
#define SCALED 1
#define RAW 0
struct Params {
    rows: u32,
    /// Row length of the pre-activations.
    stride: u32,
    /// First candidate of the chunk in the plane DEAD.
    first: u32,
    /// Features of the shard.
    count: u32,
    /// Number of the list.
    list: u32,
    /// Where the list begins in `entries`.
    base: u32,
}

@group(0) @binding(0) var<storage, read> pre_activations: array<f32>;
@group(0) @binding(1) var<storage, read> scalars: array<u32>;
@group(0) @binding(2) var<storage, read_write> entries: array<vec4<u32>>;
@group(0) @binding(3) var<uniform> extent: Extent;
@group(0) @binding(4) var<uniform> params: Params;

#import entry_list
#import extent
#import grid
#import order
#import prefix_sum
#import scalars

const THREADS: u32 = 256u;
const BINS: u32 = 2048u;

var<workgroup> bins: array<atomic<u32>, BINS>;
/// The order of the k-th largest key, as far as the levels so far decide it, and how many equal to it are kept.
var<workgroup> floor: u32;
var<workgroup> ties: u32;

/// The `at`-th candidate of a row: those kept so far, then the chunk's.
fn candidate(row: u32, at: u32, filled: u32) -> vec4<u32> {
    if at < filled {
        return entries[params.base + row * extent.k + at];
    }
    let column = at - filled;
    let u = pre_activations[row * params.stride + column];
    var key = u;
#if SCALED
    key = u * scalar(NORM, word(DEAD, params.first + column));
#end
    var flags = VALUE;
#if RAW
#else
    flags = select(0u, VALUE, u > 0.0);
    key = select(0.0, key, u > 0.0);
#end
    return vec4(extent.before + column, place(row, params.list, flags), bitcast<u32>(u), bitcast<u32>(key));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group);
    if row >= params.rows || extent.width == 0u {
        return;
    }
    let filled = min(extent.before, extent.k);
    let all = filled + extent.width;
    let wanted = min(extent.k, all);
    if thread == 0u {
        floor = 0u;
        ties = 0u;
    }
    // Levels of 11, 11 and 10 bits.
#for level in 0..3
    {
        const SHIFTS = array<u32, 3>(21u, 10u, 0u);
        const shift: u32 = SHIFTS[${level}];
        for (var bin = thread; bin < BINS; bin += THREADS) {
            atomicStore(&bins[bin], 0u);
        }
        let low = workgroupUniformLoad(&floor);
        for (var at = thread; at < all; at += THREADS) {
            let found = order(bitcast<f32>(candidate(row, at, filled).w));
            if found >= low {
                atomicAdd(&bins[min((found - low) >> shift, BINS - 1u)], 1u);
            }
        }
        workgroupBarrier();
        // Eight bins per thread, the highest first.
        let top = BINS - 1u - thread * 8u;
        var sum = 0u;
#for i in 0..8
        let bin_${i} = atomicLoad(&bins[top - ${i}u]);
        sum += bin_${i};
#end
        let above_own = sum_before(thread, sum);
        if above_own < wanted && above_own + sum >= wanted {
            var above = above_own;
            var steps = 0u;
#for i in 0..7
            if steps == ${i}u && above + bin_${i} < wanted {
                above += bin_${i};
                steps = ${i+1}u;
            }
#end
            floor = low + ((top - steps) << shift);
            ties = wanted - above;
        }
        workgroupBarrier();
    }
#end
    let least = workgroupUniformLoad(&floor);
    let room = workgroupUniformLoad(&ties);
    var above = 0u;
    var equal = 0u;
    // What is kept never lands behind the candidate it came from, so a tile's writes cannot reach what is still to be
    // read.
    for (var tile = 0u; tile < all; tile += THREADS) {
        let at = tile + thread;
        var entry = vec4(0u);
        var kind = 0u;
        if at < all {
            entry = candidate(row, at, filled);
            let found = order(bitcast<f32>(entry.w));
            // Both counts in one word: a tile has fewer than 2^16 candidates.
            kind = select(0u, 1u, found > least) | select(0u, 0x10000u, found == least);
        }
        storageBarrier();
        let rank = sum_before(thread, kind);
        let above_before = above + (rank & 0xffffu);
        let equal_before = equal + (rank >> 16u);
        if (kind & 1u) != 0u || (kind != 0u && equal_before < room) {
            entries[params.base + row * extent.k + above_before + min(equal_before, room)] = entry;
        }
        above += sums[255] & 0xffffu;
        equal += sums[255] >> 16u;
        workgroupBarrier();
    }
}
