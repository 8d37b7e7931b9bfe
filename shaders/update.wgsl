// Adam over every row of one shard, active or not, with each row's gradient summed on the way; and over b_dec.
// run_features: [runs], run_starts: [runs + 1], run_entries, values, code_gradients: [rows, k]; centred, gradient:
// [rows, quads] vec4; block_bounds: [feature blocks + 1]; w_enc, w_dec and their moments m_, v_: [count, quads] vec4;
// b_enc and its moments: [3, count] (b, m, v); norms: [count]; b_dec and its moments: [3, quads] vec4; b_dec_gradient: [quads].
// Where BF16 is 1, the moments of w_enc and w_dec are bf16, [count, quads] vec2<u32>, rounded up or down at random so that they
// are right on average: rounded to nearest, v would never move by less than a 512th of itself, and a step is a thousandth.
// `features` takes two rows a workgroup; a decoder row is then divided by its norm where the recipe keeps it at 1.
// Nothing is written once the guard is raised. Sums over rows by rule B, norms by rule R (docs/architecture.md).
#define BF16 0
struct Params {
    quads: u32,
    k: u32,
    /// First feature of the shard.
    first: u32,
    /// Features in the shard.
    count: u32,
    /// Whether decoder rows keep norm 1, and their gradients lose the component parallel to them.
    unit_norm: u32,
    /// Seed of the rounding, its low and its high half.
    seed_low: u32,
    seed_high: u32,
}

/// Four moments as they are stored.
#if BF16
alias Moments = vec2<u32>;
#else
alias Moments = vec4<f32>;
#end

@group(0) @binding(0) var<storage, read> run_features: array<u32>;
@group(0) @binding(1) var<storage, read> run_starts: array<u32>;
@group(0) @binding(2) var<storage, read> run_entries: array<u32>;
@group(0) @binding(3) var<storage, read> block_bounds: array<u32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read> code_gradients: array<f32>;
@group(0) @binding(6) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> w_enc: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> m_w_enc: array<Moments>;
@group(0) @binding(10) var<storage, read_write> v_w_enc: array<Moments>;
@group(0) @binding(11) var<storage, read_write> w_dec: array<vec4<f32>>;
@group(0) @binding(12) var<storage, read_write> m_w_dec: array<Moments>;
@group(0) @binding(13) var<storage, read_write> v_w_dec: array<Moments>;
@group(0) @binding(14) var<storage, read_write> b_enc: array<f32>;
@group(0) @binding(15) var<storage, read_write> b_enc_moments: array<vec2<f32>>;
@group(0) @binding(16) var<storage, read_write> norms: array<f32>;
@group(0) @binding(17) var<storage, read_write> b_dec: array<vec4<f32>>;
@group(0) @binding(18) var<storage, read_write> m_b_dec: array<vec4<f32>>;
@group(0) @binding(19) var<storage, read_write> v_b_dec: array<vec4<f32>>;
@group(0) @binding(20) var<storage, read> b_dec_gradient: array<vec4<f32>>;
@group(0) @binding(21) var<storage, read> clip: Clip;
@group(0) @binding(22) var<storage, read_write> guard: Guard;
@group(0) @binding(23) var<uniform> step: Step;
@group(0) @binding(24) var<uniform> params: Params;

#import blocks
#import grid
#import guard
#import step
#import runs
#import pieces
#import row_sum
#import feature_gradient
#if BF16
#import philox

/// As in src/rng.rs.
const PURPOSE_ROUNDING: u32 = 2u;

fn loaded(stored: Moments) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(stored.x << 16u, stored.x & 0xffff0000u, stored.y << 16u, stored.y & 0xffff0000u));
}

/// Adds 16 random bits below what is kept, and cuts; what would become infinite is cut alone.
fn rounded(values: vec4<f32>, random: vec2<u32>) -> Moments {
    let bits = bitcast<vec4<u32>>(values);
    let noise = vec4(random.x & 0xffffu, random.x >> 16u, random.y & 0xffffu, random.y >> 16u);
    let sum = bits + noise;
    let kept = select(sum, bits, (sum & vec4(0x7f800000u)) == vec4(0x7f800000u)) >> vec4(16u);
    return vec2(kept.x | (kept.y << 16u), kept.z | (kept.w << 16u));
}

/// Four random words for four elements of one matrix, the same whatever the shards.
fn rounding_noise(feature: u32, quad: u32, matrix: u32) -> vec4<u32> {
    let seed = vec2(params.seed_low, params.seed_high);
    return philox(vec2(feature, step.number), quad * 2u + matrix, PURPOSE_ROUNDING, seed);
}
#else

fn loaded(stored: Moments) -> vec4<f32> {
    return stored;
}

