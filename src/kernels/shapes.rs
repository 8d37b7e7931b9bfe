//! Kernels that are shaped otherwise on GPUs than on the CPU, by definitions of the same shader. The bits are the same.

use std::fmt;

use crate::gpu::AdapterDescription;

/// How `slopes` reads the rows that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlopesVariant {
    /// A thread walks the rows of its term, for adapters on the CPU.
    ByTerm,
    /// Neighbouring threads load slices of the rows into workgroup memory, for GPUs.
    Staged,
}

impl SlopesVariant {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ByTerm, Self::Staged];

    /// The one that an adapter takes.
    pub fn best(adapter: &AdapterDescription) -> Self {
        if adapter.takes_cpu_kernels() { Self::ByTerm } else { Self::Staged }
    }

    /// The definitions of `shaders/slopes.wgsl`.
    pub fn defines(self) -> [(&'static str, u32); 1] {
        [("STAGED", u32::from(self == Self::Staged))]
    }
}

impl fmt::Display for SlopesVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByTerm => "by-term",
            Self::Staged => "staged",
        })
    }
}

/// How a thread of `squares` and `update` sums the vectors of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumShape {
    /// Three vectors at once, one term after another: a CPU has no latency to hide.
    Wide,
    /// One vector, of which four terms are read before the first is added: a GPU has few registers.
    Ahead,
}

impl SumShape {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Wide, Self::Ahead];

    /// The one that an adapter takes.
    pub fn best(adapter: &AdapterDescription) -> Self {
        if adapter.takes_cpu_kernels() { Self::Wide } else { Self::Ahead }
    }

    /// The definitions of `shaders/shared/sums.wgsl`.
    pub fn defines(self) -> [(&'static str, u32); 2] {
        let [columns, ahead] = match self {
            Self::Wide => [3, 1],
            Self::Ahead => [1, 4],
        };
        [("COLUMNS", columns), ("AHEAD", ahead)]
    }
}
