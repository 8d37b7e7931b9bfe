// The gradient of the loss at the reconstruction, 2 (x^ - x) / batch, and what each row tells about itself.
// x, reconstruction, gradient: [rows, quads] vec4; values: [rows, k];
// row_statistics: [rows] (squared error, x · x^, |x^|², number of active features), sums by rule R (docs/architecture.md).
struct Params {
    rows: u32,
    quads: u32,
    k: u32,
    /// 2 / batch
    scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> reconstruction: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> row_statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> guard: Guard;
@group(0) @binding(6) var<uniform> params: Params;

#import grid
#import guard
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
    var squared_error = vec4(0.0);
    var dot = vec4(0.0);
    var squared_norm = vec4(0.0);
    var active_count = vec4(0.0);
    if row < params.rows {
        for (var first = first_in_pass(lane); first < params.quads; first += PASS) {
            for (var quad = first; quad < min(first + PIECE, params.quads); quad += PIECE_THREADS) {
                let at = row * params.quads + quad;
                let target_quad = x[at];
                let reconstructed = reconstruction[at];
                let error = reconstructed - target_quad;
                gradient[at] = error * params.scale;
                squared_error = fma(error, error, squared_error);
                dot = fma(target_quad, reconstructed, dot);
                squared_norm = fma(reconstructed, reconstructed, squared_norm);
            }
        }
        for (var entry = lane; entry < params.k; entry += ROW_THREADS) {
            active_count.x += select(0.0, 1.0, values[row * params.k + entry] > 0.0);
        }
    }
    let statistics = vec4(
        row_sum(squared_error, thread),
        row_sum(dot, thread),
        row_sum(squared_norm, thread),
        row_sum(active_count, thread),
    );
    if row < params.rows && lane == 0u {
        row_statistics[row] = statistics;
        if is_not_finite(statistics.x) {
            raise_guard(LOSS_NOT_FINITE, row);
        }
    }
}
