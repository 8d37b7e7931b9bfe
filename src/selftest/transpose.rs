use super::check::{Check, Checker};
use super::tensors::{HostCodes, Tensor, block_bounds, submit, wrong};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::kernels::{BLOCK_FEATURES, Codes, Runs, Transpose};
use crate::reference;

/// The runs of `codes` and the blocks' bounds; what lies behind the last run's end in `entries` is left out.
pub fn transpose(gpu: &Gpu, kernels: &Transpose, codes: &HostCodes, n: usize) -> Result<(reference::Runs, Vec<u32>)> {
    let rows = codes.features.len() / codes.k;
    let (features, values) = (Tensor::new(gpu, &codes.features)?, Tensor::new(gpu, &codes.values)?);
    let device_codes =
        Codes { k: codes.k as u32, features: features.clone(), values: values.clone(), keys: values.clone() };
    let mut runs = Runs::new(gpu, rows as u32, codes.k as u32, n as u32)?;
    let poisoned = |buffer: &Buffer| Tensor::poisoned(gpu, buffer.bytes() as usize / 4);
    let (features, starts, entries) = (poisoned(&runs.features)?, poisoned(&runs.starts)?, poisoned(&runs.entries)?);
    let (count, bounds) = (poisoned(&runs.count)?, poisoned(&runs.block_bounds)?);
    runs.features = features.clone();
    runs.starts = starts.clone();
    runs.entries = entries.clone();
    runs.count = count.clone();
    runs.block_bounds = bounds.clone();
    submit(gpu, |recording| kernels.record(recording, &device_codes, rows as u32, &runs))?;

    let count = count.read::<u32>()?[0] as usize;
    let (mut features, mut starts, mut entries) = (features.read()?, starts.read()?, entries.read::<u32>()?);
    if count > runs.capacity() as usize {
        return Err(wrong("transpose: more runs than there can be"));
    }
    let mut all = entries.clone();
    all.truncate(codes.features.len());
    all.sort_unstable();
    if all.iter().enumerate().any(|(at, entry)| at as u32 != *entry) {
        return Err(wrong("transpose: an entry was lost"));
    }
    features.truncate(count);
    // Nobody looks at the starts of no runs.
    starts.truncate(count + 1);
    if count == 0 {
        starts = vec![0];
    }
    entries.truncate(starts[count] as usize);
    let mut bounds: Vec<u32> = bounds.read()?;
    bounds.truncate(n.div_ceil(BLOCK_FEATURES as usize) + 1);
    Ok((reference::Runs { features, starts, entries }, bounds))
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernels = Transpose::new(checker.gpu)?;
    let mut lists = checker.compare("transpose", 0.0);
    // One, two and three passes of the sort; fewer and more entries than a block of it.
    for (rows, n, k) in [(1, 1, 1), (7, 255, 3), (205, 1025, 5), (1024, 65_537, 1), (600, 70_001, 32)] {
        let codes = HostCodes::random(n as u64, rows, n, k, true);
        let expected = reference::transpose(&codes.reference(), n);
        let (runs, bounds) = transpose(checker.gpu, &kernels, &codes, n)?;
        lists.equal((rows, n, k, "features"), &runs.features, &expected.features);
        lists.equal((rows, n, k, "starts"), &runs.starts, &expected.starts);
        lists.equal((rows, n, k, "entries"), &runs.entries, &expected.entries);
        lists.equal((rows, n, k, "bounds"), &bounds, &block_bounds(&expected, n));
    }
    Ok(vec![lists.done()])
}
