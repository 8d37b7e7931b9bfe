// Adam over the rows of a shard, each matrix apart: those that have a run, with their gradient summed on the way, or
// with SUMMED those whose gradient is known: 0 of a row without a run, the sum of a hot run (hot.wgsl). Adam over the
// features' own scalars: the bias where BIASED is 1, and OWN others.
// runs: [runs + 1] (feature, first term); terms: [capacity, 1 + EXTRAS] vec4<u32>; centred, g0, g1: [rows, quads] vec4,
// with CLOSED a row more in centred, the sum of the others; scalars, marks: planes of [count]; weights, m, v: [count,
// quads] of one matrix; range: Range; step: Step; clip: Clip; guard: Guard. With SUMMED the sums of hot runs, [slots,
// quads] vec4, take the place of terms.
// 32 threads per row. Nothing is written once the guard is raised. Gradients by rule B, norms by rule R
// (docs/architecture.md).
// Where DENSE is 1 the gradients are known: a range is of features, and centred and g0 are theirs, [features, quads].
// Where BF16 is 1, m and v are bf16, vec2<u32>, with stochastic rounding: to the nearest, v would never move by less
// than a 512th of itself, and a step is a thousandth.
#define SECOND 1
#define GATE 0
#define DENSE 0
#define SUMMED 0
#define BF16 0
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
    /// Whether decoder rows keep norm 1.
    unit_norm: u32,
    /// Bit i: what would take OWN_i below 0 leaves it at 0.
    non_negative: u32,
    /// Seed of the rounding, its low and its high half.
    seed_low: u32,
    seed_high: u32,
    /// 1, which no compiler may know.
    one: f32,
}

/// Four moments as they are stored.
#if BF16
alias Moments = vec2<u32>;
#else
alias Moments = vec4<f32>;
#end

@group(0) @binding(0) var<storage, read> runs: array<vec2<u32>>;
#if SUMMED
@group(0) @binding(1) var<storage, read> hot: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> terms: array<vec4<u32>>;
#end
@group(0) @binding(2) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> g0: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> g1: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(6) var<storage, read_write> weights: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> m: array<Moments>;
@group(0) @binding(8) var<storage, read_write> v: array<Moments>;
@group(0) @binding(9) var<uniform> range: Range;
@group(0) @binding(10) var<uniform> step: Step;
@group(0) @binding(11) var<uniform> clip: Clip;
@group(0) @binding(12) var<uniform> guard: Guard;
@group(0) @binding(13) var<uniform> params: Params;
/// The same as `scalars`, for `encoder`, whose threads may mark one feature at once.
@group(0) @binding(14) var<storage, read_write> marks: array<atomic<u32>>;

#import adam
#import entry_list
#import finite
#import grid
#import guard_state
#import range
#import row_sum
#import scalars
#import terms
#import sums
#import decoder_share
#if SUMMED
#else
#import term_from
#import encoder_sum
#import decoder_sum
#end
#if BF16
#import philox

/// As in src/rng.rs.
const PURPOSE_ROUNDING: u32 = 2u;

fn loaded(stored: Moments) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(stored.x << 16u, stored.x & 0xffff0000u, stored.y << 16u, stored.y & 0xffff0000u));
}

/// Adds 16 random bits below what is kept, and cuts; what would become infinite is cut alone.
fn rounded(values: vec4<f32>, random: vec2<u32>) -> Moments {
    let bits = bitcast<vec4<u32>>(values);
    let noise = vec4(random.x & 0xffffu, random.x >> 16u, random.y & 0xffffu, random.y >> 16u);
    let sum = bits + noise;
    let kept = select(sum, bits, (sum & vec4(0x7f800000u)) == vec4(0x7f800000u)) >> vec4(16u);
    return vec2(kept.x | (kept.y << 16u), kept.z | (kept.w << 16u));
}

/// Four random words for four elements of one matrix, the same whatever the shards.
fn rounding_noise(feature: u32, quad: u32, matrix: u32) -> vec4<u32> {
    let seed = vec2(params.seed_low, params.seed_high);
    return philox(vec2(params.first + feature, step.number), quad * 2u + matrix, PURPOSE_ROUNDING, seed);
}
#else

fn loaded(stored: Moments) -> vec4<f32> {
    return stored;
}

fn rounded(values: vec4<f32>, random: vec2<u32>) -> Moments {
    return values;
}

fn rounding_noise(feature: u32, quad: u32, matrix: u32) -> vec4<u32> {
    return vec4(0u);
}
#end

