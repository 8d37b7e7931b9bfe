/// Rows of a block of rule B (docs/architecture.md).
const BLOCK_ROWS: u32 = 256u;
