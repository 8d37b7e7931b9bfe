//! temporary
use crate::error::Result;
use crate::gpu::shaders::select;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Encode, EncodeArguments, Select, SelectionMethod};
pub use crate::kernels::Tuning;
use super::entries::Entries;
use super::parameters::Parameters;

pub struct Inputs<'a> { pub parameters: &'a Parameters, pub centred: &'a Buffer, pub entries: &'a Entries, pub rows: u32 }
pub trait Selector { fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>); fn method(&self) -> SelectionMethod; fn uncertain(&self) -> &Buffer; }
struct Chunked { encode: Encode, select: Select, pack: crate::gpu::Pipeline<crate::gpu::shaders::pack::main::Kernel>, pre: Buffer, features: Buffer, values: Buffer, keys: Buffer, uncertain: Buffer, chunk: u32 }
pub fn selector(gpu: &Gpu, parameters: &Parameters, rows: u32, tuning: Tuning) -> Result<Box<dyn Selector>> {
    let k = parameters.config().k() as u64;
    let n = u64::from(rows) * k;
    let chunk = parameters.shards.iter().map(|s| s.count).max().unwrap().next_multiple_of(16).min(((128u64 << 20) / 4 / u64::from(rows) / 1024 * 1024).max(1024) as u32);
    Ok(Box::new(Chunked { encode: Encode::new(gpu, tuning.encode)?, select: Select::new(gpu, k as u32)?, pack: gpu.pipeline(&[])?,
        pre: gpu.buffer("pre-activations", u64::from(rows) * u64::from(chunk))?, features: gpu.buffer("f", n)?, values: gpu.buffer("v", n)?, keys: gpu.buffer("k", n)?, uncertain: gpu.buffer("uncertain rows", 1)?, chunk }))
}
impl Selector for Chunked {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        let Inputs { parameters, centred, entries, rows } = *inputs;
        let k = entries.k;
        let (pre_activations, stride) = (&self.pre, self.chunk);
        for shard in &parameters.shards { for first in (0..shard.count).step_by(self.chunk as usize) {
            let count = self.chunk.min(shard.count - first);
            let quads = parameters.quads();
            self.encode.record(recording, &EncodeArguments { centred, w_enc: &shard.w_enc, b_enc: &shard.scalars, pre_activations, rows, quads, first, count, stride, relu: false });
            let before = shard.first + first;
            let params = select::Params { rows, k, filled: before.min(k), first: before, first_in_shard: first, count, stride, scaled: 0, last: u32::from(before + count == parameters.features()), columns: 4096 };
            self.select.record(recording, select::main::Bindings { pre_activations, norms: &shard.scalars, features: &self.features, values: &self.values, keys: &self.keys, params });
        } }
        let b = crate::gpu::shaders::pack::main::Bindings { features: &self.features, values: &self.values, keys: &self.keys, entries: &entries.list, params: crate::gpu::shaders::pack::Params { entries: rows * k, k } };
        recording.dispatch(&self.pack, b, crate::gpu::grid(u64::from(rows * k).div_ceil(64)));
    }
    fn method(&self) -> SelectionMethod { SelectionMethod::Chunked }
    fn uncertain(&self) -> &Buffer { &self.uncertain }
}

pub fn usual_tuning(_config: &crate::sae::SaeConfig, adapter: &crate::gpu::AdapterDescription, _rows: usize, _screening: crate::kernels::Screening) -> Tuning { Tuning::usual(adapter, SelectionMethod::Chunked) }
pub fn selection_shape(config: &crate::sae::SaeConfig, rows: usize) -> crate::kernels::SelectionShape { let [rows, d, features, k] = [rows, config.d_in, config.features, config.k()].map(|s| s as u64); crate::kernels::SelectionShape { rows, d, features, k } }
