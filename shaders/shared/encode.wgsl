// What the shaders of encode/ read and write; `Element` is a number or a vector of them.
// centred: [rows of the batch, quads] vec4; w_enc: [count, quads] vec4; scalars: planes of [count]; pre_activations,
// maxima:
// [rows, stride]. Where COMPACT is 1, a chunk is of dead features, in the order of the plane DEAD.
#define COMPACT 0
struct Params {
    rows: u32,
    quads: u32,
    /// First row of `centred`.
    first_row: u32,
    /// First feature of the chunk, counted in the shard, or in the plane DEAD.
    first: u32,
    /// Features in the chunk.
    width: u32,
    /// Features of the shard.
    count: u32,
    /// Row length of the pre-activations, a multiple of 4, or of the maxima.
    stride: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
    /// Tiles of rows in a block, where tiles come in blocks: under one tile of features (subgroup.wgsl), or under
    /// several (tiled.wgsl, whose tiles come row by row where this is 0).
    row_tiles: u32,
}

@group(0) @binding(0) var<storage, read> centred: array<Element>;
@group(0) @binding(1) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scalars: array<u32>;
@group(0) @binding(3) var<storage, read_write> pre_activations: array<Element>;
@group(0) @binding(4) var<storage, read_write> maxima: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

#import scalars

/// A feature of the chunk, counted in the shard; past the end the last one.
fn feature_at(in_chunk: u32) -> u32 {
    let at = params.first + min(in_chunk, params.width - 1u);
#if COMPACT
    return word(DEAD, at);
#else
    return at;
#end
}

/// The bias of a feature of the shard.
fn bias(feature: u32) -> f32 {
    return scalar(BIAS, feature);
}

/// What makes the pre-activation of a feature of the shard its key.
fn key_scale(feature: u32) -> f32 {
    return select(1.0, scalar(NORM, feature), params.scaled != 0u);
}
