// Adds one shard's part to the reconstructions: x^ = b_dec + the sum of value · decoder row, a fold by ascending feature.
// features, values: [rows, k], features ascending in a row; w_dec: [count, quads] vec4; b_dec: [quads] vec4;
// reconstruction: [rows, quads] vec4.
struct Params {
    rows: u32,
    quads: u32,
    k: u32,
    /// First feature of the shard.
    first: u32,
    /// Features in the shard.
    count: u32,
}

@group(0) @binding(0) var<storage, read> features: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> w_dec: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> b_dec: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> reconstruction: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

#import grid
#import pieces

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let own = own_piece(workgroup_index(group, groups) * 64u + thread, params.quads);
    let row = own.x;
    if row >= params.rows {
        return;
    }
#for c in 0..${COLUMNS}
    // Past the end the last one is summed, and not stored.
    let quad_${c} = min(own.y + PIECE_THREADS * ${c}u, params.quads - 1u);
    let at_${c} = row * params.quads + quad_${c};
    // The first shard starts the fold, the others continue it.
    var sum_${c} = b_dec[quad_${c}];
    if params.first != 0u {
        sum_${c} = reconstruction[at_${c}];
    }
#end
    for (var entry = row * params.k; entry < (row + 1u) * params.k; entry++) {
        let feature = features[entry] - params.first;
        let value = values[entry];
        // Features before the shard wrap around to large numbers. The value's bits, because back ends write != so that a
        // NaN fails it, and a NaN must be seen.
        if feature < params.count && (bitcast<u32>(value) << 1u) != 0u {
#for c in 0..${COLUMNS}
            sum_${c} = fma(vec4(value), w_dec[feature * params.quads + quad_${c}], sum_${c});
#end
        }
    }
#for c in 0..${COLUMNS}
    if own.y + PIECE_THREADS * ${c}u < params.quads {
        reconstruction[at_${c}] = sum_${c};
    }
#end
}