fn rounded(values: vec4<f32>, random: vec2<u32>) -> Moments {
    return values;
}

fn rounding_noise(feature: u32, quad: u32, matrix: u32) -> vec4<u32> {
    return vec4(0u);
}
#end

struct Adam {
    parameter: vec4<f32>,
    m: vec4<f32>,
    v: vec4<f32>,
}

/// PyTorch's Adam, without weight decay.
fn adam(parameter: vec4<f32>, m: vec4<f32>, v: vec4<f32>, unclipped: vec4<f32>) -> Adam {
    let g = unclipped * clip.coefficient;
    let new_m = fma(vec4(step.one_minus_beta1), g, step.beta1 * m);
    let new_v = fma(step.one_minus_beta2 * g, g, step.beta2 * v);
    let denominator = fma(sqrt(new_v), vec4(step.second_correction), vec4(step.epsilon));
    return Adam(fma(vec4(-step.learning_rate), new_m / denominator, parameter), new_m, new_v);
}

@compute @workgroup_size(64)
fn features(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(group, groups) * ROWS_A_WORKGROUP + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    let is_row = row < params.count && !guard_is_raised();
    let line = row * params.quads;
    var lanes = vec4(0.0);
    if is_row {
        let feature = params.first + row;
        let block = feature / BLOCK_FEATURES;
        let run = first_run_from(feature, block_bounds[block], block_bounds[block + 1u]);
        var begin = 0u;
        var end = 0u;
        if run < block_bounds[block + 1u] && run_features[run] == feature {
            begin = run_starts[run];
            end = run_starts[run + 1u];
        }
        let norm = norms[row];
        for (var column = first_in_pass(lane); column < params.quads; column += PASS) {
            let sums = feature_gradient(begin, end, column);
            let parallel = select(0.0, parallel_component(sums.along, norm), params.unit_norm != 0u);
#for c in 0..${COLUMNS}
            if column + PIECE_THREADS * ${c}u < params.quads {
                let at = line + column + PIECE_THREADS * ${c}u;
                let quad = column + PIECE_THREADS * ${c}u;
                let encoder = adam(w_enc[at], loaded(m_w_enc[at]), loaded(v_w_enc[at]), sums.w_enc_${c});
                let encoder_noise = rounding_noise(feature, quad, 0u);
                w_enc[at] = encoder.parameter;
                m_w_enc[at] = rounded(encoder.m, encoder_noise.xy);
                v_w_enc[at] = rounded(encoder.v, encoder_noise.zw);
                let w_dec_gradient = fma(vec4(-parallel), w_dec[at], sums.w_dec_${c});
                let decoder = adam(w_dec[at], loaded(m_w_dec[at]), loaded(v_w_dec[at]), w_dec_gradient);
                let decoder_noise = rounding_noise(feature, quad, 1u);
                w_dec[at] = decoder.parameter;
                m_w_dec[at] = rounded(decoder.m, decoder_noise.xy);
                v_w_dec[at] = rounded(decoder.v, decoder_noise.zw);
                lanes = fma(decoder.parameter, decoder.parameter, lanes);
            }
#end
            if column == 0u {
                let moments = b_enc_moments[row];
                let bias = adam(vec4(b_enc[row]), vec4(moments.x), vec4(moments.y), vec4(sums.b_enc));
                b_enc[row] = bias.parameter.x;
                b_enc_moments[row] = vec2(bias.m.x, bias.v.x);
            }
        }
    }
    var norm = sqrt(row_sum(lanes, thread));
    if params.unit_norm != 0u {
        // dictionary_learning's set_decoder_norm_to_unit_norm: the divisor is the norm plus f32's epsilon.
        let divisor = norm + 1.1920929e-7;
        lanes = vec4(0.0);
        if is_row {
            for (var first = first_in_pass(lane); first < params.quads; first += PASS) {
                for (var quad = first; quad < min(first + PIECE, params.quads); quad += PIECE_THREADS) {
                    let value = w_dec[line + quad] / divisor;
                    w_dec[line + quad] = value;
                    lanes = fma(value, value, lanes);
                }
            }
        }
        norm = sqrt(row_sum(lanes, thread));
    }
    if is_row && lane == 0u {
        norms[row] = norm;
    }
}

@compute @workgroup_size(64)
fn bias(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group.x * 64u + thread;
    if quad >= params.quads || guard_is_raised() {
        return;
    }
    let bias = adam(b_dec[quad], m_b_dec[quad], v_b_dec[quad], b_dec_gradient[quad]);
    b_dec[quad] = bias.parameter;
    m_b_dec[quad] = bias.m;
    v_b_dec[quad] = bias.v;
}
