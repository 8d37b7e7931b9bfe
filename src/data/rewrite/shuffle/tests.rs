use std::path::PathBuf;

use safetensors::Dtype as Stored;
use tempfile::TempDir;

use super::*;
use crate::storage::fixtures::{Tensor, write};

const WIDTH: usize = 3;

/// Memory for shards of 6 rows: half of it holds 6 records of 8 + 12 + 4 + 3 bytes.
const MEMORY: u64 = 2 * 6 * 27;

const OPTIONS: ShuffleOptions = ShuffleOptions { seed: 5, memory: MEMORY };

/// A file whose row `row` has values that tell its number, `row` as token and `[row; 3]` as flags.
fn file(directory: &TempDir, name: &str, rows: std::ops::Range<usize>, metadata: &[(&str, &str)]) -> PathBuf {
    let (count, path) = (rows.len(), directory.path().join(name));
    let values: Vec<f32> = rows.clone().flat_map(|row| (0..WIDTH).map(move |at| (row * WIDTH + at) as f32)).collect();
    let tokens = rows.clone().flat_map(|row| (row as i32).to_le_bytes()).collect();
    let flags = rows.flat_map(|row| [row as u8; 3]).collect();
    let (shape, column, wide) = ([count, WIDTH], [count], [count, 3]);
    let tensors = [
        Tensor::f32("activations", &shape, &values),
        Tensor::new("token_ids", Stored::I32, &column, tokens),
        Tensor::new("flags", Stored::U8, &wide, flags),
    ];
    write(&path, &tensors, metadata);
    path
}

/// Files of the rows between these numbers.
fn data(directory: &TempDir, ends: &[usize]) -> Activations {
    let files: Vec<PathBuf> =
        ends.windows(2).map(|ends| file(directory, &format!("{}", ends[0]), ends[0]..ends[1], &[])).collect();
    Activations::open(&files).unwrap()
}

/// The numbers of the rows of a set, in its order, once their columns are found to be theirs.
fn order(set: &Path) -> Vec<u64> {
    let data = Activations::open(&[set.to_owned()]).unwrap();
    let mut order = Vec::new();
    for (reader, _) in data.readers() {
        let rows = reader.rows() as usize;
        let column = |name: &str, bytes: usize| {
            let place = reader.columns().iter().position(|column| column.name == name).unwrap();
            let mut values = vec![0; rows * bytes];
            reader.read_column(place, 0, &mut values).unwrap();
            values
        };
        let (tokens, flags) = (column("token_ids", 4), column("flags", 3));
        let mut values = vec![0; rows * WIDTH * 4];
        reader.read(0, &mut values).unwrap();
        for row in 0..rows {
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&values[row * WIDTH * 4..][..WIDTH * 4]);
            let number = values[0] as usize / WIDTH;
            assert!(values.iter().enumerate().all(|(at, &value)| value == (number * WIDTH + at) as f32));
            assert_eq!(tokens[row * 4..][..4], (number as i32).to_le_bytes());
            assert_eq!(flags[row * 3..][..3], [number as u8; 3]);
            order.push(number as u64);
        }
    }
    order
}

/// The names and bytes of all files in a directory.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn done(end: Result<ShuffleEnd>) -> ShuffleResult {
    match end.unwrap() {
        ShuffleEnd::Done(result) => result,
        ShuffleEnd::Interrupted => panic!("interrupted"),
    }
}

fn shuffle_all(data: &Activations, out: &Path) -> ShuffleResult {
    done(write_shuffled(data, out, &OPTIONS, |_| true))
}

#[test]
fn every_row_is_at_its_place_with_its_columns() {
    let directory = tempfile::tempdir().unwrap();
    let data = data(&directory, &[0, 7, 8, 30]);
    let out = directory.path().join("out");
    let mut seen = Vec::new();
    let result = done(write_shuffled(&data, &out, &OPTIONS, |progress| {
        seen.push(progress);
        true
    }));
    let permutation = Permutation::new(30, 5, EPOCH);
    assert!(order(&out).into_iter().eq((0..30).map(|place| permutation.at(place))));
    assert_eq!((result.rows, result.shards, contents(&out).len()), (30, 5, 5));
    assert_eq!(contents(&out)[4].0, "part-00004-of-00005.safetensors");
    let of_passes = [1, 2].map(|pass| seen.iter().filter(|seen| seen.pass == pass).map(|seen| seen.rows).max());
    assert_eq!((seen[0], of_passes), (ShuffleProgress { pass: 1, rows: 0 }, [Some(30), Some(30)]));
    let set = Activations::open(std::slice::from_ref(&out)).unwrap();
    for (reader, _) in set.readers() {
        let said = |key: &str| reader.metadata().get(key).map(String::as_str);
        let said = ["shuffled", "shuffle_seed", "shuffle_rows", "shuffle_checksum"].map(said);
        assert_eq!(said, ["true", "5", "30", &result.checksum].map(Some));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4, "something is left beside the output");
    // The checksum is that of the rows, whatever their order.
    let again = directory.path().join("again");
    let other = ShuffleOptions { seed: 6, ..OPTIONS };
    assert_eq!(done(write_shuffled(&set, &again, &other, |_| true)).checksum, result.checksum);
    assert_ne!(order(&again), order(&out));
}

