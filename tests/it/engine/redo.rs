//! Steps that are taken again because entries did not fit their list.

use monosem::engine::state::{StateSink, Tile};
use monosem::rng::{Purpose, Rng};
use monosem::sae::{AuxK, AuxKForm, SaeConfig, TopK};
use monosem::train::{Progress, Recipe, Trainer, initialize};
use monosem::{Error, Result};

use crate::engine::training::{BATCH, FEATURES, batches, config, recipe};
use crate::kernels::gpu;

const STEPS: u64 = 9;

/// The tiles of a state.
#[derive(Default, PartialEq)]
pub struct State(Vec<Tile>);

impl StateSink for State {
    fn offer(&mut self, tile: Tile) -> Result<Option<Tile>> {
        self.put(tile).map(|()| None)
    }

    fn put(&mut self, tile: Tile) -> Result<()> {
        self.0.push(tile);
        Ok(())
    }
}

fn trainer() -> Trainer {
    let architecture = TopK { auxk: Some(AuxK::new(AuxKForm::Normalised)), ..TopK::new(7) }.into();
    let config = SaeConfig { architecture, ..config(FEATURES) };
    let initial = initialize(&config, 3, &batches(3, 1)[0].rows.to_f32()).unwrap();
    // Features die within the steps.
    let recipe = Recipe { dead_window: 2 * BATCH as u64, ..recipe(FEATURES, STEPS) };
    Trainer::new(gpu(), &initial, recipe).unwrap()
}

/// What the steps report, the state as it is before step `copied`, and as it is after all, if the first submissions
/// from each step of `full` on find a list full.
fn run(full: &[(u64, u32)], copied: u64) -> (Vec<Progress>, State, State) {
    let (mut trainer, mut before, mut after) = (trainer(), State::default(), State::default());
    let mut reports = Vec::new();
    for (step, batch) in (1..).zip(&batches(3, STEPS)) {
        if let Some(&(_, times)) = full.iter().find(|(first, _)| *first == step) {
            trainer.fill_list(times);
        }
        let finished = if step == copied { trainer.step_and_copy(batch, &mut before) } else { trainer.step(batch) };
        reports.extend(finished.unwrap());
    }
    trainer.copy_state(&mut after).unwrap();
    while let Some(finished) = trainer.next_finished().unwrap() {
        reports.push(finished);
    }
    assert_eq!((trainer.finished(), trainer.submitted()), (STEPS, STEPS));
    (reports, before, after)
}

#[test]
fn steps_that_are_taken_again_leave_the_bits_and_reports_of_a_run_without() {
    let copied = 6;
    let (reports, before, after) = run(&[], copied);
    assert!(reports.last().unwrap().dead > 0, "AuxK has nothing to do");
    let random = Rng::new(14, Purpose::Shuffle).block(0, 0);
    let anywhere = 1 + u64::from(random[0]) % STEPS;
    // The step that is copied, the one before it, the last, one after the other, and any.
    for full in [vec![(copied, 1)], vec![(copied - 1, 1)], vec![(STEPS, 1)], vec![(2, 2), (5, 1)], vec![(anywhere, 1)]]
    {
        let (again, before_again, after_again) = run(&full, copied);
        assert_eq!(again, reports, "{full:?}");
        assert!(before_again == before, "the copied state differs, {full:?}");
        assert!(after_again == after, "the last state differs, {full:?}");
    }
}

#[test]
fn a_list_that_stays_full_is_an_error_and_the_state_is_that_before() {
    let mut trainer = trainer();
    let batches = batches(3, STEPS);
    trainer.step(&batches[0]).unwrap();
    trainer.fill_list(u32::MAX);
    trainer.step(&batches[1]).unwrap();
    assert_eq!(trainer.next_finished().unwrap().unwrap().step, 1);
    let Err(Error::Device(message)) = trainer.next_finished() else { panic!("the list was not full") };
    assert!(message.contains("step 2"), "{message}");
}
