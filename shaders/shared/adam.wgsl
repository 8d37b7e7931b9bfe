// PyTorch's Adam without weight decay. Needs the globals `step` and `clip`.
#import step

struct Adam {
    parameter: vec4<f32>,
    m: vec4<f32>,
    v: vec4<f32>,
}

/// A step from a parameter and its moments, under a gradient that is not clipped yet.
fn adam(parameter: vec4<f32>, m: vec4<f32>, v: vec4<f32>, unclipped: vec4<f32>) -> Adam {
    let g = unclipped * clip.coefficient;
    let new_m = fma(vec4(step.one_minus_beta1), g, step.beta1 * m);
    let new_v = fma(step.one_minus_beta2 * g, g, step.beta2 * v);
    let denominator = fma(sqrt(new_v), vec4(step.second_correction), vec4(step.epsilon));
    return Adam(fma(vec4(-step.learning_rate), new_m / denominator, parameter), new_m, new_v);
}