#[test]
fn one_row_is_a_set() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let result = shuffle_all(&data(&directory, &[0, 1]), &out);
    assert_eq!((order(&out), result.shards), (vec![0], 1));
}

#[test]
fn memory_bounds_the_shards() {
    // 1 GiB for 100 GB of rows of 3072 bytes: shards of less than 512 MiB, and a MiB for each of the others.
    let (rows, memory) = (100_000_000_000 / 3072, 1 << 30);
    let of_shard = shard_rows(rows, 3072, memory).unwrap();
    let count = rows.div_ceil(of_shard);
    assert!(of_shard * 3080 <= memory / 2 && count <= 192, "{of_shard} rows, {count} shards");
    // Two records of 16 bytes fill 32, and a bucket of each needs as much again.
    assert_eq!(shard_rows(4, 8, 64).unwrap(), 2);
    for (rows, row_bytes, memory) in
        [(4, 8, 31), (5, 8, 64), (1 << 40, 3072, 1 << 30), (u64::MAX, 1 << 28, u64::MAX), (1 << 20, 1 << 20, 1 << 30)]
    {
        let message = shard_rows(rows, row_bytes, memory).unwrap_err().to_string();
        assert!(message.contains("give --memory "), "{message}");
        let mib: u64 = message.rsplit_once("--memory ").unwrap().1.strip_suffix("MiB").unwrap().parse().unwrap();
        if mib < 1 << 40 {
            shard_rows(rows, row_bytes, mib << 20).unwrap();
        }
    }
}

/// Ends a shuffle at its `at`-th moment as a kill does; the moment, or nothing once the shuffle is done before.
fn kill_at(data: &Activations, out: &Path, record_every: u64, at: usize) -> Option<Moment> {
    let (mut moments, mut killed) = (0, None);
    let end = shuffle(data, out, &OPTIONS, record_every, &mut |moment| {
        if moments == at {
            killed = Some(moment);
            return Err(Error::Config("killed".into()));
        }
        moments += 1;
        Ok(true)
    });
    assert_eq!(end.is_err(), killed.is_some(), "{end:?}");
    killed
}

/// What a killed process may have appended to buckets since it recorded its state, and half of a shard.
fn add_leftovers(work: &Path) {
    for (name, _) in contents(&work.join("buckets")) {
        let path = work.join("buckets").join(name);
        let longer = [fs::read(&path).unwrap(), vec![7; 40]].concat();
        // A finished bucket gets nothing any more.
        if !work.join("shards").read_dir().is_ok_and(|mut shards| shards.next().is_some()) {
            fs::write(&path, longer).unwrap();
        }
    }
}

/// A directory in memory where there is such a place, for many shuffles: each waits for its disk.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn a_shuffle_that_was_killed_goes_on() {
    let directory = in_memory();
    let data = data(&directory, &[0, 9, 21]);
    let (expected, out) = (directory.path().join("expected"), directory.path().join("out"));
    let work = directory.path().join(".out.shuffle");
    let whole = shuffle_all(&data, &expected);
    let expected = contents(&expected);
    let mut killed_at = Vec::new();
    // Records twice in a file, and at the end.
    for at in 0.. {
        let Some(moment) = kill_at(&data, &out, 100, at) else { break };
        killed_at.push(moment);
        let is_in_first_pass = !killed_at
            .iter()
            .any(|moment| matches!(moment, Moment::ShardWritten | Moment::Progress(ShuffleProgress { pass: 2, .. })));
        if is_in_first_pass && work.join("state.json").exists() {
            let state: State = serde_json::from_slice(&fs::read(work.join("state.json")).unwrap()).unwrap();
            // A finished first pass is not truncated.
            if state.read < 21 {
                add_leftovers(&work);
            }
        }
        assert_eq!(out.exists(), moment == Moment::Renamed, "{moment:?}");
        let result = shuffle_all(&data, &out);
        assert!(contents(&out) == expected, "moment {at}, {moment:?}: other files");
        assert_eq!(result.checksum, whole.checksum);
        assert!(!work.exists(), "moment {at}, {moment:?}");
        fs::remove_dir_all(&out).unwrap();
    }
    for moment in [Moment::BucketsWritten, Moment::Recorded, Moment::ShardWritten, Moment::ShardRecorded] {
        assert!(killed_at.iter().filter(|killed| **killed == moment).count() > 1, "{moment:?}: {killed_at:?}");
    }
    assert_eq!(killed_at.last(), Some(&Moment::Renamed));

    // Killed again and again, each time a little later.
    fs::remove_dir_all(&out).unwrap_or_default();
    let kills = (0..200).take_while(|at| kill_at(&data, &out, 100, 9 + at % 3).is_some()).count();
    assert!(kills > 3 && contents(&out) == expected, "{kills} kills");
}

