// The gradient of b_dec: the sum of g over the batch (rule B), less the encoder's part, the sum over features of the
// bias's gradient times the encoder row (rule F: 64 features, 1,024, a chunk, the tree of chunks). And the squared norm
// of the features' gradients, and the losses that are sums over features, by rule F.
// gradient: [rows, quads] vec4; row_blocks: [row blocks, quads] vec4; runs: [runs + 1] (feature, first term); bounds:
// [features / 64 + 1];
// w_enc: [count, quads] vec4; scalars: planes of [count]; chunk_sums: [CHUNKS, quads] vec4; chunk_squares: [CHUNKS];
// chunk_losses: [CHUNKS] (penalty, closed form);
// b_dec_gradient: [quads] vec4.
// `rows` sums blocks of rows; for each shard `chunks` and `squares` sum its part of each chunk, from where the shard
// before left it;
// `finish` puts all together.
// Where CLOSED is 1 features without a run have a gradient too. BIASED: the bias is a parameter, and so are OWN
// scalars.
struct Params {
    rows: u32,
    quads: u32,
    /// First feature of the shard.
    first: u32,
    /// Features of the shard.
    count: u32,
    /// Features of a chunk, a multiple of 1,024.
    chunk: u32,
    /// Whether b_dec also reaches the loss through the encoder's input.
    input_centred: u32,
    /// Whether `rows` adds to what it summed before.
    adds: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> row_blocks: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> runs: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> bounds: array<u32>;
@group(0) @binding(4) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> scalars: array<u32>;
@group(0) @binding(6) var<storage, read_write> chunk_sums: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> chunk_squares: array<f32>;
@group(0) @binding(8) var<storage, read_write> chunk_losses: array<vec2<f32>>;
@group(0) @binding(9) var<storage, read_write> b_dec_gradient: array<vec4<f32>>;
@group(0) @binding(10) var<uniform> params: Params;

#import grid
#import rows_block
#import scalars
#import tree_sum
#import zero

@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = group_index(group) * 64u + thread;
    let block = at / params.quads;
    let quad = at % params.quads;
    if block * BLOCK_ROWS >= params.rows {
        return;
    }
    var sum = vec4(0.0);
    if params.adds != 0u {
        sum = row_blocks[at];
    }
    let end = min((block + 1u) * BLOCK_ROWS, params.rows);
    for (var row = block * BLOCK_ROWS; row < end; row += 8u) {
        // All are read before the first is used.
#for i in 0..8
        let row_${i} = gradient[min(row + ${i}u, end - 1u) * params.quads + quad];
#end
        // In a chain without conditions Mesa would take the common factor out.
#for i in 0..8
        if row + ${i}u < end {
            sum = fma(vec4(params.one), row_${i}, sum);
        }
#end
    }
    row_blocks[at] = sum;
}

/// Blocks of 64 features that are summed at once, and vectors of a row.
const BLOCKS: u32 = 16u;
const TILE_QUADS: u32 = 16u;

var<workgroup> parts: array<vec4<f32>, 256>;

/// A workgroup takes 16 vectors of the features of a chunk that lie in the shard.
@compute @workgroup_size(256)
fn chunks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tiles = (params.quads + TILE_QUADS - 1u) / TILE_QUADS;
    let own = group_index(group);
    let chunk = params.first / params.chunk + own / tiles;
    let begin = max(params.first, chunk * params.chunk);
    let end = min(params.first + params.count, (chunk + 1u) * params.chunk);
    let quad = own % tiles * TILE_QUADS + thread % TILE_QUADS;
    let column = min(quad, params.quads - 1u);
    var total = vec4(0.0);
    if chunk * params.chunk < params.first && chunk < CHUNKS {
        total = chunk_sums[chunk * params.quads + column];
    }
    for (var block = begin; block < end; block += 64u * BLOCKS) {
        let feature = block + thread / TILE_QUADS * 64u;
        var sum = vec4(0.0);
        if feature < end {
#if CLOSED
            let last = min(feature + 64u, end) - params.first;
            for (var at = feature - params.first; at < last; at += 4u) {
#for i in 0..4
                let feature_${i} = min(at + ${i}u, last - 1u);
                let slope_${i} = select(0.0, scalar(SLOPES, feature_${i}), at + ${i}u < last);
                let row_${i} = w_enc[feature_${i} * params.quads + column];
#end
#for i in 0..4
                sum = fma(vec4(slope_${i}), row_${i}, sum);
#end
            }
#else
            let last = bounds[feature / 64u + 1u];
            for (var run = bounds[feature / 64u]; run < last; run += 4u) {
#for i in 0..4
                let feature_${i} = runs[min(run + ${i}u, last - 1u)].x - params.first;
                let slope_${i} = select(0.0, scalar(SLOPES, feature_${i}), run + ${i}u < last);
                let row_${i} = w_enc[feature_${i} * params.quads + column];
#end
#for i in 0..4
                sum = fma(vec4(slope_${i}), row_${i}, sum);
#end
            }
#end
        }
        workgroupBarrier();
        parts[thread] = sum;
        workgroupBarrier();
        if thread < TILE_QUADS {
            var whole = vec4(0.0);
            for (var part = 0u; part < BLOCKS; part++) {
                whole = fma(vec4(params.one), parts[part * TILE_QUADS + thread], whole);
            }
            total = fma(vec4(params.one), whole, total);
        }
    }
    if thread < TILE_QUADS && quad < params.quads && begin < end {
        chunk_sums[chunk * params.quads + quad] = total;
    }
}

