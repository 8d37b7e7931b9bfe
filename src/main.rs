//! The `monosem` program: parse, run, report.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    quieten_device_select();
    let result = match cli::parse() {
        Ok((arguments, matches)) => cli::run(&arguments, &matches),
        Err(refused) => return cli::report_usage(&refused),
    };
    result.unwrap_or_else(|error| cli::report(&error))
}

/// Mesa's device-select layer reorders the adapters and, without an X session, prints errors that are none.
fn quieten_device_select() {
    const OFF: &str = "NODEVICE_SELECT";
    if std::env::var_os(OFF).is_none() {
        // SAFETY: this is the first thing the process does, and its only thread.
        unsafe { std::env::set_var(OFF, "1") };
    }
}
