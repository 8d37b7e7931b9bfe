use super::*;
use crate::data::reader::Column;

/// A file that has only names.
#[derive(Debug)]
struct Names(Vec<Column>, BTreeMap<String, String>);

impl Reader for Names {
    fn path(&self) -> &Path {
        Path::new("names")
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn label(&self) -> &str {
        "rows"
    }

    fn rows(&self) -> u64 {
        4
    }

    fn width(&self) -> usize {
        1
    }

    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn read(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn columns(&self) -> &[Column] {
        &self.0
    }

    fn read_column(&self, _: usize, _: u64, _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.1
    }

    fn header_checksum(&self) -> String {
        String::new()
    }
}

fn file(columns: &[(&str, Option<Dtype>, &[usize])]) -> Names {
    let column = |&(name, dtype, shape): &(&str, Option<Dtype>, &[usize])| Column {
        name: name.to_owned(),
        type_name: "a type".into(),
        dtype,
        shape: shape.to_vec(),
    };
    Names(columns.iter().map(column).collect(), BTreeMap::new())
}

#[test]
fn columns_that_no_tensor_can_be_are_left_behind() {
    let file = file(&[
        ("activations", Some(Dtype::U8), &[4]),
        ("kept", Some(Dtype::U8), &[4, 2]),
        ("kept", Some(Dtype::I64), &[4]),
        ("__metadata__", Some(Dtype::U8), &[4]),
        ("text", None, &[4]),
        ("mean", Some(Dtype::F32), &[7]),
        ("scalar", Some(Dtype::F32), &[]),
    ]);
    let mut notes = Vec::new();
    let columns = same_columns(&[&file], &mut notes).unwrap();
    assert_eq!(columns, [SchemaColumn { name: "kept".into(), dtype: Dtype::U8, tail: vec![2] }]);
    let named: Vec<&str> = notes.iter().filter_map(|note| note.split('`').nth(1)).collect();
    assert_eq!(named, ["activations", "kept", "__metadata__", "text", "mean", "scalar"]);
    assert_eq!(common_columns(&[&file, &file], &mut notes), columns);
}

#[test]
fn a_common_type_holds_both() {
    for (one, other, expected) in [
        (Dtype::F32, Dtype::F32, Some(Dtype::F32)),
        (Dtype::F16, Dtype::F32, None),
        (Dtype::U8, Dtype::U16, Some(Dtype::U16)),
        (Dtype::I32, Dtype::U16, Some(Dtype::I32)),
        (Dtype::U32, Dtype::I32, Some(Dtype::I64)),
        (Dtype::U64, Dtype::I64, None),
    ] {
        assert_eq!((common_type(one, other), common_type(other, one)), (expected, expected), "{one:?} {other:?}");
    }
}
