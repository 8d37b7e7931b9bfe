//! The directory that is written: what was found of every feature (docs/features.md).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::accumulator::Found;
use super::half_octaves::{BINS, log2_edges};
use super::vocabulary::SpecialToken;
use super::weights::WeightMeasures;
use crate::error::{Error, Result};
use crate::storage::staging::Staging;
use crate::storage::{Dtype, TensorWriter, replace_file};

/// The format; a change that a reader must know of raises the number.
pub(super) const FORMAT: (&str, u32) = ("monosem.features", 1);

/// The file that says what the directory is.
pub(super) const DESCRIPTION: &str = "features.json";

/// Features of each file of examples.
const FEATURES_PER_FILE: usize = 1024;

/// The name of a file of examples.
pub(super) fn examples_file(number: usize) -> String {
    format!("examples-{number:05}.jsonl")
}

/// What the directory says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The SAE.
    pub sae: Value,
    /// The data.
    pub data: Value,
    /// Rows that were counted.
    pub tokens: u64,
    /// How many examples there are, and of what size.
    pub examples: ExampleSizes,
    /// What there is.
    pub has: Parts,
    /// What there is not, and why, in words.
    pub missing: Vec<String>,
    /// Of that, what the data lack; the rest was not asked for.
    #[serde(skip)]
    pub lacking: Vec<String>,
    /// Names of the sources, by their place.
    pub sources: Vec<String>,
    /// Rows of each source that were counted.
    pub source_tokens: Vec<u64>,
    /// Tokens with a meaning of their own.
    pub special_tokens: Vec<SpecialToken>,
}

/// How many examples there are, and of what size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ExampleSizes {
    /// Examples of each interval at most.
    pub per_interval: usize,
    /// Intervals.
    pub intervals: usize,
    /// Tokens before an example at most.
    pub before: usize,
    /// Tokens behind it at most.
    pub after: usize,
    /// Seed of the random ones.
    pub seed: u64,
}

/// What a directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Parts {
    pub token_ids: bool,
    pub contexts: bool,
    pub text: bool,
    pub sources: bool,
    pub best_dimension: bool,
    pub neighbors: bool,
    pub logits: bool,
    pub labels: bool,
}

/// A line of a file of examples.
#[derive(Debug, Serialize)]
pub struct FeatureLine<'a> {
    /// The feature.
    pub feature: usize,
    /// The tokens that it responds to most; absent without tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_tokens: Option<Vec<TokenLine<'a>>>,
    /// Its examples, by interval.
    pub examples: Vec<ExampleLine<'a>>,
}

/// A token that a feature responds to.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct TokenLine<'a> {
    pub token: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    pub count: u64,
    pub mean: f32,
}

/// An example; what the data lack is absent.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
#[serde(rename_all = "snake_case")]
pub struct ExampleLine<'a> {
    pub interval: usize,
    pub activation: f32,
    pub row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activations: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focus: Option<usize>,
    pub missing_before: u64,
    pub missing_after: u64,
}

/// A directory that is being written; it appears whole, when it is finished, or not at all.
pub struct NewFeatureSet {
    staging: Staging,
    dir: PathBuf,
    statistics: Option<StatisticsFile>,
    examples: Option<BufWriter<File>>,
    /// Features whose examples are written.
    lines: usize,
}

struct StatisticsFile {
    file: TensorWriter,
    sources: usize,
    has_best: bool,
}

impl NewFeatureSet {
    /// Begins the new directory `dir`.
    ///
    /// # Errors
    /// [`Error::Exists`] when `dir` exists, [`Error::Io`] when its parent cannot be written.
    pub fn create(dir: &Path) -> Result<Self> {
        Ok(Self { staging: Staging::new(dir)?, dir: dir.to_owned(), statistics: None, examples: None, lines: 0 })
    }

    /// Where its files are until it has its name.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Begins the file of statistics, of so many features and sources.
    pub(super) fn begin_statistics(&mut self, features: usize, sources: usize, has_best: bool) -> Result<()> {
        let (row, bins, by_source) = ([features], [features, BINS], [features, sources]);
        let mut tensors: Vec<(&str, Dtype, &[usize])> = vec![
            ("count", Dtype::I64, &row),
            ("maximum", Dtype::F32, &row),
            ("mean", Dtype::F32, &row),
            ("histogram", Dtype::I64, &bins),
            ("decoder_norm", Dtype::F32, &row),
            ("encoder_decoder_cosine", Dtype::F32, &row),
        ];
        if sources > 0 {
            tensors.push(("source_count", Dtype::I64, &by_source));
        }
        if has_best {
            tensors.extend([
                ("best_dimension", Dtype::I32, &row[..]),
                ("best_dimension_correlation", Dtype::F32, &row[..]),
            ]);
        }
        let file = TensorWriter::create(&self.path().join("statistics.safetensors"), &tensors)?;
        self.statistics = Some(StatisticsFile { file, sources, has_best });
        Ok(())
    }

