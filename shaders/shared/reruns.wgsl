/// The rows that are selected again: their list begins at FIRST. In which order does not matter, each is for itself.
const FIRST: u32 = 3u;
/// Rows whose entries are not proven to be right.
const UNCERTAIN: u32 = 0u;
/// Rows that should be listed: more than there is room for, if OVERFULL is not 0.
const LISTED: u32 = 1u;
const OVERFULL: u32 = 2u;
/// The row's entries are believed, and only compared.
const AUDITED: u32 = 0x80000000u;
