// The keys of the features in each row's best groups, shard by shard; and what was selected among them, by its own
// number.
// centred: [rows of the batch, quads] vec4; w_enc: [features of the shard, quads] vec4; scalars: planes of [count];
// best_groups: [rows, groups] entries, ascending; candidate_values (pre-activations), candidate_keys: [rows, groups *
// group];
// entries: [rows of the batch, k] vec4<u32>, on the way in of candidates, by their number.
// `main` takes a candidate per thread, of groups in the shard, and gives those past the last feature a key of minus
// infinity;
// its dot product is the fold of `encode` (rule D, docs/architecture.md), so that a group's largest key is its maximum,
// bit for bit. `write_codes` takes an entry of the codes per thread, and rectifies it.
struct Params {
    rows: u32,
    /// First row of `centred` and of the codes.
    first_row: u32,
    quads: u32,
    /// Groups per row.
    groups: u32,
    /// Features per group.
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
@group(0) @binding(2) var<storage, read> scalars: array<u32>;
@group(0) @binding(3) var<storage, read> best_groups: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> candidate_values: array<f32>;
@group(0) @binding(5) var<storage, read_write> candidate_keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> entries: array<vec4<u32>>;
@group(0) @binding(7) var<uniform> params: Params;

#import entry_list
#import grid
#import order
#import scalars

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group_id) * 64u + thread;
    let slot = at / params.group;
    if slot >= params.rows * params.groups {
        return;
    }
    // Groups before the shard wrap around to large numbers.
    let first = best_groups[slot].x * params.group - params.first;
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
    let value = sum + scalar(BIAS, feature);
    candidate_values[at] = value;
    candidate_keys[at] = bitcast<u32>(value * select(1.0, scalar(NORM, feature), params.scaled != 0u));
}

@compute @workgroup_size(64)
fn write_codes(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let own = group_index(group_id) * 64u + thread;
    if own >= params.rows * params.k {
        return;
    }
    let row = own / params.k;
    let at = params.first_row * params.k + own;
    let entry = entries[at];
    let candidate = entry.x;
    let value = candidate_values[row * params.groups * params.group + candidate];
    let group = best_groups[row * params.groups + candidate / params.group].x;
    let flags = select(0u, VALUE, is_positive(value));
    let own_place = place(params.first_row + row, 0u, flags);
    entries[at] = vec4(group * params.group + candidate % params.group, own_place, bitcast<u32>(value), entry.w);
}
