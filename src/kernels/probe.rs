//! The properties that a selection relies on, tried on a device with random rows before anything is believed.

use super::{Encode, GroupMaxima, Rescore, SCREEN_GROUP, Screen, ToF16, half_quads, margin, quads};
use crate::error::Result;
use crate::gpu::shaders::{encode_tiled, rescore, screen_portable, to_f16};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::reference;
use crate::rng::{Purpose, Rng, symmetric};

/// A whole tile of every shape, and little enough for bindings of 64 KiB.
const ROWS: u32 = 128;
const FEATURES: u32 = 128;
const D: usize = 112;

/// Random rows and weights, on the device.
pub(crate) struct Probe<'a> {
    gpu: &'a Gpu,
    centred: Buffer,
    w_enc: Buffer,
    /// Biases and norms: the first planes of every SAE.
    scalars: Buffer,
    /// The same values, as they were before they were uploaded.
    host: Host,
}

struct Host {
    centred: Vec<f64>,
    w_enc: Vec<f64>,
    b_enc: Vec<f64>,
    norms: Vec<f64>,
}

/// Values and keys of all features, `[rows, features]`.
struct Rescored {
    values: Vec<f32>,
    keys: Vec<f32>,
}

fn random(stream: u32, count: u32) -> Vec<f32> {
    let rng = Rng::new(0, Purpose::Shuffle);
    (0..u64::from(count)).map(|at| symmetric(rng.block(at, stream)[0])).collect()
}

/// Every other row without negative elements: where those meet, all errors of a sum add up.
fn random_rows(stream: u32, count: u32) -> Vec<f32> {
    let width = quads(D) * 4;
    let mut rows = random(stream, count * width);
    for row in rows.chunks_exact_mut(width as usize).step_by(2) {
        row.iter_mut().for_each(|value| *value = value.abs());
    }
    rows
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn is_equal(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.to_bits() == right.to_bits())
}

