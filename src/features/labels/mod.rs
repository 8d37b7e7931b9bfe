//! Labels of features: what a labeller is given, and what it gives back.

mod import;
mod prompts;

pub use import::{Imported, Label, import};
pub use prompts::{Exported, export};
