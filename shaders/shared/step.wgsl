/// What changes from step to step. Bias corrections are the host's, in f64 (PyTorch's Adam).
struct Step {
    /// 1 for the first step.
    number: u32,
    /// lr / (1 - beta1^number)
    learning_rate: f32,
    /// 1 / sqrt(1 - beta2^number)
    second_correction: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
    /// What the coefficient of the penalty on active features is multiplied by.
    sparsity: f32,
}

/// The gradient's norm before clipping, and what every gradient is multiplied by.
struct Clip {
    norm: f32,
    coefficient: f32,
}
