// The norm of the whole gradient, and the coefficient that brings it down to the limit
// (torch.nn.utils.clip_grad_norm_).
// chunk_squares: [CHUNKS]; b_dec_gradient: [quads] vec4; clip: Clip; guard: Guard. One workgroup; sums by rules T and
// R.
struct Params {
    quads: u32,
    /// Largest norm allowed; 0 for no limit.
    limit: f32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> chunk_squares: array<f32>;
@group(0) @binding(1) var<storage, read> b_dec_gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> clip: Clip;
@group(0) @binding(3) var<storage, read_write> guard: Guard;
@group(0) @binding(4) var<uniform> params: Params;

#import guard
#import row_sum
#import step
#import tree_sum

fn leaf(chunk: u32, column: u32) -> vec4<f32> {
    return vec4(chunk_squares[chunk], 0.0, 0.0, 0.0);
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32) {
    var lanes = vec4(0.0);
    if thread < ROW_THREADS {
        for (var quad = thread; quad < params.quads; quad += ROW_THREADS) {
            lanes = fma(b_dec_gradient[quad], b_dec_gradient[quad], lanes);
        }
    }
    let bias = row_sum(lanes, thread);
    if thread == 0u {
        let norm = sqrt(fma(params.one, tree_sum(0u).x, bias));
        clip.norm = norm;
        clip.coefficient = select(1.0, min(1.0, params.limit / (norm + 1e-6)), params.limit > 0.0);
        if is_not_finite(norm) {
            raise_guard(GRADIENT_NOT_FINITE, NO_ROW);
        }
    }
}
