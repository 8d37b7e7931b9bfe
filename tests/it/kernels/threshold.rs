use monosem::gpu::shaders::Guard;
use monosem::selftest::FOLD;
use monosem::selftest::tensors::random;
use monosem::selftest::threshold::{expected, threshold};

use super::{assert_close, gpu};

const REST: Guard = Guard { status: 0, row: 0 };

#[test]
fn the_mean_is_of_the_keys_so_far() {
    let keys: Vec<Option<f32>> = random(1, 40).iter().map(|key| (*key > -0.5).then_some(key.abs() + 1e-3)).collect();
    for count in [1, 2, 5, 40] {
        let actual = threshold(gpu(), &keys[..count], REST).unwrap();
        match expected(&keys[..count]) {
            Some(expected) => assert_close("threshold", &[actual.unwrap()], &[expected], FOLD),
            None => assert_eq!(actual, None),
        }
    }
}

#[test]
fn nothing_is_known_before_a_key_and_nothing_learned_behind_a_guard() {
    assert_eq!(threshold(gpu(), &[], REST).unwrap(), None);
    assert_eq!(threshold(gpu(), &[None, None], REST).unwrap(), None);
    assert_eq!(threshold(gpu(), &[Some(1.0)], Guard { status: 1, ..REST }).unwrap(), None);
}
