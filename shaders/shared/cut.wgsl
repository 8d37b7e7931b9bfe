/// The part of a batch that is kept: keys whose order is above `floor`, and the first `ties` equal to it, by row, then
/// feature.
struct Cut {
    floor: u32,
    /// Whether more would be kept than there is room for, so that a finer level follows.
    open: u32,
    /// Keys wanted.
    wanted: u32,
    ties: u32,
}

/// No limit of ties.
const ALL_TIES: u32 = 0xffffffffu;
