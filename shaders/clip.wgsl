// The norm of the whole gradient, and the coefficient that brings it down to the limit (torch.nn.utils.clip_grad_norm_).
// block_squares: [square_quads] vec4; b_dec_gradient: [quads] vec4; sums by rule R (docs/architecture.md). One workgroup.
struct Params {
    quads: u32,
    square_quads: u32,
    /// Largest norm allowed; 0 for no limit.
    limit: f32,
}

@group(0) @binding(0) var<storage, read> block_squares: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b_dec_gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> clip: Clip;
@group(0) @binding(3) var<storage, read_write> guard: Guard;
@group(0) @binding(4) var<uniform> params: Params;

#import guard
#import step
#import pieces
#import row_sum

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32) {
    let lane = thread % ROW_THREADS;
    var features = vec4(0.0);
    for (var first = first_in_pass(lane); first < params.square_quads; first += PASS) {
        for (var at = first; at < min(first + PIECE, params.square_quads); at += PIECE_THREADS) {
            features += block_squares[at];
        }
    }
    var bias = vec4(0.0);
    for (var first = first_in_pass(lane); first < params.quads; first += PASS) {
        for (var at = first; at < min(first + PIECE, params.quads); at += PIECE_THREADS) {
            bias = fma(b_dec_gradient[at], b_dec_gradient[at], bias);
        }
    }
    let norm = sqrt(row_sum(features, thread) + row_sum(bias, thread));
    if thread == 0u {
        clip.norm = norm;
        clip.coefficient = select(1.0, min(1.0, params.limit / (norm + 1e-6)), params.limit > 0.0);
        if is_not_finite(norm) {
            // It is no row's.
            raise_guard(GRADIENT_NOT_FINITE, 0xffffffffu);
        }
    }
}
