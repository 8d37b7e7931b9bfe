#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| monosem::data::fuzz::arrow_dataset(bytes));
