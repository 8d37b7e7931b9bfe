// When each feature last fired, how often, and how many have been silent for too long.
// run_features: [runs], run_starts: [runs + 1]; block_bounds: [feature blocks + 1]; last_fired, fired: [features of the shard];
// dead: [1]. `record` takes the shard's runs, `count_dead` its features. Nothing is recorded once the guard is raised.
struct Params {
    /// First feature of the shard.
    first: u32,
    /// Features in the shard.
    count: u32,
    /// Steps of silence after which a feature is dead.
    window: u32,
}

@group(0) @binding(0) var<storage, read> run_features: array<u32>;
@group(0) @binding(1) var<storage, read> run_starts: array<u32>;
@group(0) @binding(2) var<storage, read> block_bounds: array<u32>;
@group(0) @binding(3) var<storage, read_write> last_fired: array<u32>;
@group(0) @binding(4) var<storage, read_write> fired: array<u32>;
@group(0) @binding(5) var<storage, read_write> dead: array<atomic<u32>>;
@group(0) @binding(6) var<storage, read_write> guard: Guard;
@group(0) @binding(7) var<uniform> step: Step;
@group(0) @binding(8) var<uniform> params: Params;

#import blocks
#import grid
#import guard
#import step
#import runs

@compute @workgroup_size(64)
fn record(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_block = params.first / BLOCK_FEATURES;
    let end_block = (params.first + params.count + BLOCK_FEATURES - 1u) / BLOCK_FEATURES;
    let run = block_bounds[first_block] + workgroup_index(group, groups) * 64u + thread;
    if run >= block_bounds[end_block] || guard_is_raised() {
        return;
    }
    let feature = run_features[run] - params.first;
    last_fired[feature] = step.number;
    let before = fired[feature];
    // A counter that is full stays full.
    fired[feature] = before + min(run_starts[run + 1u] - run_starts[run], ~before);
}

@compute @workgroup_size(64)
fn count_dead(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let feature = workgroup_index(group, groups) * 64u + thread;
    if feature < params.count && step.number - last_fired[feature] >= params.window {
        atomicAdd(&dead[0], 1u);
    }
}
