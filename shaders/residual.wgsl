// The error of a field, the gradient of its loss, and the squared error of each row. 32 threads per row, sums by rule
// R.
// x: [rows, quads] vec4, what is to be reconstructed; sums: [rows, quads] vec4, as `decode` leaves them; b_dec: [quads]
// vec4;
// other: [rows, quads] vec4; row_norms: [rows] vec2 (mean, standard deviation); gradient: [rows, quads] vec4; rows:
// [rows] vec4 (squared error, x · x^, |x^|², L0); guard: Guard; factor: Factor.
// Where ERROR is 1 the target is what the field whose sums are `other` leaves of x, and b_dec has no part in the sums.
// Where SUFFIX is 1 `other` is the gradient of the next wider level, which what a level decodes is a part of.
// Where LAYER_NORM is 1 what is decoded is multiplied by the row's standard deviation, and its mean added, to give x^.
// EVALUATED also fills x · x^ and |x^|².
#define ERROR 1
#define SUFFIX 0
#define LAYER_NORM 1
#define EVALUATED 0
struct Params {
    rows: u32,
    quads: u32,
    /// Values in a row.
    d: u32,
    /// 2 / batch, times the field's weight.
    scale: f32,
    /// 1, which no compiler may know.
    one: f32,
}

struct Factor {
    /// What the gradient is multiplied by besides, as the device found it.
    factor: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> other: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> row_norms: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> gradient: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> rows: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> guard: Guard;
@group(0) @binding(8) var<uniform> factor: Factor;
@group(0) @binding(9) var<uniform> params: Params;

#import grid
#import guard
#import row_sum

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let one = vec4(params.one);
    var squares = vec4(0.0);
#if EVALUATED
    var products = vec4(0.0);
    var reconstruction_squares = vec4(0.0);
#end
    if row < params.rows {
#if LAYER_NORM
        let mean = row_norms[row].x;
        let deviation = row_norms[row].y;
        let scale = params.scale * factor.factor * deviation;
#else
        let scale = params.scale * factor.factor;
#end
        for (var quad = lane; quad < params.quads; quad += ROW_THREADS) {
            let at = row * params.quads + quad;
#if ERROR
            let target_ = fma(-one, fma(one, other[at], b_dec[quad]), x[at]);
            let reconstruction = sums[at];
#else
            let target_ = x[at];
            let decoded = fma(one, sums[at], b_dec[quad]);
#if LAYER_NORM
            let is_value = 4u * quad + vec4(0u, 1u, 2u, 3u) < vec4(params.d);
            let reconstruction = select(vec4(0.0), fma(vec4(deviation), decoded, vec4(mean)), is_value);
#else
            let reconstruction = decoded;
#end
#end
            let error = fma(-one, target_, reconstruction);
            squares = fma(error, error, squares);
#if EVALUATED
            products = fma(target_, reconstruction, products);
            reconstruction_squares = fma(reconstruction, reconstruction, reconstruction_squares);
#end
#if SUFFIX
            gradient[at] = fma(error, vec4(scale), other[at]);
#else
            gradient[at] = error * scale;
#end
        }
    }
    let square = row_sum(squares, thread);
#if EVALUATED
    let product = row_sum(products, thread);
    let reconstruction_square = row_sum(reconstruction_squares, thread);
#else
    let product = 0.0;
    let reconstruction_square = 0.0;
#end
    if row < params.rows && lane == 0u {
        if is_not_finite(square) {
            raise_guard(LOSS_NOT_FINITE, row);
        }
        rows[row] = vec4(square, product, reconstruction_square, rows[row].w);
    }
}
