//! Types of stored values.

use serde::{Deserialize, Serialize};

/// The type of a stored tensor's values, as safetensors names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Dtype {
    /// 8-bit unsigned integers.
    U8,
    /// 16-bit unsigned integers.
    U16,
    /// 32-bit signed integers.
    I32,
    /// 32-bit unsigned integers.
    U32,
    /// 64-bit unsigned integers.
    U64,
    /// 64-bit signed integers.
    I64,
    /// 16-bit floats, IEEE 754.
    F16,
    /// 16-bit floats with f32's exponents.
    BF16,
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
}

impl Dtype {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The smaller of the types that PyTorch indexes with, if it holds every number below `count`.
    pub fn of_indices(count: usize) -> Self {
        if count <= 1 << 31 { Self::I32 } else { Self::I64 }
    }

    pub(super) fn stored(self) -> safetensors::Dtype {
        match self {
            Self::U8 => safetensors::Dtype::U8,
            Self::U16 => safetensors::Dtype::U16,
            Self::I32 => safetensors::Dtype::I32,
            Self::U32 => safetensors::Dtype::U32,
            Self::U64 => safetensors::Dtype::U64,
            Self::I64 => safetensors::Dtype::I64,
            Self::F16 => safetensors::Dtype::F16,
            Self::BF16 => safetensors::Dtype::BF16,
            Self::F32 => safetensors::Dtype::F32,
            Self::F64 => safetensors::Dtype::F64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_have_a_sign_to_spare() {
        assert_eq!([1, 1 << 31, (1 << 31) + 1].map(Dtype::of_indices), [Dtype::I32, Dtype::I32, Dtype::I64]);
    }
}
