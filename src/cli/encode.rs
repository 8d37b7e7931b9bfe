//! `monosem encode`

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;
use monosem::data::Batches;
use monosem::train::Encoder;
use monosem::{Error, Result};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::ApplyArguments;
use super::output::{self, tell};

/// Writes the codes of every row to a safetensors file: `indices` u32 [rows, k], ascending, and `values` f32 [rows, k]
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
    let (sae, data, batch) = arguments.apply.open()?;
    let gpu = arguments.apply.device.open()?;
    let mut encoder = Encoder::new(&gpu, &sae, batch)?;
    let (mut indices, mut values) = (Vec::<u32>::new(), Vec::<f32>::new());
    for batch in Batches::in_order(data, batch)? {
        let codes = encoder.encode(&batch?.rows)?;
        indices.extend(codes.features);
        values.extend(codes.values);
    }
    let shape = vec![indices.len() / sae.config.k, sae.config.k];
    let view = |dtype, bytes| {
        TensorView::new(dtype, shape.clone(), bytes)
            .map_err(|error| Error::data(&arguments.out, format!("the codes make no tensor: {error}")))
    };
    let tensors = [
        ("indices", view(Dtype::U32, bytemuck::cast_slice(&indices))?),
        ("values", view(Dtype::F32, bytemuck::cast_slice(&values))?),
    ];
    safetensors::serialize_to_file(tensors, None, &arguments.out).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => Error::io(&arguments.out)(source),
        other => Error::data(&arguments.out, other.to_string()),
    })?;
    tell(&format!("wrote {} rows to {}", shape[0], arguments.out.to_string_lossy().escape_debug()));
    if output::json() {
        output::print(&json!({ "out": arguments.out.to_string_lossy(), "rows": shape[0], "k": shape[1] }).to_string())?;
    }
    Ok(())
}
