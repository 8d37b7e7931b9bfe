// Needs the global `guard`.
// Once raised, every kernel that changes the model writes nothing; the host sees it with the step's results.
#import finite

struct Guard {
    status: atomic<u32>,
    row: atomic<u32>,
}

const INPUT_NOT_FINITE: u32 = 1u;
const LOSS_NOT_FINITE: u32 = 2u;
const GRADIENT_NOT_FINITE: u32 = 4u;
/// An update wrote it: the model is no longer what it was before the step.
const PARAMETER_NOT_FINITE: u32 = 8u;
/// Entries did not fit their list: what follows from them is void, and the step is taken again.
const LIST_FULL: u32 = 16u;
/// Entries of a step without lists would have fitted them: it is taken again.
const LIST_FITS: u32 = 32u;
/// More rows are to be selected again in f32 than there is room for: the step is taken again.
const TOO_MANY_UNCERTAIN: u32 = 64u;
/// The entries of an audited row are others in f32.
const SCREENED_WRONGLY: u32 = 128u;
/// A row that is none.
const NO_ROW: u32 = 0xffffffffu;

/// Keeps the lowest row that raised it: `row` holds 2^32 - 1 - row, so that a zeroed guard is at rest.
fn raise_guard(what: u32, row: u32) {
    atomicOr(&guard.status, what);
    atomicMax(&guard.row, ~row);
}
