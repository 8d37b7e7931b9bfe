// The keys of the features in each row's best groups, shard by shard; and what was selected among them, by its own number.
// centred: [rows of the batch, quads] vec4; w_enc: [features of the shard, quads] vec4; b_enc, norms: [features of the shard];
// best_groups: [rows, groups], ascending; candidate_values (pre-activations), candidate_keys: [rows, groups * group];
// features (on the way in the number of the candidate), values, keys: [rows of the batch, k].
// `main` takes a candidate a thread, of groups in the shard, and gives those past the last feature a key of minus infinity;
// its dot product is the fold of `encode` (rule D, docs/architecture.md), so that a group's largest key is its maximum, bit
// for bit. `write_codes` takes an entry of the codes a thread, and rectifies it.
struct Params {
    rows: u32,
    /// First row of `centred` and of the codes.
    first_row: u32,
    quads: u32,
    /// Groups a row.
    groups: u32,
    /// Features a group.
    group: u32,
    /// First feature of the shard, a multiple of `group`.
    first: u32,
    /// Features in the shard.
    count: u32,
    /// Whether keys are pre-activations times decoder norms.
    scaled: u32,
    /// Entries of the codes a row.
    k: u32,
}

@group(0) @binding(0) var<storage, read> centred: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w_enc: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_enc: array<f32>;
@group(0) @binding(3) var<storage, read> norms: array<f32>;
@group(0) @binding(4) var<storage, read> best_groups: array<u32>;
@group(0) @binding(5) var<storage, read_write> candidate_values: array<f32>;
@group(0) @binding(6) var<storage, read_write> candidate_keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> features: array<u32>;
@group(0) @binding(8) var<storage, read_write> values: array<f32>;
@group(0) @binding(9) var<storage, read_write> keys: array<f32>;
@group(0) @binding(10) var<uniform> params: Params;

#import grid

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = workgroup_index(group, groups) * 64u + thread;
    let slot = at / params.group;
    if slot >= params.rows * params.groups {
        return;
    }
    // Groups before the shard wrap around to large numbers.
    let first = best_groups[slot] * params.group - params.first;
    if first >= params.count {
        return;
    }
    let feature = first + at % params.group;
    if feature >= params.count {
        // A constant that is not finite is only possible as bits.
        candidate_keys[at] = 0xff800000u;
        return;
    }
    let x_line = (params.first_row + slot / params.groups) * params.quads;
    let w_line = feature * params.quads;
    var sum = 0.0;
    for (var quad = 0u; quad < params.quads; quad++) {
        let x = centred[x_line + quad];
        let w = w_enc[w_line + quad];
        sum = fma(x.x, w.x, sum);
        sum = fma(x.y, w.y, sum);
        sum = fma(x.z, w.z, sum);
        sum = fma(x.w, w.w, sum);
    }
    let value = sum + b_enc[feature];
    candidate_values[at] = value;
    candidate_keys[at] = bitcast<u32>(value * select(1.0, norms[feature], params.scaled != 0u));
}

@compute @workgroup_size(64)
fn write_codes(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let own = workgroup_index(group, groups) * 64u + thread;
    if own >= params.rows * params.k {
        return;
    }
    let row = own / params.k;
    let entry = params.first_row * params.k + own;
    let candidate = features[entry];
    let value = candidate_values[row * params.groups * params.group + candidate];
    features[entry] = best_groups[row * params.groups + candidate / params.group] * params.group + candidate % params.group;
    values[entry] = select(value, 0.0, value <= 0.0);
    let key = keys[entry];
    keys[entry] = select(key, 0.0, key <= 0.0);
}
