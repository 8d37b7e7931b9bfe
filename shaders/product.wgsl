// The products of a step without lists, product = left · right, in f32; sums ascend along their dimension, by rule D.
// left: [rows, depth], or [depth, rows] unless LEFT_DEEP; right: [columns, depth] from its row `right_first` on, or
// [depth, columns] unless RIGHT_DEEP; product: [rows, columns]. All in vec4, their rows `left_line`, `right_line` and
// `line` vectors long. ADDS: to what `product` holds.
// A workgroup takes 128 rows and 64 columns, 16 of the summed dimension at a time; a thread 8 rows and 4 columns. What
// lies past the last of `depth` in a vector of a deep operand is zero.
#define LEFT_DEEP 1
#define RIGHT_DEEP 1
#define ADDS 0
struct Params {
    rows: u32,
    columns: u32,
    depth: u32,
    left_line: u32,
    right_line: u32,
    right_first: u32,
    line: u32,
    /// 1, which no compiler may know.
    one: f32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> right: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> product: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

const ROWS: u32 = 128u;
const COLUMNS: u32 = 64u;
const DEPTH: u32 = 16u;
/// Vectors of one step of the summed dimension, and one more, so that turned blocks spread over the banks.
const LEFT: u32 = ROWS / 4u + 1u;
const RIGHT: u32 = COLUMNS / 4u + 1u;
var<workgroup> left_stage: array<vec4<f32>, LEFT * DEPTH>;
var<workgroup> right_stage: array<vec4<f32>, RIGHT * DEPTH>;

/// A vector of a stored row, zero past the ends.
fn left_at(line: u32, quad: u32, lines: u32, quads: u32) -> vec4<f32> {
    if line < lines && quad < quads {
        return left[line * params.left_line + quad];
    }
    return vec4(0.0);
}

fn right_at(line: u32, quad: u32, lines: u32, quads: u32) -> vec4<f32> {
    if line < lines && quad < quads {
        return right[(params.right_first + line) * params.right_line + quad];
    }
    return vec4(0.0);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let own_row = thread / 16u;
    let own_column = thread % 16u;
    let deep_quads = (params.depth + 3u) / 4u;
#for i in 0..8
    var sum_${i} = vec4(0.0);
#end
    for (var at = 0u; at < params.depth; at += DEPTH) {
        workgroupBarrier();
#if LEFT_DEEP
        // 32 blocks of 4 rows by 4 vectors: each of the first 128 threads turns one.
        if thread < 128u {
            let block = thread / 4u;
            let quad = thread % 4u;
#for i in 0..4
            let l_${i} = left_at(first_row + block * 4u + ${i}u, at / 4u + quad, params.rows, deep_quads);
#end
#for c in 0..4
            left_stage[(quad * 4u + ${c}u) * LEFT + block] = vec4(l_0[${c}], l_1[${c}], l_2[${c}], l_3[${c}]);
#end
        }
#else
#for i in 0..2
        let slot_${i} = thread + ${i}u * 256u;
        left_stage[slot_${i} / 32u * LEFT + slot_${i} % 32u] =
            left_at(at + slot_${i} / 32u, first_row / 4u + slot_${i} % 32u, params.depth, params.left_line);
#end
#end
#if RIGHT_DEEP
        // 16 blocks, for 64 of the others.
        if thread >= 128u && thread < 192u {
            let block = (thread - 128u) / 4u;
            let quad = thread % 4u;
#for i in 0..4
            let r_${i} = right_at(first_column + block * 4u + ${i}u, at / 4u + quad, params.columns, deep_quads);
#end
#for c in 0..4
            right_stage[(quad * 4u + ${c}u) * RIGHT + block] = vec4(r_0[${c}], r_1[${c}], r_2[${c}], r_3[${c}]);
#end
        }
#else
        right_stage[thread / 16u * RIGHT + thread % 16u] =
            right_at(at + thread / 16u, first_column / 4u + thread % 16u, params.depth, params.right_line);
#end
        workgroupBarrier();
#for k in 0..16
        let low_${k} = left_stage[${k}u * LEFT + own_row];
        let high_${k} = left_stage[${k}u * LEFT + own_row + 16u];
        let right_${k} = right_stage[${k}u * RIGHT + own_column];
#for i in 0..4
        sum_${i} = fma(vec4(low_${k}[${i}]), right_${k}, sum_${i});
        sum_${i+4} = fma(vec4(high_${k}[${i}]), right_${k}, sum_${i+4});
#end
#end
    }
    let quad = first_column / 4u + own_column;
#for i in 0..8
    let row_${i} = first_row + ${i}u / 4u * 64u + own_row * 4u + ${i}u % 4u;
    if row_${i} < params.rows && quad * 4u < params.columns {
        let to = row_${i} * params.line + quad;
#if ADDS
        product[to] = fma(vec4(params.one), sum_${i}, product[to]);
#else
        product[to] = sum_${i};
#end
    }
#end
}
