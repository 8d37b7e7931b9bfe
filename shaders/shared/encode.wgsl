// What the shaders of encode/ read and write; `Element` is a number or a vector of them.
// centred: [rows of the batch, quads] vec4; w_enc: [features of the shard, quads] vec4; b_enc, norms: [features of the shard];
// pre_activations, maxima: [rows, stride].
struct Params {
    rows: u32,
    quads: u32,
    /// First row of `centred`.
    first_row: u32,
    /// First feature of the chunk, counted in the shard.
    first: u32,
    /// Features in the chunk.
    count: u32,
    /// Row length of the pre-activations, a multiple of 4, or of the maxima.
    stride: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
    /// Tiles of rows that follow each other under one tile of features, where rows come in blocks.
    row_tiles: u32,
}

@group(0) @binding(0) var<storage, read> centred: array<Element>;
@group(0) @binding(1) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_enc: array<f32>;
@group(0) @binding(3) var<storage, read_write> pre_activations: array<Element>;
@group(0) @binding(4) var<storage, read> norms: array<f32>;
@group(0) @binding(5) var<storage, read_write> maxima: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

fn bias(feature: u32) -> f32 {
    return b_enc[params.first + min(feature, params.count - 1u)];
}

/// What makes a feature's pre-activation its key.
fn key_scale(feature: u32) -> f32 {
    if params.scaled != 0u {
        return norms[params.first + min(feature, params.count - 1u)];
    }
    return 1.0;
}
