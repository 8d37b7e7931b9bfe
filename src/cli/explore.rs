//! `monosem explore`

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use clap::Args;
use monosem::features::report::{self, server::Server};
use monosem::{Error, Result};
use serde_json::json;

use super::output::{self, print, tell};
use super::signals::Signals;

/// Serve the pages of `monosem report` to a browser of this machine, until Ctrl-C
#[derive(Args, Debug)]
pub struct Arguments {
    /// Directory that `monosem features` wrote, whose pages are made if it has none, or one that `monosem report` wrote
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Port of 127.0.0.1 to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8808)]
    port: u16,
    /// Open the pages in the browser
    #[arg(long)]
    open: bool,
}

/// Serves until a signal.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let report = pages(&arguments.directory)?;
    let server = Server::bind(&report, arguments.port)?;
    let url = format!("http://{}/", server.address());
    let signals = Signals::listen()?;
    thread::spawn(|| server.run());
    match output::json() {
        true => print(&json!({ "type": "serving", "url": url }).to_string())?,
        false => print(&url)?,
    }
    tell("serving until Ctrl-C");
    if arguments.open && !open(&url) {
        tell("no browser could be opened");
    }
    while !signals.received() {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(signals.exit_code().into())
}

/// The directory that holds the pages.
fn pages(directory: &Path) -> Result<PathBuf> {
    let own = directory.join("index.html").is_file() && directory.join("data/overview.js").is_file();
    if own {
        return Ok(directory.to_owned());
    }
    if !directory.join("features.json").is_file() {
        let problem = "has neither features.json nor index.html: name a directory of `monosem features` or \
                       `monosem report`";
        return Err(Error::data(directory, problem));
    }
    let report = directory.join("report");
    if !report.join("index.html").is_file() {
        tell("writing the pages");
        report::write(directory, &report)?;
    }
    Ok(report)
}

/// Asks the system to show a page; whether it could be asked.
fn open(url: &str) -> bool {
    let program = if cfg!(target_vendor = "apple") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let silent = [Stdio::null(), Stdio::null(), Stdio::null()];
    let [stdin, stdout, stderr] = silent;
    Command::new(program).arg(url).stdin(stdin).stdout(stdout).stderr(stderr).spawn().is_ok()
}
