// Makes the terms of the sorted entries: s = g · decoder row (rule D) in the fields of the entry's list, and what its
// kind makes of it.
// pairs: [capacity] (feature, entry), sorted; entries: [capacity] vec4<u32>; g0, g1: [rows, quads] vec4, the gradients
// of list 0's field and of list 1's, or where GATE is 1 of list 0's second; w_dec: [count, quads] vec4; scalars: planes
// of [count]; rows: [rows] statistics; terms: [capacity, 1 + EXTRAS] vec4<u32>; range: Range; step: Step. Workgroups
// take terms of the range in turns.
// Where STAGED is 1, for GPUs, neighbouring threads load a slice of a row of g or W_dec into workgroup memory, and the
// thread of each term reads it there; else that thread walks its rows itself, for the CPU. The bits are the same.
#define STAGED 1
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
    /// Workgroups of the dispatch.
    groups: u32,
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

/// Writes the term of a pair from the products of its decoder row with g0, or g1 in list 1, and with the gate's g1.
fn write_term(at: u32, pair: vec2<u32>, s: vec2<f32>) {
    let entry = entries[pair.y];
#if GATE
#else
#if SECOND
    if list_of(entry.y) == 1u {
        // Dead features are linear in u, whatever the architecture.
        terms[at * STRIDE] = vec4(entry.y, bitcast<u32>(s.x), 0u, entry.z);
        return;
    }
#end
#end
    let e = Entry(pair.x - params.first, row_of(entry.y), flags_of(entry.y), bitcast<f32>(entry.z));
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

#if STAGED
/// Terms that a workgroup takes at a time, and vectors of a slice of their rows: 128 bytes.
const TERMS: u32 = 32u;
const SLICE: u32 = 8u;

var<workgroup> g_stage: array<vec4<f32>, TERMS * SLICE>;
var<workgroup> w_stage: array<vec4<f32>, TERMS * SLICE>;
#if GATE
var<workgroup> gate_stage: array<vec4<f32>, TERMS * SLICE>;
#end

/// Where a stage holds a vector of a term: turned so that eight neighbouring terms spread over the banks.
fn staged_at(term: u32, quad: u32) -> u32 {
    return term * SLICE + (quad ^ (term % SLICE));
}

/// A vector of the gradient that the decoder row of an entry is multiplied by.
fn gradient(place: u32, quad: u32) -> vec4<f32> {
    let at = row_of(place) * params.quads + quad;
#if GATE
#else
#if SECOND
    if list_of(place) == 1u {
        return g1[at];
    }
#end
#end
    return g0[at];
}

@compute @workgroup_size(TERMS * SLICE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let last = params.quads - 1u;
    let quad = thread % SLICE;
    let to = staged_at(thread / SLICE, quad);
    let begin = range.first_term + group_index(group) * TERMS;
    for (var first = begin; first < range.end_term; first += params.groups * TERMS) {
        // What is past the end repeats the last term, and is not stored.
        let loaded = pairs[min(first + thread / SLICE, range.end_term - 1u)];
        let place = entries[loaded.y].y;
        let w_line = (loaded.x - params.first) * params.quads;
        // What is past a row repeats its last vector, and is not used.
        var g_next = gradient(place, min(quad, last));
        var w_next = w_dec[w_line + min(quad, last)];
#if GATE
        let gate_line = row_of(place) * params.quads;
        var gate_next = g1[gate_line + min(quad, last)];
#end
        var s = vec2(0.0);
        for (var at = 0u; at < params.quads; at += SLICE) {
            workgroupBarrier();
            g_stage[to] = g_next;
            w_stage[to] = w_next;
#if GATE
            gate_stage[to] = gate_next;
#end
            workgroupBarrier();
            // On its way while this slice is folded.
            let next = min(at + SLICE + quad, last);
            g_next = gradient(place, next);
            w_next = w_dec[w_line + next];
#if GATE
            gate_next = g1[gate_line + next];
#end
            if thread < TERMS {
                // Rows are multiples of four vectors.
#for half in 0..2
                if at + ${half}u * 4u < params.quads {
#for q in 0..4
                    let from_${half}_${q} = staged_at(thread, ${half}u * 4u + ${q}u);
                    let g_${half}_${q} = g_stage[from_${half}_${q}];
                    let w_${half}_${q} = w_stage[from_${half}_${q}];
#if GATE
                    let gate_${half}_${q} = gate_stage[from_${half}_${q}];
#end
#for c in 0..4
                    s.x = fma(g_${half}_${q}[${c}], w_${half}_${q}[${c}], s.x);
#if GATE
                    s.y = fma(gate_${half}_${q}[${c}], w_${half}_${q}[${c}], s.y);
#end
#end
#end
                }
#end
            }
        }
        if thread < TERMS && first + thread < range.end_term {
            write_term(first + thread, pairs[first + thread], s);
        }
    }
}
#else
const TERMS: u32 = 64u;

@compute @workgroup_size(TERMS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let begin = range.first_term + group_index(group) * TERMS + thread;
    for (var at = begin; at < range.end_term; at += params.groups * TERMS) {
        let pair = pairs[at];
        let place = entries[pair.y].y;
        let g_line = row_of(place) * params.quads;
        let w_line = (pair.x - params.first) * params.quads;
        var s = vec2(0.0);
#if GATE
        for (var quad = 0u; quad < params.quads; quad++) {
            let g = g0[g_line + quad];
            let gate = g1[g_line + quad];
            let w = w_dec[w_line + quad];
#for c in 0..4
            s = fma(vec2(g[${c}], gate[${c}]), vec2(w[${c}]), s);
#end
        }
#else
#for list in 0..${SECOND+1}
        if list_of(place) == ${list}u {
            var sum = 0.0;
            for (var quad = 0u; quad < params.quads; quad++) {
                let g = g${list}[g_line + quad];
                let w = w_dec[w_line + quad];
#for c in 0..4
                sum = fma(g[${c}], w[${c}], sum);
#end
            }
            s.x = sum;
        }
#end
#end
        write_term(at, pair, s);
    }
}
#end