#[test]
fn a_shuffle_that_is_asked_to_stop_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = data(&directory, &[0, 9, 21]);
    let (expected, out) = (directory.path().join("expected"), directory.path().join("out"));
    shuffle_all(&data, &expected);
    let mut stops = Vec::new();
    loop {
        // Every call does one block or one shard.
        let mut calls = 0;
        let end = write_shuffled(&data, &out, &OPTIONS, |progress| {
            stops.push(progress);
            calls += 1;
            calls < 2
        });
        match end.unwrap() {
            ShuffleEnd::Interrupted => assert!(!out.exists()),
            ShuffleEnd::Done(_) => break,
        }
    }
    assert!(contents(&out) == contents(&expected));
    assert!(stops.is_sorted_by_key(|stop| (stop.pass, stop.rows)), "work was done twice: {stops:?}");
}

#[test]
fn another_shuffle_does_not_go_on_with_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (data(&directory, &[0, 9, 21]), data(&directory, &[21, 42]));
    let out = directory.path().join("out");
    kill_at(&first, &out, 100, 9);
    let refused = |data: &Activations, options: &ShuffleOptions, words: &[&str]| {
        let message = write_shuffled(data, &out, options, |_| true).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let out_of_the_way = [".out.shuffle: another shuffle was begun there, ", "or remove that directory"];
    refused(&second, &OPTIONS, &[&out_of_the_way[..], &["of other files: "]].concat());
    refused(&first, &ShuffleOptions { seed: 6, ..OPTIONS }, &[&out_of_the_way[..], &["under --seed 5"]].concat());
    let more = ShuffleOptions { memory: 10 * MEMORY, ..OPTIONS };
    refused(&first, &more, &[&out_of_the_way[..], &["under another --memory, with shards of 6 rows"]].concat());

    let work = WorkDirectory::open(&out, State::new(first.identity().unwrap(), 5, 6, 4)).unwrap();
    refused(&first, &OPTIONS, &["another process is shuffling to "]);
    drop(work);
    fs::write(directory.path().join(".out.shuffle/state.json"), "{").unwrap();
    refused(&first, &OPTIONS, &["state.json: is damaged: the shuffle cannot continue; remove "]);
    fs::create_dir(&out).unwrap();
    fs::remove_dir_all(directory.path().join(".out.shuffle")).unwrap();
    refused(&first, &OPTIONS, &["exists, and nothing is overwritten"]);
}

#[test]
fn damage_on_the_way_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let data = data(&directory, &[0, 21]);
    let (out, work) = (directory.path().join("out"), directory.path().join(".out.shuffle"));
    let bucket = work.join("buckets/bucket-00001");
    let record = 8 + 12 + 4 + 3;
    let alter = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&bucket).unwrap();
        change(&mut bytes);
        fs::write(&bucket, bytes).unwrap();
    };
    let damages: [(&dyn Fn(), &str); 7] = [
        (&|| alter(&|bytes| bytes.truncate(record)), "bucket-00001: has 27 bytes, and was written with 162: "),
        (&|| alter(&|bytes| bytes[0] = 200), "bucket-00001: has a row for place 200 of 6: "),
        (&|| alter(&|bytes| bytes[0] = bytes[record]), "bucket-00001: has two rows for place "),
        (&|| alter(&|bytes| bytes[20] ^= 1), "the rows written are not those read (checksum "),
        (&|| alter(&|bytes| bytes[26] ^= 1), "the rows written are not those read (checksum "),
        (&|| fs::remove_file(&bucket).unwrap(), "bucket-00001: "),
        (
            &|| fs::remove_file(work.join("shards/part-00000-of-00004.safetensors")).unwrap(),
            "safetensors: is missing: ",
        ),
    ];
    for (at, (damage, words)) in damages.into_iter().enumerate() {
        let mut shards = 0;
        let stopped = shuffle(&data, &out, &OPTIONS, 1 << 20, &mut |moment| {
            shards += usize::from(moment == Moment::ShardRecorded);
            // The first shard is done, and its bucket still there.
            if shards == 1 { Err(Error::Config("killed".into())) } else { Ok(true) }
        });
        assert!(stopped.is_err());
        damage();
        let message = write_shuffled(&data, &out, &OPTIONS, |_| true).unwrap_err().to_string();
        assert!(message.contains(words), "damage {at}: {message}");
        assert!(!out.exists());
        fs::remove_dir_all(&work).unwrap();
    }
}

