use std::sync::OnceLock;

use monosem::kernels::{Encode, EncodeVariant};
use monosem::selftest::FOLD;
use monosem::selftest::encode::{Case, columns, some_dead};
use monosem::selftest::tensors::{bits, planes};

use super::{assert_close, coarse, deterministic, gpu, rule_d};

/// Rows, d, features: around the tiles of both kernels (64 or 128 rows and features; 16 or 32 rows, 16 to 64 features),
/// and none a multiple of anything.
const SHAPES: &[(usize, usize, usize)] = &[
    (0, 16, 8),
    (5, 16, 0),
    (1, 1, 1),
    (31, 5, 15),
    (33, 16, 17),
    (47, 17, 31),
    (48, 32, 32),
    (49, 33, 33),
    (127, 15, 127),
    (128, 64, 128),
    (129, 100, 129),
    (3, 130, 261),
    (9, 768, 65),
];

/// Every variant that the device can run.
fn variants() -> &'static [(EncodeVariant, Encode)] {
    static VARIANTS: OnceLock<Vec<(EncodeVariant, Encode)>> = OnceLock::new();
    VARIANTS.get_or_init(|| {
        let variants = EncodeVariant::available(gpu().description()).into_iter();
        variants.map(|variant| (variant, Encode::new(gpu(), variant).unwrap())).collect()
    })
}

#[test]
fn every_variant_matches_the_reference_and_the_others_bit_for_bit() {
    assert!(variants().iter().any(|(variant, _)| matches!(variant, EncodeVariant::Tiled(_))));
    for &shape in SHAPES {
        let case = Case::new(shape);
        let expected = case.expected();
        let mut first = None;
        for (variant, encode) in variants() {
            // Small sizes differ in nothing that a shape of tiles changes.
            if !variant.is_usual() && case.rows * case.n < 1000 {
                continue;
            }
            let result = case.encode(gpu(), encode, case.n.max(1)).unwrap();
            assert_close(&format!("encode {variant} {shape:?}"), &result, &expected, FOLD);
            let first = first.get_or_insert_with(|| bits(&result));
            assert_eq!(&bits(&result), first, "{variant} and {}, {shape:?}", variants()[0].0);
        }
    }
}

#[test]
fn tiles_in_blocks_give_the_bits_of_tiles_row_by_row() {
    // Bands of 3 tiles of rows, the last one shorter; blocks of 1,024 features, the last one narrower.
    let case = Case::new((900, 20, 2500));
    for (variant, encode) in variants().iter().filter(|(variant, _)| matches!(variant, EncodeVariant::Tiled(_))) {
        let by_row = case.encode(gpu(), encode, case.n).unwrap();
        let in_blocks = case.encode(gpu(), &encode.clone().in_blocks_of(3), case.n).unwrap();
        assert!(bits(&in_blocks) == bits(&by_row), "{variant}");
    }
}

#[test]
fn chunks_give_the_bits_of_one_chunk() {
    let case = Case::new((50, 33, 300));
    for (variant, encode) in variants() {
        let whole = deterministic(|| bits(&case.encode(gpu(), encode, 300).unwrap()));
        let chunks: &[usize] = if variant.is_usual() { &[1, 7, 63, 128, 129] } else { &[63, 129] };
        for &chunk in chunks {
            let chunks = bits(&case.encode(gpu(), encode, chunk).unwrap());
            assert_eq!(chunks, whole, "{variant}, chunks of {chunk}");
        }
    }
}

#[test]
fn dead_features_have_the_bits_that_they_have_among_all() {
    for shape in [(50, 33, 300), (3, 100, 1)] {
        let case = Case::new(shape);
        for dead in [some_dead(case.n), (0..case.n as u32).collect(), vec![case.n as u32 - 1], vec![]] {
            for (variant, encode) in variants() {
                let compacted = Encode::compacted(gpu(), *variant, &planes().defines()).unwrap();
                let whole = columns(&case.encode(gpu(), encode, case.n).unwrap(), case.n, &dead);
                for chunk in [case.n, 63] {
                    let actual = case.encode_dead(gpu(), &compacted, &dead, chunk).unwrap();
                    assert_eq!(
                        bits(&actual),
                        bits(&whole),
                        "{variant}, {shape:?}, {} dead, chunks of {chunk}",
                        dead.len()
                    );
                }
            }
        }
    }
}

#[test]
fn not_finite_numbers_stay_visible() {
    let mut case = Case::new((2, 16, 3));
    case.x[0] = f32::NAN;
    case.x[16] = f32::INFINITY;
    for (variant, encode) in variants() {
        let u = case.encode(gpu(), encode, 3).unwrap();
        assert!(u[..3].iter().all(|u| u.is_nan()), "{variant}: {u:?}");
        for (u, w) in u[3..].iter().zip(case.w_enc.chunks_exact(16)) {
            assert_eq!(*u, if w[0] > 0.0 { f32::INFINITY } else { f32::NEG_INFINITY }, "{variant}");
        }
    }
}

#[test]
fn sums_are_folded_by_rule_d() {
    let (rows, d, n) = (5, 300, 40);
    let case = Case { x: coarse(1, rows * d), w_enc: coarse(2, n * d), b_enc: coarse(3, n), rows, d, n };
    let rows_by_features = case.x.chunks(d).flat_map(|x| case.w_enc.chunks(d).zip(&case.b_enc).map(move |w| (x, w)));
    let expected: Vec<f32> = rows_by_features.map(|(x, (w, b))| rule_d(w, x) + b).collect();
    for (variant, encode) in variants() {
        let actual = case.encode(gpu(), encode, n).unwrap();
        assert_eq!(bits(&actual), bits(&expected), "{variant}");
    }
}
