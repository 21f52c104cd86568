//! Durations as documents write them: twice. Sizes as people write them: in bytes, or with a unit.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// A duration: whole nanoseconds, which sums and comparisons use, and the same in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Duration {
    /// Nanoseconds.
    pub ns: u64,
    /// Seconds.
    pub s: f64,
}

impl Duration {
    /// From whole nanoseconds.
    #[must_use]
    pub fn from_ns(ns: u64) -> Self {
        Self { ns, s: seconds(ns) }
    }
}

/// Whole nanoseconds in seconds.
#[must_use]
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// A size in bytes, read from a number or from a text with a unit such as `80GB` or `80GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Size(pub f64);

impl From<Size> for f64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 80GB, 80GiB or a number of bytes")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Size, E> {
        Ok(Size(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Size, E> {
        Ok(Size(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Size, E> {
        Ok(Size(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        let shown: String = text.chars().take(40).collect();
        let wrong = || {
            E::custom(format!(
                "`{shown}` is no size; a number is needed, in bytes or with a unit: 80GB, 80GiB"
            ))
        };
        size(text).map(Size).ok_or_else(wrong)
    }
}

/// Bytes of a text: a number, and a decimal or binary unit where it is not of bytes. Bits (`Gb`) are
/// no size.
#[must_use]
pub fn size(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 9] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("KB", 1e3),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ];
    let text = text.trim();
    let unit = UNITS.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
    let (number, scale) = unit.unwrap_or((text.strip_suffix('B').unwrap_or(text), 1.0));
    let bytes = number.trim().parse::<f64>().ok()? * scale;
    // Half a binary unit may be no whole number in floating point.
    Some(if scale > 1.0 { bytes.round() } else { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units_and_bits_are_none() {
        assert_eq!(size("80GB"), Some(80e9));
        assert_eq!(size(" 1.5 GiB"), Some(1_610_612_736.0));
        assert_eq!((size("512"), size("512B"), size("1e3")), (Some(512.0), Some(512.0), Some(1e3)));
        for text in ["", "GB", "80Gb", "80 gigs", "8 0GB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
