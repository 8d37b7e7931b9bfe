//! Stored floats: their types, and their values as f32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Dtype;

/// Converts stored values of f16, bf16 or f32 into as many f32, exactly. The bytes start a multiple of the value's size
/// into a buffer of u32 or wider, and are little-endian as every host of a GPU.
pub(crate) fn decode(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F16 => bytemuck::cast_slice::<u8, f16>(bytes).convert_to_f32_slice(out),
        Dtype::BF16 => bytemuck::cast_slice::<u8, bf16>(bytes).convert_to_f32_slice(out),
        _ => out.copy_from_slice(bytemuck::cast_slice(bytes)),
    }
}
