// An upper bound of the largest key of each group of features, from rows in f16, by the adapter's matrix units: x · Wᵀ
// in f16, summed in f32.
// Shapes and bindings as screen/portable.wgsl, but that four f16 are a vector. A workgroup of SUBGROUPS_M x SUBGROUPS_N
// subgroups, each with TILES_M x TILES_N tiles of TILE x TILE, stages DEPTH elements of its rows and features at a
// time; the next ones are on their way meanwhile.
// Products come out of a subgroup's tiles through workgroup memory, since nothing else can be done with them.
enable f16;
enable wgpu_cooperative_matrix;
#define TILE 16
#define LANES 32
#define SUBGROUPS_M 2
#define SUBGROUPS_N 2
#define TILES_M 4
#define TILES_N 4
#define DEPTH 32
#define DEPTH_TILES 2
#define X_LOADS 8
#define W_LOADS 8
#define SCALAR 0
alias FourHalves = vec4<f16>;
#import screen
#import bits

const THREADS: u32 = ${LANES}u * ${SUBGROUPS_M}u * ${SUBGROUPS_N}u;
/// Rows and features of a subgroup and of a workgroup.
const OWN_ROWS: u32 = ${TILE}u * ${TILES_M}u;
const OWN_FEATURES: u32 = ${TILE}u * ${TILES_N}u;
const WORKGROUP_ROWS: u32 = OWN_ROWS * ${SUBGROUPS_M}u;
const WORKGROUP_FEATURES: u32 = OWN_FEATURES * ${SUBGROUPS_N}u;
/// Vectors of a staged line, and two more, so that lines spread over the banks.
const STAGE_QUADS: u32 = ${DEPTH}u / 4u;
const LINE: u32 = STAGE_QUADS + 2u;
/// Floats of a line of products: an odd number of vectors of four.
const PRODUCT_LINE: u32 = OWN_FEATURES + 4u;
const OWN_PRODUCTS: u32 = ${TILE}u * PRODUCT_LINE;
const OWN_GROUPS: u32 = OWN_FEATURES / GROUP;
/// Vectors of a group's terms, and one more, so that groups spread over the banks.
const TERMS: u32 = GROUP + 1u;

#if SCALAR
// naga's Metal back end takes no vectors here.
const UNIT: u32 = 4u;
var<workgroup> x_stage: array<f16, WORKGROUP_ROWS * LINE * UNIT>;
var<workgroup> w_stage: array<f16, WORKGROUP_FEATURES * LINE * UNIT>;
#else
const UNIT: u32 = 1u;
var<workgroup> x_stage: array<vec4<f16>, WORKGROUP_ROWS * LINE>;
var<workgroup> w_stage: array<vec4<f16>, WORKGROUP_FEATURES * LINE>;
#end
var<workgroup> products: array<f32, ${SUBGROUPS_M} * ${SUBGROUPS_N} * OWN_PRODUCTS>;
var<workgroup> terms: array<vec4<f32>, WORKGROUP_FEATURES / GROUP * TERMS>;

