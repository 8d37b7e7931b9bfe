// Finds the cut of a batch, a floor that the `wanted` largest keys reach, from bins of the orders above the floor so
// far, chunk by chunk.
// pre_activations: [rows, stride]; scalars: planes of [count]; list: [capacity] vec4<u32>, the entries kept so far, of
// which `counts` has the number; bins: [BINS], empty before and after; cut: Cut; least: [1].
// A chunk takes `histogram` and `raise` at levels 0, 1 and 2; the finer ones do nothing where the level before them
// kept no more than `room`. With no room the floor becomes the order of the last key that is wanted. Bins are integers,
// so that no result depends on the order of threads.
#define SCALED 1
struct Params {
    rows: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk; 0 for the list alone.
    width: u32,
    /// Row length of the pre-activations.
    stride: u32,
    /// Features of the shard.
    count: u32,
    /// Threads of the dispatch.
    threads: u32,
    level: u32,
    /// The most entries that may be kept.
    room: u32,
    /// Keys wanted of the batch.
    wanted: u32,
}

@group(0) @binding(0) var<storage, read> pre_activations: array<f32>;
@group(0) @binding(1) var<storage, read> scalars: array<u32>;
@group(0) @binding(2) var<storage, read> list: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> bins: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> cut: Cut;
@group(0) @binding(5) var<storage, read_write> least: array<atomic<u32>>;
@group(0) @binding(6) var<uniform> cut_so_far: Cut;
@group(0) @binding(7) var<uniform> counts: Counts;
@group(0) @binding(8) var<uniform> params: Params;

#import counts
#import cut
#import grid
#import order
#import prefix_sum
#import scalars

const THREADS: u32 = 256u;
const BINS: u32 = 2048u;
/// The order of the least key above 0.
const LEAST_POSITIVE: u32 = 0x80000001u;

/// Width of a level's bins, in bits of the order. Bins of the first level reach past every order; each finer level
/// divides one bin of the level before it.
fn bin_shift(level: u32) -> u32 {
    return select(select(0u, 9u, level == 1u), 20u, level == 0u);
}

/// The cut of a batch of which nothing has been seen.
@compute @workgroup_size(1)
fn begin() {
    cut = Cut(LEAST_POSITIVE, 1u, params.wanted, ALL_TIES);
    atomicStore(&least[0], 0u);
}

var<workgroup> own_bins: array<atomic<u32>, BINS>;

fn add(key: f32) {
    let key_order = order(key);
    if key_order >= cut_so_far.floor {
        atomicAdd(&own_bins[min((key_order - cut_so_far.floor) >> bin_shift(params.level), BINS - 1u)], 1u);
    }
}

/// Counts the keys of the chunk and of the list.
@compute @workgroup_size(256)
fn histogram(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if params.level > 0u && cut_so_far.open == 0u {
        return;
    }
    for (var bin = thread; bin < BINS; bin += THREADS) {
        atomicStore(&own_bins[bin], 0u);
    }
    workgroupBarrier();
    let begin = group_index(group) * THREADS + thread;
    for (var at = begin; at < params.rows * params.width; at += params.threads) {
        let column = at % params.width;
        var key = pre_activations[at / params.width * params.stride + column];
#if SCALED
        key *= scalar(NORM, params.first + column);
#end
        add(key);
    }
    for (var at = begin; at < counts.first; at += params.threads) {
        add(bitcast<f32>(list[at].w));
    }
    workgroupBarrier();
    for (var bin = thread; bin < BINS; bin += THREADS) {
        let found = atomicLoad(&own_bins[bin]);
        if found > 0u {
            atomicAdd(&bins[bin], found);
        }
    }
}

var<workgroup> is_open: u32;

/// One workgroup: raises the floor to the highest edge of a bin that enough keys reach, and empties the bins.
@compute @workgroup_size(256)
fn raise(@builtin(local_invocation_index) thread: u32) {
    if thread == 0u {
        is_open = cut.open;
    }
    let was_open = workgroupUniformLoad(&is_open);
    if params.level > 0u && was_open == 0u {
        return;
    }
    // Eight bins per thread, the highest first.
    let top = BINS - 1u - thread * 8u;
    var sum = 0u;
#for i in 0..8
    let bin_${i} = atomicLoad(&bins[top - ${i}u]);
    atomicStore(&bins[top - ${i}u], 0u);
    sum += bin_${i};
#end
    let floor = cut.floor;
    let wanted = cut.wanted;
    let before = sum_before(thread, sum);
    // All have read the cut before one writes it.
    storageBarrier();
    if before < wanted && before + sum >= wanted {
        var above = before;
        var steps = 0u;
        var edge = bin_0;
#for i in 0..7
        if steps == ${i}u && above + bin_${i} < wanted {
            above += bin_${i};
            steps = ${i+1}u;
            edge = bin_${i+1};
        }
#end
        let fits = above + edge <= params.room;
        let is_last = params.level == 2u;
        cut.floor = floor + ((top - steps) << bin_shift(params.level));
        cut.open = select(1u, 0u, fits || is_last);
        cut.ties = select(wanted - above, ALL_TIES, fits);
    }
    // Fewer than are wanted: the floor stays.
    if thread == 0u && sums[255] < wanted {
        cut.open = 0u;
        cut.ties = ALL_TIES;
    }
}

var<workgroup> own_least: atomic<u32>;

/// The complement of the least order in the list; 0 where the list is empty.
@compute @workgroup_size(256)
fn find_least(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if thread == 0u {
        atomicStore(&own_least, 0u);
    }
    workgroupBarrier();
    for (var at = group_index(group) * THREADS + thread; at < counts.first; at += params.threads) {
        atomicMax(&own_least, ~order(bitcast<f32>(list[at].w)));
    }
    workgroupBarrier();
    if thread == 0u {
        atomicMax(&least[0], atomicLoad(&own_least));
    }
}
