//! Every kernel that a device would run, against its reference in f64: does this driver compute what it should?
//!
//! A file an operation, of the same stem as its kernel: the cases, the operation run on the device, and the check. The
//! crate's own tests run the same cases, and more of them.

#[doc(hidden)]
pub mod activity;
#[doc(hidden)]
pub mod admit;
#[doc(hidden)]
pub mod batch;
#[doc(hidden)]
pub mod bias_gradient;
#[doc(hidden)]
pub mod ceilings;
#[doc(hidden)]
pub mod center;
mod check;
#[doc(hidden)]
pub mod check_bounds;
#[doc(hidden)]
pub mod clip;
#[doc(hidden)]
pub mod closed;
#[doc(hidden)]
pub mod count;
#[doc(hidden)]
pub mod dead;
#[doc(hidden)]
pub mod decode;
#[doc(hidden)]
pub mod encode;
#[doc(hidden)]
pub mod gate;
#[doc(hidden)]
pub mod lists;
#[doc(hidden)]
pub mod mark;
#[doc(hidden)]
pub mod merge;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod normalize;
#[doc(hidden)]
pub mod norms;
#[doc(hidden)]
pub mod product;
#[doc(hidden)]
pub mod rerun;
#[doc(hidden)]
pub mod rescore;
#[doc(hidden)]
pub mod residual;
#[doc(hidden)]
pub mod screen;
#[doc(hidden)]
pub mod select;
#[doc(hidden)]
pub mod select_wide;
mod slab;
#[doc(hidden)]
pub mod slopes;
#[doc(hidden)]
pub mod sort;
#[doc(hidden)]
pub mod squares;
#[doc(hidden)]
pub mod step;
#[doc(hidden)]
pub mod summary;
#[doc(hidden)]
pub mod tensors;
#[doc(hidden)]
pub mod threshold;
pub mod to_f16;
#[doc(hidden)]
pub mod trained;
#[doc(hidden)]
pub mod update;
#[doc(hidden)]
pub mod variance;
#[doc(hidden)]
pub mod widen;

use std::time::{Duration, Instant};

pub use check::Check;
#[doc(hidden)]
pub use check::{ELEMENTWISE, FOLD, worst_error};

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use check::Checker;

/// What a self-test found.
#[derive(Clone, Debug)]
pub struct Report {
    /// A check an operation, variant and kind of result, in the order of a training step.
    pub checks: Vec<Check>,
    /// How long all of it took.
    pub duration: Duration,
}

impl Report {
    /// Number of checks that failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed()).count()
    }
}

type Operation = fn(&Checker<'_>) -> Result<Vec<Check>>;

const OPERATIONS: [(&str, Operation); 37] = [
    ("widen", widen::check),
    ("normalize", normalize::check),
    ("center", center::check),
    ("encode", encode::check),
    ("select", select::check),
    ("admit", admit::check),
    ("batch", batch::check),
    ("rescore", rescore::check),
    ("threshold", threshold::check),
    ("to_f16", to_f16::check),
    ("screen", screen::check),
    ("check_bounds", check_bounds::check),
    ("rerun", rerun::check),
    ("gate", gate::check),
    ("count", count::check),
    ("decode", decode::check),
    ("residual", residual::check),
    ("norms", norms::check),
    ("sort", sort::check),
    ("slopes", slopes::check),
    ("summary", summary::check),
    ("closed", closed::check),
    ("squares", squares::check),
    ("bias_gradient", bias_gradient::check),
    ("clip", clip::check),
    ("product", product::check),
    ("update", update::check),
    ("model", model::check),
    ("activity", activity::check),
    ("mark", mark::check),
    ("dead", dead::check),
    ("select_wide", select_wide::check),
    ("variance", variance::check),
    ("merge", merge::check),
    ("ceilings", ceilings::check),
    ("step", step::check),
    ("slab", slab::check),
];

/// Checks every operation and whole training steps; `on_check` is told of each check as it is done.
///
/// A check that fails is no error: see [`Report::failed`].
///
/// # Errors
/// [`Error::DeviceLost`] if the device goes away, which ends the test.
pub fn run(gpu: &Gpu, on_check: impl FnMut(&Check)) -> Result<Report> {
    run_only(gpu, &operations().collect::<Vec<_>>(), on_check)
}

/// As [`run`], of some of the [`operations`].
///
/// # Errors
/// As [`run`].
pub fn run_only(gpu: &Gpu, names: &[&str], on_check: impl FnMut(&Check)) -> Result<Report> {
    run_with(&Checker { gpu, fault: false }, names, on_check)
}

/// The names of the operations, in the order in which they are checked.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.into_iter().map(|(name, _)| name)
}

fn run_with(checker: &Checker<'_>, names: &[&str], mut on_check: impl FnMut(&Check)) -> Result<Report> {
    let started = Instant::now();
    let mut checks = Vec::new();
    for (name, operation) in OPERATIONS.into_iter().filter(|(name, _)| names.contains(name)) {
        let done = operation(checker).or_else(|error| Ok::<_, Error>(vec![Check::refused(name, "", error)?]))?;
        done.iter().for_each(&mut on_check);
        checks.extend(done);
    }
    Ok(Report { checks, duration: started.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_fails_each_check() {
        let choice = std::env::var("MONOSEM_TEST_DEVICE").map(|text| text.parse().unwrap()).unwrap_or_default();
        let gpu = Gpu::open(&choice).unwrap();
        let all: Vec<_> = operations().collect();
        let wrong = run_with(&Checker { gpu: &gpu, fault: true }, &all, |_| {}).unwrap();
        let passed: Vec<_> = wrong.checks.iter().filter(|check| check.passed()).collect();
        assert!(passed.is_empty(), "{passed:?}");
        assert_eq!(wrong.failed(), wrong.checks.len());
        for check in &wrong.checks {
            assert!(
                check.cases > 0 && check.problem.as_ref().is_some_and(|problem| problem.contains("not")),
                "{check:?}"
            );
        }
        for (name, _) in OPERATIONS {
            assert!(wrong.checks.iter().any(|check| check.operation.starts_with(name)), "{name} is not checked");
        }
    }
}
