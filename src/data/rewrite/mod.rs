//! Activations written again, as shards of safetensors: in a random order, or in another type.

mod agreement;
pub(super) mod blocks;
mod convert;
#[cfg(feature = "arrow")]
mod convert_stream;
mod relabel;
mod shards;
mod shuffle;
mod stored_integers;
pub(super) mod table;

pub(super) use relabel::sequence_offsets;
pub(super) use stored_integers::decode as decode_integer;

pub use convert::{Conversion, ConvertOptions, write_converted};
#[cfg(feature = "arrow")]
pub use convert_stream::write_converted_stream;
pub use shuffle::{ShuffleEnd, ShuffleOptions, ShuffleProgress, ShuffleResult, write_shuffled};
