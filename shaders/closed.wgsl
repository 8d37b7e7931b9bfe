// A penalty on pre-activations below their threshold t in closed form, coefficient · (t - u) |v| over every row and
// feature: what a feature's sums get from all rows at once. Entries that reach t take back their part
// (entry/jumprelu.wgsl). scalars: planes of [count]; w_enc: [count, quads] vec4; centred: [rows + 1, quads] vec4, the
// last their sum; step: Step.
// `shift` comes before the terms, a thread per feature; `main` after their sums, 32 threads for each of `width`
// features. OF_DEAD: only the features that were dead before the batch have it. LOG: the parameter is the threshold's
// logarithm.
#define OF_DEAD 1
#define LOG 0
struct Params {
    rows: u32,
    quads: u32,
    /// Features of the shard.
    count: u32,
    /// First of the features of `main`, counted in the shard.
    first: u32,
    width: u32,
    /// Steps of silence after which a feature is dead.
    window: u32,
    /// The penalty's, over the rows of the batch.
    coefficient: f32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(1) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> step: Step;
@group(0) @binding(4) var<uniform> params: Params;

#import grid
#import row_sum
#import scalars
#import step

/// The gradient of the penalty at u, on every row below t.
@compute @workgroup_size(64)
fn shift(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let feature = group_index(group) * 64u + thread;
    if feature >= params.count {
        return;
    }
    var shift = -params.coefficient * scalar(NORM, feature);
#if OF_DEAD
    let is_dead = step.number - 1u - word(LAST_FIRED, feature) >= params.window;
    shift = select(0.0, shift, is_dead);
#end
    scalars[SHIFT * params.count + feature] = bitcast<u32>(shift);
}

/// The sum of the feature's terms with what all rows add to it; one without a run has no terms.
fn add(plane: u32, feature: u32, value: f32) {
    let sum = select(0.0, scalar(plane, feature), word(RUN, feature) != 0u);
    scalars[plane * params.count + feature] = bitcast<u32>(fma(params.one, value, sum));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
    let feature = params.first + at;
    let lane = thread % ROW_THREADS;
    var shift = 0.0;
    var lanes = vec4(0.0);
    if at < params.width {
        shift = scalar(SHIFT, feature);
        if shift != 0.0 {
            for (var quad = lane; quad < params.quads; quad += ROW_THREADS) {
                lanes = fma(w_enc[feature * params.quads + quad], centred[params.rows * params.quads + quad], lanes);
            }
        }
    }
    let product = row_sum(lanes, thread);
    if at >= params.width || lane != 0u {
        return;
    }
    let rows = f32(params.rows);
    var threshold = scalar(OWN_0, feature);
    var slope = 1.0;
#if LOG
    threshold = exp(threshold);
    slope = threshold;
#end
    // Of t - u, over all rows.
    let gaps = fma(rows, threshold - scalar(BIAS, feature), -product);
    let gaps_here = select(0.0, gaps, shift != 0.0);
    add(SLOPES, feature, shift * rows);
    add(OWN_SUM_0, feature, -shift * rows * slope);
    add(PULL, feature, params.coefficient * gaps_here);
    add(CLOSED_LOSS, feature, -shift * gaps_here);
    add(LOSS, feature, 0.0);
}