/// Which of the two matrices is updated, for the rounding.
const ENCODER: u32 = 0u;
const DECODER: u32 = 1u;

/// A row of the matrix, counted in the shard, and the terms of its run; a feature of `params.count` is none.
struct Row {
    feature: u32,
    begin: u32,
    end: u32,
}

/// The `at`-th row; `run_word` is its word in the plane RUN, should it be the shard's `at`-th feature.
fn row_at(at: u32, run_word: u32) -> Row {
#if SUMMED
    if at >= params.count {
        return Row(params.count, 0u, 0u);
    }
    if run_word == 0u {
        return Row(at, 0u, 0u);
    }
    let begin = runs[run_word - 1u].y;
    if runs[run_word].y - begin < range.hot {
        return Row(params.count, 0u, 0u);
    }
    let slot = begin / range.hot;
    return Row(at, slot, slot + 1u);
#else
#if DENSE
    let feature = range.first_run + at;
    return Row(select(params.count, feature, feature < range.end_run), at, at + 1u);
#else
    let run = range.first_run + at;
    if run >= range.end_run {
        return Row(params.count, 0u, 0u);
    }
    let begin = runs[run].y;
    let end = runs[run + 1u].y;
    return Row(select(params.count, runs[run].x - params.first, end - begin < range.hot), begin, end);
#end
#end
}

fn row_count() -> u32 {
#if SUMMED
    return params.count;
#else
    return range.end_run - range.first_run;
#end
}

#if SUMMED
var<workgroup> known_rows: array<u32, ROWS_PER_WORKGROUP>;

/// The sums of a hot run, or 0.
fn known_sums(row: Row, column: u32) -> Sums {
    var sums = Sums();
    if row.begin < row.end {
#for c in 0..${COLUMNS}
        sums.column_${c} = hot[row.begin * params.quads + min(column + ROW_THREADS * ${c}u, params.quads - 1u)];
#end
    }
    return sums;
}
#end

/// Takes four elements a step further.
fn update_at(feature: u32, quad: u32, matrix: u32, gradient: vec4<f32>) -> vec4<f32> {
    let at = feature * params.quads + quad;
    let after = adam(weights[at], loaded(m[at]), loaded(v[at]), gradient);
    let noise = rounding_noise(feature, quad, matrix);
    weights[at] = after.parameter;
    m[at] = rounded(after.m, noise.xy);
    v[at] = rounded(after.v, noise.zw);
    return after.parameter;
}

/// Whether every row of the workgroup is none; to be called by the whole workgroup.
fn all_are_none(is_row: bool, thread: u32) -> bool {
#if SUMMED
    // Where most rows have a run, most workgroups have nothing to do.
    if thread % ROW_THREADS == 0u {
        known_rows[thread / ROW_THREADS] = select(0u, 1u, is_row);
    }
    let known = workgroupUniformLoad(&known_rows);
    return known[0] + known[1] == 0u;
#else
    return false;
#end
}

@compute @workgroup_size(64)
fn encoder(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if guard.status != 0u {
        return;
    }
    let lane = thread % ROW_THREADS;
    let begin = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
    for (var at = begin; at < row_count(); at += params.groups * ROWS_PER_WORKGROUP) {
        let row = row_at(at, atomicLoad(&marks[RUN * params.count + min(at, params.count - 1u)]));
        if row.feature >= params.count {
            continue;
        }
        for (var column = lane; column < params.quads; column += ROW_THREADS * ${COLUMNS}u) {
#if SUMMED
            let sums = known_sums(row, column);
#else
            let sums = encoder_sums(row.begin, row.end, column);
#end
#for c in 0..${COLUMNS}
            if column + ROW_THREADS * ${c}u < params.quads {
                let quad = column + ROW_THREADS * ${c}u;
#if DENSE
                let gradient = sums.column_${c};
#else
#if CLOSED
                let shift = bitcast<f32>(atomicLoad(&marks[SHIFT * params.count + row.feature]));
                let total = centred[params.rows * params.quads + quad];
                let gradient = fma(vec4(shift), total, sums.column_${c});
#else
                let gradient = sums.column_${c};
#end
#end
                let parameter = update_at(row.feature, quad, ENCODER, gradient);
                if any_not_finite(parameter) {
                    atomicStore(&marks[FLAWED * params.count + row.feature], 1u);
                }
            }
#end
        }
    }
}

