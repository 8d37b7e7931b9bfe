// When each feature last fired and how often, how many are dead, and whether an update left one a parameter that is not
// finite.
// scalars: planes of [count]; dead: [1], added to; guard: Guard; step: Step. A thread per feature. Nothing is recorded
// once the guard is raised.
struct Params {
    /// Features of the shard.
    count: u32,
    /// Steps of silence after which a feature is dead.
    window: u32,
}

@group(0) @binding(0) var<storage, read_write> scalars: array<u32>;
@group(0) @binding(1) var<storage, read_write> dead: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read_write> guard: Guard;
@group(0) @binding(3) var<uniform> step: Step;
@group(0) @binding(4) var<uniform> params: Params;

#import grid
#import guard
#import scalars
#import step

var<workgroup> dead_here: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    // What this kernel itself raises is known too late to undo.
    let is_raised = (atomicLoad(&guard.status) & ~PARAMETER_NOT_FINITE) != 0u;
    if thread == 0u {
        atomicStore(&dead_here, 0u);
    }
    workgroupBarrier();
    let feature = group_index(group) * 256u + thread;
    if feature < params.count && !is_raised {
        if word(RUN, feature) != 0u && word(FIRED, feature) != 0u {
            scalars[LAST_FIRED * params.count + feature] = step.number;
            // A counter that is full stays full.
            let times = word(TIMES_FIRED, feature);
            scalars[TIMES_FIRED * params.count + feature] = times + min(word(FIRED, feature), ~times);
        } else if step.number - word(LAST_FIRED, feature) >= params.window {
            atomicAdd(&dead_here, 1u);
        }
        if word(FLAWED, feature) != 0u || is_not_finite(scalar(NORM, feature)) {
            raise_guard(PARAMETER_NOT_FINITE, NO_ROW);
        }
    }
    workgroupBarrier();
    if thread == 0u && atomicLoad(&dead_here) != 0u {
        atomicAdd(&dead[0], atomicLoad(&dead_here));
    }
}
