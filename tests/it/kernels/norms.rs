use monosem::kernels::Norms;
use monosem::reference;
use monosem::selftest::FOLD;
use monosem::selftest::norms::norms;
use monosem::selftest::tensors::{bits, f64s, random};

use super::{assert_close, deterministic, gpu};

#[test]
fn every_size_matches_the_reference() {
    let kernel = Norms::new(gpu()).unwrap();
    // The last has more pairs of rows than one dimension of a dispatch has groups.
    for (count, d) in [(0, 3), (1, 1), (2, 127), (3, 128), (5, 129), (65, 768), (2 * 65_535 + 3, 5)] {
        let w_dec = random(1, count * d);
        let actual = norms(gpu(), &kernel, &w_dec, d, count).unwrap();
        assert_close(&format!("norms {count} x {d}"), &actual, &reference::norms(&f64s(&w_dec), d), FOLD);
    }
    let w_dec = random(2, 50 * 300);
    deterministic(|| bits(&norms(gpu(), &kernel, &w_dec, 300, 50).unwrap()));
}
