// A chunk of features without a list: every row and feature is an element, whose kind makes of it what it makes of an
// entry (shaders/entry). Elements that it would not list count as zeros.
// pre_activations: [rows, line] vec4, u, then decoded values; gradients: [rows, line] vec4, s = g · decoder row, then
// the gradient at u; gates: [rows, line] vec4, where GATE is 1 the gate's s, then its values; scalars: planes of
// [count]; row_counts: [rows] (listed, with a value); rows: [rows] statistics; guard: Guard; step: Step.
// Forward: `values` takes a workgroup per row and chunk, then `count` one in all. Backward: `summary` takes 32
// features a workgroup, and sums as summary.wgsl does, by rule B; `slopes` a thread per vector.
#define GATE 1
#define DETACHED 0
#define ADMITS 1
#define TRAINS 1
struct Params {
    rows: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk.
    width: u32,
    /// Vectors from one row to the next.
    line: u32,
    /// Features of the shard.
    count: u32,
    /// The most elements of the batch that are listed again.
    room: u32,
    /// 1, which no compiler may know.
    one: f32,
    /// The entry's constants.
    c0: f32,
    c1: f32,
    c2: f32,
    c3: f32,
}

@group(0) @binding(0) var<storage, read_write> pre_activations: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gates: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(4) var<storage, read_write> row_counts: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> rows: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> guard: Guard;
@group(0) @binding(7) var<uniform> step: Step;
@group(0) @binding(8) var<uniform> params: Params;

#import entry_type
#import grid
#import guard
#import order
#import prefix_sum
#import rows_block
#import scalars
#import step

/// The coefficient of the penalty in this step, over the rows of the batch.
fn sparsity() -> f32 {
    return params.c0 * step.sparsity;
}

#import entry

/// The element of a row in a column of the chunk; past its end one without flags.
fn element(row: u32, column: u32, u: f32) -> Entry {
    let feature = params.first + min(column, params.width - 1u);
    return Entry(feature, row, select(0u, admits(u, feature), column < params.width), u);
}

fn decoded(e: Entry) -> f32 {
    return select(0.0, decoded_value(e), e.flags != 0u);
}

fn gated(e: Entry) -> f32 {
    return select(0.0, gate_value(e), e.flags != 0u);
}

/// The gradient at u, the closed form's part of every element included.
fn slope_at(e: Entry, s: vec2<f32>) -> f32 {
    let own = select(0.0, slope(e, s), e.flags != 0u);
#if CLOSED
    return fma(params.one, scalar(SHIFT, e.feature), own);
#else
    return own;
#end
}

@compute @workgroup_size(256)
fn values(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group);
    if row >= params.rows {
        return;
    }
    var listed = 0u;
    var with_value = 0u;
    for (var quad = thread; quad * 4u < params.width; quad += 256u) {
        let at = row * params.line + quad;
        let u = pre_activations[at];
#for c in 0..4
        let e_${c} = element(row, quad * 4u + ${c}u, u[${c}]);
        listed += select(0u, 1u, e_${c}.flags != 0u);
        with_value += select(0u, 1u, (e_${c}.flags & VALUE) != 0u);
#end
        pre_activations[at] = vec4(decoded(e_0), decoded(e_1), decoded(e_2), decoded(e_3));
#if GATE
        gates[at] = vec4(gated(e_0), gated(e_1), gated(e_2), gated(e_3));
#end
    }
    sum_before(thread, listed);
    let all_listed = sums[255];
    workgroupBarrier();
    sum_before(thread, with_value);
    if thread == 0u {
        let before = row_counts[row];
        row_counts[row] = before + vec2(all_listed, sums[255]);
    }
}

/// One workgroup: the rows' statistics, and whether the elements fit their list again.
@compute @workgroup_size(256)
fn count(@builtin(local_invocation_index) thread: u32) {
    // A total that is full stays full.
    var total = 0u;
    for (var row = thread; row < params.rows; row += 256u) {
        let found = row_counts[row];
        rows[row] = vec4(0.0, 0.0, 0.0, f32(found.y));
        total += min(found.x, ~total);
    }
    sums[thread] = total;
    workgroupBarrier();
    if thread == 0u {
        var all = 0u;
        for (var other = 0u; other < 256u; other++) {
            all += min(sums[other], ~all);
        }
        if all <= params.room {
            raise_guard(LIST_FITS, NO_ROW);
        }
    }
}

