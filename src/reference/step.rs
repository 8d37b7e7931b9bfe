use super::*;

/// What a training step does besides following the gradient of the squared error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Active features a row.
    pub k: usize,
    /// Selects and reports `u |v|` instead of `u` (SAELens's `rescale_acts_by_decoder_norm`).
    pub rescale: bool,
    /// Subtracts `b_dec` from the input before encoding.
    pub input_centred: bool,
    /// Largest global gradient norm.
    pub clip: Option<f64>,
    /// Keeps decoder rows at norm 1: projects their gradients, and divides them by `|v|` + this epsilon after the update.
    pub unit_norm_decoder: Option<f64>,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
}

/// One number for every parameter: the parameters themselves, their gradients or their moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Encoder, `[n, d]`.
    pub w_enc: Vec<f64>,
    /// Encoder bias, `[n]`.
    pub b_enc: Vec<f64>,
    /// Decoder, `[n, d]`.
    pub w_dec: Vec<f64>,
    /// Decoder bias, `[d]`.
    pub b_dec: Vec<f64>,
}

impl Parameters {
    /// A zero for each of `like`.
    pub fn zeros(like: &Self) -> Self {
        Self {
            w_enc: vec![0.0; like.w_enc.len()],
            b_enc: vec![0.0; like.b_enc.len()],
            w_dec: vec![0.0; like.w_dec.len()],
            b_dec: vec![0.0; like.b_dec.len()],
        }
    }

    /// Encoder, encoder bias, decoder, decoder bias.
    pub fn each(&self) -> [&[f64]; 4] {
        [&self.w_enc, &self.b_enc, &self.w_dec, &self.b_dec]
    }

    /// Encoder, encoder bias, decoder, decoder bias.
    pub fn each_mut(&mut self) -> [&mut [f64]; 4] {
        [&mut self.w_enc, &mut self.b_enc, &mut self.w_dec, &mut self.b_dec]
    }
}

/// Everything that training changes.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The model.
    pub parameters: Parameters,
    /// Adam's first moments.
    pub m: Parameters,
    /// Adam's second moments.
    pub v: Parameters,
    /// Steps taken.
    pub steps: u64,
}

impl State {
    /// The state before the first step.
    pub fn new(parameters: Parameters) -> Self {
        let zeros = Parameters::zeros(&parameters);
        Self { parameters, m: zeros.clone(), v: zeros, steps: 0 }
    }
}

/// What a step computed, all of it with the parameters from before the step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    /// Squared error, summed over `d`, mean over the batch.
    pub loss: f64,
    /// The codes of the batch.
    pub codes: Codes,
    /// `[rows, d]`.
    pub reconstruction: Vec<f64>,
    /// After projection, before clipping; dense, so 0 for features that are not active.
    pub gradients: Parameters,
    /// The norm of all gradients together.
    pub norm: f64,
}

/// One training step on `x` `[rows, d]`, in dictionary_learning's order: projection, clipping, Adam, unit norm.
pub fn step(state: &mut State, x: &[f64], d: usize, recipe: &Recipe, lr: f64) -> StepOutput {
    let Parameters { w_enc, b_enc, w_dec, b_dec } = &state.parameters;
    let (n, batch) = (b_enc.len(), x.len() / d);

    let centred = if recipe.input_centred { center(x, b_dec) } else { x.to_vec() };
    let u = encode(&centred, w_enc, b_enc, d);
    let norms = norms(w_dec, d);
    let keys = if recipe.rescale { rescaled(&u, &norms) } else { u.clone() };
    let codes = select(&keys, &u, n, recipe.k);
    let reconstruction = decode(&codes, w_dec, b_dec, d);
    let residual = residual(&reconstruction, x, d, batch);
    let g = residual.gradient;

    let runs = transpose(&codes, n);
    let s = code_gradients(&codes, &g, w_dec, d);
    let project = recipe.unit_norm_decoder.is_some();
    let active = gradients(&runs, &codes, &s, &centred, &g, w_dec, &norms, d, project);
    let b_dec_gradient = bias_gradient(&g, &runs, &active.b_enc, w_enc, d, recipe.input_centred);
    let Clip { norm, coefficient } = clip(&active.squared_norm, &b_dec_gradient, recipe.clip);
    let gradients = Parameters {
        w_enc: dense(&runs, &active.w_enc, n, d),
        b_enc: dense(&runs, &active.b_enc, n, 1),
        w_dec: dense(&runs, &active.w_dec, n, d),
        b_dec: b_dec_gradient,
    };

    state.steps += 1;
    let settings = Adam { lr, beta1: recipe.beta1, beta2: recipe.beta2, epsilon: recipe.epsilon, step: state.steps };
    let moments = state.m.each_mut().into_iter().zip(state.v.each_mut());
    let parameters = state.parameters.each_mut().into_iter();
    for ((parameter, gradient), (m, v)) in parameters.zip(gradients.each()).zip(moments) {
        adam(parameter, m, v, gradient, coefficient, &settings);
    }
    if let Some(epsilon) = recipe.unit_norm_decoder {
        unit_norm(&mut state.parameters.w_dec, d, epsilon);
    }

    StepOutput {
        loss: residual.squared_error.iter().sum::<f64>() / batch as f64,
        codes,
        reconstruction,
        gradients,
        norm,
    }
}

/// `u_ij |v_j|`, `[rows, n]`.
fn rescaled(u: &[f64], norms: &[f64]) -> Vec<f64> {
    u.chunks_exact(norms.len()).flat_map(|u| u.iter().zip(norms).map(|(u, norm)| u * norm)).collect()
}

/// Puts the rows of the active features, each of `width`, into an otherwise zero `[n, width]`.
fn dense(runs: &Runs, rows: &[f64], n: usize, width: usize) -> Vec<f64> {
    let mut dense = vec![0.0; n * width];
    for (&j, row) in runs.features.iter().zip(rows.chunks_exact(width)) {
        dense[j as usize * width..][..width].copy_from_slice(row);
    }
    dense
}