/// Of a feature: the squared norm of its gradients, the penalty, the closed form's loss.
fn sums_of(feature: u32) -> vec4<f32> {
    var losses = vec2(0.0);
#if CLOSED
    losses = vec2(scalar(LOSS, feature), scalar(CLOSED_LOSS, feature));
#else
#if EXTRAS
    losses = vec2(scalar(LOSS, feature), 0.0);
#end
#end
    var square = fma(params.one, scalar(SQUARES_DEC, feature), scalar(SQUARES_ENC, feature));
#if BIASED
    square = fma(scalar(SLOPES, feature), scalar(SLOPES, feature), square);
#end
#for i in 0..${OWN}
    square = fma(scalar(OWN_SUM_${i}, feature), scalar(OWN_SUM_${i}, feature), square);
#end
#if CLOSED
    return vec4(square, losses, 0.0);
#else
    // Without a run what the planes hold is stale.
    return select(vec4(0.0), vec4(square, losses, 0.0), word(RUN, feature) != 0u);
#end
}

/// As `chunks`, of these sums: a workgroup per chunk, 16 blocks of 1,024 features at a time.
@compute @workgroup_size(256)
fn squares(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let chunk = params.first / params.chunk + group_index(group);
    let begin = max(params.first, chunk * params.chunk);
    let end = min(params.first + params.count, (chunk + 1u) * params.chunk);
    var total = vec4(0.0);
    if chunk * params.chunk < params.first && chunk < CHUNKS {
        total = vec4(chunk_squares[chunk], chunk_losses[chunk], 0.0);
    }
    for (var first = begin; first < end; first += 64u * 256u) {
        var sum = vec4(0.0);
        let own = first + thread * 64u;
        let last = min(own + 64u, end);
        for (var feature = own; feature < last; feature += 4u) {
#for i in 0..4
            let sums_${i} = sums_of(min(feature + ${i}u, last - 1u) - params.first);
#end
#for i in 0..4
            if feature + ${i}u < last {
                sum = fma(vec4(params.one), sums_${i}, sum);
            }
#end
        }
        workgroupBarrier();
        parts[thread] = sum;
        workgroupBarrier();
        if thread == 0u {
            for (var block = 0u; block < 256u / BLOCKS; block++) {
                var whole = vec4(0.0);
                for (var part = 0u; part < BLOCKS; part++) {
                    whole = fma(vec4(params.one), parts[block * BLOCKS + part], whole);
                }
                total = fma(vec4(params.one), whole, total);
            }
        }
    }
    if thread == 0u && begin < end {
        chunk_squares[chunk] = total.x;
        chunk_losses[chunk] = total.yz;
    }
}

fn leaf(chunk: u32, column: u32) -> vec4<f32> {
    return chunk_sums[chunk * params.quads + column];
}

/// Both parts; a thread per vector.
@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group_index(group) * 64u + thread;
    if quad >= params.quads {
        return;
    }
    var sum = vec4(0.0);
    for (var block = 0u; block * BLOCK_ROWS < params.rows; block++) {
        sum = fma(vec4(params.one), row_blocks[block * params.quads + quad], sum);
    }
    let whole = fma(vec4(-params.one), stored(tree_sum(quad)), sum);
    b_dec_gradient[quad] = stored(select(sum, whole, params.input_centred != 0u));
}
