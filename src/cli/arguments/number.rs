//! Numbers as people type them, on the command line and in configuration files.

use std::fmt::Display;
use std::str::FromStr;

/// A setting whose flag also takes a word that means none: no choice, so that a flag can take back what a file says.
pub type Choice<T> = Option<T>;

/// A parser that takes these words for no choice.
pub fn unless<T>(
    words: &'static [&'static str],
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Choice<T>, String> + Clone {
    move |text| if words.contains(&text) { Ok(None) } else { parse(text).map(Some) }
}

/// The same with the word `default`.
pub fn or_default<T>(parse: fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<Choice<T>, String> + Clone {
    unless(&["default"], parse)
}

/// A text that is not empty.
pub fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
}

/// A whole number of at least 1: 5000000, 5_000_000, 5M, 5e6.
pub fn count<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    match whole(text) {
        Ok(0) => Err("must be at least 1".into()),
        Err(Fault::Negative) => Err("must be at least 1".into()),
        number => in_type(number),
    }
}

/// A whole number, 0 included.
pub fn count_or_zero<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    in_type(whole(text))
}

/// A token's id.
pub fn token_id(text: &str) -> Result<i32, String> {
    text.trim().parse().map_err(|_| "not a token id, a whole number that fits 32 bits".into())
}

/// A number above 0 that f32 can hold.
pub fn positive(text: &str) -> Result<f64, String> {
    match real(text)? {
        number if number.is_finite() && number > 0.0 => in_f32(number),
        _ => Err("must be finite and above 0".into()),
    }
}

/// A number of at least 0 and below 1.
pub fn below_one(text: &str) -> Result<f64, String> {
    match real(text)? {
        number if (0.0..1.0).contains(&number) => Ok(number),
        _ => Err("must be at least 0 and below 1".into()),
    }
}

/// A number above 0 that f32 can hold, or 0.
pub fn positive_or_zero(text: &str) -> Result<f64, String> {
    match real(text)? {
        0.0 => Ok(0.0),
        number if number.is_finite() && number > 0.0 => in_f32(number),
        _ => Err("must be finite and at least 0".into()),
    }
}

fn real(text: &str) -> Result<f64, String> {
    text.trim().replace('_', "").parse().map_err(|_| "not a number, e.g. 0.001 or 1e-3".into())
}

fn in_f32(number: f64) -> Result<f64, String> {
    match number as f32 {
        rounded if rounded.is_infinite() => Err(format!("too large for f32: at most {:e}", f32::MAX)),
        rounded if !rounded.is_normal() => Err(format!("too small for f32: at least {:e}", f32::MIN_POSITIVE)),
        _ => Ok(number),
    }
}

/// What is wrong with a whole number.
enum Fault {
    Syntax,
    Negative,
    Fraction,
    TooLarge,
}

fn in_type<T: FromStr<Err: Display>>(number: Result<u64, Fault>) -> Result<T, String> {
    number
        .map_err(|fault| match fault {
            Fault::Syntax => "not a whole number, e.g. 5000000, 5_000_000, 5M or 5e6".to_owned(),
            Fault::Negative => "must be at least 0".to_owned(),
            Fault::Fraction => "not a whole number".to_owned(),
            Fault::TooLarge => format!("too large: at most {}", u64::MAX),
        })?
        .to_string()
        .parse()
        .map_err(|error: T::Err| error.to_string())
}

/// digits[.digits][e[+-]digits][k|M|G|T], exactly.
fn whole(text: &str) -> Result<u64, Fault> {
    let text = text.trim();
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // `m` is minutes, where a time may be meant.
    let units = [('k', 3), ('K', 3), ('M', 6), ('G', 9), ('T', 12)];
    let unit = units.iter().find_map(|(unit, power)| Some((text.strip_suffix(*unit)?, *power)));
    let (number, power) = unit.unwrap_or((text, 0));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{after}").replace('_', "");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || before.starts_with('_') {
        return Err(Fault::Syntax);
    }
    let exponent: i32 = exponent.parse().map_err(|_| Fault::Syntax)?;
    let digits_after = after.bytes().filter(u8::is_ascii_digit).count();

    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let shift = i64::from(exponent) + power + zeros as i64 - digits_after as i64;
    if is_negative {
        return Err(Fault::Negative);
    }
    if shift < 0 {
        return Err(Fault::Fraction);
    }
    let scale = u32::try_from(shift).ok().and_then(|shift| 10_u64.checked_pow(shift)).ok_or(Fault::TooLarge)?;
    let number: u64 = significant.parse().map_err(|_| Fault::TooLarge)?;
    number.checked_mul(scale).ok_or(Fault::TooLarge)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn whole_numbers_are_read_as_people_type_them() {
        for (text, number) in [
            ("1e9", 1_000_000_000),
            ("50M", 50_000_000),
            ("1.5k", 1500),
            ("2G", 2_000_000_000),
            ("1_000_000", 1_000_000),
            ("0.5e1k", 5000),
            ("+7", 7),
            ("1000e-3", 1),
            ("18446744073709551615", u64::MAX),
            ("0012", 12),
        ] {
            assert_eq!(count::<u64>(text), Ok(number), "{text}");
        }
        assert_eq!(count_or_zero::<usize>("0.0"), Ok(0));
        assert_eq!(count::<NonZeroU64>("1k"), Ok(NonZeroU64::new(1000).unwrap()));
    }

    #[test]
    fn other_numbers_are_refused_in_words() {
        for (text, words) in [
            ("0", "must be at least 1"),
            ("-3", "must be at least 1"),
            ("-1e-3", "must be at least 1"),
            ("1.5", "not a whole number"),
            ("1e-3", "not a whole number"),
            ("NaN", "not a whole number"),
            ("inf", "not a whole number"),
            ("1e20", "too large: at most 18446744073709551615"),
            ("18446744073709551616", "too large"),
            ("1e999999999", "too large"),
            ("1e9999999999", "not a whole number, e.g."),
            ("", "not a whole number, e.g."),
            ("M", "not a whole number, e.g."),
            ("many", "not a whole number, e.g."),
            ("50m", "not a whole number, e.g."),
            ("1 000", "not a whole number, e.g."),
            ("1.2.3", "not a whole number, e.g."),
            ("0x10", "not a whole number, e.g."),
        ] {
            let error = count::<u64>(text).unwrap_err();
            assert!(error.starts_with(words), "{text}: {error}");
        }
        assert_eq!(count_or_zero::<u64>("-1").unwrap_err(), "must be at least 0");
        assert!(count::<u16>("70k").unwrap_err().contains("too large"));
    }

    #[test]
    fn real_numbers_keep_to_f32() {
        assert_eq!(positive("1e-3"), Ok(1e-3));
        assert_eq!(positive_or_zero("0"), Ok(0.0));
        for (text, words) in [
            ("-1e-3", "must be finite and above 0"),
            ("0", "must be finite and above 0"),
            ("1e-50", "too small for f32"),
            ("1e300", "too large for f32"),
            ("NaN", "must be finite"),
            ("inf", "must be finite"),
            ("x", "not a number"),
        ] {
            let error = positive(text).unwrap_err();
            assert!(error.starts_with(words), "{text}: {error}");
        }
        assert_eq!(positive_or_zero("-1").unwrap_err(), "must be finite and at least 0");
    }
}
