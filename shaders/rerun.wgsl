// Rows that are selected again in f32: gathered from the batch, and their entries put in their place, or compared with
// those that are there.
// reruns: [FIRST + room], as shaders/shared/reruns.wgsl has it; centred: [rows, quads] vec4; gathered: [room, quads]
// vec4; found: [room, k] vec4<u32>, the entries of the gathered rows; entries: [rows, k] vec4<u32>.
// `gather` takes a vector per thread and raises the guard, or OVERFULL alone, where there are more rows than room;
// `scatter` takes an entry per thread and raises the guard where one that was believed is another.
struct Params {
    quads: u32,
    k: u32,
    /// Rows that can be listed.
    room: u32,
    /// Whether more rows than that raise the guard.
    is_taken_again: u32,
}

@group(0) @binding(0) var<storage, read_write> reruns: array<u32>;
@group(0) @binding(1) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gathered: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> found: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> entries: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> guard: Guard;
@group(0) @binding(6) var<uniform> params: Params;

#import entry_list
#import grid
#import guard
#import reruns

@compute @workgroup_size(64)
fn gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    let listed = reruns[LISTED];
    if at == 0u && listed > params.room {
        reruns[OVERFULL] = 1u;
        if params.is_taken_again != 0u {
            raise_guard(TOO_MANY_UNCERTAIN, NO_ROW);
        }
    }
    let slot = at / params.quads;
    if slot < min(listed, params.room) {
        let row = reruns[FIRST + slot] & ROW_MASK;
        gathered[at] = centred[row * params.quads + at % params.quads];
    }
}

@compute @workgroup_size(64)
fn scatter(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    let slot = at / params.k;
    if slot >= min(reruns[LISTED], params.room) {
        return;
    }
    let row = reruns[FIRST + slot] & ROW_MASK;
    let to = row * params.k + at % params.k;
    let entry = found[at];
    let in_place = vec4(entry.x, place(row, list_of(entry.y), flags_of(entry.y)), entry.z, entry.w);
    if (reruns[FIRST + slot] & AUDITED) == 0u {
        entries[to] = in_place;
    } else if atomicLoad(&guard.status) == 0u && any(entries[to] != in_place) {
        raise_guard(SCREENED_WRONGLY, row);
    }
}
