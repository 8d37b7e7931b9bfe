/// A chunk of a list's candidates.
struct Extent {
    /// Candidates in this chunk.
    width: u32,
    /// Candidates of earlier chunks.
    before: u32,
    /// Entries wanted per row.
    k: u32,
}