impl<'a> Probe<'a> {
    /// Uploads random rows and weights.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &'a Gpu) -> Result<Self> {
        let (centred, w_enc, b_enc) = (random_rows(0, ROWS), random_rows(1, FEATURES), random(2, FEATURES));
        let norms: Vec<f32> = random(3, FEATURES).into_iter().map(f32::abs).collect();
        Ok(Self {
            gpu,
            centred: gpu.buffer_from("probe", &centred)?,
            w_enc: gpu.buffer_from("probe", &w_enc)?,
            scalars: gpu.buffer_from("probe", &[&b_enc[..], &norms].concat())?,
            host: Host { centred: f64s(&centred), w_enc: f64s(&w_enc), b_enc: f64s(&b_enc), norms: f64s(&norms) },
        })
    }

    /// Whether pre-activations are within rounding of those in f64.
    ///
    /// # Errors
    /// Those of the device.
    pub fn encodes(&self, encode: &Encode) -> Result<bool> {
        Ok(self.are_pre_activations(&self.pre_activations(encode)?))
    }

    /// Whether group maxima are the largest of the same keys computed once more, bit for bit, and those are
    /// right.
    ///
    /// # Errors
    /// Those of the device.
    pub fn maxima_are_keys(&self, kernel: &GroupMaxima, rescore: &Rescore) -> Result<bool> {
        let group = kernel.group();
        let maxima = self.gpu.buffer("probe", u64::from(ROWS * FEATURES / group))?;
        self.run(|recording| {
            let bindings = encode_tiled::group_maxima::Bindings {
                centred: &self.centred,
                w_enc: &self.w_enc,
                scalars: &self.scalars,
                maxima: &maxima,
                params: encode_tiled::Params { stride: FEATURES / group, scaled: 1, ..encode_params() },
            };
            kernel.record(recording, bindings);
        })?;
        let Rescored { values, keys } = self.rescored(rescore, group)?;
        let groups = keys.chunks_exact(group as usize);
        let largest: Vec<f32> = groups.map(|keys| keys.iter().copied().fold(f32::NEG_INFINITY, f32::max)).collect();
        Ok(is_equal(&self.gpu.read(&maxima)?, &largest) && self.are_pre_activations(&values))
    }

    /// Whether values that are computed once more have the bits of the pre-activations.
    ///
    /// # Errors
    /// Those of the device.
    pub fn values_are_pre_activations(&self, rescore: &Rescore, encode: &Encode) -> Result<bool> {
        Ok(is_equal(&self.pre_activations(encode)?, &self.rescored(rescore, SCREEN_GROUP)?.values))
    }

    /// Whether screened bounds are above the keys, which are computed in f64 here, but by no more than two
    /// margins.
    ///
    /// # Errors
    /// Those of the device.
    pub fn bounds_hold(&self, to_f16: &ToF16, screen: &Screen) -> Result<bool> {
        let (rows, features, line) = (u64::from(ROWS), u64::from(FEATURES), u64::from(half_quads(quads(D))));
        let halves = |count: u64| self.gpu.buffer("probe", count * line * 2);
        let (x_halves, w_halves) = (halves(rows)?, halves(features)?);
        let (x_bounds, w_bounds) = (self.gpu.buffer("probe", rows * 4)?, self.gpu.buffer("probe", features * 4)?);
        let stride = FEATURES / SCREEN_GROUP;
        let maxima = self.gpu.buffer("probe", rows * u64::from(stride))?;
        self.run(|recording| {
            for (source, halves, bounds, count) in
                [(&self.centred, &x_halves, &x_bounds, ROWS), (&self.w_enc, &w_halves, &w_bounds, FEATURES)]
            {
                let params = to_f16::Params { quads: quads(D), line: line as u32, first: 0, count };
                to_f16.record(recording, to_f16::main::Bindings { source, halves, bounds, params });
            }
            let bindings = screen_portable::main::Bindings {
                x_halves: &x_halves,
                w_halves: &w_halves,
                x_bounds: &x_bounds,
                w_bounds: &w_bounds,
                scalars: &self.scalars,
                maxima: &maxima,
                params: screen_portable::Params {
                    rows: ROWS,
                    line: line as u32,
                    first: 0,
                    width: FEATURES,
                    count: FEATURES,
                    stride,
                    scaled: 1,
                    margin: margin(quads(D)),
                },
            };
            screen.record(recording, bindings);
        })?;
        let Host { centred, w_enc, b_enc, norms } = &self.host;
        let width = quads(D) as usize * 4;
        let allowed =
            reference::screen(centred, w_enc, b_enc, norms, width, SCREEN_GROUP as usize, margin(quads(D)).into());
        // A bound in f32 may be a little above two margins.
        let bounds = f64s(&self.gpu.read(&maxima)?);
        Ok(bounds.iter().zip(allowed).all(|(bound, (least, most))| (least..=most + 1e-6).contains(bound)))
    }

    fn pre_activations(&self, encode: &Encode) -> Result<Vec<f32>> {
        let pre_activations = self.gpu.buffer("probe", u64::from(ROWS * FEATURES))?;
        self.run(|recording| {
            let bindings = encode_tiled::main::Bindings {
                centred: &self.centred,
                w_enc: &self.w_enc,
                scalars: &self.scalars,
                pre_activations: &pre_activations,
                params: encode_params(),
            };
            encode.record(recording, bindings);
        })?;
        self.gpu.read(&pre_activations)
    }

    fn are_pre_activations(&self, values: &[f32]) -> bool {
        let Host { centred, w_enc, b_enc, .. } = &self.host;
        let width = quads(D) as usize * 4;
        let magnitudes = |values: &[f64]| values.iter().map(|value| value.abs()).collect::<Vec<_>>();
        let expected = reference::encode(centred, w_enc, b_enc, width);
        // What a fold in f32 can lose, fused or not.
        let allowed = reference::encode(&magnitudes(centred), &magnitudes(w_enc), &magnitudes(b_enc), width);
        let unit = (width as f64 + 2.0) * (-23_f64).exp2();
        let mut all = values.iter().zip(expected.iter().zip(&allowed));
        values.len() == expected.len()
            && all.all(|(value, (expected, allowed))| (f64::from(*value) - expected).abs() <= unit * allowed)
    }

    fn rescored(&self, rescore: &Rescore, group: u32) -> Result<Rescored> {
        let groups = FEATURES / group;
        let numbers: Vec<[u32; 4]> = (0..ROWS).flat_map(|_| (0..groups).map(|group| [group, 0, 0, 0])).collect();
        let best_groups = self.gpu.buffer_from("probe", &numbers)?;
        let candidates = || self.gpu.buffer("probe", u64::from(ROWS * FEATURES));
        let (candidate_values, candidate_keys) = (candidates()?, candidates()?);
        let order = rescore.order(self.gpu, ROWS * groups, groups)?;
        let params = rescore::Params {
            rows: ROWS,
            quads: quads(D),
            groups,
            group,
            count: FEATURES,
            scaled: 1,
            k: 1,
            ..Default::default()
        };
        let bindings = rescore::main::Bindings {
            centred: &self.centred,
            w_enc: &self.w_enc,
            scalars: &self.scalars,
            best_groups: &best_groups,
            candidate_values: &candidate_values,
            candidate_keys: &candidate_keys,
            params,
        };
        self.run(|recording| {
            rescore.record_order(recording, &best_groups, params, &order);
            rescore.record(recording, bindings, &order);
        })?;
        Ok(Rescored { values: self.gpu.read(&candidate_values)?, keys: self.gpu.read(&candidate_keys)? })
    }

    fn run(&self, record: impl FnOnce(&mut Recording)) -> Result<()> {
        let mut recording = Recording::default();
        record(&mut recording);
        self.gpu.submit(&self.gpu.program(recording)?)
    }
}

/// All rows and features.
fn encode_params() -> encode_tiled::Params {
    encode_tiled::Params {
        rows: ROWS,
        quads: quads(D),
        width: FEATURES,
        count: FEATURES,
        stride: FEATURES,
        ..Default::default()
    }
}
