//! `monosem eval`

use clap::Args;
use monosem::Result;
use monosem::data::Batches;
use monosem::train::evaluate;
use serde_json::json;

use super::ApplyArguments;
use super::output::{self, print};

/// Measures how well an SAE reconstructs activations
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    apply: ApplyArguments,
}

/// Evaluates on every row.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (sae, data, batch) = arguments.apply.open()?;
    let gpu = arguments.apply.device.open()?;
    let result = evaluate(&gpu, &sae, batch, Batches::in_order(data, batch)?)?;
    let fields = [
        ("tokens", json!(result.tokens)),
        ("fvu", json!(result.fvu)),
        ("explained_variance", json!(1.0 - result.fvu)),
        ("mse", json!(result.mse)),
        ("mse_per_dim", json!(result.mse_per_dim)),
        ("l0", json!(result.l0)),
        ("cosine", json!(result.cosine)),
        ("unfired_fraction", json!(result.unfired_fraction)),
    ];
    if output::json() {
        let object: serde_json::Map<_, _> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        return print(&serde_json::Value::Object(object).to_string());
    }
    for (name, value) in fields {
        print(&format!("{name:20} {value}"))?;
    }
    Ok(())
}
