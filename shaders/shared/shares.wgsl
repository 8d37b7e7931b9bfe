#define SHARES 256
/// Pairs that a workgroup takes at a time.
const TILE: u32 = 256u;

/// Pairs of one of SHARES workgroups, in whole tiles.
fn share_of(total: u32) -> u32 {
    let tiles = (total + TILE - 1u) / TILE;
    return (tiles + ${SHARES}u - 1u) / ${SHARES}u * TILE;
}
