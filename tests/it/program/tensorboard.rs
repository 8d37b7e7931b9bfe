//! The event files of a run, read back record by record.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::cli::{Files, metrics, succeed};

/// CRC-32C a bit at a time, masked as records have it.
fn masked_crc(data: &[u8]) -> u32 {
    let crc = !data
        .iter()
        .fold(!0_u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78)));
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A field of a message: its bytes, or its number as bytes.
type Fields = Vec<(u64, Vec<u8>)>;

fn fields(mut data: &[u8]) -> Fields {
    fn varint(data: &mut &[u8]) -> u64 {
        let length = 1 + data.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let (head, rest) = data.split_at(length);
        *data = rest;
        head.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut found = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut data).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            2 => varint(&mut data) as usize,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = data.split_at(length);
        found.push((key >> 3, value.to_vec()));
        data = rest;
    }
    found
}

fn field(fields: &Fields, number: u64) -> Option<&[u8]> {
    fields.iter().find(|(known, _)| *known == number).map(|(_, value)| &value[..])
}

fn integer(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The events of a file.
fn events(path: &Path) -> Vec<Fields> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    let crc = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    while !rest.is_empty() {
        let length = integer(&rest[..8]) as usize;
        assert_eq!(crc(&rest[8..12]), masked_crc(&rest[..8]));
        let data = &rest[12..12 + length];
        assert_eq!(crc(&rest[12 + length..16 + length]), masked_crc(data));
        events.push(fields(data));
        rest = &rest[16 + length..];
    }
    events
}

fn step(event: &Fields) -> u64 {
    field(event, 2).map_or(0, integer)
}

/// The values of a step's summary by tag.
fn values(event: &Fields) -> BTreeMap<String, Fields> {
    let summary = fields(field(event, 5).unwrap());
    let values = summary.iter().map(|(_, value)| {
        let value = fields(value);
        (String::from_utf8(field(&value, 1).unwrap().to_vec()).unwrap(), value)
    });
    values.collect()
}

fn event_files(run: &str) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.to_str().unwrap().contains(".tfevents.")).collect();
    paths.sort();
    paths
}

/// The first two events of a file: its version, and the step from which on older ones do not count.
fn assert_begins(events: &[Fields], from: u64) {
    assert_eq!(field(&events[0], 3), Some(&b"brain.Event:2"[..]));
    let log = fields(field(&events[1], 7).unwrap());
    assert_eq!((integer(field(&log, 1).unwrap()), step(&events[1])), (1, from));
}

fn assert_scalars(event: &Fields, metrics: &Value) {
    assert_eq!(step(event), metrics["step"].as_u64().unwrap());
    let values = values(event);
    let numbers = metrics.as_object().unwrap().iter().filter(|(name, value)| *name != "step" && value.is_number());
    for (name, number) in numbers {
        let tag = match name.strip_prefix("val_") {
            Some(name) => format!("val/{name}"),
            None => format!("train/{name}"),
        };
        let value = f32::from_le_bytes(field(&values[&tag], 2).unwrap().try_into().unwrap());
        assert_eq!(value, number.as_f64().unwrap() as f32, "{tag}");
    }
}

#[test]
fn an_event_file_has_what_metrics_have_and_histograms_of_features() {
    let files = Files::new();
    let out = files.path("run");
    let train = ["train", "--data", &files.data, "--val", &files.data, "--out", &out, "--features", "64", "--k", "4"];
    let sizes = ["--batch", "25", "--steps", "20", "--eval-every", "8", "--checkpoint-every", "8", "--device", "cpu"];
    let more = ["--auxk", "normalised", "--dead-window", "100"];
    succeed(&[&train[..], &sizes, &more].concat());
    let [file] = &event_files(&out)[..] else { panic!("{:?}", event_files(&out)) };
    let whole = events(file);
    assert_begins(&whole, 1);
    let lines = metrics(Path::new(&out));
    assert_eq!(whole.len(), 2 + lines.len());
    for (event, line) in whole[2..].iter().zip(&lines) {
        assert_scalars(event, line);
        let values = values(event);
        assert_eq!(values.contains_key("val/fvu"), line["val_fvu"].is_number());
        assert_eq!(values.contains_key("features/log10_density"), line["val_fvu"].is_number());
        assert!(["train/auxk", "train/dead_fraction", "train/tokens_per_second"].iter().all(|tag| {
            values.contains_key(*tag) || (*tag == "train/dead_fraction" && line["tokens"].as_u64() < Some(100))
        }));
    }

    let last = values(whole.last().unwrap());
    let histogram = |tag: &str| fields(field(&last[tag], 5).unwrap());
    let density = histogram("features/log10_density");
    let number = |fields: &Fields, at: u64| doubles(field(fields, at).unwrap())[0];
    let buckets = doubles(field(&density, 7).unwrap());
    assert_eq!((number(&density, 3), buckets.iter().sum::<f64>()), (64.0, 64.0));
    assert_eq!(doubles(field(&density, 6).unwrap()).last(), Some(&0.0));
    // 4 of 64 features fire on a row: the mean density is 1/16, and log10 is concave.
    assert!(number(&density, 2) <= 0.0 && number(&density, 4) / 64.0 < -1.2, "{density:?}");
    let norms = histogram("features/decoder_norm");
    assert!(number(&norms, 3) == 64.0 && (number(&norms, 4) - 64.0).abs() < 1e-4, "{norms:?}");

    // As if the power had failed after step 16.
    let record = Path::new(&out).join("run.json");
    fs::write(&record, fs::read_to_string(&record).unwrap().replace("\"done\"", "\"running\"")).unwrap();
    succeed(&["train", "--out", &out, "--resume"]);
    let resumed = event_files(&out);
    assert_eq!((resumed.len(), &resumed[0]), (2, file));
    assert!(events(file).len() == whole.len());
    let resumed = events(&resumed[1]);
    assert_begins(&resumed, 17);
    assert_scalars(&resumed[2], metrics(Path::new(&out)).last().unwrap());
    assert_eq!(values(&resumed[2])["features/log10_density"], last["features/log10_density"]);
}
