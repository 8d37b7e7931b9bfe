// Makes the terms of the sorted entries: s = g · decoder row (rule D) in the fields of the entry's list, and what its
// kind makes of it.
// pairs: [capacity] (feature, entry), sorted; entries: [capacity] vec4<u32>; g0, g1: [rows, quads] vec4, the gradients
// of list 0's field and of list 1's, or where GATE is 1 of list 0's second; w_dec: [count, quads] vec4; scalars: planes
// of [count]; rows: [rows] statistics; terms: [capacity, 1 + EXTRAS] vec4<u32>; range: Range; step: Step. A thread per
// term of the range, in turns.
#define SECOND 1
#define GATE 0
#define DETACHED 0
#define ADMITS 0
#define TRAINS 1
struct Params {
    quads: u32,
    /// First feature of the shard.
    first: u32,
    /// Features of the shard.
    count: u32,
    /// Threads of the dispatch.
    threads: u32,
    /// What the kind is told: c0 is the coefficient of its penalty over the rows of the batch.
    c0: f32,
    c1: f32,
    c2: f32,
    c3: f32,
}

@group(0) @binding(0) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> g0: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> g1: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> scalars: array<u32>;
@group(0) @binding(6) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> terms: array<vec4<u32>>;
@group(0) @binding(8) var<uniform> range: Range;
@group(0) @binding(9) var<uniform> step: Step;
@group(0) @binding(10) var<uniform> params: Params;

#import entry_type
#import scalars
#import step

/// The coefficient of the penalty in this step, over the rows of the batch.
fn sparsity() -> f32 {
    return params.c0 * step.sparsity;
}

#import entry
#import grid
#import range
#import terms

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
#if GATE
        var s = vec2(0.0);
        for (var quad = 0u; quad < params.quads; quad++) {
            let g = g0[g_line + quad];
            let gate = g1[g_line + quad];
            let w = w_dec[w_line + quad];
#for c in 0..4
            s = fma(vec2(g[${c}], gate[${c}]), vec2(w[${c}]), s);
#end
        }
#else
        var sum = 0.0;
#if SECOND
        if list_of(entry.y) == 1u {
            for (var quad = 0u; quad < params.quads; quad++) {
                let g = g1[g_line + quad];
                let w = w_dec[w_line + quad];
#for c in 0..4
                sum = fma(g[${c}], w[${c}], sum);
#end
            }
            // Dead features are linear in u, whatever the architecture.
            terms[at * STRIDE] = vec4(entry.y, bitcast<u32>(sum), 0u, entry.z);
            continue;
        }
#end
        for (var quad = 0u; quad < params.quads; quad++) {
            let g = g0[g_line + quad];
            let w = w_dec[w_line + quad];
#for c in 0..4
            sum = fma(g[${c}], w[${c}], sum);
#end
        }
        let s = vec2(sum, 0.0);
#end
        let e = Entry(feature, row, flags_of(entry.y), bitcast<f32>(entry.z));
#if DETACHED
        let a1 = 0.0;
#else
        let a1 = gate_value(e);
#end
        terms[at * STRIDE] = vec4(entry.y, bitcast<u32>(slope(e, s)), bitcast<u32>(decoded_value(e)), bitcast<u32>(a1));
#for x in 0..${EXTRAS}
        terms[at * STRIDE + 1u + ${x}u] = bitcast<vec4<u32>>(extra_${x}(e, s));
#end
    }
}
