// Lists the rows that are to be selected again in f32: those whose k largest keys are not proven to be so, because some
// group that was left out may hold a larger one, and those that are audited.
// best_bounds: [rows, groups] entries, whose keys are upper bounds of the keys in the groups that were scored, the
// smallest no less than that of any other group; entries: [rows, k] vec4<u32>, the largest of the scored ones; audit:
// (first row, rows); reruns: [FIRST + room], as shaders/shared/reruns.wgsl has it, added to.
// A thread per row.
struct Params {
    rows: u32,
    /// First row of the entries.
    first_row: u32,
    groups: u32,
    k: u32,
    /// Rows that can be listed.
    room: u32,
}

@group(0) @binding(0) var<storage, read> best_bounds: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> audit: array<u32>;
@group(0) @binding(3) var<storage, read_write> reruns: array<atomic<u32>>;
@group(0) @binding(4) var<uniform> params: Params;

#import grid
#import order
#import reruns

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(group) * 64u + thread;
    if row >= params.rows {
        return;
    }
    var bound = 0xffffffffu;
    for (var at = 0u; at < params.groups; at++) {
        bound = min(bound, order(bitcast<f32>(best_bounds[row * params.groups + at].w)));
    }
    let own = params.first_row + row;
    var least = 0xffffffffu;
    for (var at = 0u; at < params.k; at++) {
        least = min(least, order(bitcast<f32>(entries[own * params.k + at].w)));
    }
    // Equal is not enough: the lower of two features with the same key is taken.
    let is_uncertain = bound >= least;
    // Rows before the first wrap around to large numbers.
    let is_audited = own - audit[0] < audit[1];
    if is_uncertain {
        atomicAdd(&reruns[UNCERTAIN], 1u);
    }
    if is_uncertain || is_audited {
        let slot = atomicAdd(&reruns[LISTED], 1u);
        if slot < params.room {
            atomicStore(&reruns[FIRST + slot], own | select(AUDITED, 0u, is_uncertain));
        }
    }
}
