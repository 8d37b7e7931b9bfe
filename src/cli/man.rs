//! `monosem man`

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use monosem::storage::replace_file;
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
    let mut program = super::Arguments::command().disable_help_subcommand(true);
    let Some(directory) = &arguments.out else {
        return output::write(&render(program)?.1);
    };
    fs::create_dir_all(directory).map_err(Error::io(directory))?;
    program.build();
    write_pages(&program, directory)
}

/// Writes the pages of a command and of all commands below it.
fn write_pages(command: &Command, directory: &Path) -> Result<()> {
    let (name, page) = render(command.clone())?;
    replace_file(&directory.join(name), &page)?;
    command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
        .try_for_each(|below| write_pages(below, directory))
}

/// The name and the text of a command's page.
fn render(command: Command) -> Result<(String, Vec<u8>)> {
    let page = clap_mangen::Man::new(command);
    let mut text = Vec::new();
    page.render(&mut text).map_err(Error::io("the manual page"))?;
    Ok((page.get_filename(), text))
}
