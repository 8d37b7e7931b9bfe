//! `monosem verify`

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use monosem::run::checkpoint::{self, is_damage};
use monosem::sae::{Weights, for_each_tile};
use monosem::storage::checksum_file;
use monosem::{Error, Result, sae};
use serde_json::{Value, json};

use super::output::{self, print, print_result};

/// Check a run, a checkpoint or an SAE, and report what is damaged
#[derive(Args, Debug)]
pub struct Arguments {
    /// A run directory, a checkpoint in one, or an SAE in SAELens's layout
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

/// Reads everything, prints a line for each part, and fails if one is damaged.
pub fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.path;
    let parts = parts(path)?;
    let mut damaged = Vec::new();
    for part in &parts {
        let damage = match part.check() {
            Ok(damage) => damage,
            Err(error) if is_damage(&error) => vec![error],
            Err(error) => return Err(error),
        };
        print_part(&part.path, &damage)?;
        damaged.extend(damage.into_iter().next());
    }
    if output::json() {
        let path = path.to_string_lossy();
        print_result("verify", json!({ "path": path, "parts": parts.len(), "damaged": damaged.len() }))?;
    }
    match damaged.first() {
        None => Ok(()),
        Some(first) => {
            let (damaged, all) = (damaged.len(), parts.len());
            Err(Error::data(path, format!("{damaged} of {all} parts are damaged, the first: {first}")))
        }
    }
}

fn print_part(path: &Path, damage: &[Error]) -> Result<()> {
    let name = path.to_string_lossy();
    let damage: Vec<String> = damage.iter().map(Error::to_string).collect();
    if output::json() {
        return print(&json!({ "type": "part", "path": name, "damage": damage }).to_string());
    }
    match &damage[..] {
        [] => print(&format!("ok       {}", name.escape_debug())),
        damage => damage.iter().try_for_each(|damage| print(&format!("damaged  {damage}"))),
    }
}

/// A part that is whole or not.
struct Part {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Toml,
    Json,
    /// A JSON value a line.
    Lines,
    Checkpoint,
    /// With the checksums of its files, where they are known.
    Sae(Vec<(String, String)>),
}

/// The parts of a directory that can be checked.
fn parts(path: &Path) -> Result<Vec<Part>> {
    fs::read_dir(path).map_err(Error::io(path))?;
    let has = |name: &str| path.join(name).exists();
    let part = |name: &str, kind| Part { path: path.join(name), kind };
    if has("manifest.json") || has("state.safetensors") {
        return Ok(vec![Part { path: path.to_owned(), kind: Kind::Checkpoint }]);
    }
    if has("cfg.json") {
        return Ok(vec![Part { path: path.to_owned(), kind: Kind::Sae(Vec::new()) }]);
    }
    if !has("config.toml") && !has("run.json") {
        return Err(Error::data(path, "is no run directory, checkpoint or SAE: it has none of their files"));
    }
    let mut parts =
        vec![part("config.toml", Kind::Toml), part("run.json", Kind::Json), part("metrics.jsonl", Kind::Lines)];
    for (_, path) in checkpoint::list(&path.join("checkpoints"))? {
        parts.push(Part { path, kind: Kind::Checkpoint });
    }
    let record = read_json(&path.join("run.json")).unwrap_or_default();
    if has("sae") || record["state"] == "done" {
        let checksums = record["sae"].as_object().into_iter().flatten();
        let checksums = checksums.filter_map(|(name, sum)| Some((name.clone(), sum.as_str()?.to_owned())));
        parts.push(part("sae", Kind::Sae(checksums.collect())));
    }
    Ok(parts)
}

impl Part {
    fn check(&self) -> Result<Vec<Error>> {
        let path = &self.path;
        match &self.kind {
            Kind::Toml => {
                let text = read(path)?;
                text.parse::<toml::Table>()
                    .map_err(|error| Error::data(path, error.message().escape_debug().to_string()))?;
            }
            Kind::Json => drop(read_json(path)?),
            Kind::Lines => {
                for (number, line) in (1..).zip(read(path)?.lines()) {
                    serde_json::from_str::<Value>(line)
                        .map_err(|_| Error::data(path, format!("line {number} is no JSON")))?;
                }
            }
            Kind::Checkpoint => return checkpoint::verify(path),
            Kind::Sae(checksums) => {
                let sae = sae::open(path)?;
                for tensor in &sae.config().tensors() {
                    for_each_tile(&sae, tensor, |_, _| Ok(()))?;
                }
                for (name, expected) in checksums {
                    let file = path.join(name);
                    if checksum_file(&file)? != *expected {
                        return Err(Error::data(
                            file,
                            "is damaged, or was changed: its checksum is not that of run.json",
                        ));
                    }
                }
            }
        }
        Ok(Vec::new())
    }
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read(path).map_err(Error::io(path))?;
    String::from_utf8(text).map_err(|_| Error::data(path, "is not text in UTF-8"))
}

fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_str(&read(path)?).map_err(|error| Error::data(path, error.to_string().escape_debug().to_string()))
}
