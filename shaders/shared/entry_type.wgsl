#import entry_list

/// What an architecture's own arithmetic sees of an entry.
struct Entry {
    /// Counted in the shard.
    feature: u32,
    row: u32,
    flags: u32,
    /// The pre-activation, before any ReLU.
    u: f32,
}
