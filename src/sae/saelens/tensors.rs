//! `sae_weights.safetensors`: the tensors of the description by their names, `W_enc` transposed.

use std::path::Path;

use crate::error::{Error, Result};
use crate::sae::description::{Role, TensorSpec};
use crate::sae::stored::{STRIPE, StoredTensor};
use crate::sae::{Architecture, SaeConfig, Weights, for_each_tile};
use crate::storage::{Dtype, TensorWriter};

/// The thresholds of early JumpReLU SAEs.
pub(super) const LOG_THRESHOLD: &str = "log_threshold";

/// The tensors in the order that SAELens writes them: by name, capitals first.
pub(super) fn stored(config: &SaeConfig) -> Vec<StoredTensor> {
    let has_logarithms = matches!(&config.architecture, Architecture::JumpRelu(jumprelu) if jumprelu.log_threshold);
    let mut tensors = config.tensors();
    tensors.sort_by_key(|tensor| tensor.name);
    let stored = |tensor: TensorSpec| StoredTensor {
        tensor,
        name: if has_logarithms && tensor.role == Role::Own(0) { LOG_THRESHOLD } else { tensor.name },
        transposed: tensor.role == Role::Encoder,
    };
    tensors.into_iter().map(stored).collect()
}

/// Writes the tensors tile by tile, each of finite values.
pub(super) fn write(weights: &dyn Weights, path: &Path) -> Result<()> {
    let stored = stored(weights.config());
    let shapes: Vec<_> = stored.iter().map(|stored| stored.shape(weights.config())).collect();
    let tensors: Vec<_> =
        stored.iter().zip(&shapes).map(|(stored, shape)| (stored.name, Dtype::F32, &shape[..])).collect();
    let mut file = TensorWriter::create(path, &tensors)?;
    for (at, StoredTensor { tensor, transposed, .. }) in stored.iter().enumerate() {
        let [rows, columns] = tensor.shape(weights.config());
        for_each_tile(weights, tensor, |first, values| {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let (name, row) = (tensor.name, first + at / columns);
                return Err(Error::Config(format!("{name} holds {} (row {row}): nothing was saved", values[at])));
            }
            if *transposed {
                write_transposed(&mut file, at, rows, first, values, columns)
            } else {
                file.write(at, (4 * first * columns) as u64, bytemuck::cast_slice(values))
            }
        })?;
    }
    file.finish()
}

/// Writes rows `first..` of a matrix of `rows` rows into the columns of a tensor of the file.
fn write_transposed(
    file: &mut TensorWriter,
    tensor: usize,
    rows: usize,
    first: usize,
    values: &[f32],
    columns: usize,
) -> Result<()> {
    let count = values.len() / columns;
    let mut stripe = vec![0.0; count * STRIPE.min(columns)];
    for column in (0..columns).step_by(STRIPE) {
        let width = STRIPE.min(columns - column);
        for (row, values) in values.chunks_exact(columns).enumerate() {
            for (at, &value) in values[column..column + width].iter().enumerate() {
                stripe[at * count + row] = value;
            }
        }
        for (column, stripe) in (column..column + width).zip(stripe.chunks_exact(count)) {
            file.write(tensor, (4 * (column * rows + first)) as u64, bytemuck::cast_slice(stripe))?;
        }
    }
    Ok(())
}
