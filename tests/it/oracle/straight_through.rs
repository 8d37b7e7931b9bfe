//! JumpReLU's gradients, which are estimates where a feature turns on or off, against finite differences of a loss
//! whose derivative is that estimate: the step is replaced by a ramp as wide as the bandwidth, beside the step's own
//! value. Written apart from the reference, over dense matrices.

use monosem::reference::{Parameters, backward};
use monosem::sae::description::{Features, Penalty, Role};
use monosem::sae::{JumpRelu, PreActivation};

use crate::oracle::finite_differences::{D, FEATURES, ROWS, Random, SILENT, config, differences, pass};
use crate::oracle::vectors::Worst;

#[test]
fn jumprelu_gradients_are_finite_differences_of_a_ramp() {
    for case in cases() {
        let mut random = Random(6);
        let config = config(case.input_centred, case.jumprelu.clone().into());
        let mut parameters = random.parameters(&config);
        let log = case.jumprelu.log_threshold;
        parameters.of_mut(Role::Own(0)).iter_mut().for_each(|t| *t = if log { *t - 1.0 } else { t.abs() / 2.0 });
        let x = random.numbers(ROWS * D);
        let base = pass(&config, &parameters, &x);
        let ramp = Ramp::new(&case, &parameters, &x);
        ramp.assert_covers();
        let loss = ramp.loss(&parameters);
        assert!((loss - base.loss()).abs() < 1e-12 * loss, "{case:?}: {loss}, not {}", base.loss());

        let mut worst = Worst::new(1e-7);
        let expected = differences(&parameters, |changed| ramp.loss(changed));
        worst.compare_each("grad", &backward(&config, &parameters, &base), &expected);
        worst.report(&format!("finite differences of {case:?}"));
    }
}

#[derive(Clone, Debug)]
struct Case {
    jumprelu: JumpRelu,
    input_centred: bool,
}

fn cases() -> Vec<Case> {
    let penalties = [Penalty::Step, Penalty::Quadratic { target: 3.0 }, Penalty::Tanh { scale: 1.5 }];
    let of = |of| Some(PreActivation { coefficient: 0.5, of });
    let mut cases = Vec::new();
    for penalty in penalties {
        for pre_activation in [None, of(Features::Dead), of(Features::All)] {
            for [straight_through_to_input, log_threshold, input_centred] in
                [[false, false, true], [true, false, true], [false, true, false], [true, true, true]]
            {
                let jumprelu = JumpRelu {
                    penalty,
                    l0: 0.75,
                    bandwidth: 0.6,
                    straight_through_to_input,
                    log_threshold,
                    pre_activation,
                    capacity: None,
                };
                cases.push(Case { jumprelu, input_centred });
            }
        }
    }
    cases
}

/// The loss about one point, at which it is JumpReLU's.
struct Ramp<'a> {
    case: &'a Case,
    x: &'a [f64],
    /// Pre-activations, `[ROWS, FEATURES]`, and thresholds of that point.
    u: Vec<f64>,
    thresholds: Vec<f64>,
}

impl<'a> Ramp<'a> {
    fn new(case: &'a Case, parameters: &Parameters, x: &'a [f64]) -> Self {
        let mut ramp = Self { case, x, u: vec![], thresholds: vec![] };
        (ramp.u, ramp.thresholds) = (ramp.pre_activations(parameters), ramp.thresholds(parameters));
        ramp
    }

    /// Fails unless entries of every kind are there, none so near a kink that a probe would cross it.
    fn assert_covers(&self) {
        let places =
            (0..self.u.len()).map(|at| (self.u[at] - self.thresholds[at % FEATURES]) / self.case.jumprelu.bandwidth);
        let places: Vec<f64> = places.collect();
        for kink in [-0.5, 0.0, 0.5] {
            assert!(places.iter().all(|place| (place - kink).abs() > 1e-4), "an entry is at {kink}");
        }
        for (low, high) in [(f64::NEG_INFINITY, -0.5), (-0.5, 0.0), (0.0, 0.5), (0.5, f64::INFINITY)] {
            let within = |feature: usize| feature < SILENT;
            let found = |silent: bool| {
                let mut places = places.iter().enumerate();
                places.any(|(at, place)| (low..high).contains(place) && within(at % FEATURES) == silent)
            };
            assert!(found(true) && found(false), "no entry between {low} and {high}");
        }
    }

