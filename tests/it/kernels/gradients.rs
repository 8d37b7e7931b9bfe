use monosem::kernels::{BLOCK_FEATURES, Gradients};
use monosem::selftest::FOLD;
use monosem::selftest::gradients::Case;
use monosem::selftest::tensors::bits;

use super::{assert_close, deterministic, gpu, rule_b, rule_r};

#[test]
fn every_size_matches_the_reference_and_shards_give_the_bits_of_one() {
    let kernels = Gradients::new(gpu()).unwrap();
    // Feature 0 fires in every row: 256, 257 and 600 rows are one, two and three blocks.
    for (rows, d, n, k) in [
        (0, 4, 8, 1),
        (1, 1, 1, 1),
        (7, 127, 100, 5),
        (256, 17, 1023, 3),
        (257, 128, 1024, 4),
        (600, 33, 3000, 8),
        (30, 385, 2049, 9),
        (9, 800, 2100, 2),
    ] {
        let case = Case::new(rows, d, n, k);
        for project in [false, true] {
            let [bias, squares, blocks] = case.expected(project);
            let whole = case.gradients(gpu(), &kernels, project, &[n]).unwrap();
            let [run_bias, run_squares, block_squares] = &whole;
            let name = |what| format!("gradients {what} {rows} x {d} of {n}, projected {project}");
            assert_close(&name("bias"), run_bias, &bias, FOLD);
            assert_close(&name("squares"), run_squares, &squares, FOLD);
            assert_close(&name("blocks"), block_squares, &blocks, FOLD);
            if n > 2048 {
                let shards = case.gradients(gpu(), &kernels, project, &[1024, 2048, n]).unwrap();
                assert_eq!(shards.map(|values| bits(&values)), whole.map(|values| bits(&values)));
            }
        }
    }
}

#[test]
fn the_same_bits_every_time() {
    let kernels = Gradients::new(gpu()).unwrap();
    let case = Case::new(600, 50, 1500, 6);
    deterministic(|| bits(&case.gradients(gpu(), &kernels, true, &[1500]).unwrap().concat()));
}

#[test]
fn sums_are_folded_by_rules_b_and_f() {
    let kernels = Gradients::new(gpu()).unwrap();
    let case = Case::new(1000, 20, 1500, 3);
    let [run_bias, run_squares, block_squares] = case.gradients(gpu(), &kernels, false, &[1500]).unwrap();
    let biases = case.runs.iter().map(|(_, entries)| {
        rule_b(entries.iter().map(|entry| (*entry as usize / case.codes.k, case.code_gradients[*entry as usize])))
    });
    assert_eq!(bits(&run_bias), bits(&biases.collect::<Vec<_>>()));
    let mut squares = vec![0.0; 2 * BLOCK_FEATURES as usize];
    for (feature, square) in case.runs.features.iter().zip(run_squares) {
        squares[*feature as usize] = square;
    }
    let blocks: Vec<f32> =
        squares.chunks(BLOCK_FEATURES as usize).map(|block| rule_r(block, &vec![1.0; block.len()])).collect();
    assert_eq!(bits(&block_squares), bits(&blocks));
}
