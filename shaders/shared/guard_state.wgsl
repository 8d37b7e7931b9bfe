/// The guard, where it is only looked at.
struct Guard {
    status: u32,
    row: u32,
}
