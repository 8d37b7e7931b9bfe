//! `monosem encode`

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use monosem::data::{Batches, safetensors_layout as layout};
use monosem::sae::Weights;
use monosem::train::{Encoder, HostCodes};
use monosem::{Error, Result};
use safetensors::Dtype;
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
    let (rows, k) = (data.rows(), sae.config().k);
    let mut file = CodesFile::create(&arguments.out, rows, k)?;
    for batch in Batches::in_order(data, batch)? {
        file.write(&encoder.encode(&batch?.rows)?)?;
    }
    tell(&format!("wrote {rows} rows to {}", arguments.out.to_string_lossy().escape_debug()));
    if output::json() {
        output::print(&json!({ "out": arguments.out.to_string_lossy(), "rows": rows, "k": k }).to_string())?;
    }
    Ok(())
}

/// `indices` u32 and `values` f32, both `[rows, k]`, written side by side as the rows come.
struct CodesFile {
    file: File,
    path: PathBuf,
    /// Where each tensor goes on.
    offsets: [u64; 2],
}

impl CodesFile {
    /// Over the empty file at `path`.
    fn create(path: &Path, rows: u64, k: usize) -> Result<Self> {
        // More than the address space holds is more than any disk holds.
        let shape = [usize::try_from(rows).unwrap_or(usize::MAX), k];
        let create = || {
            let (header, places) = layout(&[("indices", Dtype::U32, &shape), ("values", Dtype::F32, &shape)])?;
            let mut file = File::create(path)?;
            file.write_all(&header)?;
            let offsets = [places[0].start, places[1].start];
            Ok(Self { file, path: path.to_owned(), offsets })
        };
        create().map_err(Error::io(path))
    }

    fn write(&mut self, codes: &HostCodes) -> Result<()> {
        let parts = [bytemuck::cast_slice::<_, u8>(&codes.features), bytemuck::cast_slice(&codes.values)];
        for (offset, bytes) in self.offsets.iter_mut().zip(parts) {
            let written = self.file.seek(SeekFrom::Start(*offset)).and_then(|_| self.file.write_all(bytes));
            written.map_err(Error::io(&self.path))?;
            *offset += bytes.len() as u64;
        }
        Ok(())
    }
}