    fn pre_activations(&self, parameters: &Parameters) -> Vec<f64> {
        let (w_enc, b_enc, b_dec) =
            (parameters.of(Role::Encoder), parameters.of(Role::EncoderBias), parameters.of(Role::OutputBias));
        let centred = if self.case.input_centred { 1.0 } else { 0.0 };
        let pair = |at: usize| {
            let (row, feature) = (at / FEATURES, at % FEATURES);
            let products = (0..D).map(|c| w_enc[feature * D + c] * (self.x[row * D + c] - centred * b_dec[c]));
            products.sum::<f64>() + b_enc[feature]
        };
        (0..ROWS * FEATURES).map(pair).collect()
    }

    fn thresholds(&self, parameters: &Parameters) -> Vec<f64> {
        let log = self.case.jumprelu.log_threshold;
        parameters.of(Role::Own(0)).iter().map(|t| if log { t.exp() } else { *t }).collect()
    }

    /// What the step has risen by since the point, for each pair.
    fn risen(&self, u: &[f64], thresholds: &[f64]) -> Vec<f64> {
        let jumprelu = &self.case.jumprelu;
        let height = |u: f64, threshold: f64| ((u - threshold) / jumprelu.bandwidth + 0.5).clamp(0.0, 1.0);
        let pair = |at: usize| {
            let (before, threshold) = (self.u[at], self.thresholds[at % FEATURES]);
            let u = if jumprelu.straight_through_to_input { u[at] } else { before };
            height(u, thresholds[at % FEATURES]) - height(before, threshold)
        };
        (0..ROWS * FEATURES).map(pair).collect()
    }

    fn loss(&self, parameters: &Parameters) -> f64 {
        let (w_dec, b_dec) = (parameters.of(Role::Decoder), parameters.of(Role::OutputBias));
        let norms: Vec<f64> = w_dec.chunks_exact(D).map(|v| v.iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
        let (u, thresholds) = (self.pre_activations(parameters), self.thresholds(parameters));
        let risen = self.risen(&u, &thresholds);
        let mut loss = 0.0;
        for row in 0..ROWS {
            let (mut reconstruction, mut l0, mut tanh) = (b_dec.to_vec(), 0.0, 0.0);
            for feature in 0..FEATURES {
                let at = row * FEATURES + feature;
                let active = if self.u[at] > self.thresholds[feature] { 1.0 } else { 0.0 };
                let value = active * u[at] + self.thresholds[feature] * risen[at];
                reconstruction.iter_mut().zip(&w_dec[feature * D..]).for_each(|(sum, v)| *sum += value * v);
                l0 += active + risen[at];
                if let Penalty::Tanh { scale } = self.case.jumprelu.penalty {
                    tanh += (scale * value * norms[feature]).tanh();
                }
                loss += self.pre_activation_loss(feature, thresholds[feature] - u[at], norms[feature]);
            }
            let errors = reconstruction.iter().zip(&self.x[row * D..]).map(|(value, x)| (value - x).powi(2));
            let penalty = match self.case.jumprelu.penalty {
                Penalty::Step => l0,
                Penalty::Quadratic { target } => 2.0 / target * (l0 - target).powi(2),
                Penalty::Tanh { .. } => tanh,
            };
            loss += errors.sum::<f64>() + self.case.jumprelu.l0 * penalty;
        }
        loss / ROWS as f64
    }

    fn pre_activation_loss(&self, feature: usize, short: f64, norm: f64) -> f64 {
        match self.case.jumprelu.pre_activation {
            Some(PreActivation { coefficient, of }) if of == Features::All || feature < SILENT => {
                coefficient * short.max(0.0) * norm
            }
            _ => 0.0,
        }
    }
}