/// Writes how the driver runs a workgroup like that of `main`: the size of its subgroups, their number, and one
/// subgroup's product of zeros, so that there is one.
@compute @workgroup_size(THREADS)
fn subgroups(
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(num_subgroups) count: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    for (var at = thread; at < ${TILE}u * LINE * UNIT; at += THREADS) {
#if SCALAR
        x_stage[at] = 0.0h;
        w_stage[at] = 0.0h;
#else
        x_stage[at] = vec4(0.0h);
        w_stage[at] = vec4(0.0h);
#end
    }
    workgroupBarrier();
    let stage_line = LINE * UNIT;
    let x = coopLoadT<coop_mat${TILE}x${TILE}<f16, A>>(&x_stage[0], stage_line);
    let w = coopLoad<coop_mat${TILE}x${TILE}<f16, B>>(&w_stage[0], stage_line);
    let sum = coopMultiplyAdd(x, w, coop_mat${TILE}x${TILE}<f32, C>());
    let product_line = PRODUCT_LINE;
    let own = min(subgroup, ${SUBGROUPS_M}u * ${SUBGROUPS_N}u - 1u) * OWN_PRODUCTS;
    coopStoreT(sum, &products[own], product_line);
    workgroupBarrier();
    if thread == 0u {
        maxima[0] = f32(size);
        maxima[1] = f32(count);
        maxima[2] = products[0];
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // Rows first: they fit the second cache, and weights pass through it once.
    let block_row = group.x * WORKGROUP_ROWS;
    let block_feature = group.y * WORKGROUP_FEATURES;
    let own_row = subgroup / ${SUBGROUPS_N}u * OWN_ROWS;
    let own_feature = subgroup % ${SUBGROUPS_N}u * OWN_FEATURES;
    // Rows and features past the end repeat the last one: they change nothing that is stored.
    let last_row = params.rows - 1u;
    let last_feature = params.width - 1u;
#for i in 0..${X_LOADS}
    let x_slot_${i} = thread + ${i}u * THREADS;
    let x_from_${i} = min(block_row + x_slot_${i} / STAGE_QUADS, last_row) * params.line + x_slot_${i} % STAGE_QUADS;
    let x_to_${i} = x_slot_${i} / STAGE_QUADS * LINE + x_slot_${i} % STAGE_QUADS;
    var x_next_${i} = x_halves[x_from_${i}];
#end
#for i in 0..${W_LOADS}
    let w_slot_${i} = thread + ${i}u * THREADS;
    let w_from_${i} =
        min(block_feature + w_slot_${i} / STAGE_QUADS, last_feature) * params.line + w_slot_${i} % STAGE_QUADS;
    let w_to_${i} = w_slot_${i} / STAGE_QUADS * LINE + w_slot_${i} % STAGE_QUADS;
    var w_next_${i} = w_halves[w_from_${i}];
#end
    for (var feature = thread; feature < WORKGROUP_FEATURES; feature += THREADS) {
        terms[feature / GROUP * TERMS + feature % GROUP] = feature_terms(block_feature + feature);
    }
#for m in 0..${TILES_M}
#for n in 0..${TILES_N}
    var sum_${m}_${n} = coop_mat${TILE}x${TILE}<f32, C>();
#end
#end
    let stage_line = LINE * UNIT;
    for (var at = 0u; at < params.line; at += STAGE_QUADS) {
        workgroupBarrier();
#for i in 0..${X_LOADS}
#if SCALAR
#for c in 0..4
        x_stage[x_to_${i} * UNIT + ${c}u] = x_next_${i}[${c}];
#end
#else
        x_stage[x_to_${i}] = x_next_${i};
#end
#end
#for i in 0..${W_LOADS}
#if SCALAR
#for c in 0..4
        w_stage[w_to_${i} * UNIT + ${c}u] = w_next_${i}[${c}];
#end
#else
        w_stage[w_to_${i}] = w_next_${i};
#end
#end
        workgroupBarrier();
        // The last stage loads itself once more, so that no load is past the end.
        let next = min(at + STAGE_QUADS, params.line - STAGE_QUADS);
#for i in 0..${X_LOADS}
        x_next_${i} = x_halves[x_from_${i} + next];
#end
#for i in 0..${W_LOADS}
        w_next_${i} = w_halves[w_from_${i} + next];
#end
#for s in 0..${DEPTH_TILES}
#for m in 0..${TILES_M}
        let x_at_${s}_${m} = (own_row + ${m}u * ${TILE}u) * LINE * UNIT + ${s}u * ${TILE}u / 4u * UNIT;
        let x_${s}_${m} = coopLoadT<coop_mat${TILE}x${TILE}<f16, A>>(&x_stage[x_at_${s}_${m}], stage_line);
#end
#for n in 0..${TILES_N}
        let w_at_${s}_${n} = (own_feature + ${n}u * ${TILE}u) * LINE * UNIT + ${s}u * ${TILE}u / 4u * UNIT;
        let w_${s}_${n} = coopLoad<coop_mat${TILE}x${TILE}<f16, B>>(&w_stage[w_at_${s}_${n}], stage_line);
#for m in 0..${TILES_M}
        sum_${m}_${n} = coopMultiplyAdd(x_${s}_${m}, w_${s}_${n}, sum_${m}_${n});
#end
#end
#end
    }
    let own_products = subgroup * OWN_PRODUCTS;
    let product_line = PRODUCT_LINE;
#for m in 0..${TILES_M}
    workgroupBarrier();
#for n in 0..${TILES_N}
    let to_${m}_${n} = own_products + ${n}u * ${TILE}u;
    coopStoreT(sum_${m}_${n}, &products[to_${m}_${n}], product_line);
#end
    workgroupBarrier();
    write_maxima(block_row + own_row + ${m}u * ${TILE}u, block_feature, own_feature, own_products, lane);
#end
}

/// The maxima of TILE rows of a subgroup. Eight neighbouring lanes have eight rows of one group: they share its terms,
/// and their products, whose lines are an odd number of vectors of four, lie in different banks.
fn write_maxima(first_row: u32, block_feature: u32, own_feature: u32, own_products: u32, lane: u32) {
    for (var slot = lane; slot < ${TILE}u * OWN_GROUPS; slot += ${LANES}u) {
        let row = slot / (8u * OWN_GROUPS) * 8u + slot % 8u;
        let group = slot / 8u % OWN_GROUPS;
        let first = own_feature + group * GROUP;
        if first_row + row < params.rows && block_feature + first < params.width {
            let at = own_products + row * PRODUCT_LINE + group * GROUP;
            let terms_at = first / GROUP * TERMS;
            let bounds = x_bounds[first_row + row];
            var largest = upper_bound(products[at], bounds, terms[terms_at]);
#for j in 1..8
            largest = max(largest, upper_bound(products[at + ${j}u], bounds, terms[terms_at + ${j}u]));
#end
            maxima[(first_row + row) * params.stride + (block_feature + first) / GROUP] = largest;
        }
    }
}
