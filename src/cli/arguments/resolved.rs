//! Settings and what follows from them: config.toml, and the comparison of a run with the one that it resumes.

use std::path::{Path, absolute};

use monosem::sae::SaeConfig;
use monosem::train::{KAnnealing, Recipe, Schedule};
use monosem::{Error, Result};
use toml::{Table, Value};

use super::settings::Settings;
use crate::cli::config;
use crate::cli::presets::Preset;

const HEADER: &str = "# The run of this directory: monosem train --config FILE --out NEW repeats it.";

/// Settings as they were chosen, and the values that were derived from them.
pub struct Resolved {
    chosen: Settings,
    /// What settings come to, by key.
    resolved: Table,
    /// That of keys that were not chosen.
    derived: Table,
}

impl Resolved {
    /// With absolute paths, so that the run can be repeated from any directory.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no current directory, [`Error::Config`] for values that TOML cannot hold.
    pub fn new(settings: &Settings, config: &SaeConfig, recipe: &Recipe) -> Result<Self> {
        let mut chosen = settings.clone();
        chosen.validation.normalise();
        let is_stream = chosen.data.is_stream();
        let data = chosen.data.data.iter_mut().filter(|_| !is_stream);
        for path in data.chain(&mut chosen.validation.val) {
            *path = absolute(&*path).map_err(Error::io(&*path))?;
        }
        if let Some(Some(path)) = &mut chosen.initialization.init {
            *path = absolute(&*path).map_err(Error::io(&*path))?;
        }
        chosen.rows.normalise();
        let mut all = Table::new();
        all.insert("features".into(), integer("features", config.features as u64)?);
        all.insert("steps".into(), integer("steps", recipe.steps)?);
        all.insert("lr".into(), recipe.learning_rate.into());
        all.insert("warmup".into(), integer("warmup", recipe.warmup_steps)?);
        all.insert("sparsity-warmup".into(), integer("sparsity-warmup", recipe.sparsity_warmup_steps)?);
        all.insert("decay".into(), integer("decay", recipe.decay_steps)?);
        if let Some(k) = settings.model.fixed_k() {
            all.insert("k".into(), integer("k", k as u64)?);
        }
        if let Some(KAnnealing { steps, .. }) = recipe.k_annealing {
            all.insert("k-anneal".into(), integer("k-anneal", steps)?);
        }
        all.insert("schedule".into(), schedule_name(recipe.schedule).into());
        all.insert("adam-beta1".into(), recipe.beta1.into());
        all.insert("adam-beta2".into(), recipe.beta2.into());
        all.insert("adam-eps".into(), recipe.epsilon.into());
        all.insert("decoder-rule".into(), if recipe.unit_norm_decoder { "unit-norm" } else { "free" }.into());
        if let Some(auxk) = settings.model.auxk()? {
            all.insert("auxk-coefficient".into(), auxk.coefficient.into());
            all.insert("auxk-k".into(), integer("auxk-k", auxk.most(config) as u64)?);
        }
        let given = config::to_table(&chosen)?;
        let derived = all.clone().into_iter().filter(|(key, _)| !given.contains_key(key)).collect();
        Ok(Self { chosen, resolved: all, derived })
    }

    /// The text of config.toml: what was chosen, and in comments the preset that it is from and what follows from it.
    ///
    /// # Errors
    /// [`Error::Config`] when a value cannot be written in TOML.
    pub fn to_toml(&self, preset: Option<&Preset>) -> Result<String> {
        let preset = preset.map(|preset| format!("# preset: {}, {}\n", preset.name, preset.source)).unwrap_or_default();
        let comments: String =
            self.derived.iter().map(|(key, value)| format!("# derived: {key} = {value}\n")).collect();
        Ok(format!("{HEADER}\n{preset}{}{comments}", config::to_toml(&self.chosen)?))
    }

    /// Fails if these settings mean another run than the file at `path`, but for the `changeable` keys.
    ///
    /// # Errors
    /// [`Error::Config`] naming the flag, [`Error::Io`].
    pub fn refuse_changes(&self, path: &Path, width: usize, changeable: &[&str]) -> Result<()> {
        let settings = config::load::<Settings>(path)?;
        let name = path.to_string_lossy();
        let name = name.escape_debug();
        settings.check().map_err(|error| {
            Error::Config(format!("{name} is empty or damaged ({error}): restore it, or remove it"))
        })?;
        let sae = settings.sae_config(width)?;
        let before = Self::new(&settings, &sae, &settings.recipe(sae.features)?)?;
        let (old, new) = (before.meaning()?, self.meaning()?);
        let mut changed: Vec<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
        changed.retain(|key| !changeable.contains(key) && old.get(*key) != new.get(*key));
        // What nobody chose differs only because of something that somebody chose.
        // Shares of the steps change with their number, too.
        let is_share = |key: &str| matches!(key, "decay" | "warmup" | "k-anneal");
        changed.sort_by_key(|key| (!self.is_chosen(key) && !before.is_chosen(key), is_share(key)));
        let Some(key) = changed.first() else { return Ok(()) };
        let word = |value: Option<&Value>| value.map_or("not given".to_owned(), Value::to_string);
        let flag = self.flag(key);
        let meaning = if flag == *key { String::new() } else { format!(": {key}") };
        Err(Error::Config(format!(
            "--{flag}{meaning} is {} and was {} when the run began ({}): a run resumes with the settings it began \
             with; restore it, or name a new --out{}",
            config::printable(&word(new.get(*key))),
            config::printable(&word(old.get(*key))),
            name,
            if *key == "steps" { " (--extend trains for more steps)" } else { "" }
        )))
    }

    /// All that decides the run, by key.
    fn meaning(&self) -> Result<Table> {
        let mut all = config::to_table(&self.chosen)?;
        all.extend(self.resolved.clone());
        all.retain(|key, _| key != "expansion" && key != "tokens");
        Ok(all)
    }

    fn is_chosen(&self, key: &str) -> bool {
        !self.derived.contains_key(key) || self.flag(key) != key
    }

    /// The flag that a key was given by.
    fn flag<'a>(&self, key: &'a str) -> &'a str {
        match key {
            "features" if self.chosen.model.expansion.is_some() => "expansion",
            "steps" if self.chosen.training.tokens.is_some() => "tokens",
            key => key,
        }
    }
}

fn schedule_name(schedule: Schedule) -> &'static str {
    match schedule {
        Schedule::Constant => "constant",
        Schedule::Linear => "linear",
        Schedule::Cosine => "cosine",
    }
}

fn integer(key: &str, value: u64) -> Result<Value> {
    let value = i64::try_from(value);
    value.map(Value::Integer).map_err(|_| Error::Config(format!("--{key} is too large: at most 2^63 - 1")))
}
