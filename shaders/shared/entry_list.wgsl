// An entry of a list: (feature, place, bits of u, bits of the key). Its place holds its row, its list and its flags.
const ROW_MASK: u32 = 0xffffffu;
/// Entries whose places agree in these bits, shifted, are in the same block of rows of the same list (rule B).
const BLOCK_MASK: u32 = 0x1ffffffu;
const BLOCK_SHIFT: u32 = 8u;

/// The entry is decoded. One without a flag carries nothing.
const VALUE: u32 = 1u;
/// It lies in the window about its feature's threshold.
const WINDOW: u32 = 2u;
/// It reaches its feature's threshold, or its gate is open.
const REACHED: u32 = 4u;

fn place(row: u32, list: u32, flags: u32) -> u32 {
    return row | (list << 24u) | (flags << 25u);
}

fn row_of(place: u32) -> u32 {
    return place & ROW_MASK;
}

fn list_of(place: u32) -> u32 {
    return (place >> 24u) & 1u;
}

fn flags_of(place: u32) -> u32 {
    return place >> 25u;
}

fn block_of(place: u32) -> u32 {
    return (place & BLOCK_MASK) >> BLOCK_SHIFT;
}
