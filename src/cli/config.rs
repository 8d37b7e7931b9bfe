//! Configuration files: TOML whose keys are the long flags without their dashes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};
use monosem::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;
use toml::de::DeTable;

/// More than any configuration needs, and little enough to read from any file.
const MAX_BYTES: u64 = 1 << 20;

/// How much a known key must resemble an unknown one to be proposed (Jaro), as clap has it for flags.
const RESEMBLANCE: f64 = 0.7;

/// The settings of the file at `path`, under those that the command line gives: a flag wins over the file, and the file
/// over a default.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Config`] naming file, line and key when it is not TOML, or has
/// a key or a value that no flag has.
pub fn under_flags<S: Args + Serialize + DeserializeOwned>(path: &Path, flags: &S, matches: &ArgMatches) -> Result<S> {
    let text = read(path)?;
    let refuse = |offset: usize, problem: &str| {
        let line = 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
        Err(Error::Config(format!("{}, line {line}: {}", path.to_string_lossy().escape_debug(), printable(problem))))
    };
    let syntax = |error: toml::de::Error| {
        let problem = error.message().trim().replace('\n', ", ");
        refuse(error.span().map_or(0, |span| span.start), &format!("{problem}; toml.io has the syntax"))
    };
    let (positions, values) = match (DeTable::parse(&text), text.parse::<Table>()) {
        (Ok(positions), Ok(values)) => (positions, values),
        (Err(error), _) | (_, Err(error)) => return syntax(error),
    };
    let mut positions: Vec<_> = positions.get_ref().keys().map(|key| (key.span().start, key.get_ref())).collect();
    positions.sort();

    let command = S::augment_args(Command::new(""));
    let mut settings = to_table(flags)?;
    for (at, key) in positions {
        let Some(flag) = command.get_arguments().find(|flag| flag.get_long() == Some(key)) else {
            return refuse(at, &unknown(key, &command));
        };
        let mut alone = to_table(flags)?;
        alone.insert(key.to_string(), values[key.as_ref()].clone());
        if let Err(error) = S::deserialize(alone) {
            // The second line repeats the key.
            let problem = error.message().lines().next().unwrap_or_default();
            return refuse(at, &format!("{key}: {problem}"));
        }
        if matches.value_source(flag.get_id().as_str()) != Some(ValueSource::CommandLine) {
            settings.insert(key.to_string(), values[key.as_ref()].clone());
        }
    }
    S::deserialize(settings).map_err(|error| Error::Config(format!("--config: {}", error.message())))
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

/// Fails if the settings of a run differ from those in its file at `path`, but for the `changeable` ones.
///
/// # Errors
/// [`Error::Config`] naming the flag, [`Error::Io`].
pub fn refuse_changes<S: Serialize + DeserializeOwned>(path: &Path, settings: &S, changeable: &[&str]) -> Result<()> {
    let name = path.to_string_lossy();
    let refuse = |error: toml::de::Error| Error::Config(format!("{}: {}", name.escape_debug(), error.message()));
    // Through the settings, so that keys that were added since have their defaults.
    let before: S = read(path)?.parse::<Table>().and_then(S::deserialize).map_err(refuse)?;
    let before = to_table(&before)?;
    let now = to_table(settings)?;
    for key in before.keys().chain(now.keys()).filter(|key| !changeable.contains(&key.as_str())) {
        let (old, new) = (before.get(key), now.get(key));
        if old != new {
            let word = |value: Option<&toml::Value>| value.map_or("not given".to_owned(), toml::Value::to_string);
            return Err(Error::Config(format!(
                "--{key} is {} and was {} when the run began ({}): a run resumes with the settings it began with; \
                 restore it, or name a new --out",
                printable(&word(new)),
                printable(&word(old)),
                name.escape_debug()
            )));
        }
    }
    Ok(())
}

fn to_table(settings: &impl Serialize) -> Result<Table> {
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
    let refuse = |problem| {
        let path = path.to_string_lossy();
        Error::Config(format!("{}: {problem}; give a configuration in TOML", path.escape_debug()))
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse("is larger than any configuration"));
    }
    String::from_utf8(bytes).map_err(|_| refuse("is not text in UTF-8"))
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
fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}
