// Squared norms of the gradients of the active features' rows, by rules B and R, into the planes SQUARES_ENC and
// SQUARES_DEC; where CLOSED is 1, of all rows of the shard, for the closed form (closed.wgsl) may have a gradient for
// any. runs: [runs + 1] (feature, first term); terms: [capacity, 1 + EXTRAS] vec4<u32>; centred, g0, g1: [rows, quads]
// vec4, with CLOSED a row more in centred, the sum of the others; w_dec: [count, quads] vec4;
// scalars: planes of [count]; hot: [slots, quads] vec4, the sums of hot runs (hot.wgsl); range: Range. 32 threads per
// row.
// Where DENSE is 1 the gradients are known: a range is of features, and centred and g0 are theirs, [features, quads].
#define SECOND 1
#define GATE 0
#define DENSE 0
struct Params {
    rows: u32,
    quads: u32,
    /// First feature of the shard.
    first: u32,
    /// Features of the shard.
    count: u32,
    /// Workgroups of the dispatch.
    groups: u32,
    /// Whether gradients of decoder rows lose the component parallel to them.
    project: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> runs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> terms: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> g0: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> g1: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(7) var<storage, read> hot: array<vec4<f32>>;
@group(0) @binding(8) var<uniform> range: Range;
@group(0) @binding(9) var<uniform> params: Params;

#import entry_list
#import grid
#import range
#import row_sum
#import scalars
#import terms
#import term_from
#import sums
#import encoder_sum
#import decoder_sum
#import decoder_share

/// A feature, counted in the shard, and the terms of its run; a feature of `params.count` is none.
struct Row {
    feature: u32,
    begin: u32,
    end: u32,
}

fn row_at(at: u32) -> Row {
#if DENSE
    let feature = range.first_run + at;
    return Row(select(params.count, feature, feature < range.end_run), at, at + 1u);
#else
#if CLOSED
    if at >= params.count {
        return Row(params.count, 0u, 0u);
    }
    let next = word(RUN, at);
    if next == 0u {
        return Row(at, 0u, 0u);
    }
    return Row(at, runs[next - 1u].y, runs[next].y);
#else
    let run = range.first_run + at;
    if run >= range.end_run {
        return Row(params.count, 0u, 0u);
    }
    return Row(runs[run].x - params.first, runs[run].y, runs[run + 1u].y);
#end
#end
}

fn row_count() -> u32 {
    let listed = range.end_run - range.first_run;
#if DENSE
    return listed;
#else
#if CLOSED
    return params.count;
#else
    return listed;
#end
#end
}

#if DENSE
#else
fn is_hot(row: Row) -> bool {
    return row.end - row.begin >= range.hot;
}

/// The sums of a hot run.
fn hot_sums(row: Row, column: u32) -> Sums {
    let line = row.begin / range.hot * params.quads;
    var sums = Sums();
#for c in 0..${COLUMNS}
    sums.column_${c} = hot[line + min(column + ROW_THREADS * ${c}u, params.quads - 1u)];
#end
    return sums;
}
#end

@compute @workgroup_size(64)
fn encoder(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % ROW_THREADS;
    let begin = group_index(group) * ROWS_PER_WORKGROUP;
    for (var base = begin; base < row_count(); base += params.groups * ROWS_PER_WORKGROUP) {
        let row = row_at(base + thread / ROW_THREADS);
        let is_row = row.feature < params.count;
        var lanes = vec4(0.0);
        if is_row {
            for (var column = lane; column < params.quads; column += ROW_THREADS * ${COLUMNS}u) {
#if DENSE
                let sums = encoder_sums(row.begin, row.end, column);
#else
                var sums = Sums();
                if is_hot(row) {
                    sums = hot_sums(row, column);
                } else {
                    sums = encoder_sums(row.begin, row.end, column);
                }
#end
#for c in 0..${COLUMNS}
                if column + ROW_THREADS * ${c}u < params.quads {
#if DENSE
                    let gradient_${c} = sums.column_${c};
#else
#if CLOSED
                    let total_${c} = centred[params.rows * params.quads + column + ROW_THREADS * ${c}u];
                    let gradient_${c} = fma(vec4(scalar(SHIFT, row.feature)), total_${c}, sums.column_${c});
#else
                    let gradient_${c} = sums.column_${c};
#end
#end
                    lanes = fma(gradient_${c}, gradient_${c}, lanes);
                }
#end
            }
        }
        let square = row_sum(lanes, thread);
        if is_row && lane == 0u {
            scalars[SQUARES_ENC * params.count + row.feature] = bitcast<u32>(square);
        }
    }
}

@compute @workgroup_size(64)
fn decoder(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % ROW_THREADS;
    let begin = group_index(group) * ROWS_PER_WORKGROUP;
    for (var base = begin; base < row_count(); base += params.groups * ROWS_PER_WORKGROUP) {
        let row = row_at(base + thread / ROW_THREADS);
        let feature = row.feature;
        let is_row = feature < params.count;
        var lanes = vec4(0.0);
        if is_row {
            let norm = scalar(NORM, feature);
            let along = select(0.0, scalar(ALONG, feature), row.begin < row.end);
#if EXTRAS
            let pull = scalar(PULL, feature);
#else
            let pull = 0.0;
#end
            let share = decoder_share(norm, along, pull);
            let second = second_list(row.begin, row.end);
            for (var column = lane; column < params.quads; column += ROW_THREADS * ${COLUMNS}u) {
#if DENSE
                let sums = decoder_sums(row.begin, second, row.end, column);
#else
                var sums = Sums();
                if is_hot(row) {
                    sums = hot_sums(row, column);
                } else {
                    sums = decoder_sums(row.begin, second, row.end, column);
                }
#end
#for c in 0..${COLUMNS}
                if column + ROW_THREADS * ${c}u < params.quads {
                    let v = w_dec[feature * params.quads + column + ROW_THREADS * ${c}u];
                    let gradient_${c} = fma(vec4(share), v, sums.column_${c});
                    lanes = fma(gradient_${c}, gradient_${c}, lanes);
                }
#end
            }
        }
        let square = row_sum(lanes, thread);
        if is_row && lane == 0u {
            scalars[SQUARES_DEC * params.count + feature] = bitcast<u32>(square);
        }
    }
}
