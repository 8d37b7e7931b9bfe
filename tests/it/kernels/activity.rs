use monosem::gpu::shaders::Step;
use monosem::gpu::shaders::activity::{Params, count_dead, record};
use monosem::kernels::Activity;
use monosem::reference;

use super::{AT_REST, DeviceRuns, HostCodes, Tensor, gpu, run, words};

/// `last_fired` and `fired` of all shards, and the number of dead features.
fn activity(
    kernels: &Activity,
    runs: &reference::Runs,
    before: (&[u32], &[u32]),
    (step, window): (u32, u32),
    cuts: &[usize],
    guard: [u32; 2],
) -> (Vec<u32>, Vec<u32>, u32) {
    let n = before.0.len();
    let device_runs = DeviceRuns::new(runs, n);
    let step = Tensor::new(&[Step { number: step, ..Default::default() }]);
    let (guard, dead) = (Tensor::new(&guard), Tensor::new(&[0_u32]));
    let (mut all_last_fired, mut all_fired) = (Vec::new(), Vec::new());
    let mut first = 0;
    for &end in cuts {
        let (last_fired, fired) = (Tensor::new(&before.0[first..end]), Tensor::new(&before.1[first..end]));
        let params = Params { first: first as u32, count: (end - first) as u32, window };
        run(|recording| {
            let bindings = record::Bindings {
                run_features: &device_runs.features,
                run_starts: &device_runs.starts,
                block_bounds: &device_runs.block_bounds,
                last_fired: &last_fired,
                fired: &fired,
                guard: &guard,
                step: &step,
                params,
            };
            // More than there are, as when training, where only the most that there can be is known.
            kernels.record(recording, bindings, runs.features.len() as u32 + 100);
            let bindings = count_dead::Bindings { last_fired: &last_fired, dead: &dead, step: &step, params };
            kernels.record_dead(recording, bindings);
        });
        all_last_fired.extend(last_fired.read::<u32>());
        all_fired.extend(fired.read::<u32>());
        first = end;
    }
    (all_last_fired, all_fired, dead.read::<u32>()[0])
}

#[test]
fn every_size_and_shard_matches_the_reference() {
    let kernels = Activity::new(gpu()).unwrap();
    for (rows, n, k) in [(0, 70, 1), (1, 1, 1), (40, 63, 3), (40, 64, 3), (40, 65, 3), (600, 2500, 20)] {
        let codes = HostCodes::random(1, rows, n, k, true);
        let runs = reference::transpose(&codes.reference(), n);
        let before: Vec<u32> = words(2, n).into_iter().map(|word| word % 100).collect();
        let (step, window) = (120, 50);
        let (mut last_fired, mut fired) = (before.clone(), before.clone());
        reference::activity(&runs, step, &mut last_fired, &mut fired);
        let dead = last_fired.iter().filter(|last| step - **last >= window).count() as u32;
        let expected = (last_fired, fired, dead);
        let cuts: &[&[usize]] = if n > 2048 { &[&[n], &[1024, 2048, n]] } else { &[&[n]] };
        for cuts in cuts {
            let actual = activity(&kernels, &runs, (&before, &before), (step, window), cuts, AT_REST);
            assert!(actual == expected, "{rows} rows, {n} features, shards to {cuts:?}");
        }
    }
}

#[test]
fn a_feature_is_dead_after_exactly_the_window() {
    let kernels = Activity::new(gpu()).unwrap();
    let none = reference::Runs { features: vec![], starts: vec![0], entries: vec![] };
    for (last_fired, dead) in [(90, 1), (91, 0), (0, 1), (100, 0)] {
        let (_, _, counted) = activity(&kernels, &none, (&[last_fired], &[0]), (100, 10), &[1], AT_REST);
        assert_eq!(counted, dead, "last fired in step {last_fired}");
    }
}

#[test]
fn a_full_counter_stays_full() {
    let kernels = Activity::new(gpu()).unwrap();
    let runs = reference::Runs { features: vec![0, 1, 2], starts: vec![0, 5, 10, 15], entries: (0..15).collect() };
    let before = [u32::MAX - 5, u32::MAX - 4, u32::MAX];
    let (_, fired, _) = activity(&kernels, &runs, (&[0; 3], &before), (1, 9), &[3], AT_REST);
    assert_eq!(fired, [u32::MAX; 3]);
}

#[test]
fn a_raised_guard_keeps_the_records() {
    let kernels = Activity::new(gpu()).unwrap();
    let runs = reference::Runs { features: vec![1], starts: vec![0, 2], entries: vec![0, 1] };
    let (last_fired, fired, _) = activity(&kernels, &runs, (&[3, 4], &[5, 6]), (9, 9), &[2], [1, 0]);
    assert_eq!((last_fired, fired), (vec![3, 4], vec![5, 6]));
}
