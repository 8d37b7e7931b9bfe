use super::*;
use crate::data::Permutation;
use crate::storage::fixtures::{Tensor, write};

/// `rows` rows of one column that hold their own numbers.
fn numbered(rows: usize) -> Arc<Activations> {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..rows).map(|row| row as f32).collect();
    let path = dir.path().join("numbered.safetensors");
    write(&path, &[Tensor::f32("activations", &[rows, 1], &values)], &[]);
    // The open file outlives its name.
    Arc::new(Activations::open(&[path]).unwrap())
}

fn stream(batches: Batches) -> Vec<Vec<f32>> {
    batches.map(|batch| batch.unwrap().rows.to_f32().into_owned()).collect()
}

#[test]
fn shuffled_is_one_stream_of_whole_epochs() {
    let data = numbered(10);
    let stretch = Stretch { batch: 4, seed: 5, first: 0, steps: 10 };
    let all = stream(Batches::shuffled(data.clone(), RowOrder::Rows, stretch).unwrap());
    assert_eq!(all.len(), 10);
    let rows = all.concat();
    for (epoch, rows) in rows.chunks(10).enumerate() {
        let order = Permutation::new(10, 5, epoch as u64);
        assert!(rows.iter().map(|&row| row as u64).eq((0..10).map(|i| order.at(i))), "epoch {epoch}");
    }
    let stretch = Stretch { first: 12, steps: 7, ..stretch };
    let resumed = stream(Batches::shuffled(data, RowOrder::Rows, stretch).unwrap());
    assert_eq!(resumed, all[3..]);
}

#[test]
fn every_order_has_every_row_once_an_epoch_and_resumes_anywhere() {
    const ROWS: u64 = 53;
    let data = numbered(ROWS as usize);
    let orders = [
        RowOrder::Rows,
        RowOrder::Sequential { block: 5 },
        RowOrder::Mixed { block: 5, blocks: 3 },
        RowOrder::Mixed { block: 5, blocks: 100 },
        RowOrder::Mixed { block: 1, blocks: 1 },
    ];
    for order in orders {
        let read = |seed, first, steps| {
            stream(Batches::shuffled(data.clone(), order, Stretch { batch: 4, seed, first, steps }).unwrap())
        };
        let all = read(5, 0, 3 * ROWS / 4);
        for epoch in all.concat().chunks_exact(ROWS as usize) {
            let mut rows = epoch.to_vec();
            rows.sort_unstable_by(f32::total_cmp);
            assert!(rows.into_iter().eq((0..ROWS).map(|row| row as f32)), "{order:?}: {epoch:?}");
        }
        for step in [1, 3, 4, 12, 13, 14, 30, 38] {
            assert_eq!(read(5, 4 * step, 3 * ROWS / 4 - step), all[step as usize..], "{order:?}, step {step}");
        }
        assert_ne!(read(6, 0, 9), all[..9], "{order:?}");
    }
}

#[test]
fn a_batch_that_was_looked_at_is_still_the_next() {
    let stretch = Stretch { batch: 4, seed: 0, first: 0, steps: 2 };
    let mut batches = Batches::shuffled(numbered(10), RowOrder::Rows, stretch).unwrap();
    let first = batches.peek().unwrap().numbers.clone();
    assert_eq!(batches.peek().unwrap().numbers, first);
    assert_eq!(batches.next().unwrap().unwrap().numbers, first);
    assert_ne!(batches.next().unwrap().unwrap().numbers, first);
    assert!(batches.next().is_none() && batches.peek().is_err());
}

#[test]
fn batches_that_are_dropped_lend_their_memory_to_later_ones() {
    const STEPS: u64 = 200;
    for order in [RowOrder::Rows, RowOrder::Sequential { block: 3 }, RowOrder::Mixed { block: 3, blocks: 4 }] {
        let stretch = Stretch { batch: 8, seed: 0, first: 0, steps: STEPS };
        let (mut places, mut numbers) = (Vec::new(), Vec::new());
        // What a step that may be taken again keeps of its batch.
        let mut kept = None;
        for batch in Batches::shuffled(numbered(50), order, stretch).unwrap() {
            let batch = batch.unwrap();
            assert!(batch.rows.to_f32().iter().map(|&row| row as u64).eq(batch.numbers.iter().copied()), "{order:?}");
            places.push(batch.rows.view().bytes().as_ptr());
            numbers.push(batch.numbers.as_ptr());
            let copy = kept.insert(batch.clone());
            assert_eq!((copy.rows.view(), &copy.numbers), (batch.rows.view(), &batch.numbers));
            places.push(copy.rows.view().bytes().as_ptr());
            numbers.push(copy.numbers.as_ptr());
        }
        for mut memory in [
            places.into_iter().map(|place| place as usize).collect::<Vec<_>>(),
            numbers.into_iter().map(|place| place as usize).collect(),
        ] {
            assert_eq!(memory.len() as u64, 2 * STEPS);
            memory.sort_unstable();
            memory.dedup();
            // Each reader fills one, has one that waits to be taken, one is in use, and its copy beside the last one's.
            assert!(memory.len() <= 2 * READERS + 3, "{order:?}: {} batches' memory", memory.len());
        }
    }
}

#[test]
fn in_order_ends_with_the_rest() {
    let batches: Vec<_> = Batches::in_order(numbered(10), 4).unwrap().map(Result::unwrap).collect();
    assert!(batches.iter().map(|batch| batch.count).eq([4, 4, 2]));
    assert!(batches.iter().flat_map(|batch| batch.numbers.to_vec()).eq(0..10));
    assert!(batches.iter().flat_map(|batch| batch.rows.to_f32().into_owned()).eq((0..10).map(|i| i as f32)));
}

#[test]
fn refuses_what_cannot_be_batched() {
    let data = numbered(10);
    let shuffled =
        |batch, first, steps| Batches::shuffled(data.clone(), RowOrder::Rows, Stretch { batch, seed: 0, first, steps });
    let Err(Error::BatchTooLarge { batch: 11, rows: 10 }) = shuffled(11, 0, 1) else { panic!("accepted") };
    for (result, expected) in [
        (shuffled(0, 0, 1), vec!["0 rows"]),
        (shuffled(4, 4, u64::MAX / 4), vec!["2^64"]),
        (Batches::in_order(data.clone(), 0), vec!["0 rows"]),
    ] {
        let Err(Error::Config(message)) = result else { panic!("accepted; expected {expected:?}") };
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn an_error_ends_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.safetensors");
    write(&path, &[Tensor::f32("activations", &[3, 1], &[0.0, f32::NAN, 2.0])], &[]);
    let mut batches = Batches::in_order(Arc::new(Activations::open(&[path]).unwrap()), 1).unwrap();
    assert!(batches.next().unwrap().is_ok());
    assert!(batches.next().unwrap().is_err());
    assert!(batches.next().is_none());
}

#[test]
fn a_panic_reaches_the_consumer() {
    let mut batches = Batches::read_by_turns(numbered(1), 1, |_, _| panic!("lost")).unwrap();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches.next())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"lost"));
}

#[test]
fn dropping_the_stream_ends_its_threads() {
    let stretch = Stretch { batch: 1, seed: 0, first: 0, steps: u64::MAX };
    for order in [RowOrder::Rows, RowOrder::Mixed { block: 1, blocks: 2 }] {
        let mut batches = Batches::shuffled(numbered(10), order, stretch).unwrap();
        let threads: Vec<_> = batches.readers.iter_mut().map(|reading| reading.thread.take().unwrap()).collect();
        drop(batches);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
