//! Safetensors files for tests.

use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};

/// A tensor to be written.
#[derive(Clone)]
pub(crate) struct Tensor<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: &'a [usize],
    bytes: Vec<u8>,
}

impl<'a> Tensor<'a> {
    pub(crate) fn new(name: &'a str, dtype: Dtype, shape: &'a [usize], bytes: Vec<u8>) -> Self {
        Self { name, dtype, shape, bytes }
    }

    pub(crate) fn f32(name: &'a str, shape: &'a [usize], values: &[f32]) -> Self {
        Self::float(name, Dtype::F32, shape, values)
    }

    /// `values` rounded to F16, BF16 or F32.
    pub(crate) fn float(name: &'a str, dtype: Dtype, shape: &'a [usize], values: &[f32]) -> Self {
        let bytes = match dtype {
            Dtype::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        Self::new(name, dtype, shape, bytes)
    }
}

pub(crate) fn write(path: &Path, tensors: &[Tensor<'_>], metadata: &[(&str, &str)]) {
    let views = tensors.iter().map(|t| (t.name, TensorView::new(t.dtype, t.shape.to_vec(), &t.bytes).unwrap()));
    let metadata = metadata.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    serialize_to_file(views, Some(metadata), path).unwrap();
}
