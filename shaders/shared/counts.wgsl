/// Entries of the lists, as the device counted them.
struct Counts {
    first: u32,
    second: u32,
}
