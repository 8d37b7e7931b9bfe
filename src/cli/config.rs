//! Configuration files: TOML whose keys are the long flags without their dashes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use monosem::{Error, Result};
use serde::Serialize;
use toml::de::DeTable;
use toml::{Table, Value};

/// More than any configuration needs, and little enough to read from any file.
const MAX_BYTES: u64 = 1 << 20;

/// How much a known key must resemble an unknown one to be proposed (Jaro), as clap has it for flags.
const RESEMBLANCE: f64 = 0.7;

/// Settings that lie under the flags of the command line.
pub enum Layer<'a> {
    /// Of a file.
    File(&'a Path),
    /// Keys and values; other commands' keys are passed over.
    Values(&'a [(&'static str, &'static str)]),
}

/// The settings of the layers, under those that the command line gives: a flag wins over a layer, a layer over those
/// before it, and all over a default. `displaces` names the keys that do not count any more in what lies under a key of
/// this value.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read; [`Error::Config`] naming file, line and key when it is not TOML, or has a
/// key or a value that no flag has.
pub fn under_flags<S: Args>(
    layers: &[Layer<'_>],
    matches: &ArgMatches,
    displaces: fn(&str, &OsStr) -> &'static [&'static str],
) -> Result<S> {
    let command = command::<S>();
    let mut arguments: Vec<(String, OsString)> = Vec::new();
    let mut cover = |layer: Vec<(String, OsString)>| {
        let is_covered =
            |key: &str| layer.iter().any(|(upper, value)| upper == key || displaces(upper, value).contains(&key));
        arguments.retain(|(key, _)| !is_covered(key));
        arguments.extend(layer);
    };
    for layer in layers {
        cover(match layer {
            Layer::File(path) => arguments_of(path, &command)?,
            Layer::Values(values) => {
                let is_known = |key: &str| command.get_arguments().any(|flag| flag.get_long() == Some(key));
                let values = values.iter().filter(|(key, _)| is_known(key));
                values.map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
            }
        });
    }
    let given = |flag: &Arg| matches.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
    let flags = command.get_arguments().filter(|flag| given(flag)).flat_map(|flag| {
        let values = matches.get_raw(flag.get_id().as_str()).into_iter().flatten();
        values.map(|value| (flag.get_long().unwrap_or_default().to_owned(), value.to_owned()))
    });
    cover(flags.collect());
    parse(&command, &arguments).map_err(|problem| Error::Config(format!("--config or --preset: {problem}")))
}

/// The settings of the file at `path`.
///
/// # Errors
/// As [`under_flags`].
pub fn load<S: Args>(path: &Path) -> Result<S> {
    let command = command::<S>();
    let arguments = arguments_of(path, &command)?;
    parse(&command, &arguments).map_err(|problem| Error::Config(format!("{}: {problem}", name(path))))
}

/// The flags without the program around them.
fn command<S: Args>() -> Command {
    S::augment_args(Command::new("").no_binary_name(true)).mut_args(|flag| flag.required(false))
}

/// What a file says, as the command line would: flags and their values.
fn arguments_of(path: &Path, command: &Command) -> Result<Vec<(String, OsString)>> {
    let text = read(path)?;
    let refuse = |offset: usize, problem: &str| {
        let line = 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
        Error::Config(format!("{}, line {line}: {}", name(path), printable(problem)))
    };
    let syntax = |error: toml::de::Error| {
        let problem = error.message().trim().replace('\n', ", ");
        refuse(error.span().map_or(0, |span| span.start), &format!("{problem}; toml.io has the syntax"))
    };
    let positions = DeTable::parse(&text).map_err(syntax)?;
    let mut values = text.parse::<Table>().map_err(syntax)?;
    let mut positions: Vec<_> = positions.get_ref().keys().map(|key| (key.span().start, key.get_ref())).collect();
    positions.sort();

    let mut arguments = Vec::new();
    for (at, key) in positions {
        let has_name = |flag: &&Arg| {
            let aliases = flag.get_all_aliases().unwrap_or_default();
            flag.get_long().into_iter().chain(aliases).any(|known| known == key)
        };
        let flag = command.get_arguments().find(has_name).ok_or_else(|| refuse(at, &unknown(key, command)))?;
        let long = flag.get_long().unwrap_or_default();
        let value = values.remove(key.as_ref()).unwrap_or(Value::Boolean(false));
        let takes_list = matches!(flag.get_action(), ArgAction::Append);
        let values = texts(value, takes_list).map_err(|problem| refuse(at, &format!("{key}: {problem}")))?;
        let values: Vec<_> = values.into_iter().map(|value| (long.to_owned(), value.into())).collect();
        check(command, &values).map_err(|problem| refuse(at, &format!("{key}: {problem}")))?;
        arguments.extend(values);
    }
    Ok(arguments)
}

/// A value as the command line has it; a list is as many values.
fn texts(value: Value, takes_list: bool) -> std::result::Result<Vec<String>, &'static str> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Float(number) => Ok(vec![number.to_string()]),
        Value::Boolean(is) => Ok(vec![is.to_string()]),
        Value::Array(values) if takes_list => values
            .into_iter()
            .map(|value| texts(value, false))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map(|all| all.concat()),
        Value::Array(_) => Err("is a list, where one value is needed"),
        Value::Table(_) => Err("is a table, where a value is needed"),
        Value::Datetime(_) => Err("is a date, where a value is needed"),
    }
}

