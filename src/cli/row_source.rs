//! What a run trains on: files, or standard input.

use std::sync::Arc;

#[cfg(not(feature = "arrow"))]
use monosem::Error;
use monosem::Result;
use monosem::data::{Activations, TrainingRows};
#[cfg(feature = "arrow")]
use monosem::data::{RowStream, StreamFilter};

use super::arguments::Settings;

/// The stream on standard input.
#[cfg(feature = "arrow")]
pub fn open_stdin(tensor: &str, filter: StreamFilter) -> Result<RowStream> {
    use std::io::{IsTerminal, stdin};
    if stdin().is_terminal() {
        let problem = "`-`: standard input is a terminal; pipe an Arrow stream into it";
        return Err(monosem::Error::Config(problem.into()));
    }
    RowStream::open(Box::new(stdin()), tensor, filter)
}

/// The error where there can be no stream.
#[cfg(not(feature = "arrow"))]
pub fn no_streams() -> Error {
    let problem = "`-`: this monosem was built without Arrow's streams; build it with the feature `arrow`";
    Error::Config(problem.into())
}

/// Where the rows come from.
pub enum RowSource {
    Files(Arc<Activations>),
    #[cfg(feature = "arrow")]
    Stream(Box<RowStream>),
}

impl RowSource {
    /// Opens the files, or reads the beginning of standard input.
    pub fn open(settings: &Settings) -> Result<Self> {
        if settings.data.is_stream() {
            return Self::open_stream(settings);
        }
        let data = settings.data.open()?;
        log::info!("data opened: {} files, {} rows of {}", data.row_counts().count(), data.rows(), data.width());
        Ok(Self::Files(Arc::new(data)))
    }

    #[cfg(feature = "arrow")]
    fn open_stream(settings: &Settings) -> Result<Self> {
        Ok(Self::Stream(Box::new(open_stdin(&settings.data.tensor, settings.rows.of_stream()?)?)))
    }

    #[cfg(not(feature = "arrow"))]
    fn open_stream(_: &Settings) -> Result<Self> {
        Err(no_streams())
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        match self {
            Self::Files(data) => data.width(),
            #[cfg(feature = "arrow")]
            Self::Stream(stream) => stream.width(),
        }
    }

    /// The rows that are trained on, in their order.
    pub fn rows(self, settings: &Settings) -> Result<TrainingRows> {
        let rows = match self {
            Self::Files(data) => TrainingRows::from(settings.rows.select(data)?),
            #[cfg(feature = "arrow")]
            Self::Stream(stream) => (*stream).into(),
        };
        let order = settings.order.of(rows.kind());
        Ok(rows.in_order(order))
    }
}
