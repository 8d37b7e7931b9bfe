//! What a selection relies on, tried on a device with random rows before anything is believed.

use super::{
    Encode, EncodeArguments, GroupMaxima, GroupMaximaArguments, Halve, Rescore, SCREEN_GROUP, Screen, ScreenArguments,
    half_quads, margin, quads,
};
use crate::error::{Error, Result};
use crate::gpu::shaders::{halve, rescore};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::reference;
use crate::rng::{Purpose, Rng, symmetric};

/// Little enough for the smallest bindings, enough for every part of a tile.
const ROWS: u32 = 80;
const FEATURES: u32 = 80;
const D: usize = 272;

/// Random rows and weights, on the device.
pub(super) struct Probe<'a> {
    gpu: &'a Gpu,
    centred: Buffer,
    w_enc: Buffer,
    b_enc: Buffer,
    norms: Buffer,
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

impl<'a> Probe<'a> {
    /// Puts them there.
    pub fn new(gpu: &'a Gpu) -> Result<Self> {
        let norms: Vec<f32> = random(3, FEATURES).into_iter().map(f32::abs).collect();
        Ok(Self {
            gpu,
            centred: gpu.buffer_from("probe", &random_rows(0, ROWS))?,
            w_enc: gpu.buffer_from("probe", &random_rows(1, FEATURES))?,
            b_enc: gpu.buffer_from("probe", &random(2, FEATURES))?,
            norms: gpu.buffer_from("probe", &norms)?,
        })
    }

    /// Whether group maxima are the largest of the same keys computed once more, bit for bit.
    pub fn maxima_are_keys(&self, maxima: &GroupMaxima, rescore: &Rescore, group: u32) -> Result<bool> {
        let stride = FEATURES / group;
        let screened = self.gpu.buffer("probe", u64::from(ROWS * stride))?;
        let arguments = GroupMaximaArguments {
            centred: &self.centred,
            w_enc: &self.w_enc,
            b_enc: &self.b_enc,
            norms: &self.norms,
            maxima: &screened,
            rows: ROWS,
            quads: quads(D),
            first: 0,
            count: FEATURES,
            stride,
            scaled: true,
        };
        self.run(|recording| maxima.record(recording, &arguments))?;
        let (screened, (_, keys)): (Vec<f32>, _) = (self.gpu.read(&screened)?, self.rescored(rescore, group)?);
        let largest =
            keys.chunks_exact(group as usize).map(|keys| keys.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        Ok(screened.iter().zip(largest).all(|(maximum, largest)| maximum.to_bits() == largest.to_bits()))
    }

    /// Whether pre-activations have the same bits when they are computed once more.
    pub fn pre_activations_are_values(&self, encode: &Encode, rescore: &Rescore, group: u32) -> Result<bool> {
        let pre_activations = self.gpu.buffer("probe", u64::from(ROWS * FEATURES))?;
        let arguments = EncodeArguments {
            centred: &self.centred,
            w_enc: &self.w_enc,
            b_enc: &self.b_enc,
            pre_activations: &pre_activations,
            rows: ROWS,
            quads: quads(D),
            first: 0,
            count: FEATURES,
            stride: FEATURES,
            relu: false,
        };
        self.run(|recording| encode.record(recording, &arguments))?;
        let (encoded, (values, _)): (Vec<u32>, _) = (self.gpu.read(&pre_activations)?, self.rescored(rescore, group)?);
        Ok(encoded.iter().zip(values).all(|(encoded, value)| *encoded == value.to_bits()))
    }

    /// Whether screened bounds are above the keys, which are computed in f64 here, but by no more than two margins.
    pub fn bounds_hold(&self, halve: &Halve, screen: &Screen) -> Result<bool> {
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
                let params = halve::Params { quads: quads(D), line: line as u32, first: 0, count };
                halve.record(recording, halve::main::Bindings { source, halves, bounds, params });
            }
            let arguments = ScreenArguments {
                x_halves: &x_halves,
                x_bounds: &x_bounds,
                w_halves: &w_halves,
                w_bounds: &w_bounds,
                b_enc: &self.b_enc,
                norms: &self.norms,
                maxima: &maxima,
                rows: ROWS,
                quads: quads(D),
                first: 0,
                count: FEATURES,
                stride,
                scaled: true,
            };
            screen.record(recording, &arguments);
        })?;
        let read = |buffer| Ok::<Vec<f64>, Error>(self.gpu.read::<f32>(buffer)?.into_iter().map(f64::from).collect());
        let [x, w, b, norms] = [read(&self.centred)?, read(&self.w_enc)?, read(&self.b_enc)?, read(&self.norms)?];
        let width = quads(D) as usize * 4;
        let allowed = reference::screen(&x, &w, &b, &norms, width, SCREEN_GROUP as usize, margin(quads(D)).into());
        // What f32 makes of a bound may be a little above two margins.
        Ok(read(&maxima)?.iter().zip(allowed).all(|(bound, (least, most))| (least..=most + 1e-6).contains(bound)))
    }

    /// Values and keys of all features.
    fn rescored(&self, rescore: &Rescore, group: u32) -> Result<(Vec<f32>, Vec<f32>)> {
        let groups = FEATURES / group;
        let numbers: Vec<u32> = (0..ROWS).flat_map(|_| 0..groups).collect();
        let best_groups = self.gpu.buffer_from("probe", &numbers)?;
        let candidates = || self.gpu.buffer("probe", u64::from(ROWS * FEATURES));
        let (candidate_values, candidate_keys) = (candidates()?, candidates()?);
        let bindings = rescore::main::Bindings {
            centred: &self.centred,
            w_enc: &self.w_enc,
            b_enc: &self.b_enc,
            norms: &self.norms,
            best_groups: &best_groups,
            candidate_values: &candidate_values,
            candidate_keys: &candidate_keys,
            params: rescore::Params {
                rows: ROWS,
                quads: quads(D),
                groups,
                group,
                first: 0,
                count: FEATURES,
                scaled: 1,
                k: 1,
            },
        };
        self.run(|recording| rescore.record(recording, bindings))?;
        Ok((self.gpu.read(&candidate_values)?, self.gpu.read(&candidate_keys)?))
    }

    fn run(&self, record: impl FnOnce(&mut Recording)) -> Result<()> {
        let mut recording = Recording::default();
        record(&mut recording);
        self.gpu.submit(&self.gpu.program(recording)?)
    }
}
