// Pre-activations of a chunk of features, centred · W_encᵀ + b_enc, by 128 x 128 tiles staged in workgroup memory.
// centred: [rows, quads] vec4; w_enc: [features of the shard, quads] vec4; b_enc: [features of the shard];
// pre_activations: [rows, stride / 4] vec4. Each output is one ascending fold (rule D, docs/architecture.md).
struct Params {
    rows: u32,
    quads: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk.
    count: u32,
    /// Row length of the pre-activations, a multiple of 4.
    stride: u32,
    /// Whether negative pre-activations become 0.
    relu: u32,
}

@group(0) @binding(0) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_enc: array<f32>;
@group(0) @binding(3) var<storage, read_write> pre_activations: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

const TILE: u32 = 128u;
/// Quads a line of a tile: one more than 32, so that a tile's transposition spreads over the banks.
const LINE: u32 = 33u;

var<workgroup> x_tile: array<vec4<f32>, 264>;
var<workgroup> w_tile: array<vec4<f32>, 264>;

fn bias(feature: u32) -> f32 {
    return b_enc[params.first + min(feature, params.count - 1u)];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile_row = group.y * TILE;
    let tile_feature = group.x * TILE;
    // Rows and features past the end repeat the last one: loaded, computed, never stored.
    let line = thread / 2u;
    let quad = thread % 2u;
    let x_line = min(tile_row + line, params.rows - 1u) * params.quads + quad;
    let w_line = (params.first + min(tile_feature + line, params.count - 1u)) * params.quads + quad;
    let column = thread % 16u;
    let row = thread / 16u;
#for i in 0..8
    var low_${i} = vec4(0.0);
    var high_${i} = vec4(0.0);
#end
    for (var at = 0u; at < params.quads; at += 2u) {
        let x_quad = centred[x_line + at];
        let w_quad = w_enc[w_line + at];
        workgroupBarrier();
#for k in 0..4
        x_tile[(quad * 4u + ${k}u) * LINE + line / 4u][line % 4u] = x_quad[${k}];
        w_tile[(quad * 4u + ${k}u) * LINE + line / 4u][line % 4u] = w_quad[${k}];
#end
        workgroupBarrier();
#for k in 0..8
        {
            let w_low = w_tile[${k}u * LINE + column];
            let w_high = w_tile[${k}u * LINE + 16u + column];
            let x_low = x_tile[${k}u * LINE + row];
            let x_high = x_tile[${k}u * LINE + 16u + row];
#for i in 0..4
            low_${i} = fma(vec4(x_low[${i}]), w_low, low_${i});
            high_${i} = fma(vec4(x_low[${i}]), w_high, high_${i});
#end
#for i in 4..8
            low_${i} = fma(vec4(x_high[${i} - 4]), w_low, low_${i});
            high_${i} = fma(vec4(x_high[${i} - 4]), w_high, high_${i});
#end
        }
#end
    }
    let feature = tile_feature + column * 4u;
    let bias_low = vec4(bias(feature), bias(feature + 1u), bias(feature + 2u), bias(feature + 3u));
    let bias_high = vec4(bias(feature + 64u), bias(feature + 65u), bias(feature + 66u), bias(feature + 67u));
#for i in 0..8
    store(tile_row + ${i}u / 4u * 64u + row * 4u + ${i}u % 4u, feature, low_${i} + bias_low);
    store(tile_row + ${i}u / 4u * 64u + row * 4u + ${i}u % 4u, feature + 64u, high_${i} + bias_high);
#end
}

fn store(row: u32, feature: u32, value: vec4<f32>) {
    if row < params.rows && feature < params.stride {
        let rectified = select(value, vec4(0.0), value <= vec4(0.0));
        pre_activations[(row * params.stride + feature) / 4u] = select(value, rectified, params.relu != 0u);
    }
}
