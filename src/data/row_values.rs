//! Values of rows in the type that they are stored in.

use std::borrow::Cow;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::spares::Spares;
use crate::storage::Dtype;

/// Values of whole rows, one row after another. Clones share them.
#[derive(Clone, Debug)]
pub struct RowValues(Arc<Lent>);

/// Values in memory that is given back.
#[derive(Debug)]
struct Lent {
    values: Values,
    /// Where the memory goes when it is dropped.
    home: Option<Arc<Spares<Values>>>,
}

#[derive(Clone, Debug)]
pub(super) enum Values {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
}

/// A look at [`RowValues`], or at any slice of floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowsView<'a> {
    /// 16-bit floats, IEEE 754.
    F16(&'a [f16]),
    /// 16-bit floats with f32's exponents.
    Bf16(&'a [bf16]),
    /// 32-bit floats.
    F32(&'a [f32]),
}

impl Values {
    fn new(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F16 => Self::F16(Vec::new()),
            Dtype::BF16 => Self::Bf16(Vec::new()),
            _ => Self::F32(Vec::new()),
        }
    }

    fn resize(&mut self, count: usize) {
        match self {
            Self::F16(values) => resize(values, count),
            Self::Bf16(values) => resize(values, count),
            Self::F32(values) => resize(values, count),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::F16(values) => bytemuck::cast_slice_mut(values),
            Self::Bf16(values) => bytemuck::cast_slice_mut(values),
            Self::F32(values) => bytemuck::cast_slice_mut(values),
        }
    }

    fn view(&self) -> RowsView<'_> {
        match self {
            Self::F16(values) => RowsView::F16(values),
            Self::Bf16(values) => RowsView::Bf16(values),
            Self::F32(values) => RowsView::F32(values),
        }
    }
}

/// Makes them `count`: zeros where they do not fit the memory that there is, else zeros behind those that are there.
fn resize<T: bytemuck::Zeroable + Copy>(values: &mut Vec<T>, count: usize) {
    if values.capacity() < count {
        *values = bytemuck::allocation::zeroed_vec(count);
    } else {
        values.resize(count, T::zeroed());
    }
}

impl RowValues {
    /// Zeros: `count` values of f16, bf16 or f32.
    pub(super) fn zeroed(dtype: Dtype, count: usize) -> Self {
        let mut values = Values::new(dtype);
        values.resize(count);
        Self::of(values, None)
    }

    fn of(values: Values, home: Option<Arc<Spares<Values>>>) -> Self {
        Self(Arc::new(Lent { values, home }))
    }

    /// `count` values that are to be written over, in memory of `spares` if there is some.
    pub(super) fn reused(spares: &Arc<Spares<Values>>, dtype: Dtype, count: usize) -> Self {
        let mut values = spares.take().unwrap_or_else(|| Values::new(dtype));
        values.resize(count);
        Self::of(values, Some(spares.clone()))
    }

    /// Type of the values: f16, bf16 or f32.
    pub fn dtype(&self) -> Dtype {
        self.view().dtype()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as f32, exactly.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        self.view().to_f32()
    }

    /// The values.
    pub fn view(&self) -> RowsView<'_> {
        self.0.values.view()
    }

    #[cfg(feature = "arrow")]
    pub(super) fn truncate(&mut self, count: usize) {
        let count = count.min(self.len());
        self.values_mut().resize(count);
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.values_mut().bytes_mut()
    }

    /// The values, in memory of their own.
    fn values_mut(&mut self) -> &mut Values {
        &mut Arc::make_mut(&mut self.0).values
    }
}

impl From<Vec<f32>> for RowValues {
    fn from(values: Vec<f32>) -> Self {
        Self::of(Values::F32(values), None)
    }
}

impl Clone for Lent {
    /// In memory of where its own came from, if there is some.
    fn clone(&self) -> Self {
        let Some(home) = &self.home else { return Self { values: self.values.clone(), home: None } };
        let view = self.values.view();
        let mut values = home.take().unwrap_or_else(|| Values::new(view.dtype()));
        values.resize(view.len());
        values.bytes_mut().copy_from_slice(view.bytes());
        Self { values, home: Some(home.clone()) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::replace(&mut self.values, Values::F32(Vec::new())));
        }
    }
}

impl<'a> RowsView<'a> {
    /// Stored values of f16, bf16 or f32, whose bytes start a multiple of the value's size into a buffer of u32.
    pub(super) fn stored(dtype: Dtype, bytes: &'a [u8]) -> Self {
        match dtype {
            Dtype::F16 => Self::F16(bytemuck::cast_slice(bytes)),
            Dtype::BF16 => Self::Bf16(bytemuck::cast_slice(bytes)),
            _ => Self::F32(bytemuck::cast_slice(bytes)),
        }
    }

