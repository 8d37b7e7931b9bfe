//! Held-out rows that a run is evaluated on while it trains.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use monosem::data::{Activations, FilteredRows};
use monosem::run::Validated;
use monosem::{Error, Result};
use serde::Serialize;

use super::data::open_files;
use super::number::{Choice, count, or_default};

/// Evaluations of a run unless it is said otherwise.
const TIMES: u64 = 10;

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ValidationArguments {
    /// Held-out activations: FVU and L0 on them are measured while the SAE trains, in metrics.jsonl as val_fvu and
    /// val_l0; the SAE is the same [default: none]
    #[arg(long, num_args = 1.., value_name = "PATH|none", help_heading = "Data")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub val: Vec<PathBuf>,
    /// Evaluate on --val every N steps, and after the last [default: a tenth of the steps]
    #[arg(
        long,
        value_name = "N|default",
        value_parser = or_default(count::<NonZeroU64>),
        allow_hyphen_values = true,
        help_heading = "Data"
    )]
    eval_every: Option<Choice<NonZeroU64>>,
}

impl ValidationArguments {
    /// Replaces `none` by no paths.
    pub fn normalise(&mut self) {
        if self.is_none() {
            self.val.clear();
        }
    }

    fn is_none(&self) -> bool {
        matches!(&self.val[..], [only] if only.as_os_str() == "none")
    }

    /// Opens tensor `tensor` of --val and keeps the rows that `select` keeps, for a run of `steps` steps on rows of
    /// `width` values.
    ///
    /// # Errors
    /// Those of the data, [`Error::Data`] if they have another width; [`Error::Config`] if only --eval-every is given.
    pub fn open(
        &self,
        steps: u64,
        width: usize,
        tensor: &str,
        select: impl FnOnce(Arc<Activations>) -> Result<FilteredRows>,
    ) -> Result<Option<Validated>> {
        let Some(named) = self.val.first().filter(|_| !self.is_none()) else {
            return match self.eval_every.flatten() {
                Some(_) => Err(Error::Config("--eval-every says how often --val is evaluated: give --val, too".into())),
                None => Ok(None),
            };
        };
        let data = open_files(&self.val, tensor)?;
        if data.width() != width {
            let problem = format!("--val: its rows have {} values, and those of --data {width}", data.width());
            return Err(Error::data(named, problem));
        }
        let every = self.eval_every.flatten().or(NonZeroU64::new(steps.div_ceil(TIMES))).unwrap_or(NonZeroU64::MIN);
        Ok(Some(Validated { rows: select(Arc::new(data))?, every }))
    }
}
