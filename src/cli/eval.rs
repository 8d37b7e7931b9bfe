//! `monosem eval`

use std::sync::Arc;

use clap::Args;
use monosem::data::{Activations, Batches};
use monosem::train::evaluate;
use monosem::{Error, Result, sae};
use serde_json::json;

use super::output::print;
use super::{DataArguments, DeviceArguments, SaeArguments};

/// Measures how well an SAE reconstructs activations
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    sae: SaeArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Rows at a time
    #[arg(long, default_value_t = 4096)]
    batch: usize,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Opens data whose rows fit the SAE.
pub fn open_data(arguments: &DataArguments, sae: &sae::Sae) -> Result<Arc<Activations>> {
    let data = Activations::open(&arguments.data)?;
    if data.width() != sae.config.d_in {
        return Err(Error::data(
            &arguments.data[0],
            format!("its rows have {} values and the SAE takes {}", data.width(), sae.config.d_in),
        ));
    }
    Ok(Arc::new(data))
}

/// Evaluates on every row.
pub fn run(arguments: &Arguments) -> Result<()> {
    let sae = sae::load(&arguments.sae.sae)?;
    let data = open_data(&arguments.data, &sae)?;
    let gpu = arguments.device.open()?;
    let batch = arguments.batch.min(usize::try_from(data.rows()).unwrap_or(usize::MAX));
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
    if arguments.json {
        let object: serde_json::Map<_, _> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        return print(&serde_json::Value::Object(object).to_string());
    }
    for (name, value) in fields {
        print(&format!("{name:20} {value}"))?;
    }
    Ok(())
}
