// Norms of the decoder's rows.
// w_dec: [count, quads] vec4; norms: [count], sums by rule R (docs/architecture.md).
struct Params {
    count: u32,
    quads: u32,
}

@group(0) @binding(0) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> norms: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

#import grid
#import pieces
#import row_sum

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(group, groups) * ROWS_A_WORKGROUP + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    var lanes = vec4(0.0);
    if row < params.count {
        for (var first = first_in_pass(lane); first < params.quads; first += PASS) {
            for (var quad = first; quad < min(first + PIECE, params.quads); quad += PIECE_THREADS) {
                let value = w_dec[row * params.quads + quad];
                lanes = fma(value, value, lanes);
            }
        }
    }
    let sum = row_sum(lanes, thread);
    if row < params.count && lane == 0u {
        norms[row] = sqrt(sum);
    }
}
