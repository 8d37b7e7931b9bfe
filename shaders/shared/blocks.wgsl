/// Features a block of rule F (docs/architecture.md); shards are cut at its multiples.
const BLOCK_FEATURES: u32 = 1024u;

/// Rows a block of rule B (docs/architecture.md).
const BLOCK_ROWS: u32 = 256u;
