// Squared norms of the gradients of the active features' rows, by rules B and R, into the planes SQUARES_ENC and
// SQUARES_DEC.
// runs: [runs + 1] (feature, first term); terms: [capacity] vec4<u32>; centred, g0, g1: [rows, quads] vec4; w_dec:
// [count, quads] vec4;
// scalars: planes of [count]; range: Range. 32 threads per run.
#define SECOND 1
struct Params {
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
@group(0) @binding(7) var<uniform> range: Range;
@group(0) @binding(8) var<uniform> params: Params;

#import entry_list
#import grid
#import range
#import row_sum
#import scalars
#import terms
#import encoder_sum
#import decoder_sum

@compute @workgroup_size(64)
fn encoder(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % ROW_THREADS;
    let begin = range.first_run + group_index(group) * ROWS_PER_WORKGROUP;
    for (var base = begin; base < range.end_run; base += params.groups * ROWS_PER_WORKGROUP) {
        let run = base + thread / ROW_THREADS;
        let is_run = run < range.end_run;
        var lanes = vec4(0.0);
        if is_run {
            for (var column = lane; column < params.quads; column += ROW_THREADS * ${COLUMNS}u) {
                let sums = encoder_sums(runs[run].y, runs[run + 1u].y, column);
#for c in 0..${COLUMNS}
                if column + ROW_THREADS * ${c}u < params.quads {
                    lanes = fma(sums.column_${c}, sums.column_${c}, lanes);
                }
#end
            }
        }
        let square = row_sum(lanes, thread);
        if is_run && lane == 0u {
            scalars[SQUARES_ENC * params.count + runs[run].x - params.first] = bitcast<u32>(square);
        }
    }
}

@compute @workgroup_size(64)
fn decoder(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % ROW_THREADS;
    let begin = range.first_run + group_index(group) * ROWS_PER_WORKGROUP;
    for (var base = begin; base < range.end_run; base += params.groups * ROWS_PER_WORKGROUP) {
        let run = base + thread / ROW_THREADS;
        let is_run = run < range.end_run;
        var feature = 0u;
        var lanes = vec4(0.0);
        if is_run {
            feature = runs[run].x - params.first;
            let norm = scalar(NORM, feature);
            let along = scalar(ALONG, feature);
            for (var column = lane; column < params.quads; column += ROW_THREADS * ${COLUMNS}u) {
                let sums = decoder_sums(runs[run].y, runs[run + 1u].y, column);
#for c in 0..${COLUMNS}
                if column + ROW_THREADS * ${c}u < params.quads {
                    let v = w_dec[feature * params.quads + column + ROW_THREADS * ${c}u];
                    let gradient_${c} = decoder_gradient(sums.column_${c}, v, norm, along);
                    lanes = fma(gradient_${c}, gradient_${c}, lanes);
                }
#end
            }
        }
        let square = row_sum(lanes, thread);
        if is_run && lane == 0u {
            scalars[SQUARES_DEC * params.count + feature] = bitcast<u32>(square);
        }
    }
}
