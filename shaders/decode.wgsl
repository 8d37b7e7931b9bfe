// Sums value · decoder row over the entries of each row, or with GATE the gate's value, by rule X: chunks of features,
// then the tree of chunks. entries: [capacity] vec4<u32>, features ascending in a row; starts: [rows + 1]; w_dec:
// [features of the shard, quads] vec4; scalars: planes of [count];
// partials: [rows, LEVELS + 1, quads] vec4, the open nodes of a row that continues in the next range; sums: [rows,
// quads] vec4.
// A dispatch takes `rows` rows from `first_row` on, whose partials are the first, and the features [begin, end) of one
// shard, inside the node of level `top` that begins at `origin`. Threads take COLUMNS vectors of a row each,
// PIECE_THREADS apart.
#define COLUMNS 1
#define CONTINUED 1
#define GATE 0
#define ADMITS 0
#define TRAINS 0
struct Params {
    first_row: u32,
    rows: u32,
    quads: u32,
    /// First feature of the shard.
    shard: u32,
    /// Features of the shard.
    count: u32,
    /// Features of the range.
    begin: u32,
    end: u32,
    /// First feature of the node.
    origin: u32,
    /// Level of the node: LEVELS is the whole model.
    top: u32,
    /// Features of a chunk, a multiple of 1,024.
    chunk: u32,
    /// Pieces of a row, PIECE_THREADS · COLUMNS vectors each.
    pieces: u32,
    /// Whether the node's sums are wanted after this range.
    closes: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> scalars: array<u32>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

#import entry_type
#import scalars
#import entry
#import grid
#import tree
#import zero

const PIECE_THREADS: u32 = 8u;
const PIECE: u32 = PIECE_THREADS * ${COLUMNS}u;

/// The first entry of [low, high) whose feature is at least `feature`.
fn entry_from(feature: u32, low: u32, high: u32) -> u32 {
    var first = low;
    var end = high;
    while first < end {
        let middle = first + (end - first) / 2u;
        if entries[middle].x < feature {
            first = middle + 1u;
        } else {
            end = middle;
        }
    }
    return first;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group_index(group) * 64u + thread;
    let piece = index / PIECE_THREADS;
    let row_here = piece / params.pieces;
    let row = params.first_row + row_here;
    let own_quad = piece % params.pieces * PIECE + index % PIECE_THREADS;
    if row_here >= params.rows {
        return;
    }
    let first = starts[row];
    let last = starts[row + 1u];
    let begin = entry_from(params.begin, first, last);
    let end = entry_from(params.end, begin, last);
    let one = vec4(params.one);
    // Of node_0, the open chunk, and node_l, the open node of 2^l chunks, the parts so far.
#for c in 0..${COLUMNS}
    // Past the end the last vector is summed, and not stored.
    let quad_${c} = min(own_quad + PIECE_THREADS * ${c}u, params.quads - 1u);
#for l in 0..${LEVELS+1}
    var node_${l}_${c} = vec4(0.0);
#end
#end
    var chunk = params.begin / params.chunk;
    // The first feature past the chunk.
    var bound = 0u;
#if CONTINUED
    if begin > first {
        let before = entries[begin - 1u].x;
        if before >= params.origin {
            chunk = before / params.chunk;
            bound = (chunk + 1u) * params.chunk;
#for c in 0..${COLUMNS}
#for l in 0..${LEVELS+1}
            node_${l}_${c} = partials[(row_here * ${LEVELS+1}u + ${l}u) * params.quads + quad_${c}];
#end
#end
        }
    }
#end
    for (var at = begin; at < end; at++) {
        let entry = entries[at];
        if entry.x >= bound {
            let next = entry.x / params.chunk;
#for l in 0..${LEVELS}
            if (chunk >> ${l}u) != (next >> ${l}u) {
#for c in 0..${COLUMNS}
                node_${l+1}_${c} = fma(one, node_${l}_${c}, node_${l+1}_${c});
                node_${l}_${c} = vec4(0.0);
#end
            }
#end
            chunk = next;
            bound = (chunk + 1u) * params.chunk;
        }
        let feature = entry.x - params.shard;
        let e = Entry(feature, row, flags_of(entry.y), bitcast<f32>(entry.z));
#if GATE
        let value = vec4(gate_value(e));
#else
        let value = vec4(decoded_value(e));
#end
        let line = feature * params.quads;
#for c in 0..${COLUMNS}
        node_0_${c} = fma(value, w_dec[line + quad_${c}], node_0_${c});
#end
    }
#if CONTINUED
    if begin < end {
#for c in 0..${COLUMNS}
        if own_quad + PIECE_THREADS * ${c}u < params.quads {
#for l in 0..${LEVELS+1}
            partials[(row_here * ${LEVELS+1}u + ${l}u) * params.quads + quad_${c}] = node_${l}_${c};
#end
        }
#end
    }
#end
    if params.closes != 0u {
#for c in 0..${COLUMNS}
        var sum_${c} = node_0_${c};
#end
#for l in 0..${LEVELS}
        if params.top > ${l}u {
#for c in 0..${COLUMNS}
            sum_${c} = fma(one, sum_${c}, node_${l+1}_${c});
#end
        }
#end
#for c in 0..${COLUMNS}
        if own_quad + PIECE_THREADS * ${c}u < params.quads {
            sums[row * params.quads + quad_${c}] = stored(sum_${c});
        }
#end
    }
}
