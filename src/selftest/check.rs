//! Comparing what a device computed with what it should have.

use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// Largest difference of an f32 fold from the same sum in f64, of the tensor's largest magnitude. A fold of t terms
/// drifts by about sqrt(t) half ulps (6e-8); the longest here has 800.
pub const FOLD: f64 = 4e-6;

/// The same for results of a few operations each.
pub const ELEMENTWISE: f64 = 2.5e-7;

/// What came of comparing one kind of result of one operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// The operation, and the kind of result where there are several: `residual.gradient`.
    pub operation: &'static str,
    /// The kernel variant, empty where there is only one.
    pub variant: String,
    /// Number of comparisons.
    pub cases: usize,
    /// The largest difference from the reference, as a fraction of the largest magnitude in the reference's tensor;
    /// for results that must be equal (tolerance 0) the largest fraction of entries that are not.
    pub worst: f64,
    /// The largest difference that passes.
    pub tolerance: f64,
    /// What went wrong first, if something did.
    pub problem: Option<String>,
}

impl Check {
    /// Whether every comparison came within the tolerance, and there was one.
    pub fn passed(&self) -> bool {
        self.problem.is_none() && self.cases > 0 && self.worst <= self.tolerance
    }

    /// The failed check of an operation that could not be run; an error if nothing can be run any more.
    pub(super) fn refused(operation: &'static str, variant: impl ToString, error: Error) -> Result<Self> {
        match error {
            Error::DeviceLost(_) => Err(error),
            _ => Ok(Self {
                operation,
                variant: variant.to_string(),
                cases: 0,
                worst: f64::INFINITY,
                tolerance: 0.0,
                problem: Some(format!("could not be run: {error}")),
            }),
        }
    }
}

/// Makes checks of a device.
pub(super) struct Checker<'a> {
    pub gpu: &'a Gpu,
    /// Whether every result is falsified before it is compared: for the test of the self-test.
    pub fault: bool,
}

impl Checker<'_> {
    pub fn compare(&self, operation: &'static str, tolerance: f64) -> Comparison {
        let check = Check { operation, variant: String::new(), cases: 0, worst: 0.0, tolerance, problem: None };
        Comparison { check, fault: self.fault }
    }
}

/// A check under way.
pub(super) struct Comparison {
    check: Check,
    fault: bool,
}

impl Comparison {
    pub fn of_variant(mut self, variant: impl ToString) -> Self {
        self.check.variant = variant.to_string();
        self
    }

    /// No value may differ by more than the tolerance.
    pub fn close(&mut self, case: impl Debug, actual: &[f32], expected: &[f64]) {
        let mut actual = actual.to_vec();
        let largest = largest_magnitude(expected);
        if let Some(last) = actual.last_mut().filter(|_| self.fault) {
            *last += (2.0 * self.check.tolerance * largest) as f32;
        }
        let (error, at) = worst_error(&actual, expected);
        let (actual, expected) = (actual.get(at), expected.get(at));
        self.add(error, || {
            format!("{case:?}: entry {at} is {actual:?}, not {expected:?}, of magnitudes up to {largest:e}")
        });
    }

    /// Every value must be the same.
    pub fn equal<T: PartialEq + Clone + Debug>(&mut self, case: impl Debug, actual: &[T], expected: &[T]) {
        let actual = if self.fault { &actual[..actual.len().saturating_sub(1)] } else { actual };
        let length = actual.len().max(expected.len());
        let differ = |at: &usize| actual.get(*at) != expected.get(*at);
        let wrong = (0..length).filter(differ).count();
        let at = (0..length).find(differ).unwrap_or(0);
        let (actual, expected) = (actual.get(at), expected.get(at));
        self.add(wrong as f64 / length.max(1) as f64, || {
            format!("{case:?}: entry {at} is {actual:?}, not {expected:?}")
        });
    }

    pub fn done(self) -> Check {
        self.check
    }

