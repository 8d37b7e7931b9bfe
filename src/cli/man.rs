//! `monosem man`

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use monosem::{Error, Result};

use super::output;

/// Print the manual page of the program, or write those of all subcommands
#[derive(Args, Debug)]
pub struct Arguments {
    /// Directory to write one page per subcommand to, created if missing; pages of an older version are replaced
    /// [default: only the program's own page, to stdout]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the page, or writes all of them.
pub fn run(arguments: &Arguments) -> Result<()> {
    // `monosem help` has no page.
    let program = super::Arguments::command().disable_help_subcommand(true);
    let Some(directory) = &arguments.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(program).render(&mut page).map_err(Error::io("the manual page"))?;
        return output::write(&page);
    };
    fs::create_dir_all(directory).map_err(Error::io(directory))?;
    clap_mangen::generate_to(program, directory).map_err(Error::io(directory))
}
