//! Where words go: results to stdout, the rest to stderr; how many of them, and in which form.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{ArgAction, Args};
use env_logger::{Builder, Env, Target};
use monosem::{Error, Result};
use serde_json::Value;

use super::stderr::{self, Lines, aside};

/// Flags of every subcommand.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArguments {
    /// Print results and errors as JSON, one object per line
    #[arg(long, global = true)]
    json: bool,
    /// Suppress progress and notes
    #[arg(short, long, global = true, overrides_with = "quiet", conflicts_with = "verbose")]
    quiet: bool,
    /// Log more on stderr (-vv: the graphics library too); RUST_LOG selects more finely
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

impl OutputArguments {
    /// Whether more and less are asked for.
    pub fn is_contradictory(&self) -> bool {
        self.quiet && self.verbose > 0
    }
}

/// Set once, before the subcommand runs, as a log's level is.
static STYLE: OnceLock<OutputArguments> = OnceLock::new();

/// Makes the flags hold from here on.
pub fn set_style(arguments: &OutputArguments) {
    let filter = match (arguments.quiet, arguments.verbose) {
        (true, _) => "monosem=error",
        (_, 0) => "monosem=warn",
        (_, 1) => "warn,monosem=debug",
        _ => "debug",
    };
    Builder::from_env(Env::default().default_filter_or(filter)).target(Target::Pipe(Box::new(Lines))).init();
    let _ = STYLE.set(arguments.clone());
}

/// Whether results are to be JSON.
pub fn json() -> bool {
    STYLE.get().is_some_and(|style| style.json)
}

/// Whether only errors are to be shown.
pub fn quiet() -> bool {
    STYLE.get().is_some_and(|style| style.quiet)
}

/// A line for people, on stderr unless they want none; a closed stderr is no reason to stop.
pub fn tell(line: &str) {
    if !quiet() {
        stderr::write_line(line);
    }
}

/// A line about something that was not saved, on stderr even if they want no notes.
pub fn warn(line: &str) {
    stderr::write_line(&format!("warning: {line}"));
}

/// A line of results, on stdout. A reader that has gone is no error.
pub fn print(line: &str) -> Result<()> {
    write(format!("{line}\n").as_bytes())
}

/// The result of a command for programs: its last line, of the command's name as type.
pub fn print_result(command: &str, mut result: Value) -> Result<()> {
    result["type"] = command.into();
    result["version"] = env!("CARGO_PKG_VERSION").into();
    result["commit"] = option_env!("MONOSEM_COMMIT").into();
    print(&result.to_string())
}

/// Whole numbers as they are, others with six digits, `-` for what is not known.
pub fn readable(value: &Value) -> String {
    match value.as_f64() {
        None => "-".into(),
        Some(_) if value.is_u64() => value.to_string(),
        Some(number) if number == 0.0 || (1e-3..1e6).contains(&number.abs()) => format!("{number:.6}"),
        Some(number) => format!("{number:.5e}"),
    }
}

/// An error for programs.
fn print_error(error: &Error) -> Result<()> {
    let mut object = error.to_json();
    object["type"] = "error".into();
    print(&object.to_string())
}

/// Results as they are, on stdout. A reader that has gone is no error.
pub fn write(bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())
    };
    // Both may be the same terminal.
    match aside(write) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io(Path::new("stdout"))(error)),
        _ => Ok(()),
    }
}

/// Tells of an error, and gives the exit status that says so.
pub fn report(error: &Error) -> ExitCode {
    if json() {
        // The exit status and stderr tell it too.
        let _ = print_error(error);
    }
    stderr::write_line(&format!("error: {error}"));
    ExitCode::from(error.exit_code())
}

/// Tells of a command line that could not be parsed, or prints the help that it asks for.
pub fn report_usage(refused: &clap::Error) -> ExitCode {
    // The flags are not known, because they could not be parsed.
    let wants_json = std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|flag| flag == "--json");
    if refused.use_stderr() && wants_json {
        let message = refused.render().to_string();
        let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end();
        let _ = print_error(&Error::Config(message.to_owned()));
    }
    match refused.print() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe && !refused.use_stderr() => {
            report(&Error::io(Path::new("stdout"))(error))
        }
        _ => ExitCode::from(if refused.use_stderr() { 2 } else { 0 }),
    }
}
