// The norms of decoder rows (rule R), into the plane NORM. w_dec: [count, quads] vec4; scalars: planes of [count]. 32
// threads per row.
struct Params {
    quads: u32,
    /// Features of the shard.
    count: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

#import grid
#import planes
#import row_sum

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group_index(group) * ROWS_PER_WORKGROUP + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    var lanes = vec4(0.0);
    if row < params.count {
        for (var quad = lane; quad < params.quads; quad += ROW_THREADS) {
            let value = w_dec[row * params.quads + quad];
            lanes = fma(value, value, lanes);
        }
    }
    let square = row_sum(lanes, thread);
    if row < params.count && lane == 0u {
        scalars[NORM * params.count + row] = bitcast<u32>(sqrt(square));
    }
}
