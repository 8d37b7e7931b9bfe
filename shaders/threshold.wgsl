// Takes the running mean of the least key that a batch keeps a step further: the threshold of a trained SAE that ranked
// the features of a whole batch. One thread.
// least: [1], the complement of the key's order (order.wgsl), or 0 if nothing was kept; running: Running; guard: Guard.
struct Params {
    /// What the mean so far is multiplied by.
    decay: f32,
    /// 1 less that.
    one_minus_decay: f32,
}

/// Their quotient is the mean: no step before the first has a part in it.
struct Running {
    sum: f32,
    weight: f32,
}

@group(0) @binding(0) var<storage, read> least: array<u32>;
@group(0) @binding(1) var<storage, read_write> running: Running;
@group(0) @binding(2) var<uniform> guard: Guard;
@group(0) @binding(3) var<uniform> params: Params;

#import guard_state

@compute @workgroup_size(1)
fn main() {
    if guard.status != 0u || least[0] == 0u {
        return;
    }
    let key = bitcast<f32>(~least[0] & 0x7fffffffu);
    let before = running;
    running = Running(
        fma(before.sum, params.decay, key * params.one_minus_decay),
        fma(before.weight, params.decay, params.one_minus_decay),
    );
}
