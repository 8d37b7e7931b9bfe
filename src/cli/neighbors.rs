//! `monosem neighbors`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use monosem::Result;
use monosem::features::neighbors::{Nearest, Neighbors};
use monosem::gpu::Gpu;
use monosem::run::OpenedSae;
use monosem::sae::Weights;
use monosem::storage::WholeFile;
use serde_json::{Value, json};

use super::arguments::{DeviceArguments, count, count_or_zero, open_sae};
use super::origin::{self, SaeOrigin};
use super::output::{self, print, print_result, tell};

/// The format of the file; a change that a reader must know of raises the number.
const FORMAT: (&str, &str) = ("monosem.neighbors", "1");

/// Find the features whose decoder rows have the largest cosines with those of each feature, exactly, over all pairs
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("result").required(true).args(["out", "feature"]))]
pub struct Arguments {
    /// SAE to look at: a run (finished or not), a checkpoint, or a directory in SAELens's layout
    #[arg(long, value_name = "DIR")]
    sae: PathBuf,
    /// Take the neighbours from this SAE, of the same place in the same model, instead [default: --sae's own features,
    /// but for each itself]
    #[arg(long, value_name = "DIR")]
    with: Option<PathBuf>,
    /// Neighbours of each feature, fewer if there are not as many
    #[arg(long, default_value_t = 10, value_parser = count::<usize>, value_name = "N", allow_hyphen_values = true)]
    count: usize,
    /// Print those of these features; it or --out is needed
    #[arg(long, num_args = 1.., value_parser = count_or_zero::<u32>, value_name = "I")]
    feature: Vec<u32>,
    /// File to write with those of all features; it must not exist: `neighbors` i32 [features, count], the nearest
    /// first, and `cosines` f32 [features, count]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Features to search for at a time
    #[arg(long, default_value_t = 4096, value_parser = count::<usize>, allow_hyphen_values = true)]
    batch: usize,
    #[command(flatten)]
    device: DeviceArguments,
}

/// An SAE and where it is from.
struct Named {
    sae: OpenedSae,
    origin: SaeOrigin,
}

impl Named {
    fn open(path: &Path) -> Result<Self> {
        let sae = open_sae(path)?;
        Ok(Self { origin: SaeOrigin::of(path, &sae)?, sae })
    }

    fn features(&self) -> usize {
        self.sae.weights.config().features
    }
}

/// Writes the neighbours of all features, or prints those of some.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.as_deref().map(WholeFile::create_new).transpose()?;
    let own = Named::open(&arguments.sae)?;
    let other = arguments.with.as_deref().map(Named::open).transpose()?;
    let among = other.as_ref().map(|other| &*other.sae.weights);
    let neighbors = Neighbors::new(&*own.sae.weights, among, arguments.count, arguments.batch)?;
    if neighbors.count() < arguments.count {
        tell(&format!("note: there are only {} other features", neighbors.count()));
    }
    let gpu = arguments.device.open()?;
    let mut line = origin::object([
        ("count", json!(neighbors.count())),
        ("sae", own.origin.json()),
        ("with", json!(other.as_ref().map(|other| other.origin.json()))),
    ]);
    match out {
        Some(file) => {
            let path = file.path().to_string_lossy().into_owned();
            let mut metadata = metadata(&*own.sae.weights, &own.origin);
            metadata.extend(other.as_ref().map(|other| ("with", other.origin.json().to_string())));
            neighbors.write(&gpu, file, &metadata)?;
            tell(&format!("wrote the neighbours of {} features to {}", own.features(), path.escape_debug()));
            line.extend(origin::object([("out", json!(path)), ("features", json!(own.features()))]));
        }
        None => {
            let found = find(&gpu, &neighbors, &arguments.feature)?;
            if !output::json() {
                return print_table(&found);
            }
            line.extend(origin::object([("features", found.into_iter().map(Value::from).collect())]));
        }
    }
    if output::json() {
        line.extend(origin::device_fields(&gpu));
        print_result("neighbors", Value::Object(line))?;
    }
    Ok(())
}

/// What a file of neighbours says of the SAE.
pub fn metadata(weights: &dyn Weights, origin: &SaeOrigin) -> BTreeMap<&'static str, String> {
    let mut metadata = origin::sae_metadata(weights, origin);
    metadata.extend([("format", FORMAT.0.to_owned()), ("format_version", FORMAT.1.to_owned())]);
    metadata
}

/// A feature and its neighbours.
struct Found {
    feature: u32,
    neighbors: Vec<u32>,
    cosines: Vec<f32>,
}

impl From<Found> for Value {
    fn from(Found { feature, neighbors, cosines }: Found) -> Self {
        json!({ "feature": feature, "neighbors": neighbors, "cosines": cosines })
    }
}

fn find(gpu: &Gpu, neighbors: &Neighbors<'_>, features: &[u32]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    neighbors.find(gpu, Some(features), |Nearest { first, neighbors: indices, cosines }| {
        let count = neighbors.count();
        let rows = indices.chunks_exact(count).zip(cosines.chunks_exact(count));
        found.extend(features[*first..].iter().zip(rows).map(|(feature, (neighbors, cosines))| Found {
            feature: *feature,
            neighbors: neighbors.to_vec(),
            cosines: cosines.to_vec(),
        }));
        Ok(())
    })?;
    Ok(found)
}

fn print_table(found: &[Found]) -> Result<()> {
    print(&format!("{:>10}  {:>10}  {:>9}", "feature", "neighbor", "cosine"))?;
    for Found { feature, neighbors, cosines } in found {
        for (neighbor, cosine) in neighbors.iter().zip(cosines) {
            print(&format!("{feature:>10}  {neighbor:>10}  {cosine:>9.6}"))?;
        }
    }
    Ok(())
}
