use monosem::selftest::FOLD;
use monosem::selftest::bias_gradient::Case;
use monosem::selftest::tensors::bits;

use super::{assert_close, coarse, deterministic, gpu, rule_b, rule_f, rule_t};

#[test]
fn every_size_matches_the_reference_and_shards_give_the_bits_of_one() {
    for (rows, d, n, k) in [
        (1, 1, 1, 1),
        (255, 17, 40, 3),
        (256, 255, 1023, 2),
        (257, 256, 1024, 2),
        (600, 257, 1025, 3),
        (1100, 33, 3000, 8),
        // Chunks of 2,048, so that shards end inside of one.
        (9, 5, 70_000, 300),
    ] {
        let case = Case::new(rows, d, n, k);
        for input_centred in [false, true] {
            let whole = case.sums(gpu(), input_centred, &[n]).unwrap();
            let name = |what| format!("bias_gradient {what} {rows} x {d} of {n}, {input_centred}");
            assert_close(&name("sums"), &whole.gradient, &case.expected(input_centred), FOLD);
            assert_close(&name("squares"), &whole.chunk_squares, &case.expected_squares(), FOLD);
            if n > 2048 {
                for cuts in [&[1024, 2048, n][..], &[2048, n], &[1024, n], &[n / 2048 * 1024, n / 1024 * 1024, n]] {
                    let cut = case.sums(gpu(), input_centred, cuts).unwrap();
                    assert_eq!(bits(&cut.gradient), bits(&whole.gradient), "shards to {cuts:?}");
                    assert_eq!(bits(&cut.chunk_squares), bits(&whole.chunk_squares), "shards to {cuts:?}");
                }
            }
        }
    }
}

#[test]
fn the_same_bits_every_time() {
    let case = Case::new(600, 50, 1500, 6);
    deterministic(|| {
        let sums = case.sums(gpu(), true, &[1024, 1500]).unwrap();
        bits(&[sums.gradient, sums.chunk_squares].concat())
    });
}

#[test]
fn sums_are_folded_by_rules_b_and_f() {
    for (n, cuts) in [(3000, vec![1024, 3000]), (70_000, vec![31_744, 70_000])] {
        let (rows, d) = (1000, 20);
        let mut case = Case::new(rows, d, n, 5);
        let runs = case.batch.runs.features.len();
        (case.slopes, case.w_enc) = (coarse(1, runs), coarse(2, n * d));
        case.squares = [coarse(3, runs), coarse(4, runs)];
        case.batch.gradients[0] = coarse(5, rows * d);
        let features = || case.batch.runs.features.iter().copied().zip(&case.slopes);
        let mut expected = Vec::new();
        for column in 0..d {
            let batch = rule_b((0..rows).map(|row| (0, row, case.batch.gradients[0][row * d + column])));
            let encoder =
                features().map(|(feature, slope)| (feature, slope * case.w_enc[feature as usize * d + column]));
            expected.push(batch - rule_t(&rule_f(n, encoder)));
        }
        let squares = features().zip(case.squares[0].iter().zip(&case.squares[1]));
        // Whether the driver fuses the slope's square with the sum shows in its last bit.
        let squares =
            squares.map(|((feature, slope), (encoder, decoder))| (feature, slope.mul_add(*slope, encoder + decoder)));
        let actual = case.sums(gpu(), true, &cuts).unwrap();
        assert_eq!(bits(&actual.gradient), bits(&expected), "{n}");
        assert_eq!(bits(&actual.chunk_squares), bits(&rule_f(n, squares)), "{n}");
    }
}
