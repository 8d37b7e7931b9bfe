// Finds the dead features of each shard, compacted in ascending order into the plane DEAD, and what a selection among
// them must know.
// scalars: planes of [count]; block_dead: [blocks of 1,024 features of the model + 1], the dead ones before each block,
// then of all;
// found: [1], the number of dead features; extents: [chunks] Extent, 256 bytes apart; counts: Counts; factor: [1];
// starts: [rows + 1]; entries: [capacity] vec4<u32>; step: Step; guard: Guard.
// `count` and `write` take a block of 1,024 features per workgroup, `scan` is one workgroup between them; then `extent`
// describes a chunk of a shard's dead features, `row_starts` where each row's entries begin, and `rename` turns numbers
// of dead features into features.
#define WITH_THIS_BATCH 0
struct Params {
    /// First feature of the shard.
    first: u32,
    /// Features of the shard.
    count: u32,
    /// Steps of silence after which a feature is dead.
    window: u32,
    /// Blocks of 1,024 features of the model.
    blocks: u32,
    rows: u32,
    /// The most entries per row.
    most: u32,
    /// Dead features of the shard before the chunk, and the most in it.
    chunk_first: u32,
    chunk_width: u32,
    /// The chunk's extent.
    slot: u32,
    /// Where the list begins in `entries`.
    base: u32,
    /// Whether the loss is scaled by the share of `most` that is there.
    scale_by_share: u32,
    /// Dead features that there are chunks for; more raise the guard.
    room: u32,
}

@group(0) @binding(0) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(1) var<storage, read_write> block_dead: array<u32>;
@group(0) @binding(2) var<storage, read_write> found: array<u32>;
@group(0) @binding(3) var<storage, read_write> extents: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: Counts;
@group(0) @binding(5) var<storage, read_write> factor: array<f32>;
@group(0) @binding(6) var<storage, read_write> starts: array<u32>;
@group(0) @binding(7) var<storage, read_write> entries: array<vec4<u32>>;
@group(0) @binding(8) var<uniform> step: Step;
@group(0) @binding(9) var<uniform> params: Params;
@group(0) @binding(10) var<storage, read_write> guard: Guard;

#import counts
#import grid
#import guard
#import prefix_sum
#import scalars
#import step

const BLOCK: u32 = 1024u;

fn is_dead(feature: u32) -> bool {
#if WITH_THIS_BATCH
    return word(MARK, feature) != step.number && step.number - word(LAST_FIRED, feature) >= params.window;
#else
    return step.number - 1u - word(LAST_FIRED, feature) >= params.window;
#end
}

/// The dead among a thread's four features of a block.
fn dead_of(first: u32) -> u32 {
    var dead = 0u;
    for (var feature = first; feature < min(first + 4u, params.count); feature++) {
        dead += select(0u, 1u, is_dead(feature));
    }
    return dead;
}

/// Dead features of the model before the shard.
fn dead_before() -> u32 {
    return block_dead[params.first / BLOCK];
}

/// Dead features of the model before the shard's end.
fn dead_to_end() -> u32 {
    return block_dead[(params.first + params.count + BLOCK - 1u) / BLOCK];
}

@compute @workgroup_size(256)
fn count(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = group_index(group);
    let own = sum_before(thread, dead_of(block * BLOCK + thread * 4u));
    if thread == 255u && block * BLOCK < params.count {
        block_dead[params.first / BLOCK + block] = sums[255];
    }
}

@compute @workgroup_size(256)
fn scan(@builtin(local_invocation_index) thread: u32) {
    let share = (params.blocks + 255u) / 256u;
    let begin = min(thread * share, params.blocks);
    let end = min(begin + share, params.blocks);
    var sum = 0u;
    for (var block = begin; block < end; block++) {
        sum += block_dead[block];
    }
    var before = sum_before(thread, sum);
    for (var block = begin; block < end; block++) {
        let own = block_dead[block];
        block_dead[block] = before;
        before += own;
    }
    if thread == 255u {
        let dead = sums[255];
        block_dead[params.blocks] = dead;
        found[0] = dead;
        counts.second = min(params.most, dead) * params.rows;
        if dead > params.room {
            raise_guard(TOO_MANY_DEAD, NO_ROW);
        }
        // SAELens: the share of d / 2 dead features that there are.
        factor[0] = select(1.0, min(f32(dead) / f32(params.most), 1.0), params.scale_by_share != 0u);
    }
}

@compute @workgroup_size(256)
fn write(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = group_index(group);
    let first = block * BLOCK + thread * 4u;
    let rank = sum_before(thread, dead_of(first));
    var at = block_dead[min(params.first / BLOCK + block, params.blocks)] - dead_before() + rank;
    for (var feature = first; feature < min(first + 4u, params.count); feature++) {
        if is_dead(feature) {
            scalars[DEAD * params.count + at] = feature;
            at++;
        }
    }
}

@compute @workgroup_size(64)
fn extent(@builtin(local_invocation_index) thread: u32) {
    if thread == 0u {
        let own = dead_to_end() - dead_before();
        // The members of Extent, in order.
        extents[params.slot * 64u] = min(own - min(own, params.chunk_first), params.chunk_width);
        extents[params.slot * 64u + 1u] = dead_before() + min(own, params.chunk_first);
        extents[params.slot * 64u + 2u] = min(params.most, block_dead[params.blocks]);
    }
}

@compute @workgroup_size(64)
fn row_starts(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group) * 64u + thread;
    if row <= params.rows {
        starts[row] = params.base + row * min(params.most, block_dead[params.blocks]);
    }
}

/// Shards in descending order: a number never exceeds its feature, so none is renamed twice.
@compute @workgroup_size(64)
fn rename(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at >= min(params.most, block_dead[params.blocks]) * params.rows {
        return;
    }
    let entry = entries[params.base + at];
    if entry.x >= dead_before() && entry.x < dead_to_end() {
        let feature = params.first + word(DEAD, entry.x - dead_before());
        entries[params.base + at] = vec4(feature, entry.y, entry.z, entry.w);
    }
}
