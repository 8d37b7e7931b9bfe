//! The column that holds the rows.

use super::layout::Layout;
use super::schema::Schema;
use crate::storage::Dtype;
use crate::storage::header::printable;

/// Columns that a message names.
const SHOWN: usize = 8;

/// The place among the columns of the one that holds the rows: the one of that name, or else the only one that can.
pub(super) fn rows_column(schema: &Schema, layouts: &[Option<Layout>], name: &str) -> Result<usize, String> {
    let mut named = (0..schema.fields.len()).filter(|&at| schema.fields[at].name == name);
    let shown = printable(name);
    if let Some(at) = named.next() {
        if named.next().is_some() {
            return Err(format!("has two columns `{shown}`; rename one"));
        }
        return check(schema, layouts, at).map(|()| at);
    }
    let candidates: Vec<usize> = (0..layouts.len()).filter(|&at| is_of_rows(&layouts[at])).collect();
    if let [only] = candidates[..] {
        return check(schema, layouts, only).map(|()| only);
    }
    let described = schema.fields.iter().take(SHOWN);
    let mut there: Vec<_> =
        described.map(|field| format!("{} ({})", printable(&field.name), printable(&field.type_name))).collect();
    if schema.fields.len() > SHOWN {
        there.push("...".into());
    }
    let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
    let cure = match candidates[..] {
        [] => "lists of float16 or float32 hold rows: write a column of them, e.g. \
               pyarrow.FixedSizeListArray.from_arrays(x.reshape(-1), x.shape[1])"
            .to_owned(),
        _ => "name the one that holds the rows with --tensor".to_owned(),
    };
    Err(format!("has no column `{shown}` (it has: {there}); {cure}"))
}

fn is_of_rows(layout: &Option<Layout>) -> bool {
    layout.as_ref().is_some_and(Layout::is_of_rows)
}

fn check(schema: &Schema, layouts: &[Option<Layout>], at: usize) -> Result<(), String> {
    let field = &schema.fields[at];
    let (layout, type_name) = (&layouts[at], printable(&field.type_name));
    let problem = match layout {
        Some(layout) if layout.is_of_rows() => match layout.has_empty_lists() {
            false => return Ok(()),
            true => "its lists are empty; give rows of at least one value",
        },
        Some(layout) if matches!(layout.rank(), 1 | 2) => match layout.dtype {
            Dtype::U16 => {
                "16-bit integers are read as bf16 where the column's metadata says so: \
                 pyarrow.field(name, type, metadata={'dtype': 'bf16'})"
            }
            Dtype::F64 => "convert it: x.astype('float32')",
            _ => "give lists of float16 or float32",
        },
        Some(layout) if layout.rank() == 0 => {
            "give each row a list: pyarrow.FixedSizeListArray.from_arrays(x.reshape(-1), x.shape[1])"
        }
        Some(_) => "give rows as lists [width], or contexts as lists [tokens] of lists [width]",
        None => "give lists of float16 or float32",
    };
    Err(format!("column `{}` is {type_name}; {problem}", printable(&field.name)))
}