    fn add(&mut self, error: f64, problem: impl FnOnce() -> String) {
        self.check.cases += 1;
        self.check.worst = self.check.worst.max(error);
        if error > self.check.tolerance && self.check.problem.is_none() {
            self.check.problem = Some(problem());
        }
    }
}

fn largest_magnitude(expected: &[f64]) -> f64 {
    expected.iter().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()))
}

/// The largest difference as a fraction of the largest expected magnitude, and where it is; infinite where lengths
/// differ or a difference is no number.
pub fn worst_error(actual: &[f32], expected: &[f64]) -> (f64, usize) {
    if actual.len() != expected.len() {
        return (f64::INFINITY, actual.len().min(expected.len()));
    }
    let largest = largest_magnitude(expected);
    let mut worst = (0.0, 0);
    for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*actual) - expected).abs() / largest;
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > worst.0 {
            worst = (error, at);
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(actual: &[f32], expected: &[f64], tolerance: f64) -> Check {
        let check = Check { operation: "x", variant: String::new(), cases: 0, worst: 0.0, tolerance, problem: None };
        let mut comparison = Comparison { check, fault: false };
        comparison.close("case", actual, expected);
        comparison.done()
    }

    #[test]
    fn a_difference_counts_as_a_fraction_of_the_largest_magnitude() {
        let check = compare(&[1.0, -7.5], &[1.0, -8.0], 0.1);
        assert!(check.passed() && check.worst == 0.0625, "{check:?}");
        assert!(!compare(&[1.0, -7.5], &[1.0, -8.0], 0.06).passed());
        assert_eq!(worst_error(&[0.5, 8.0, 2.0], &[0.0, 8.0, 1.0]), (0.125, 2));
    }

    #[test]
    fn what_is_no_number_or_missing_fails() {
        for (actual, expected) in [
            (&[1.0, f32::NAN][..], &[1.0, 2.0][..]),
            (&[1.0, f32::INFINITY], &[1.0, 2.0]),
            (&[1.0], &[1.0, 2.0]),
            (&[1.0, 2.0, 3.0], &[1.0, 2.0]),
            (&[1.0, 2.0], &[1.0, f64::NAN]),
        ] {
            let check = compare(actual, expected, 1e9);
            assert!(!check.passed() && check.problem.is_some(), "{actual:?}, {expected:?}: {check:?}");
        }
        assert!(compare(&[], &[], 0.0).passed());
    }

    #[test]
    fn unequal_lists_fail_by_the_fraction_that_differs() {
        let equal = |actual: &[u32], expected: &[u32]| {
            let check = Check { tolerance: 0.0, ..compare(&[], &[], 0.0) };
            let mut comparison = Comparison { check, fault: false };
            comparison.equal("case", actual, expected);
            comparison.done()
        };
        assert!(equal(&[1, 2], &[1, 2]).passed());
        let check = equal(&[1, 3, 5, 4], &[1, 2, 3, 4]);
        assert!(!check.passed() && check.worst == 0.5, "{check:?}");
        assert_eq!(check.problem.unwrap(), "\"case\": entry 1 is Some(3), not Some(2)");
        assert!(!equal(&[1], &[1, 2]).passed());
    }

    #[test]
    fn nothing_compared_is_nothing_passed() {
        assert!(!Check { cases: 0, ..compare(&[], &[], 0.0) }.passed());
    }

    #[test]
    fn what_cannot_be_run_fails_and_a_lost_device_ends_it() {
        let refusal = Error::Shader { shader: "encode.main".into(), message: "no".into() };
        let check = Check::refused("encode", "tiled", refusal).unwrap();
        assert!(!check.passed() && check.variant == "tiled", "{check:?}");
        assert!(check.problem.unwrap().contains("shader encode.main was refused"));
        assert!(matches!(Check::refused("x", "", Error::DeviceLost("gone".into())), Err(Error::DeviceLost(_))));
    }
}
