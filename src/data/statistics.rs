//! What rows are like as a whole, in one pass: mean, variance, norms, and what stands out.

mod beside;
mod mean_norm;
mod norms;

#[cfg(feature = "arrow")]
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub(super) use mean_norm::MeanNorm;
use norms::NormHistogram;

use super::integers::IntegerColumn;
use super::rewrite::blocks::for_each_block;
use super::rewrite::table::Table;
use super::{Activations, Dtype, RowStatistics};
use crate::error::Result;
use crate::storage::floats::decode;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 4 << 20;

/// Values that are summed at a time: they fit a core's cache.
const PIECE_VALUES: usize = 1 << 13;

/// Rows and dimensions that stand out, the largest, that are named.
const MOST_NAMED: usize = 10;

/// The numbers that describe the rows as a whole: those whose values are all finite. All are 0 without such rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataStatistics {
    /// Rows whose values are all finite: what follows is of these.
    pub rows: u64,
    /// Rows with a value that is NaN or infinite.
    pub non_finite_rows: u64,
    /// The mean row, `[width]`.
    pub mean: Vec<f64>,
    /// Mean over the rows of |x|, the Euclidean norm.
    pub mean_norm: f64,
    /// Mean over the rows of |x|².
    pub mean_squared_norm: f64,
    /// Median of |x|, with a relative error of at most 1/2048.
    pub median_norm: f64,
    /// Total variance: the mean over the rows of |x - mean|².
    pub variance: f64,
}

/// The same, and what stands out.
#[derive(Clone, Debug)]
pub struct DataSurvey {
    /// The rows as a whole.
    pub statistics: DataStatistics,
    /// Smallest norm.
    pub min_norm: f64,
    /// Largest norm.
    pub max_norm: f64,
    /// The norm that so great a share of the rows does not exceed, with a relative error of at most 1/2048.
    pub norm_quantiles: Vec<(f64, f64)>,
    /// Rows whose norm is above 10 times the median.
    pub outlier_rows: u64,
    /// Those of the largest norms, at most 10.
    pub largest_rows: Vec<OutlierRow>,
    /// Dimensions whose root mean square is above 6 times that of the median dimension.
    pub outlier_dimensions: usize,
    /// Those of the largest root mean squares, at most 10.
    pub largest_dimensions: Vec<OutlierDimension>,
    /// The first row with a value that is not finite.
    pub first_non_finite: Option<u64>,
}

/// A row of a large norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierRow {
    /// Its number among all rows ([`Activations::place_of`]).
    pub row: u64,
    /// Its norm.
    pub norm: f64,
    /// Its value of `token_ids`, if it has one.
    pub token: Option<i32>,
}

/// A dimension of large values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierDimension {
    /// Its number.
    pub dimension: usize,
    /// Mean of its values.
    pub mean: f64,
    /// Root of the mean of their squares.
    pub rms: f64,
}

impl DataStatistics {
    /// Reads all rows.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Data`](crate::Error::Data) when a file has become shorter, and for
    /// a row of more than 256 MiB.
    pub fn of(data: &Activations) -> Result<Self> {
        Ok(DataSurvey::of(data, |_| {})?.statistics)
    }

    /// γ: the norm of the mean row over the root of the variance. Rows far from the origin have a large one.
    pub fn gamma(&self) -> f64 {
        let mean: f64 = self.mean.iter().map(|value| value * value).sum();
        mean.sqrt() / self.variance.sqrt()
    }
}

impl DataSurvey {
    /// The shares of [`DataSurvey::norm_quantiles`].
    pub const SHARES: [f64; 7] = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
    /// Multiples of the median norm from which on a row stands out.
    pub const OUTLIER_NORM: f64 = 10.0;
    /// Multiples of the median dimension's root mean square from which on a dimension stands out.
    pub const OUTLIER_RMS: f64 = 6.0;

    /// Reads all rows, in bounded memory; `advance` is given the number of rows done, now and then.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Data`](crate::Error::Data) when a file has become shorter, and for
    /// a row of more than 256 MiB.
    pub fn of(data: &Activations, mut advance: impl FnMut(u64)) -> Result<Self> {
        let table = Table::of_values(data)?;
        let mut survey = Survey::new(data.width());
        let mut values = Vec::new();
        for_each_block(&table, 0, BLOCK_BYTES, |block| {
            let dtype = table.files[block.file].reader.dtype();
            survey.add_stored(block.first_of_all, dtype, block.values(), &mut values);
            advance(block.first_of_all + block.rows as u64);
            Ok(true)
        })?;
        survey.finish(|row| token_of(data, row))
    }

    /// As [`DataSurvey::of`], of a stream, and with its bytes.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Data`](crate::Error::Data) for a stream that is damaged or cut, and
    /// [`Error::Config`](crate::Error::Config) for one that was read already.
    #[cfg(feature = "arrow")]
    pub fn of_stream(stream: &super::RowStream, mut advance: impl FnMut(u64)) -> Result<(Self, u64)> {
        let (mut survey, mut values) = (Survey::new(stream.width()), Vec::new());
        let mut tokens: HashMap<u64, Option<i32>> = HashMap::new();
        let bytes = stream.for_each_block(|block| {
            survey.add_stored(block.first, stream.dtype(), block.values, &mut values);
            let end = block.first + block.rows as u64;
            // A row that may be named is here only now.
            tokens.retain(|row, _| survey.largest.iter().any(|(_, kept)| kept == row));
            let own = survey.largest.iter().filter(|(_, row)| (block.first..end).contains(row));
            tokens.extend(own.map(|(_, row)| (*row, stream.token(block, *row))));
            advance(end);
            Ok(())
        })?;
        Ok((survey.finish(|row| Ok(tokens.get(&row).copied().flatten()))?, bytes))
    }
}