    /// Type of the values: f16, bf16 or f32.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F16(_) => Dtype::F16,
            Self::Bf16(_) => Dtype::BF16,
            Self::F32(_) => Dtype::F32,
        }
    }

    /// Number of values.
    pub fn len(self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes, in the host's order.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::F16(values) => bytemuck::cast_slice(values),
            Self::Bf16(values) => bytemuck::cast_slice(values),
            Self::F32(values) => bytemuck::cast_slice(values),
        }
    }

    /// The values as f32, exactly.
    pub fn to_f32(self) -> Cow<'a, [f32]> {
        match self {
            Self::F16(values) => Cow::Owned(values.to_f32_vec()),
            Self::Bf16(values) => Cow::Owned(values.to_f32_vec()),
            Self::F32(values) => Cow::Borrowed(values),
        }
    }

    /// Some of the values.
    ///
    /// # Panics
    /// When the range goes beyond them.
    pub fn slice(self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::F16(values) => Self::F16(&values[range]),
            Self::Bf16(values) => Self::Bf16(&values[range]),
            Self::F32(values) => Self::F32(&values[range]),
        }
    }

    /// The place of the first value that is NaN or infinite.
    pub(super) fn first_not_finite(self) -> Option<usize> {
        // Without an early exit the check is a handful of vector instructions.
        let are_finite = match self {
            Self::F16(values) => bits_are_below(bytemuck::cast_slice(values), 0x7c00),
            Self::Bf16(values) => bits_are_below(bytemuck::cast_slice(values), 0x7f80),
            Self::F32(values) => values.iter().fold(true, |finite, value| finite & value.is_finite()),
        };
        if are_finite {
            return None;
        }
        match self {
            Self::F16(values) => values.iter().position(|value| !value.is_finite()),
            Self::Bf16(values) => values.iter().position(|value| !value.is_finite()),
            Self::F32(values) => values.iter().position(|value| !value.is_finite()),
        }
    }
}

/// Whether all exponents are below the one of NaN and infinity.
fn bits_are_below(values: &[u16], exponent: u16) -> bool {
    values.iter().fold(true, |below, bits| below & (bits & exponent != exponent))
}

impl<'a> From<&'a [f32]> for RowsView<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for RowsView<'a> {
    fn from(values: &'a [f32; N]) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<&'a Vec<f32>> for RowsView<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<&'a RowValues> for RowsView<'a> {
    fn from(values: &'a RowValues) -> Self {
        values.view()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_found_in_every_type() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let halves: Vec<f16> = all.iter().map(|&bits| f16::from_bits(bits)).collect();
        let brains: Vec<bf16> = all.iter().map(|&bits| bf16::from_bits(bits)).collect();
        for at in 0..all.len() {
            let found = RowsView::F16(&halves[at..][..1]).first_not_finite().is_some();
            assert_eq!(found, !halves[at].is_finite(), "{:?}", halves[at]);
            let found = RowsView::Bf16(&brains[at..][..1]).first_not_finite().is_some();
            assert_eq!(found, !brains[at].is_finite(), "{:?}", brains[at]);
        }
        assert_eq!(RowsView::F16(&halves).first_not_finite(), Some(0x7c00));
        assert_eq!(RowsView::Bf16(&brains).first_not_finite(), Some(0x7f80));
        assert_eq!(RowsView::F32(&[1.0, f32::MAX, f32::NEG_INFINITY]).first_not_finite(), Some(2));
    }

    #[test]
    fn memory_is_used_again() {
        let spares = Arc::new(Spares::default());
        let mut first = RowValues::reused(&spares, Dtype::BF16, 100);
        first.bytes_mut().fill(1);
        let place = first.view().bytes().as_ptr();
        // A clone has the same memory, until one of both is written.
        let mut clone = first.clone();
        assert_eq!(clone.view().bytes().as_ptr(), place);
        clone.bytes_mut()[0] = 2;
        let written = clone.view().bytes().as_ptr();
        assert!(written != place && first.view().bytes() == [1; 200]);
        drop(first);
        let second = RowValues::reused(&spares, Dtype::BF16, 50);
        assert_eq!((second.view().bytes().as_ptr(), second.len()), (place, 50));
        assert!(clone.view().bytes()[..2] == [2, 1] && spares.count() == 0);
        let same = clone.clone();
        drop(clone);
        assert!(same.view().bytes()[..2] == [2, 1] && spares.count() == 0);
        drop(same);
        assert_eq!(RowValues::reused(&spares, Dtype::BF16, 100).view().bytes().as_ptr(), written);
        drop(second);
        assert_eq!(spares.count(), 2);
    }
}
