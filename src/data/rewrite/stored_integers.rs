//! Integers of any stored type, in little-endian order.

use std::ops::RangeInclusive;

use crate::storage::Dtype;

/// The values that an integer type can hold; nothing for floats.
pub(super) fn range(dtype: Dtype) -> Option<RangeInclusive<i128>> {
    Some(match dtype {
        Dtype::U8 => 0..=u8::MAX.into(),
        Dtype::U16 => 0..=u16::MAX.into(),
        Dtype::I32 => i32::MIN.into()..=i32::MAX.into(),
        Dtype::U32 => 0..=u32::MAX.into(),
        Dtype::U64 => 0..=u64::MAX.into(),
        Dtype::I64 => i64::MIN.into()..=i64::MAX.into(),
        _ => return None,
    })
}

/// The smallest type that holds `values`, `dtype` itself if it does.
pub(super) fn widened(dtype: Dtype, values: &RangeInclusive<i128>) -> Option<Dtype> {
    let holds = |dtype: &Dtype| {
        range(*dtype).is_some_and(|range| range.contains(values.start()) && range.contains(values.end()))
    };
    [dtype, Dtype::U8, Dtype::U16, Dtype::I32, Dtype::U32, Dtype::I64, Dtype::U64].into_iter().find(holds)
}

/// The value of one stored integer.
pub(in crate::data) fn decode(dtype: Dtype, bytes: &[u8]) -> i128 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    match dtype {
        Dtype::I32 => i32::from_le_bytes([word[0], word[1], word[2], word[3]]).into(),
        Dtype::I64 => i64::from_le_bytes(word).into(),
        _ => u64::from_le_bytes(word).into(),
    }
}

/// Appends an integer that fits its type.
pub(super) fn encode(dtype: Dtype, value: i128, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes()[..dtype.bytes()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_in_every_type() {
        for dtype in [Dtype::U8, Dtype::U16, Dtype::I32, Dtype::U32, Dtype::I64, Dtype::U64] {
            let range = range(dtype).unwrap();
            for value in [*range.start(), *range.end(), 0, 1, 100] {
                let mut bytes = Vec::new();
                encode(dtype, value, &mut bytes);
                assert_eq!((bytes.len(), decode(dtype, &bytes)), (dtype.bytes(), value), "{dtype:?}");
            }
        }
        assert_eq!(range(Dtype::F32), None);
    }

    #[test]
    fn types_widen_no_further_than_they_must() {
        for (dtype, values, expected) in [
            (Dtype::I64, 0..=1, Some(Dtype::I64)),
            (Dtype::U8, 0..=256, Some(Dtype::U16)),
            (Dtype::I32, 0..=1 << 31, Some(Dtype::U32)),
            (Dtype::U32, -1..=1 << 31, Some(Dtype::I64)),
            (Dtype::U16, -1..=0, Some(Dtype::I32)),
            (Dtype::I64, 0..=1 << 63, Some(Dtype::U64)),
            (Dtype::I64, -1..=1 << 63, None),
        ] {
            assert_eq!(widened(dtype, &values), expected, "{dtype:?} {values:?}");
        }
    }
}