fn parse<S: Args>(command: &Command, arguments: &[(String, OsString)]) -> std::result::Result<S, String> {
    check(command, arguments).and_then(|matches| S::from_arg_matches(&matches).map_err(|error| first_words(&error)))
}

fn check(command: &Command, arguments: &[(String, OsString)]) -> std::result::Result<ArgMatches, String> {
    let arguments = arguments.iter().map(|(key, value)| {
        let mut argument = OsString::from(format!("--{key}="));
        argument.push(value);
        argument
    });
    command.clone().try_get_matches_from(arguments).map_err(|error| first_words(&error))
}

/// What is wrong, without the usage that follows.
fn first_words(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let words = text.strip_prefix("error: ").unwrap_or(&text).split("\n\n").next().unwrap_or_default();
    words.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The settings as a file that `--config` loads.
///
/// # Errors
/// [`Error::Config`] when a value cannot be written in TOML.
pub fn to_toml(settings: &impl Serialize) -> Result<String> {
    // A table refuses the numbers that text takes but nobody can read again; it would lose the order.
    to_table(settings)?;
    toml::to_string(settings).map_err(|error| unwritable(settings, &error))
}

/// The settings by key.
///
/// # Errors
/// [`Error::Config`] when a value cannot be written in TOML.
pub fn to_table(settings: &impl Serialize) -> Result<Table> {
    Table::try_from(settings).map_err(|error| unwritable(settings, &error))
}

fn unwritable(settings: &impl Serialize, error: &toml::ser::Error) -> Error {
    let values = serde_json::to_value(settings).unwrap_or_default();
    let mut keys = values.as_object().into_iter().flatten();
    let too_large = |value: &serde_json::Value| value.as_u64().is_some_and(|number| i64::try_from(number).is_err());
    Error::Config(match keys.find(|(_, value)| too_large(value)) {
        Some((key, value)) => format!("--{key} {value} is too large: at most 2^63 - 1 can be in a configuration file"),
        None => format!("the settings make no configuration file: {error}; the names of files must be UTF-8"),
    })
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(Error::io(path))?;
    let refuse = |problem| Error::Config(format!("{}: {problem}; give a configuration in TOML", name(path)));
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse("is larger than any configuration"));
    }
    String::from_utf8(bytes).map_err(|_| refuse("is not text in UTF-8"))
}

fn name(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

fn unknown(key: &str, command: &Command) -> String {
    let flags = || command.get_arguments().filter_map(clap::Arg::get_long);
    let key: String = key.chars().take(80).collect();
    let nearest = flags().max_by(|a, b| strsim::jaro(&key, a).total_cmp(&strsim::jaro(&key, b)));
    match nearest.filter(|known| strsim::jaro(&key, known) > RESEMBLANCE) {
        Some(known) => format!("there is no key `{key}`; did you mean `{known}`?"),
        None => format!("there is no key `{key}`; there are {}", flags().collect::<Vec<_>>().join(", ")),
    }
}

/// Control characters escaped: quoted text may hold them.
pub fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}
