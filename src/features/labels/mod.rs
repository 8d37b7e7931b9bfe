//! Labels of features: what a labeller is given, and what it gives back.

mod import;
mod label;
mod prompts;

pub use import::{Imported, import};
pub use label::Label;
pub(super) use label::of_set;
pub use prompts::{Exported, export};
