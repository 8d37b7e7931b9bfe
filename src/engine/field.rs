//! A reconstruction: decoded from a list, compared with its target.

use std::ops::Range;

use super::entries::Pass;
use super::entry;
use super::parameters::{CHUNKS, Parameters, Shard};
use crate::error::Result;
use crate::gpu::shaders::decode;
use crate::gpu::{Buffer, Gpu, Pipeline, Recording};
use crate::sae::description::Value;

/// Buffers of a field over at most a batch of rows.
pub struct Field {
    /// The decoded list, without the output bias: `[rows, quads]` vec4.
    pub sums: Buffer,
    /// The gradient of the field's loss at it: `[rows, quads]` vec4.
    pub gradient: Buffer,
    /// The parts of `sums` over nodes of the tree: one, the root, unless several owners share the model.
    pub nodes: Vec<Node>,
}

/// A node of the tree of chunks (rule T, docs/architecture.md), and the sums over its features.
pub struct Node {
    /// Its first chunk.
    pub chunk: u32,
    /// It holds 2^level chunks.
    pub level: u32,
    /// `[rows, quads]` vec4.
    pub sums: Buffer,
}

/// The level of the root.
pub const ROOT: u32 = CHUNKS.ilog2();

impl Field {
    /// Makes the buffers for the nodes that cover the parameters.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32) -> Result<Self> {
        let gpu = &gpu.for_part("batch");
        let vectors = || gpu.buffer("a field of the batch", u64::from(rows) * u64::from(parameters.quads()) * 4);
        let sums = vectors()?;
        let covering = covering_nodes(owned_chunks(parameters));
        let nodes = match covering[..] {
            [(chunk, level)] => vec![Node { chunk, level, sums: sums.clone() }],
            _ => {
                let node = |&(chunk, level): &(u32, u32)| Ok(Node { chunk, level, sums: vectors()? });
                covering.iter().map(node).collect::<Result<_>>()?
            }
        };
        Ok(Self { sums, gradient: vectors()?, nodes })
    }
}

/// The chunks that the shards hold; all of them if they hold the model's last feature.
fn owned_chunks(parameters: &Parameters) -> Range<u32> {
    let chunk = parameters.chunk();
    let end = parameters.shards.last().map_or(0, |shard| shard.first + shard.count);
    parameters.first() / chunk..if end == parameters.features() { CHUNKS } else { end / chunk }
}

/// The largest nodes (first chunk, level) that lie in a range of chunks, and cover it.
pub fn covering_nodes(chunks: Range<u32>) -> Vec<(u32, u32)> {
    let mut nodes = Vec::new();
    let mut first = chunks.start;
    while first < chunks.end {
        let aligned = if first == 0 { ROOT } else { first.trailing_zeros() };
        let fitting = (chunks.end - first).ilog2();
        let level = aligned.min(fitting);
        nodes.push((first, level));
        first += 1 << level;
    }
    nodes
}

/// Decodes lists to fields.
pub struct Decoder {
    pipeline: Pipeline<decode::main::Kernel>,
    columns: u32,
    /// The open nodes of rows that continue in the next range of features, where there is more than one.
    partials: Buffer,
    /// Rows whose open nodes fit.
    slice: u32,
}

/// A field that is decoded from the features below one.
#[derive(Clone, Copy)]
pub struct Level<'a> {
    /// The feature.
    pub below: u32,
    /// The parts of the field.
    pub nodes: &'a [Node],
}