    /// Writes the statistics of features from `first` on.
    pub(super) fn write_statistics(&mut self, first: usize, found: &[Found], weights: &[WeightMeasures]) -> Result<()> {
        match &mut self.statistics {
            Some(file) => file.write(first, found, weights),
            None => Ok(()),
        }
    }

    /// Writes the line of the next feature.
    pub(super) fn write_line(&mut self, line: &FeatureLine<'_>) -> Result<()> {
        let number = self.lines / FEATURES_PER_FILE;
        let path = self.staging.path().join(examples_file(number));
        if self.lines.is_multiple_of(FEATURES_PER_FILE) {
            self.close_examples()?;
            self.examples = Some(BufWriter::new(File::create(&path).map_err(Error::io(&path))?));
        }
        self.lines += 1;
        let Some(file) = &mut self.examples else { return Ok(()) };
        serde_json::to_writer(&mut *file, line)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(Error::io(&path))
    }

    fn close_examples(&mut self) -> Result<()> {
        let Some(file) = self.examples.take() else { return Ok(()) };
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(Error::io(&self.dir))
    }

    /// Writes what the directory is, and gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Exists`] if the name was taken meanwhile.
    pub fn finish(mut self, description: &Description) -> Result<()> {
        self.close_examples()?;
        if let Some(StatisticsFile { file, .. }) = self.statistics.take() {
            file.finish()?;
        }
        let mut said = serde_json::to_value(description).unwrap_or_default();
        said["format"] = FORMAT.0.into();
        said["format_version"] = FORMAT.1.into();
        said["monosem_version"] = env!("CARGO_PKG_VERSION").into();
        said["histogram_log2_edges"] = log2_edges().into();
        replace_file(&self.path().join(DESCRIPTION), format!("{said:#}\n").as_bytes())?;
        self.staging.commit(&self.dir)
    }
}

impl StatisticsFile {
    fn write(&mut self, first: usize, found: &[Found], weights: &[WeightMeasures]) -> Result<()> {
        let integers = |of: &dyn Fn(&Found) -> i64| found.iter().map(of).collect::<Vec<i64>>();
        let floats = |of: &dyn Fn(&Found) -> f32| found.iter().map(of).collect::<Vec<f32>>();
        let best = |found: &Found| found.best.unwrap_or_default();
        let sources = self.sources;
        let of_sources: Vec<i64> = found
            .iter()
            .flat_map(|found| {
                let counts = &found.statistics.source_counts;
                (0..sources).map(|source| counts.get(source).copied().unwrap_or(0) as i64)
            })
            .collect();
        let histogram: Vec<i64> = found.iter().flat_map(|found| found.statistics.histogram).map(|n| n as i64).collect();
        let [norms, cosines]: [Vec<f32>; 2] = [
            weights.iter().map(|of| of.decoder_norm as f32).collect(),
            weights.iter().map(|of| of.encoder_decoder_cosine as f32).collect(),
        ];
        let count = integers(&|found| found.statistics.count as i64);
        let (maximum, mean) =
            (floats(&|found| found.statistics.maximum), floats(&|found| found.statistics.mean() as f32));
        let mut columns: Vec<(&[u8], usize)> = vec![
            (bytemuck::cast_slice(&count), 8),
            (bytemuck::cast_slice(&maximum), 4),
            (bytemuck::cast_slice(&mean), 4),
            (bytemuck::cast_slice(&histogram), 8 * BINS),
            (bytemuck::cast_slice(&norms), 4),
            (bytemuck::cast_slice(&cosines), 4),
        ];
        if sources > 0 {
            columns.push((bytemuck::cast_slice(&of_sources), 8 * sources));
        }
        let dimensions: Vec<i32> = found.iter().map(|found| best(found).dimension as i32).collect();
        let correlations = floats(&|found| best(found).correlation as f32);
        if self.has_best {
            columns.push((bytemuck::cast_slice(&dimensions), 4));
            columns.push((bytemuck::cast_slice(&correlations), 4));
        }
        for (tensor, (bytes, row_bytes)) in columns.into_iter().enumerate() {
            self.file.write(tensor, (first * row_bytes) as u64, bytes)?;
        }
        Ok(())
    }
}
