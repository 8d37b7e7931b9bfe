// The gradient of b_dec: the sum of g over the batch, less the encoder's part, the sum of b_enc's gradients times encoder rows.
// gradient: [rows, quads] vec4; row_blocks: [row blocks, quads]; run_features, run_bias: [runs]; block_bounds: [feature
// blocks + 1]; w_enc: [features of the shard, quads]; shard_blocks: [feature blocks of a shard, quads]; encoder_part,
// b_dec_gradient: [quads], all vec4.
// `rows` sums blocks of rows (rule B); for each shard `blocks` sums its feature blocks and `fold` continues their sum (rule F,
// docs/architecture.md); `finish` puts both together.
struct Params {
    rows: u32,
    quads: u32,
    /// First feature of the shard.
    first: u32,
    /// Feature blocks in the shard.
    blocks: u32,
    /// Whether b_dec also reaches the loss through the encoder's input.
    input_centred: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> row_blocks: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> run_features: array<u32>;
@group(0) @binding(3) var<storage, read> run_bias: array<f32>;
@group(0) @binding(4) var<storage, read> block_bounds: array<u32>;
@group(0) @binding(5) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> shard_blocks: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> encoder_part: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> b_dec_gradient: array<vec4<f32>>;
@group(0) @binding(9) var<uniform> params: Params;

#import blocks
#import grid
#import pieces

@compute @workgroup_size(64)
fn rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let own = own_piece(workgroup_index(group, groups) * 64u + thread, params.quads);
    let block = own.x;
    if block * BLOCK_ROWS >= params.rows {
        return;
    }
#for c in 0..${COLUMNS}
    let quad_${c} = min(own.y + PIECE_THREADS * ${c}u, params.quads - 1u);
    var sum_${c} = vec4(0.0);
#end
    for (var row = block * BLOCK_ROWS; row < min((block + 1u) * BLOCK_ROWS, params.rows); row++) {
#for c in 0..${COLUMNS}
        sum_${c} += gradient[row * params.quads + quad_${c}];
#end
    }
#for c in 0..${COLUMNS}
    row_blocks[block * params.quads + quad_${c}] = sum_${c};
#end
}

@compute @workgroup_size(64)
fn blocks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let own = own_piece(workgroup_index(group, groups) * 64u + thread, params.quads);
    let block_in_shard = own.x;
    if block_in_shard >= params.blocks {
        return;
    }
    let block = params.first / BLOCK_FEATURES + block_in_shard;
#for c in 0..${COLUMNS}
    let quad_${c} = min(own.y + PIECE_THREADS * ${c}u, params.quads - 1u);
    var sum_${c} = vec4(0.0);
#end
    for (var run = block_bounds[block]; run < block_bounds[block + 1u]; run++) {
        let line = (run_features[run] - params.first) * params.quads;
        let slope = vec4(run_bias[run]);
#for c in 0..${COLUMNS}
        sum_${c} = fma(slope, w_enc[line + quad_${c}], sum_${c});
#end
    }
#for c in 0..${COLUMNS}
    shard_blocks[block_in_shard * params.quads + quad_${c}] = sum_${c};
#end
}

@compute @workgroup_size(64)
fn fold(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group.x * 64u + thread;
    if quad >= params.quads {
        return;
    }
    var sum = vec4(0.0);
    if params.first != 0u {
        sum = encoder_part[quad];
    }
    for (var block = 0u; block < params.blocks; block++) {
        sum += shard_blocks[block * params.quads + quad];
    }
    encoder_part[quad] = sum;
}

@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group.x * 64u + thread;
    if quad >= params.quads {
        return;
    }
    var sum = vec4(0.0);
    for (var block = 0u; block * BLOCK_ROWS < params.rows; block++) {
        sum += row_blocks[block * params.quads + quad];
    }
    b_dec_gradient[quad] = select(sum, sum - encoder_part[quad], params.input_centred != 0u);
}
