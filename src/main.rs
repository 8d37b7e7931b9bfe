//! The `monosem` program: parse, run, report.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match cli::parse() {
        Ok((arguments, matches)) => cli::run(&arguments, &matches),
        Err(refused) => return cli::report_usage(&refused),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::report(&error),
    }
}
