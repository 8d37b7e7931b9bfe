//! The order in which `encode` goes through its tiles.

use crate::gpu::shaders::encode_tiled::{Params, ROWS};

/// Rows of a block of tiles, which is 1,024 features wide.
const BLOCK_ROWS: u32 = 2048;

/// Weights of a chunk beyond which tiles come in blocks: a cache may hold fewer, which are then read once in any order.
const CACHED_BYTES: u64 = 16 << 20;

/// The order of tiles.
#[derive(Clone, Copy, Default)]
pub(super) enum TileOrder {
    /// Row by row of them, or in blocks where the weights of a chunk are many.
    #[default]
    BySize,
    /// In blocks of so many tiles of rows.
    BlocksOf(u32),
}

impl TileOrder {
    /// Tiles of rows in a block of tiles, 0 if those come row by row.
    pub fn row_tiles(self, params: &Params) -> u32 {
        let weights = 16 * u64::from(params.width) * u64::from(params.quads);
        match self {
            Self::BlocksOf(row_tiles) => row_tiles,
            Self::BySize if weights > CACHED_BYTES => BLOCK_ROWS / ROWS,
            Self::BySize => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_come_in_blocks_where_the_weights_are_many() {
        let params = |width| Params { rows: 4096, quads: 192, width, ..Params::default() };
        assert_eq!(TileOrder::BySize.row_tiles(&params(8192)), 16);
        assert_eq!(TileOrder::BySize.row_tiles(&params(4096)), 0);
    }
}
