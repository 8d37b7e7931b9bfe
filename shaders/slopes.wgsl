// Makes the terms of the sorted entries: s = g · decoder row (rule D) in the field of the entry's list, and what its
// kind makes of it.
// pairs: [capacity] (feature, entry), sorted; entries: [capacity] vec4<u32>; g0, g1: [rows, quads] vec4, the gradients
// of list 0's and list 1's field; w_dec: [count, quads] vec4; scalars: planes of [count]; terms: [capacity] vec4<u32>; range: Range. A thread per
// term of the range, in turns.
#define SECOND 1
#define ADMITS 0
#define SLOPES 1
struct Params {
    quads: u32,
    /// First feature of the shard.
    first: u32,
    /// Features of the shard.
    count: u32,
    /// Threads of the dispatch.
    threads: u32,
}

@group(0) @binding(0) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> g0: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> g1: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> scalars: array<u32>;
@group(0) @binding(6) var<storage, read_write> terms: array<vec4<u32>>;
@group(0) @binding(7) var<uniform> range: Range;
@group(0) @binding(8) var<uniform> params: Params;

#import entry_type
#import scalars
#import entry
#import grid
#import range

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let begin = range.first_term + group_index(group) * 64u + thread;
    for (var at = begin; at < range.end_term; at += params.threads) {
        let pair = pairs[at];
        let entry = entries[pair.y];
        let feature = pair.x - params.first;
        let row = row_of(entry.y);
        let g_line = row * params.quads;
        let w_line = feature * params.quads;
        var s = 0.0;
#if SECOND
        if list_of(entry.y) == 1u {
            for (var quad = 0u; quad < params.quads; quad++) {
                let g = g1[g_line + quad];
                let w = w_dec[w_line + quad];
#for c in 0..4
                s = fma(g[${c}], w[${c}], s);
#end
            }
            // Dead features are linear in u, whatever the architecture.
            terms[at] = vec4(entry.y, bitcast<u32>(s), 0u, entry.z);
            continue;
        }
#end
        for (var quad = 0u; quad < params.quads; quad++) {
            let g = g0[g_line + quad];
            let w = w_dec[w_line + quad];
#for c in 0..4
            s = fma(g[${c}], w[${c}], s);
#end
        }
        let e = Entry(feature, row, flags_of(entry.y), bitcast<f32>(entry.z));
        terms[at] = vec4(entry.y, bitcast<u32>(slope(e, s)), bitcast<u32>(decoded_value(e)), 0u);
    }
}
