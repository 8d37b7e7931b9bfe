//! `monosem completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use monosem::Result;

use super::output;

/// Print the completion script of a shell
#[derive(Args, Debug)]
pub struct Arguments {
    /// Shell to complete in
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "monosem", &mut script);
    output::write(&script)
}
