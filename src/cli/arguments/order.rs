//! The order in which rows are trained on.

use clap::{Args, ValueEnum};
use monosem::data::{OrderChoice, RowKind, RowOrder};
use serde::Serialize;

use super::size::Size;

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Data")]
pub struct OrderArguments {
    /// Order of the rows in an epoch: every row at random (rows), blocks of rows at random through a mixing buffer
    /// (mixed), or such blocks as they lie (sequential). auto: sequential for data that say that they are shuffled,
    /// rows for others of at most 4 GiB, else mixed
    #[arg(long, value_enum, default_value_t = OrderName::Auto)]
    order: OrderName,
    /// Host memory of the mixing buffer; half of it is mixed while the other half is read
    #[arg(long, default_value = "1GiB", value_name = "SIZE", allow_hyphen_values = true)]
    mixing_buffer: Size,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum OrderName {
    Auto,
    Rows,
    Mixed,
    Sequential,
}

impl OrderArguments {
    /// The order of rows of such a kind.
    pub fn of(&self, kind: RowKind) -> RowOrder {
        let choice = match self.order {
            OrderName::Auto => OrderChoice::Auto,
            OrderName::Rows => OrderChoice::Rows,
            OrderName::Mixed => OrderChoice::Mixed,
            OrderName::Sequential => OrderChoice::Sequential,
        };
        RowOrder::new(choice, kind, self.mixing_buffer.bytes)
    }
}
