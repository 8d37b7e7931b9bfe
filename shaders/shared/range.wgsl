/// The runs of a range of features, and their terms.
struct Range {
    first_run: u32,
    end_run: u32,
    first_term: u32,
    end_term: u32,
    /// A run of as many terms is hot (hot.wgsl).
    hot: u32,
}
