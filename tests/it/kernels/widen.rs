use half::f16;
use monosem::data::RowsView;
use monosem::selftest::tensors::bits;
use monosem::selftest::widen::{expected, halves, widen};

use super::gpu;

#[test]
fn every_value_of_every_size_is_kept() {
    // The last has more workgroups than one dimension of a dispatch takes, and an odd number of values.
    for (rows, d) in [(1, 1), (3, 4), (5, 33), (64, 256), (65, 1023), (2 * 65_537 + 1, 5)] {
        let (halves, brains) = halves(rows * d);
        for view in [RowsView::F16(&halves), RowsView::Bf16(&brains)] {
            let widened = bits(&widen(gpu(), view, d).unwrap());
            assert!(widened == expected(view, d), "{rows} x {d} of {:?}", view.dtype());
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|value| !value.is_finite()).collect();
    let widened = widen(gpu(), RowsView::F16(&all), 1).unwrap();
    let rows = widened.chunks_exact(widened.len() / all.len()).zip(&all);
    assert!(
        rows.clone().count() == 2048
            && rows.into_iter().all(|(row, value)| {
                row[0].is_nan() == value.is_nan()
                    && row[0].is_sign_negative() == value.is_sign_negative()
                    && !row[0].is_finite()
            })
    );
}
