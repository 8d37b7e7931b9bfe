use monosem::engine::field::covering_nodes;
use monosem::engine::parameters::CHUNKS;
use monosem::selftest::FOLD;
use monosem::selftest::decode::{Case, Way};
use monosem::selftest::merge::merge;
use monosem::selftest::tensors::{bits, cuts};

use super::{assert_close, coarse, deterministic, gpu, rule_x};

#[test]
fn every_size_matches_the_reference_and_every_way_gives_the_same_bits() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for (rows, d, n, k) in [
        (0, 4, 8, 2),
        (1, 1, 1, 1),
        (1, 255, 2500, 32),
        (1, 256, 2500, 7),
        (1, 257, 2500, 7),
        (7, 33, 1023, 9),
        (7, 33, 1024, 9),
        (7, 33, 1025, 9),
        (130, 17, 2500, 33),
        (20, 50, 40, 40),
        (9, 20, 66_000, 300),
        (16 * 4096 + 3, 50, 2100, 1),
    ] {
        let case = Case::new(rows, d, n, k);
        let whole = case.decode(gpu(), &Way::shards(&[n])).unwrap();
        assert_close(&format!("decode {rows} x {d}, {k} of {n}"), &whole, &case.expected(), FOLD);
        let all = cuts(n);
        let in_two = (n > 2048).then(|| vec![n.next_multiple_of(2048) / 2 / 1024 * 1024, n]);
        let few: Vec<_> = all.iter().filter(|cuts| cuts.len() < 9).chain(&in_two).collect();
        for (columns, cuts) in [1, 3, 3].into_iter().zip(few.iter().cycle()) {
            let way = Way { columns, slice: 3 + rows / 2, ..Way::shards(cuts) };
            assert_eq!(bits(&case.decode(gpu(), &way).unwrap()), bits(&whole), "{way:?}");
        }
    }
    let case = Case::new(30, 100, 3000, 20);
    deterministic(|| bits(&case.decode(gpu(), &Way::shards(&[1024, 3000])).unwrap()));
}

#[test]
fn owners_of_parts_add_up_to_the_bits_of_one() {
    let case = Case::new(5, 20, 66_000, 200);
    let whole = case.decode(gpu(), &Way::shards(&[66_000])).unwrap();
    let decode = |(chunk, level)| {
        let way = Way { chunk, level, ..Way::shards(&[20_480, 45_056, 66_000]) };
        case.decode(gpu(), &way).unwrap()
    };
    // Chunks of 2,048: the model has 33, and the tree 64.
    let owners = [0..11, 11..22, 22..CHUNKS];
    let mut nodes: Vec<_> = owners.into_iter().flat_map(covering_nodes).map(|node| (node, decode(node))).collect();
    while nodes.len() > 1 {
        let is_left = |((chunk, level), _): &((u32, u32), Vec<f32>)| chunk >> level & 1 == 0;
        let at = nodes
            .windows(2)
            .position(|pair| pair[0].0.1 == pair[1].0.1 && is_left(&pair[0]))
            .expect("two halves of a node");
        let ((chunk, level), left) = nodes[at].clone();
        let (_, right) = nodes.remove(at + 1);
        nodes[at] = ((chunk, level + 1), merge(gpu(), &left, &right).unwrap());
    }
    assert_eq!(bits(&nodes[0].1), bits(&whole));
}

#[test]
fn a_nan_reaches_its_row_alone_and_a_sum_of_nothing_is_zero() {
    // No padding, into which a NaN goes too.
    let mut case = Case::new(3, 16, 30, 4);
    case.lists.entries.iter_mut().for_each(|entry| entry.flags = 1);
    case.lists.entries[4].u = f32::NAN;
    let sums = case.decode(gpu(), &Way::shards(&[30])).unwrap();
    for (row, sums) in sums.chunks_exact(16).enumerate() {
        assert!(sums.iter().all(|sum| sum.is_nan() == (row == 1)), "row {row}: {sums:?}");
    }
    case.lists.entries.iter_mut().for_each(|entry| (entry.u, entry.flags) = (-1.0, 0));
    case.w_dec.iter_mut().for_each(|w| *w = -w.abs());
    assert_eq!(bits(&case.decode(gpu(), &Way::shards(&[30])).unwrap()), [0; 48]);
}

#[test]
fn sums_are_folded_by_rule_x() {
    for (n, k, cuts) in [(200, 50, vec![200]), (66_000, 300, vec![30_720, 66_000]), (5000, 900, vec![5000])] {
        let (rows, d) = (3, 40);
        let mut case = Case::new(rows, d, n, k);
        case.w_dec = coarse(2, n * d);
        for (entry, u) in case.lists.entries.iter_mut().zip(coarse(1, rows * k)) {
            entry.u = u;
        }
        let mut expected = Vec::new();
        for entries in case.lists.entries.chunks(k) {
            let active = || entries.iter().filter(|entry| entry.flags != 0);
            expected.extend((0..d).map(|column| {
                let term = |feature: u32, u: f32| (feature, u * case.w_dec[feature as usize * d + column]);
                rule_x(n, active().map(|entry| term(entry.feature, entry.u)))
            }));
        }
        assert_eq!(bits(&case.decode(gpu(), &Way::shards(&cuts)).unwrap()), bits(&expected), "{n}");
    }
}
