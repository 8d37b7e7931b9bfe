// What the whole model must know of the active features' gradients before any is applied: b_enc's, and squared norms.
// run_features: [runs], run_starts: [runs + 1], run_entries, values, code_gradients: [rows, k]; centred, gradient:
// [rows, quads] vec4; w_dec: [count, quads] vec4, norms: [count]; block_bounds: [feature blocks + 1];
// run_bias (b_enc's gradient), run_squares: [runs]; block_squares: [feature blocks].
// `features` takes the shard's runs two a workgroup, `blocks` its feature blocks two a workgroup. Sums over rows by rule B,
// over columns by rule R, over features by rule F (docs/architecture.md).
struct Params {
    quads: u32,
    k: u32,
    /// First feature of the shard, a multiple of BLOCK_FEATURES.
    first: u32,
    /// Feature blocks in the shard.
    blocks: u32,
    /// Whether dW_dec loses its component parallel to the decoder row.
    project: u32,
}

@group(0) @binding(0) var<storage, read> run_features: array<u32>;
@group(0) @binding(1) var<storage, read> run_starts: array<u32>;
@group(0) @binding(2) var<storage, read> run_entries: array<u32>;
@group(0) @binding(3) var<storage, read> block_bounds: array<u32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read> code_gradients: array<f32>;
@group(0) @binding(6) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read> norms: array<f32>;
@group(0) @binding(10) var<storage, read_write> run_bias: array<f32>;
@group(0) @binding(11) var<storage, read_write> run_squares: array<f32>;
@group(0) @binding(12) var<storage, read_write> block_squares: array<f32>;
@group(0) @binding(13) var<uniform> params: Params;

#import blocks
#import grid
#import runs
#import pieces
#import row_sum
#import feature_gradient

@compute @workgroup_size(64)
fn features(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_block = params.first / BLOCK_FEATURES;
    let run = block_bounds[first_block] + workgroup_index(group, groups) * ROWS_A_WORKGROUP + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    var lanes = vec4(0.0);
    var bias_gradient = 0.0;
    let is_run = run < block_bounds[first_block + params.blocks];
    if is_run {
        let feature = run_features[run] - params.first;
        for (var column = first_in_pass(lane); column < params.quads; column += PASS) {
            let sums = feature_gradient(run_starts[run], run_starts[run + 1u], column);
            let parallel = select(0.0, parallel_component(sums.along, norms[feature]), params.project != 0u);
            bias_gradient = sums.b_enc;
#for c in 0..${COLUMNS}
            if column + PIECE_THREADS * ${c}u < params.quads {
                let v = w_dec[feature * params.quads + column + PIECE_THREADS * ${c}u];
                let w_dec_gradient = fma(vec4(-parallel), v, sums.w_dec_${c});
                lanes = fma(sums.w_enc_${c}, sums.w_enc_${c}, lanes);
                lanes = fma(w_dec_gradient, w_dec_gradient, lanes);
            }
#end
        }
    }
    let squares = row_sum(lanes, thread);
    if is_run && lane == 0u {
        run_bias[run] = bias_gradient;
        run_squares[run] = fma(bias_gradient, bias_gradient, squares);
    }
}

/// Squares of two blocks, 0 for features that are not active.
var<workgroup> block_values: array<f32, 2048>;

@compute @workgroup_size(64)
fn blocks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let block_in_shard = workgroup_index(group, groups) * ROWS_A_WORKGROUP + thread / ROW_THREADS;
    let block = params.first / BLOCK_FEATURES + block_in_shard;
    let lane = thread % ROW_THREADS;
    let base = thread / ROW_THREADS * BLOCK_FEATURES;
    for (var at = lane; at < BLOCK_FEATURES; at += ROW_THREADS) {
        block_values[base + at] = 0.0;
    }
    workgroupBarrier();
    if block_in_shard < params.blocks {
        for (var run = block_bounds[block] + lane; run < block_bounds[block + 1u]; run += ROW_THREADS) {
            block_values[base + run_features[run] % BLOCK_FEATURES] = run_squares[run];
        }
    }
    workgroupBarrier();
    var lanes = vec4(0.0);
    for (var first = first_in_pass(lane); first < BLOCK_FEATURES / 4u; first += PASS) {
        for (var quad = first; quad < min(first + PIECE, BLOCK_FEATURES / 4u); quad += PIECE_THREADS) {
            let at = base + quad * 4u;
            lanes += vec4(block_values[at], block_values[at + 1u], block_values[at + 2u], block_values[at + 3u]);
        }
    }
    let sum = row_sum(lanes, thread);
    if block_in_shard < params.blocks && lane == 0u {
        block_squares[block] = sum;
    }
}
