// Marks the features that list 0's entries fire: MARK becomes the number of the step.
// entries: [capacity] vec4<u32>; scalars: planes of [count], of one shard; counts: Counts. A thread per entry that there
// is room for.
struct Params {
    /// Room for entries.
    capacity: u32,
    /// First feature of the shard.
    first: u32,
    /// Features of the shard.
    count: u32,
}

@group(0) @binding(0) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> scalars: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> step: Step;
@group(0) @binding(3) var<uniform> counts: Counts;
@group(0) @binding(4) var<uniform> params: Params;

#import counts
#import entry_list
#import grid
#import planes
#import step

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at >= counts.first {
        return;
    }
    let entry = entries[at];
    // Features before the shard wrap around to large numbers.
    let feature = entry.x - params.first;
    if feature < params.count && (flags_of(entry.y) & VALUE) != 0u {
        atomicStore(&scalars[MARK * params.count + feature], step.number);
    }
}
