/// Entries of the lists, as the device counted them.
struct Counts {
    first: u32,
    second: u32,
    /// Entries that list 0 has no room for, and all others: 0 if there is room.
    full: u32,
}
