//! Numbers of bytes, as people read them.

/// Bytes in binary units with two decimals: `1023 B`, `1.50 MiB`, `80.00 GiB`.
pub fn readable_bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..units.len() - 1).find(|power| bytes >> (10 * (power + 1)) == 0).unwrap_or(units.len() - 1);
    let value = bytes as f64 / 1024_f64.powi(power as i32);
    if power == 0 { format!("{bytes} B") } else { format!("{value:.2} {}", units[power]) }
}

#[cfg(test)]
mod tests {
    use super::readable_bytes;

    #[test]
    fn sizes_are_written_to_be_read() {
        let written = [0, 1023, 1024, 3 << 19, 80 << 30, u64::MAX].map(readable_bytes);
        assert_eq!(written, ["0 B", "1023 B", "1.00 KiB", "1.50 MiB", "80.00 GiB", "16777216.00 TiB"]);
    }
}
