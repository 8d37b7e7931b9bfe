//! TensorBoard's event file: what metrics.jsonl has as scalars, and histograms of the features. W&B reads it too.
//!
//! A file is a sequence of records (length, masked CRC, data, masked CRC), each of which holds an `Event` in protobuf
//! (tensorflow/core/lib/io/record_writer.cc, tensorflow/core/util/event.proto, framework/summary.proto). What was
//! logged after the checkpoint that a run resumes from stays in the older file; the `SessionLog` at the head of the
//! next one has TensorBoard discard it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::append_file::AppendFile;
use super::directory::RunDirectory;
use crate::error::Result;
use crate::histogram::Histogram;
use crate::sae::FeatureDensity;
use crate::train::FeatureStatistics;

/// The event file of a run that is under way since it was started or resumed.
pub(super) struct EventFile(AppendFile<Vec<u8>>);

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".monosem";

impl EventFile {
    /// Creates the file of a run that has taken `steps` steps. `unwritten` are lines of metrics.jsonl that the process
    /// before could not write.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if there can be no such file; one that is full up is written to later.
    pub fn create(directory: &mut RunDirectory, steps: u64, unwritten: &[String]) -> Result<Self> {
        let name = format!("{PREFIX}{:010}.{}{SUFFIX}", next_time(directory), host());
        let mut file = AppendFile::new(directory.create_file(&name)?, directory.join(&name));
        file.unwritten = vec![record(&version()), record(&start(steps + 1))];
        let lines = unwritten.iter().filter_map(|line| serde_json::from_str(line).ok());
        file.unwritten.extend(lines.map(|metrics| record(&summary(&metrics, None))));
        // A full disk is told of, and tried again, when there is something to log.
        let _ = file.flush();
        Ok(Self(file))
    }

    /// Appends the metrics of a step. What cannot be written is kept, and written before the next.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn append(&mut self, metrics: &Value, features: Option<&FeatureStatistics>) -> Result<()> {
        self.0.append(record(&summary(metrics, features)))
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// Seconds since 1970, or later than any file's: TensorBoard reads the files of a directory in the order of their
/// names.
fn next_time(directory: &RunDirectory) -> u64 {
    let names = fs::read_dir(directory.join("")).into_iter().flatten().flatten();
    let time = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix(PREFIX)?.split('.').next()?.parse::<u64>().ok()
    };
    let newest = names.filter_map(time).max().map_or(0, |time| time.saturating_add(1));
    since_1970().as_secs().max(newest)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// This machine's name, as far as a file's name can hold it.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|key| std::env::var(key).ok()));
    let name: String = name
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .take(64)
        .collect();
    if name.is_empty() { "localhost".into() } else { name }
}

/// The event that a file begins with.
fn version() -> Message {
    now().text(3, "brain.Event:2")
}

/// The event after which steps from `step` on are taken anew.
fn start(step: u64) -> Message {
    const SESSION_LOG: u32 = 7;
    const START: u64 = 1;
    event(step).message(SESSION_LOG, Message::default().integer(1, START))
}

/// The metrics of a step: those of held-out rows, `val_NAME`, as `val/NAME`, others as `train/NAME`.
fn summary(metrics: &Value, features: Option<&FeatureStatistics>) -> Message {
    const SUMMARY: u32 = 5;
    let mut values = Message::default();
    let numbers = metrics.as_object().into_iter().flatten().filter(|(name, _)| *name != "step");
    for (name, number) in numbers.filter_map(|(name, value)| Some((name, value.as_f64()?))) {
        let tag = match name.strip_prefix("val_") {
            Some(name) => format!("val/{name}"),
            None => format!("train/{name}"),
        };
        values = values.message(1, value(&tag).float(2, number as f32));
    }
    if let Some(FeatureStatistics { density, decoder_norms }) = features {
        let mut all = density.fired.clone();
        all.add_times(FeatureDensity::LEAST, density.unfired);
        for (tag, histogram) in [("features/log10_density", &all), ("features/decoder_norm", decoder_norms)] {
            values = values.message(1, value(tag).message(5, histogram_proto(histogram)));
        }
    }
    event(metrics["step"].as_u64().unwrap_or_default()).message(SUMMARY, values)
}

/// An `Event` of now.
fn now() -> Message {
    Message::default().double(1, since_1970().as_secs_f64())
}

/// An `Event` of a step.
fn event(step: u64) -> Message {
    now().integer(2, step)
}

/// A `Summary.Value`.
fn value(tag: &str) -> Message {
    Message::default().text(1, tag)
}

/// A `HistogramProto`: its limits are the upper edges of the bins.
fn histogram_proto(histogram: &Histogram) -> Message {
    let Histogram { edges, counts, min, max, sum, sum_of_squares } = histogram;
    let counts: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
    Message::default()
        .double(1, *min)
        .double(2, *max)
        .double(3, histogram.total() as f64)
        .double(4, *sum)
        .double(5, *sum_of_squares)
        .doubles(6, &edges[1..])
        .doubles(7, &counts)
}

/// A message of protobuf as it is encoded.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field's number and the type of what follows.
    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn integer(mut self, field: u32, value: u64) -> Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u32, message: Message) -> Self {
        self.bytes(field, &message.0)
    }

    fn doubles(self, field: u32, values: &[f64]) -> Self {
        self.bytes(field, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
    }
}

fn record(event: &Message) -> Vec<u8> {
    let data = &event.0;
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// A record's checksum: CRC-32C, rotated and offset so that the CRC of data that hold CRCs is a sound one.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), a byte at a time.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[(crc as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes are what TensorBoard 2.21's own RecordWriter makes of the same events.
    #[test]
    fn records_are_those_of_tensorboard() {
        let now = || Message::default().double(1, 1.5);
        assert_eq!(
            hex(&record(&now().text(3, "brain.Event:2"))),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
        );
        assert_eq!(
            hex(&record(&now().integer(2, 300).message(7, Message::default().integer(1, 1)))),
            "100000000000000095fbfe1809000000000000f83f10ac023a020801713b788a"
        );
        let histogram = Histogram {
            edges: vec![-10.0, -5.0, 0.0],
            counts: vec![1, 2],
            min: -10.0,
            max: -0.5,
            sum: -11.0,
            sum_of_squares: 100.5,
        };
        let values = Message::default()
            .message(1, value("train/fvu").float(2, 0.25))
            .message(1, value("features/x").message(5, histogram_proto(&histogram)));
        assert_eq!(
            hex(&record(&now().integer(2, 300).message(5, values))),
            "810000000000000002cd165609000000000000f83f10ac022a730a100a09747261696e2f667675150000803e0a5f0a0a\
             66656174757265732f782a510900000000000024c011000000000000e0bf1900000000000008402100000000000026c0\
             290000000000205940321000000000000014c000000000000000003a10000000000000f03f0000000000000040435551\
             97"
        );
    }

    #[test]
    fn a_later_file_has_a_later_name_whatever_the_clock_says() {
        let parent = tempfile::tempdir().unwrap();
        let mut directory = RunDirectory::open(parent.path());
        fs::write(parent.path().join("events.out.tfevents.9999999998.host.monosem"), "").unwrap();
        for _ in 0..2 {
            EventFile::create(&mut directory, 0, &[]).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let times: Vec<_> = names.iter().map(|name| name.split('.').nth(3).unwrap()).collect();
        assert_eq!(times, ["10000000000", "9999999998", "9999999999"]);
    }
}
