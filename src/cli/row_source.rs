//! What a run trains on: files, or standard input.

use std::sync::Arc;

#[cfg(not(feature = "arrow"))]
use monosem::Error;
use monosem::Result;
#[cfg(feature = "arrow")]
use monosem::data::RowStream;
use monosem::data::{Activations, TrainingRows};

use super::arguments::Settings;

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
        use std::io::{IsTerminal, stdin};
        if stdin().is_terminal() {
            let problem = "--data -: standard input is a terminal; pipe an Arrow stream into it";
            return Err(monosem::Error::Config(problem.into()));
        }
        let filter = settings.rows.of_stream()?;
        Ok(Self::Stream(Box::new(RowStream::open(Box::new(stdin()), &settings.data.tensor, filter)?)))
    }

    #[cfg(not(feature = "arrow"))]
    fn open_stream(_: &Settings) -> Result<Self> {
        let problem = "--data -: this monosem was built without Arrow's streams; build it with the feature `arrow`";
        Err(Error::Config(problem.into()))
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
