use super::check::{Check, Checker, FOLD};
use super::lists::{Batch, DeviceBatch, Lists};
use super::tensors::{POISON, Tensor, f64s, planes, stored, submit, unpad};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::bias_gradient::BLOCK_ROWS;
use crate::gpu::shaders::hot::{Params, main};
use crate::kernels::quads;
use crate::reference::lists;

/// The sums of hot runs by their slots, for the rows of either matrix.
pub struct HotSums<'g> {
    pub encoder: Tensor<'g>,
    pub decoder: Tensor<'g>,
}

/// Sums the hot runs of a batch.
pub fn hot_sums<'g>(gpu: &'g Gpu, batch: &Batch, device: &DeviceBatch<'g>, groups: u32) -> Result<HotSums<'g>> {
    let runs = &batch.runs;
    // What is left over in the other slots may be any number.
    let hot_runs = Tensor::new(gpu, &runs.hot_runs(|slot| slot as u32 * 3))?;
    let range = Tensor::new(gpu, &runs.range(&(0..runs.n)))?;
    let params = Params {
        quads: quads(batch.d),
        blocks: (batch.lists.rows as u32).div_ceil(BLOCK_ROWS),
        lists: 1 + batch.second().1,
        groups,
        one: 1.0,
    };
    let sums = || Tensor::poisoned(gpu, (runs.terms.len() / runs.hot as usize + 1) * stored(batch.d));
    let sums = HotSums { encoder: sums()?, decoder: sums()? };
    let of_encoder = [&planes().defines()[..], &[("DECODER", 0), ("SECOND", 0)]].concat();
    let of_decoder = [&planes().defines()[..], &[batch.second()]].concat();
    for (defines, [rows_0, rows_1], sums) in
        [(of_encoder, [&device.centred; 2], &sums.encoder), (of_decoder, [&device.g0, &device.g1], &sums.decoder)]
    {
        let kernel = gpu.pipeline::<main::Kernel>(&defines)?;
        let (runs, terms, hot_runs, range) = (&device.runs.runs, &device.runs.terms, &hot_runs, (&range).into());
        let bindings = main::Bindings { runs, hot_runs, terms, rows_0, rows_1, sums, range, params };
        submit(gpu, |recording| recording.run(&kernel, bindings))?;
    }
    Ok(sums)
}

/// A row for each hot run, of each matrix; an error if anything else was written.
pub fn hot_rows(gpu: &Gpu, batch: &Batch, groups: u32) -> Result<[Vec<Vec<f32>>; 2]> {
    let sums = hot_sums(gpu, batch, &batch.upload(gpu)?, groups)?;
    let slots = batch.runs.hot_runs(|_| POISON);
    let rows = |sums: &Tensor<'_>| -> Result<Vec<Vec<f32>>> {
        let words = sums.read::<f32>()?;
        let mut rows = Vec::new();
        for (row, run) in words.chunks(stored(batch.d)).zip(&slots) {
            match *run {
                POISON => assert!(row.iter().all(|word| word.to_bits() == POISON), "a slot without a run was written"),
                _ => rows.push(unpad(row, batch.d)?),
            }
        }
        Ok(rows)
    };
    Ok([rows(&sums.encoder)?, rows(&sums.decoder)?])
}

/// The gradients of the rows of each hot run.
pub fn expected(batch: &Batch) -> [Vec<f64>; 2] {
    let Batch { d, ref runs, ref centred, ref gradients, .. } = *batch;
    let (centred, g0, g1) = (f64s(centred), f64s(&gradients[0]), f64s(&gradients[1]));
    let mut rows = [Vec::new(), Vec::new()];
    for run in runs.hot_runs(|_| POISON).into_iter().filter(|run| *run != POISON) {
        let terms = runs.reference(run as usize);
        rows[0].extend(lists::encoder_gradient(&terms, &centred, d));
        rows[1].extend(lists::decoder_gradient(&terms, [&g0, &g1], d));
    }
    rows
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut sums = checker.compare("hot", FOLD);
    for (rows, d, n, per_row) in
        [(64, 1, 1, [1, 0]), (257, 128, 3, [2, 0]), (5000, 33, 40, [3, 2]), (900, 800, 9, [2, 1])]
    {
        let batch = Batch::new(1, Lists::random(1, rows, n, per_row, true), d);
        let expected = expected(&batch);
        for groups in [1, 5000] {
            let actual = hot_rows(checker.gpu, &batch, groups)?;
            for (of, (actual, expected)) in ["encoder", "decoder"].iter().zip(actual.iter().zip(&expected)) {
                sums.close((rows, d, n, per_row, groups, of), &actual.concat(), expected);
            }
        }
    }
    Ok(vec![sums.done()])
}
