//! `monosem encode`

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;
use monosem::apply::Encoder;
use monosem::data::Batches;
use monosem::storage::{Dtype, TensorWriter};
use monosem::{Error, Result};
use serde_json::json;

use super::arguments::{Application, ApplyArguments};
use super::output::{self, tell};

/// Write the codes of every row to a safetensors file: `indices` u32 [rows, k], ascending, and `values` f32 [rows, k]
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    apply: ApplyArguments,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Encodes every row. The file is there from the start, so that no work ends at a path that cannot be written, and gone
/// again if the work fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = &arguments.out;
    File::create_new(out).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Error::Config(format!("--out {} exists: name a new file", out.to_string_lossy().escape_debug()))
        }
        _ => Error::io(out)(error),
    })?;
    encode(arguments).inspect_err(|_| {
        // The error that led here matters more than one from tidying up.
        let _ = fs::remove_file(out);
    })
}

fn encode(arguments: &Arguments) -> Result<()> {
    let Application { sae, data, batch } = arguments.apply.open()?;
    let config = sae.weights.config();
    let gpu = arguments.apply.device.open()?;
    let tuning = arguments.apply.tuning(&gpu, config, batch);
    let mut encoder = Encoder::with_tuning(&gpu, &*sae.weights, batch, tuning)?;
    let (rows, k) = (data.rows(), config.k());
    // More than the address space holds is more than any disk holds.
    let shape = [usize::try_from(rows).unwrap_or(usize::MAX), k];
    let tensors: [(_, _, &[usize]); 2] = [("indices", Dtype::U32, &shape), ("values", Dtype::F32, &shape)];
    let mut file = TensorWriter::create(&arguments.out, &tensors)?;
    let mut offset = 0;
    for batch in Batches::in_order(data, batch)? {
        let codes = encoder.encode(&batch?.rows)?;
        file.write(0, offset, bytemuck::cast_slice(&codes.features))?;
        file.write(1, offset, bytemuck::cast_slice(&codes.values))?;
        offset += 4 * codes.values.len() as u64;
    }
    file.finish()?;
    tell(&format!("wrote {rows} rows to {}", arguments.out.to_string_lossy().escape_debug()));
    if output::json() {
        output::print(&json!({ "out": arguments.out.to_string_lossy(), "rows": rows, "k": k }).to_string())?;
    }
    Ok(())
}
