//! Schemas: columns, their types, and how many buffers each has.

use std::collections::BTreeMap;

use arrow_ipc::{Field as StoredField, KeyValue, Precision, Schema as StoredSchema, Type};
use flatbuffers::{ForwardsUOffset, Vector};

use crate::storage::Dtype;

/// What a stream or file holds.
#[derive(Debug)]
pub(super) struct Schema {
    pub fields: Vec<Field>,
    pub metadata: BTreeMap<String, String>,
}

/// A column, or what the lists of one hold.
#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    /// E.g. `list<float32>`.
    pub type_name: String,
    pub kind: Kind,
    pub children: Vec<Field>,
    /// Whether its metadata says that its 16-bit integers are bf16.
    pub says_bf16: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Values of a type that can be read.
    Values(Dtype),
    /// Lists, with offsets of so many bytes.
    List { offset_bytes: usize },
    /// Lists of so many items.
    FixedSizeList(u64),
    /// Anything else, of so many buffers besides its children's.
    Other { buffers: usize },
}

/// Nodes and buffers that something takes in a record batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extent {
    pub nodes: usize,
    pub buffers: usize,
}

/// Metadata that is for another program.
const NOT_CARRIED: [&str; 3] = ["huggingface", "pandas", "ARROW:schema"];

impl Schema {
    pub(super) fn parse(schema: StoredSchema<'_>) -> Result<Self, String> {
        let fields = schema.fields().iter().flatten().map(Field::parse).collect::<Result<_, _>>()?;
        let entries = entries(schema.custom_metadata());
        let metadata = entries.filter(|(key, _)| !NOT_CARRIED.contains(key));
        Ok(Self { fields, metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() })
    }

    /// What all columns take.
    pub(super) fn extent(&self) -> Extent {
        self.fields.iter().fold(Extent::default(), |sum, field| sum + field.extent())
    }
}

impl Field {
    fn parse(field: StoredField<'_>) -> Result<Self, String> {
        let name = field.name().unwrap_or_default().to_owned();
        let says_bf16 = entries(field.custom_metadata()).any(|(key, value)| {
            key == "dtype" && ["bf16", "bfloat16", "torch.bfloat16"].contains(&&*value.to_ascii_lowercase())
        });
        if field.dictionary().is_some() {
            // What lies in a batch is a number for each value, whatever the values are.
            let kind = Kind::Other { buffers: 2 };
            return Ok(Self { name, type_name: "dictionary".into(), kind, children: vec![], says_bf16 });
        }
        let children = field.children().iter().flatten().map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        let (kind, type_name) = kind(field, &children)
            .map_err(|problem| format!("column `{}` {problem}", crate::storage::header::printable(&name)))?;
        Ok(Self { name, type_name, kind, children, says_bf16 })
    }

    /// What it takes, its children included.
    pub(super) fn extent(&self) -> Extent {
        let buffers = match self.kind {
            Kind::Values(_) | Kind::List { .. } => 2,
            Kind::FixedSizeList(_) => 1,
            Kind::Other { buffers } => buffers,
        };
        self.children.iter().fold(Extent { nodes: 1, buffers }, |sum, child| sum + child.extent())
    }
}

impl std::ops::Add for Extent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nodes: self.nodes + other.nodes, buffers: self.buffers + other.buffers }
    }
}

/// The kind of a field, and its type's name.
fn kind(field: StoredField<'_>, children: &[Field]) -> Result<(Kind, String), String> {
    let stored = field.type_type();
    let damaged = || format!("has a damaged type ({})", stored.0);
    let only_child = || match children {
        [child] => Ok(&*child.type_name),
        _ => Err(format!("is a list of {} types", children.len())),
    };
    let named = |kind, name: &str| Ok((kind, name.to_owned()));
    let other = |buffers, name| named(Kind::Other { buffers }, name);
    match stored {
        Type::Int => {
            let int = field.type_as_int().ok_or_else(damaged)?;
            let name = format!("{}int{}", if int.is_signed() { "" } else { "u" }, int.bitWidth());
            let dtype = match &*name {
                "uint8" => Dtype::U8,
                "uint16" => Dtype::U16,
                "int32" => Dtype::I32,
                "uint32" => Dtype::U32,
                "int64" => Dtype::I64,
                "uint64" => Dtype::U64,
                _ => return other(2, &name),
            };
            Ok((Kind::Values(dtype), name))
        }
        Type::FloatingPoint => match field.type_as_floating_point().ok_or_else(damaged)?.precision() {
            Precision::HALF => named(Kind::Values(Dtype::F16), "float16"),
            Precision::SINGLE => named(Kind::Values(Dtype::F32), "float32"),
            Precision::DOUBLE => named(Kind::Values(Dtype::F64), "float64"),
            _ => Err(damaged()),
        },
        Type::List => Ok((Kind::List { offset_bytes: 4 }, format!("list<{}>", only_child()?))),
        Type::LargeList => Ok((Kind::List { offset_bytes: 8 }, format!("large_list<{}>", only_child()?))),
        Type::FixedSizeList => {
            let length = field.type_as_fixed_size_list().and_then(|list| u64::try_from(list.listSize()).ok());
            let length = length.ok_or_else(damaged)?;
            Ok((Kind::FixedSizeList(length), format!("fixed_size_list<{}>[{length}]", only_child()?)))
        }
        Type::Null => other(0, "null"),
        Type::Bool => other(2, "bool"),
        Type::Decimal => other(2, "decimal"),
        Type::Date => other(2, "date"),
        Type::Time => other(2, "time"),
        Type::Timestamp => other(2, "timestamp"),
        Type::Duration => other(2, "duration"),
        Type::Interval => other(2, "interval"),
        Type::FixedSizeBinary => other(2, "fixed_size_binary"),
        Type::Binary => other(3, "binary"),
        Type::LargeBinary => other(3, "large_binary"),
        Type::Utf8 => other(3, "string"),
        Type::LargeUtf8 => other(3, "large_string"),
        Type::Map => other(2, "map"),
        Type::Struct_ => other(1, "struct"),
        _ => {
            let name = stored.variant_name().unwrap_or("another version of the format");
            Err(format!("is of a type that is not known here ({name}); write the file without that column"))
        }
    }
}

fn entries<'a>(
    metadata: Option<Vector<'a, ForwardsUOffset<KeyValue<'a>>>>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    metadata.into_iter().flatten().map(|entry| (entry.key().unwrap_or_default(), entry.value().unwrap_or_default()))
}