/// Features of a workgroup of `summary`, and blocks of rows that it takes at once.
const FEATURES: u32 = 32u;
const TEAM: u32 = 8u;

/// Sums over a block of a feature: of p, -, of ones where the decoded value fires, -.
var<workgroup> block_sums: array<vec4<f32>, 256>;
#for x in 0..${EXTRAS}
var<workgroup> block_extras_${x}: array<vec4<f32>, 256>;
#end

@compute @workgroup_size(256)
fn summary(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = group_index(group) * FEATURES + thread % FEATURES;
    let lane = thread / FEATURES;
    var total = vec4(0.0);
#for x in 0..${EXTRAS}
    var extras_${x} = vec4(0.0);
#end
    for (var first = 0u; first * BLOCK_ROWS < params.rows; first += TEAM) {
        let begin = (first + lane) * BLOCK_ROWS;
        let end = select(0u, min(begin + BLOCK_ROWS, params.rows), column < params.width);
        var sum = vec4(0.0);
#for x in 0..${EXTRAS}
        var of_block_${x} = vec4(0.0);
#end
        for (var row = begin; row < end; row++) {
            let at = row * params.line + column / 4u;
            let e = element(row, column, pre_activations[at][column % 4u]);
            if e.flags == 0u {
                continue;
            }
#if GATE
            let s = vec2(gradients[at][column % 4u], gates[at][column % 4u]);
#else
            let s = vec2(gradients[at][column % 4u], 0.0);
#end
            let fired = select(0.0, 1.0, decoded_value(e) > 0.0);
            sum = vec4(fma(params.one, slope(e, s), sum.x), 0.0, sum.z + fired, 0.0);
#for x in 0..${EXTRAS}
            of_block_${x} = fma(vec4(params.one), extra_${x}(e, s), of_block_${x});
#end
        }
        workgroupBarrier();
        block_sums[thread] = sum;
#for x in 0..${EXTRAS}
        block_extras_${x}[thread] = of_block_${x};
#end
        workgroupBarrier();
        if lane == 0u {
            for (var other = 0u; other < TEAM; other++) {
                total = fma(vec4(params.one), block_sums[other * FEATURES + thread], total);
#for x in 0..${EXTRAS}
                extras_${x} = fma(vec4(params.one), block_extras_${x}[other * FEATURES + thread], extras_${x});
#end
            }
        }
    }
    if lane == 0u && column < params.width {
        let feature = params.first + column;
        // No run, but sums.
        scalars[RUN * params.count + feature] = 1u;
        scalars[SLOPES * params.count + feature] = bitcast<u32>(total.x);
        scalars[FIRED * params.count + feature] = u32(total.z);
#if EXTRAS
        scalars[ALONG * params.count + feature] = bitcast<u32>(extras_0.x);
        scalars[PULL * params.count + feature] = bitcast<u32>(extras_0.y);
        scalars[LOSS * params.count + feature] = bitcast<u32>(extras_0.w);
        let gradient_0 = extras_0.z;
#for x in 1..${EXTRAS}
        let gradient_1 = extras_${x}.x;
        let gradient_2 = extras_${x}.y;
#end
#for i in 0..${OWN}
        scalars[OWN_SUM_${i} * params.count + feature] = bitcast<u32>(gradient_${i});
#end
#if CLOSED
        scalars[CLOSED_LOSS * params.count + feature] = bitcast<u32>(extras_1.z);
#end
#end
    }
}

@compute @workgroup_size(64)
fn slopes(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group_index(group) * 64u + thread;
    let quads = (params.width + 3u) / 4u;
    let row = index / quads;
    let quad = index % quads;
    if row >= params.rows {
        return;
    }
    let at = row * params.line + quad;
    let u = pre_activations[at];
    let s = gradients[at];
#if GATE
    let t = gates[at];
#else
    let t = vec4(0.0);
#end
#for c in 0..4
    let e_${c} = element(row, quad * 4u + ${c}u, u[${c}]);
    let p_${c} = slope_at(e_${c}, vec2(s[${c}], t[${c}]));
#end
    gradients[at] = vec4(p_0, p_1, p_2, p_3);
    pre_activations[at] = vec4(decoded(e_0), decoded(e_1), decoded(e_2), decoded(e_3));
#if GATE
    gates[at] = vec4(gated(e_0), gated(e_1), gated(e_2), gated(e_3));
#end
}