impl Decoder {
    /// Compiles the kernel, and makes room for `rows` rows of lists that are decoded to at most `levels` fields at
    /// once.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it, and as [`Gpu::buffer`].
    pub fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        rows: u32,
        levels: usize,
        (value, pass): (Value, Pass),
    ) -> Result<Self> {
        let several = parameters.shards.len() > 1 || levels > 1;
        let row = u64::from(parameters.quads()) * 4 * u64::from(ROOT + 1);
        let slice = if several { (gpu.max_binding_bytes() / (4 * row)).clamp(1, rows.max(1).into()) } else { 0 };
        // Three vectors per thread are faster where a CPU computes, fewer registers elsewhere.
        let columns = if gpu.description().takes_cpu_kernels() { 3 } else { 1 };
        let kind = parameters.description().lists[0].entry;
        let own = [("COLUMNS", columns), ("CONTINUED", several.into()), ("GATE", u32::from(value == Value::Gate))];
        let defines = [&parameters.planes().defines()[..], &entry::defines(kind, pass), &own].concat();
        Ok(Self {
            pipeline: gpu.pipeline_with_entry(entry::entry(kind), &defines)?,
            columns,
            partials: gpu.for_part("batch").buffer("open sums of rows", slice * row)?,
            slice: if several { slice as u32 } else { rows.max(1) },
        })
    }

    /// Sums the entries of `rows` rows of a list for each node of each level, in one walk over the features; levels
    /// come by ascending features.
    pub fn record(
        &self,
        recording: &mut Recording,
        parameters: &Parameters,
        Listed { entries, starts }: Listed<'_>,
        levels: &[Level<'_>],
        rows: u32,
    ) {
        let chunk = parameters.chunk();
        let nodes = levels.last().map_or(0, |level| level.nodes.len());
        for first_row in (0..rows).step_by(self.slice as usize) {
            for node in 0..nodes {
                let fields: Vec<(u32, &Node)> = levels.iter().map(|level| (level.below, &level.nodes[node])).collect();
                let Some(&(_, Node { chunk: first_chunk, level: top, .. })) = fields.last() else { continue };
                let origin = u64::from(*first_chunk) * u64::from(chunk);
                let end = (origin + (u64::from(chunk) << top)).min(parameters.features().into()) as u32;
                let origin = origin as u32;
                let ends: Vec<u32> = fields.iter().map(|(below, _)| end.min(*below)).collect();
                for Piece { shard, features, closes } in pieces(parameters, origin..end, &ends) {
                    let params = decode::Params {
                        first_row,
                        rows: self.slice.min(rows - first_row),
                        quads: parameters.quads(),
                        shard: shard.first,
                        count: shard.count,
                        begin: features.start,
                        end: features.end,
                        origin,
                        top: *top,
                        chunk,
                        pieces: parameters.quads().div_ceil(decode::PIECE_THREADS * self.columns),
                        closes: closes.is_some().into(),
                        one: 1.0,
                    };
                    let sums = &fields[closes.unwrap_or(0)].1.sums;
                    let (w_dec, scalars, partials) = (&shard.w_dec, &shard.scalars, &self.partials);
                    let bindings = decode::main::Bindings { entries, starts, w_dec, scalars, partials, sums, params };
                    recording.run(&self.pipeline, bindings);
                }
            }
        }
    }
}

/// Features of one shard that are decoded at a time.
struct Piece<'a> {
    shard: &'a Shard,
    features: Range<u32>,
    /// The field whose sums are complete after it.
    closes: Option<usize>,
}

/// The features of a node, cut at the ends of shards and of fields. Of fields that end together all but the first have
/// an empty piece; the sums of one that ends before the node begins stay 0.
fn pieces<'a>(parameters: &'a Parameters, node: Range<u32>, ends: &[u32]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for shard in &parameters.shards {
        let stop = (shard.first + shard.count).min(node.end);
        let mut begin = shard.first.max(node.start);
        while begin < stop {
            let next = ends.iter().copied().filter(|end| *end > begin).fold(stop, u32::min);
            let mut closed = (0..ends.len()).filter(|field| ends[*field] == next);
            pieces.push(Piece { shard, features: begin..next, closes: closed.next() });
            pieces.extend(closed.map(|field| Piece { shard, features: next..next, closes: Some(field) }));
            begin = next;
        }
    }
    pieces
}

/// A list of entries.
#[derive(Clone, Copy)]
pub struct Listed<'a> {
    /// `[capacity]` `vec4<u32>`.
    pub entries: &'a Buffer,
    /// `[rows + 1]`.
    pub starts: &'a Buffer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_cover_what_an_owner_has() {
        assert_eq!(covering_nodes(0..64), [(0, 6)]);
        assert_eq!(covering_nodes(32..64), [(32, 5)]);
        assert_eq!(covering_nodes(21..43), [(21, 0), (22, 1), (24, 3), (32, 3), (40, 1), (42, 0)]);
        for chunks in [0..21, 21..43, 43..64, 5..6, 1..64] {
            let mut at = chunks.start;
            for (first, level) in covering_nodes(chunks.clone()) {
                assert_eq!((first, first % (1 << level)), (at, 0));
                at += 1 << level;
            }
            assert_eq!(at, chunks.end);
        }
    }
}
