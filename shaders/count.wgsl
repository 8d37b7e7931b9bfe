// The active entries of each row (L0): the last component of its statistics; a thread per row.
// entries: [capacity] vec4<u32>; starts: [rows + 1]; rows: [rows] vec4.
struct Params {
    rows: u32,
}

@group(0) @binding(0) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> rows: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

#import entry_list
#import grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group) * 64u + thread;
    if row >= params.rows {
        return;
    }
    var found = 0u;
    for (var at = starts[row]; at < starts[row + 1u]; at++) {
        found += select(0u, 1u, (flags_of(entries[at].y) & VALUE) != 0u);
    }
    rows[row] = vec4(0.0, 0.0, 0.0, f32(found));
}