/// A pass over rows.
struct Survey {
    width: usize,
    rows: RowStatistics,
    norms: NormHistogram,
    squares: f64,
    non_finite_rows: u64,
    first_non_finite: Option<u64>,
    /// The largest norms and their rows, in no order.
    largest: Vec<(f64, u64)>,
    /// The smallest of them, once there are enough.
    least: f64,
}

impl Survey {
    fn new(width: usize) -> Self {
        Self {
            width,
            rows: RowStatistics::new(width),
            norms: NormHistogram::default(),
            squares: 0.0,
            non_finite_rows: 0,
            first_non_finite: None,
            largest: Vec::new(),
            least: 0.0,
        }
    }

    /// Takes whole rows as they are stored, aligned as floats, the first of which is row `first` of all.
    fn add_stored(&mut self, first: u64, dtype: Dtype, stored: &[u8], values: &mut Vec<f32>) {
        let piece = (PIECE_VALUES / self.width).max(1);
        for (at, stored) in stored.chunks(piece * self.width * dtype.bytes()).enumerate() {
            values.resize(stored.len() / dtype.bytes(), 0.0);
            decode(dtype, stored, values);
            self.add(first + (at * piece) as u64, values);
        }
    }

    /// Takes whole rows, the first of which is row `first` of all.
    fn add(&mut self, first: u64, all: &[f32]) {
        let width = self.width;
        // Rows that are finite are summed as many at a time as there are.
        let mut start = 0;
        for (row, values) in all.chunks_exact(width).enumerate() {
            let square = squared_norm(values);
            // A sum of f32 squares does not overflow f64.
            if square.is_finite() {
                self.add_norm(first + row as u64, square);
                continue;
            }
            self.non_finite_rows += 1;
            self.first_non_finite.get_or_insert(first + row as u64);
            self.rows.add(&all[start * width..row * width]);
            start = row + 1;
        }
        self.rows.add(&all[start * width..]);
    }

    fn add_norm(&mut self, row: u64, square: f64) {
        self.squares += square;
        let norm = square.sqrt();
        self.norms.add(norm);
        if norm > self.least || self.largest.len() < MOST_NAMED {
            self.keep(norm, row);
        }
    }

    fn keep(&mut self, norm: f64, row: u64) {
        self.largest.push((norm, row));
        self.largest.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        self.largest.truncate(MOST_NAMED);
        self.least = self.largest.last().map_or(0.0, |(norm, _)| *norm);
    }

    fn finish(self, token_of: impl Fn(u64) -> Result<Option<i32>>) -> Result<DataSurvey> {
        let rows = self.rows.count();
        let count = rows.max(1) as f64;
        let (mean, median) = (self.rows.mean(), self.norms.quantile(0.5));
        let mut dimensions: Vec<OutlierDimension> = self
            .rows
            .variances()
            .zip(&mean)
            .enumerate()
            .map(|(dimension, (variance, &mean))| {
                let rms = (variance / count + mean * mean).sqrt();
                OutlierDimension { dimension, mean, rms }
            })
            .collect();
        dimensions.sort_by(|a, b| b.rms.total_cmp(&a.rms));
        let limit = DataSurvey::OUTLIER_RMS * dimensions.get(dimensions.len() / 2).map_or(0.0, |middle| middle.rms);
        let outlier_dimensions = dimensions.partition_point(|dimension| dimension.rms > limit);
        dimensions.truncate(outlier_dimensions.min(MOST_NAMED));
        let limit = DataSurvey::OUTLIER_NORM * median;
        let largest = self.largest.iter().filter(|(norm, _)| self.norms.is_above(*norm, limit));
        let largest_rows = largest.map(|&(norm, row)| Ok(OutlierRow { row, norm, token: token_of(row)? }));
        Ok(DataSurvey {
            min_norm: self.norms.min(),
            max_norm: self.norms.max(),
            norm_quantiles: DataSurvey::SHARES.map(|share| (share, self.norms.quantile(share))).to_vec(),
            outlier_rows: self.norms.count_above(limit),
            largest_rows: largest_rows.collect::<Result<_>>()?,
            outlier_dimensions,
            largest_dimensions: dimensions,
            first_non_finite: self.first_non_finite,
            statistics: DataStatistics {
                rows,
                non_finite_rows: self.non_finite_rows,
                mean_norm: self.norms.mean(),
                mean_squared_norm: self.squares / count,
                median_norm: median,
                variance: self.rows.total_variance() / count,
                mean,
            },
        })
    }
}

/// The token of a row, where it can be read.
fn token_of(data: &Activations, row: u64) -> Result<Option<i32>> {
    let Some((reader, rows)) = data.readers().find(|(_, rows)| rows.contains(&row)) else { return Ok(None) };
    let Ok(Some(column)) = IntegerColumn::find(reader, "token_ids", i32::MIN..=i32::MAX) else { return Ok(None) };
    let mut token = [0];
    Ok(column.read(reader, row - rows.start, &mut token).is_ok().then_some(token[0]))
}

/// |x|².
fn squared_norm(row: &[f32]) -> f64 {
    // Eight sums at once fill vector registers.
    let mut lanes = [0.0_f64; 8];
    let (whole, rest) = row.as_chunks::<8>();
    for values in whole {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(value) * f64::from(value);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests;