#[test]
fn files_that_differ_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let usual = file(&directory, "usual", 0..5, &[]);
    let other = |name: &str, tensors: &[Tensor<'_>]| {
        let path = directory.path().join(name);
        write(&path, tensors, &[]);
        path
    };
    let values = || Tensor::f32("activations", &[2, WIDTH], &[1.0; 6]);
    let (tokens, flags) = (
        || Tensor::new("token_ids", Stored::I32, &[2], vec![0; 8]),
        || Tensor::new("flags", Stored::U8, &[2, 3], vec![0; 6]),
    );
    let long = Tensor::new("token_ids", Stored::I64, &[2], vec![0; 16]);
    let flat = Tensor::new("flags", Stored::U8, &[2], vec![0; 2]);
    let more = Tensor::new("more", Stored::U8, &[2], vec![0; 2]);
    let half = Tensor::float("activations", Stored::F16, &[2, WIDTH], &[1.0; 6]);
    for (path, words) in [
        (other("half", &[half, tokens(), flags()]), "half: tensor `activations` is F16, and that of "),
        (other("none", &[values(), tokens()]), "none: has no column `flags` [rows, ..], and "),
        (other("long", &[values(), long, flags()]), "long: column `token_ids` is I64 [rows], and that of "),
        (other("flat", &[values(), tokens(), flat]), "flat: column `flags` is U8 [rows], and that of "),
        (other("more", &[values(), tokens(), flags(), more]), "more: has a column `more`, and "),
    ] {
        let data = Activations::open(&[usual.clone(), path]).unwrap();
        let message = write_shuffled(&data, &directory.path().join("out"), &OPTIONS, |_| true).unwrap_err();
        let message = message.to_string();
        assert!(message.contains(words) && message.contains("usual") && message.contains("data convert"), "{message}");
    }
    assert!(!directory.path().join(".out.shuffle").exists());
}

/// Pearson's statistic of where rows land, for counts [row][place] of so many permutations: (n - 1)/n of the sum is
/// chi-square of (n - 1)² degrees of freedom. In deviations from its mean; 6 are generous.
fn deviations(counts: &[Vec<u32>], permutations: usize) -> f64 {
    let n = counts.len() as f64;
    let expected = permutations as f64 / n;
    let sum: f64 = counts.iter().flatten().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    let freedom = (n - 1.0).powi(2);
    (sum * (n - 1.0) / n - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn places_are_uniform_over_seeds() {
    const ROWS: usize = 12;
    const SEEDS: usize = 400;
    let directory = in_memory();
    let data = data(&directory, &[0, 5, ROWS]);
    let out = directory.path().join("out");
    let [mut counts, mut of_blocks] = [0; 2].map(|_| vec![vec![0; ROWS]; ROWS]);
    for seed in 0..SEEDS as u64 {
        done(write_shuffled(&data, &out, &ShuffleOptions { seed, ..OPTIONS }, |_| true));
        order(&out).iter().enumerate().for_each(|(place, &row)| counts[row as usize][place] += 1);
        fs::remove_dir_all(&out).unwrap();
        // A shuffle of blocks of three rows, for comparison.
        let blocks = Permutation::new(4, seed, 0);
        (0..ROWS).for_each(|place| of_blocks[3 * blocks.at(place as u64 / 3) as usize + place % 3][place] += 1);
    }
    let (all, blocks) = (deviations(&counts, SEEDS), deviations(&of_blocks, SEEDS));
    assert!(all.abs() < 6.0, "{all} deviations: {counts:?}");
    assert!(blocks > 30.0, "the statistic does not tell a shuffle of blocks: {blocks} deviations");
}
