// Lets the dispatches of a section run, or none of them: their workgroups, or zeros if `condition` is 0 at `word`.
// condition: [word + 1 or more]; wanted, granted: [count], three per dispatch.
struct Params {
    count: u32,
    word: u32,
}

@group(0) @binding(0) var<storage, read> condition: array<u32>;
@group(0) @binding(1) var<storage, read> wanted: array<u32>;
@group(0) @binding(2) var<storage, read_write> granted: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

#import grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    if at < params.count {
        granted[at] = select(0u, wanted[at], condition[params.word] != 0u);
    }
}
