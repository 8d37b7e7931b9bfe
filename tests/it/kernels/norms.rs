use monosem::gpu::shaders::norms::{Params, main::Bindings};
use monosem::kernels::{Norms, quads};
use monosem::reference;

use super::{FOLD, Tensor, assert_close, bits, deterministic, f64s, gpu, pad, random, run};

fn norms(kernel: &Norms, w_dec: &[f32], d: usize, count: usize) -> Vec<f32> {
    let (w_dec, norms) = (Tensor::new(&pad(w_dec, d)), Tensor::poisoned(count));
    let params = Params { count: count as u32, quads: quads(d) };
    run(|recording| kernel.record(recording, Bindings { w_dec: &w_dec, norms: &norms, params }));
    norms.read()
}

#[test]
fn every_size_matches_the_reference() {
    let kernel = Norms::new(gpu()).unwrap();
    // The last has more pairs of rows than one dimension of a dispatch has groups.
    for (count, d) in [(0, 3), (1, 1), (2, 127), (3, 128), (5, 129), (65, 768), (2 * 65_535 + 3, 5)] {
        let w_dec = random(1, count * d);
        let actual = norms(&kernel, &w_dec, d, count);
        assert_close(&format!("norms {count} x {d}"), &actual, &reference::norms(&f64s(&w_dec), d), FOLD);
    }
    let w_dec = random(2, 50 * 300);
    deterministic(|| bits(&norms(&kernel, &w_dec, 300, 50)));
}
