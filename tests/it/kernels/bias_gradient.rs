use monosem::kernels::{BLOCK_FEATURES, BiasGradient};
use monosem::selftest::FOLD;
use monosem::selftest::bias_gradient::Case;
use monosem::selftest::tensors::bits;

use super::{assert_close, coarse, deterministic, gpu, rule_b};

#[test]
fn every_size_matches_the_reference_and_shards_give_the_bits_of_one() {
    let kernels = BiasGradient::new(gpu()).unwrap();
    for (rows, d, n, k) in [
        (1, 1, 1, 1),
        (255, 17, 40, 3),
        (256, 255, 1023, 2),
        (257, 256, 1024, 2),
        (600, 257, 1025, 3),
        (1100, 33, 3000, 8),
    ] {
        let case = Case::new(rows, d, n, k);
        for input_centred in [false, true] {
            let whole = case.bias_gradient(gpu(), &kernels, input_centred, &[n]).unwrap();
            let expected = case.expected(input_centred);
            assert_close(&format!("bias_gradient {rows} x {d} of {n}, {input_centred}"), &whole, &expected, FOLD);
            if n > 2048 && input_centred {
                for cuts in [&[1024, 2048, n][..], &[2048, n], &[1024, n]] {
                    assert_eq!(
                        bits(&case.bias_gradient(gpu(), &kernels, true, cuts).unwrap()),
                        bits(&whole),
                        "shards to {cuts:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_same_bits_every_time() {
    let kernels = BiasGradient::new(gpu()).unwrap();
    let case = Case::new(600, 50, 1500, 6);
    deterministic(|| bits(&case.bias_gradient(gpu(), &kernels, true, &[1024, 1500]).unwrap()));
}

#[test]
fn sums_are_folded_by_rules_b_and_f() {
    let kernels = BiasGradient::new(gpu()).unwrap();
    let mut case = Case::new(1000, 20, 3000, 3);
    (case.run_bias, case.w_enc) = (coarse(1, case.run_bias.len()), coarse(2, 3000 * 20));
    let mut expected = Vec::new();
    for column in 0..20 {
        let batch = rule_b((0..1000).map(|row| (row, case.gradient[row * 20 + column])));
        let mut blocks = [0_f32; 3];
        for (feature, bias) in case.runs.features.iter().zip(&case.run_bias) {
            let block = &mut blocks[(feature / BLOCK_FEATURES) as usize];
            *block = bias.mul_add(case.w_enc[*feature as usize * 20 + column], *block);
        }
        expected.push(batch - blocks.iter().fold(0.0, |sum, block| sum + block));
    }
    assert_eq!(bits(&case.bias_gradient(gpu(), &kernels, true, &[3000]).unwrap()), bits(&expected));
}
