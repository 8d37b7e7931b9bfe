//! Rows that screening is not sure of while training: the same bits as in f32, however many they are.

use monosem::data::Batch;
use monosem::engine::select::{SelectionMethod, Tuning};
use monosem::selftest::screen::variants;
use monosem::train::{Progress, Trainer, Validation, initialize};

use crate::engine::redo::State;
use crate::engine::training::{BATCH, batches, config, recipe};
use crate::kernels::gpu;

/// What a run leaves.
#[derive(PartialEq)]
struct Run {
    reports: Vec<Progress>,
    /// The state as it is before step [`COPIED`], and as it is after all.
    states: [State; 2],
    validation: Validation,
}

const COPIED: u64 = 3;

/// Trains on these batches over and over, `steps` steps.
fn run(features: usize, method: SelectionMethod, steps: u64) -> Run {
    let batches: Vec<Batch> = batches(3, steps.min(20));
    let initial = initialize(&config(features), 3, &batches[0].rows.to_f32()).unwrap();
    let tuning = Tuning::usual(gpu().description(), method);
    let mut trainer = Trainer::with_tuning(gpu(), &initial, recipe(features, steps), tuning).unwrap();
    let (mut reports, mut states) = (Vec::new(), [State::default(), State::default()]);
    for (step, batch) in (1..=steps).zip(batches.iter().cycle()) {
        let finished = if step == COPIED { trainer.step_and_copy(batch, &mut states[0]) } else { trainer.step(batch) };
        reports.extend(finished.unwrap());
    }
    trainer.copy_state(&mut states[1]).unwrap();
    while let Some(finished) = trainer.next_finished().unwrap() {
        reports.push(finished);
    }
    let validation = trainer.validate(batches[..2].iter().cloned().map(Ok)).unwrap();
    Run { reports, states, validation }
}

fn screened(groups: u32) -> SelectionMethod {
    SelectionMethod::Screened { variant: variants(gpu())[0], groups }
}

/// The numbers of uncertain rows, which are then taken to be none.
fn uncertain_rows(run: &mut Run) -> Vec<u32> {
    run.reports.iter_mut().map(|report| std::mem::take(&mut report.uncertain_rows)).collect()
}

#[test]
fn batches_that_screening_is_not_sure_of_are_taken_again_in_f32() {
    let (features, steps) = (5000, 9);
    let mut expected = run(features, SelectionMethod::Chunked, steps);
    assert!(uncertain_rows(&mut expected).iter().all(|rows| *rows == 0));
    // With as many groups as features the k-th bound is hardly ever below the k-th key.
    let mut found = run(features, screened(7), steps);
    assert_eq!(uncertain_rows(&mut found), [BATCH as u32; 9]);
    assert!(found == expected);
}

#[test]
fn few_uncertain_rows_are_selected_again_alone_and_audits_find_nothing() {
    let (features, steps) = (1000, 40);
    let mut expected = run(features, SelectionMethod::Chunked, steps);
    uncertain_rows(&mut expected);
    // One group more than features: too few, which training sees and mends.
    let mut found = run(features, screened(8), steps);
    let uncertain = uncertain_rows(&mut found);
    assert!((1..=128).contains(&uncertain[0]), "{uncertain:?}");
    assert!(uncertain[30..].iter().filter(|rows| **rows > 0).count() < 5, "{uncertain:?}");
    assert!(found == expected, "{uncertain:?}");
}
