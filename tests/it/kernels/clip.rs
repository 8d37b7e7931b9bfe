use monosem::gpu::shaders::clip::{Params, main::Bindings};
use monosem::kernels::{Clip, quads};
use monosem::reference;

use super::{AT_REST, FOLD, Tensor, assert_close, bits, deterministic, f64s, gpu, pad, random, run};

const GRADIENT_NOT_FINITE: u32 = 4;

/// Norm and coefficient, and the guard.
fn clip(kernel: &Clip, squares: &[f32], b_dec_gradient: &[f32], limit: f32) -> (Vec<f32>, Vec<u32>) {
    let mut stored_squares = squares.to_vec();
    stored_squares.resize(squares.len().next_multiple_of(4), 0.0);
    let square_quads = stored_squares.len() as u32 / 4;
    let d = b_dec_gradient.len();
    let (block_squares, b_dec_gradient) = (Tensor::new(&stored_squares), Tensor::new(&pad(b_dec_gradient, d)));
    let (clip, guard) = (Tensor::poisoned(2), Tensor::new(&AT_REST));
    let params = Params { quads: quads(d), square_quads, limit };
    run(|recording| {
        let bindings = Bindings {
            block_squares: &block_squares,
            b_dec_gradient: &b_dec_gradient,
            clip: &clip,
            guard: &guard,
            params,
        };
        kernel.record(recording, bindings);
    });
    (clip.read(), guard.read())
}

#[test]
fn every_size_and_limit_matches_the_reference() {
    let kernel = Clip::new(gpu()).unwrap();
    for (blocks, d) in [(0, 1), (1, 1), (3, 127), (127, 128), (128, 129), (129, 5), (5000, 768)] {
        let squares: Vec<f32> = random(1, blocks).into_iter().map(f32::abs).collect();
        let b_dec = random(2, d);
        for limit in [0.0, 1e-3, 1.0, 20.0, 1e6] {
            let (actual, guard) = clip(&kernel, &squares, &b_dec, limit);
            let expected = reference::clip(&f64s(&squares), &f64s(&b_dec), (limit > 0.0).then_some(f64::from(limit)));
            assert_close("clip norm", &actual[..1], &[expected.norm], FOLD);
            assert_close("clip coefficient", &actual[1..], &[expected.coefficient], FOLD);
            assert!(limit > 0.0 || actual[1] == 1.0);
            assert_eq!(guard, AT_REST);
        }
        deterministic(|| bits(&clip(&kernel, &squares, &b_dec, 1.0).0));
    }
    let (nothing, guard) = clip(&kernel, &[0.0; 8], &[0.0; 20], 1.0);
    assert_eq!((nothing, guard), (vec![0.0, 1.0], AT_REST.to_vec()));
}

#[test]
fn a_norm_that_is_not_finite_raises_the_guard() {
    let kernel = Clip::new(gpu()).unwrap();
    for (squares, b_dec) in [
        (vec![1.0, f32::NAN], vec![1.0; 5]),
        (vec![f32::INFINITY], vec![1.0; 5]),
        (vec![f32::MAX; 2], vec![1.0; 5]),
        (vec![1.0; 300], vec![1.0, 2.0, f32::NAN]),
        (vec![1.0], vec![f32::MAX]),
    ] {
        for limit in [0.0, 1.0] {
            let (_, guard) = clip(&kernel, &squares, &b_dec, limit);
            assert_eq!(guard[0], GRADIENT_NOT_FINITE, "{squares:?}, {b_dec:?}");
        }
    }
}