@compute @workgroup_size(64)
fn decoder(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    if guard.status != 0u {
        return;
    }
    let lane = thread % ROW_THREADS;
    let begin = group_index(group) * ROWS_PER_WORKGROUP;
    for (var base = begin; base < row_count(); base += params.groups * ROWS_PER_WORKGROUP) {
        let at = base + thread / ROW_THREADS;
        let row = row_at(at, word(RUN, min(at, params.count - 1u)));
        let is_row = row.feature < params.count;
        if all_are_none(is_row, thread) {
            continue;
        }
        let feature = min(row.feature, params.count - 1u);
        let line = feature * params.quads;
        var lanes = vec4(0.0);
        if is_row {
            let norm = scalar(NORM, feature);
            // Without a run it has none of its own, and what the planes hold of others is stale.
            let has_sums = row.begin < row.end;
            let along = select(0.0, scalar(ALONG, feature), has_sums);
            var pull = 0.0;
#if CLOSED
            pull = scalar(PULL, feature);
#else
#if EXTRAS
            pull = select(0.0, scalar(PULL, feature), has_sums);
#end
#end
#if SUMMED
#else
            let second = second_list(row.begin, row.end);
#end
            let share = decoder_share(norm, along, pull);
            for (var column = lane; column < params.quads; column += ROW_THREADS * ${COLUMNS}u) {
#if SUMMED
                let sums = known_sums(row, column);
#else
                let sums = decoder_sums(row.begin, second, row.end, column);
#end
#for c in 0..${COLUMNS}
                if column + ROW_THREADS * ${c}u < params.quads {
                    let quad = column + ROW_THREADS * ${c}u;
                    let gradient = fma(vec4(share), weights[line + quad], sums.column_${c});
                    let parameter = update_at(feature, quad, DECODER, gradient);
                    lanes = fma(parameter, parameter, lanes);
                }
#end
            }
        }
        var new_norm = sqrt(row_sum(lanes, thread));
        if params.unit_norm != 0u {
            // dictionary_learning's set_decoder_norm_to_unit_norm: the divisor is the norm plus f32's epsilon.
            let divisor = new_norm + 1.1920929e-7;
            lanes = vec4(0.0);
            if is_row {
                for (var quad = lane; quad < params.quads; quad += ROW_THREADS) {
                    let value = weights[line + quad] / divisor;
                    weights[line + quad] = value;
                    lanes = fma(value, value, lanes);
                }
            }
            new_norm = sqrt(row_sum(lanes, thread));
        }
        storageBarrier();
        if is_row && lane == 0u {
            // A norm that is not finite is its own mark.
            scalars[NORM * params.count + feature] = bitcast<u32>(new_norm);
        }
    }
}

/// Adam over one of a feature's scalars, whose moments are the plane `moments` and the one after it; what would be
/// below `least` becomes that. Gives the scalar as it would be.
fn update_scalar(feature: u32, plane: u32, moments: u32, gradient: f32, least: f32) -> f32 {
    let old = vec3(scalar(plane, feature), scalar(moments, feature), scalar(moments + 1u, feature));
    let after = adam(vec4(old.x), vec4(old.y), vec4(old.z), vec4(gradient));
    let parameter = select(after.parameter.x, least, after.parameter.x < least);
    scalars[plane * params.count + feature] = bitcast<u32>(parameter);
    scalars[moments * params.count + feature] = bitcast<u32>(after.m.x);
    scalars[(moments + 1u) * params.count + feature] = bitcast<u32>(after.v.x);
    return after.parameter.x;
}

/// The number farthest below 0.
const LOWEST: f32 = -3.40282346e38;

/// The feature's own scalars, a thread per feature.
@compute @workgroup_size(64)
fn own(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let feature = group_index(group) * 64u + thread;
    if guard.status != 0u || feature >= params.count {
        return;
    }
#if CLOSED
    let has_sums = true;
#else
    let has_sums = word(RUN, feature) != 0u;
#end
    var is_flawed = false;
#if BIASED
    let bias = update_scalar(feature, BIAS, MOMENTS, select(0.0, scalar(SLOPES, feature), has_sums), LOWEST);
    is_flawed |= is_not_finite(bias);
#end
#for i in 0..${OWN}
    let gradient_${i} = select(0.0, scalar(OWN_SUM_${i}, feature), has_sums);
    let least_${i} = select(LOWEST, 0.0, (params.non_negative & (1u << ${i}u)) != 0u);
    let scalar_${i} = update_scalar(feature, OWN_${i}, OWN_MOMENTS_${i}, gradient_${i}, least_${i});
    is_flawed |= is_not_finite(scalar_${i});
#end
    if is_flawed {
        scalars[FLAWED * params.count + feature] = 1u;
    }
}
