// What a device can do at best, for other kernels to be measured by: `copy` streams memory, `multiply_add` computes in
// registers.
// source, target: [count] vec4; results: [workgroups * 64] vec4.
struct Params {
    /// Vectors to copy.
    count: u32,
    /// Rounds of STEPS multiply-adds.
    rounds: u32,
    /// Factor and addend, which the compiler must not know.
    factor: f32,
    addend: f32,
}

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> results: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

#import grid

/// Vectors that a workgroup copies.
const COPIED: u32 = 512u;
/// Independent sums of an invocation, of 4 values each: enough to hide a multiply-add's latency, few enough for
/// registers.
const SUMS: u32 = 3u;
/// Multiply-adds of a sum a round: enough to hide the loop.
const STEPS: u32 = 16u;

@compute @workgroup_size(64)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    // Eight threads copy 64 neighbours, so that few streams of memory are open at a time.
    let first = group_index(group) * COPIED + thread / 8u * 64u + thread % 8u;
#for i in 0..8
    let at_${i} = min(first + ${i}u * 8u, params.count - 1u);
    let value_${i} = source[at_${i}];
#end
#for i in 0..8
    target_[at_${i}] = value_${i};
#end
}

@compute @workgroup_size(64)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group) * 64u + thread;
    let factor = vec4(params.factor);
    // Not known to be the same for a workgroup, although it is: NVIDIA's multiply-add takes one uniform operand, and a
    // second would cost a move each.
    let addend = vec4(select(params.addend, 0.0, thread > 64u));
#for s in 0..3
    var sum_${s} = vec4(f32(at + ${s}u));
#end
    for (var round = 0u; round < params.rounds; round++) {
#for i in 0..16
#for s in 0..3
        sum_${s} = fma(sum_${s}, factor, addend);
#end
#end
    }
    var total = vec4(0.0);
#for s in 0..3
    total += sum_${s};
#end
    if at < arrayLength(&results) {
        results[at] = total;
    }
}
