//! Figures with their units, as an explanation prints them.

use ir::units::{Bytes, Nanos};

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Floating-point operations per second.
    FlopsPerSecond,
    /// Bytes per second.
    BytesPerSecond,
    /// Floating-point operations.
    Flops,
    /// Bytes.
    Bytes,
    /// A bare ratio, exponent or count.
    One,
}

impl Unit {
    /// Its name in documents; empty for a bare number.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::FlopsPerSecond => "FLOP/s",
            Self::BytesPerSecond => "B/s",
            Self::Flops => "FLOP",
            Self::Bytes => "B",
            Self::One => "",
        }
    }

    /// A value of this unit for people: three or four significant digits.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 999.5e-9 => format!("{} ns", number(value * 1e9)),
            Self::Seconds => Nanos((value * 1e9) as u64).to_string(),
            Self::FlopsPerSecond => scaled(value, "FLOP/s"),
            Self::BytesPerSecond => scaled(value, "B/s"),
            Self::Flops => scaled(value, "FLOP"),
            Self::Bytes => Bytes(value as u64).to_string(),
            Self::One => number(value),
        }
    }
}

/// With a prefix of thousands.
fn scaled(mut value: f64, unit: &str) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut prefix = 0;
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    format!("{} {}{unit}", number(value), PREFIXES[prefix])
}

/// A bare number: whole ones as they are, others to four significant digits without trailing
/// zeros.
#[must_use]
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value}");
    }
    let magnitude = value.abs().max(f64::MIN_POSITIVE).log10().floor();
    if !(-4.0..15.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = (3.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        assert_eq!(Unit::FlopsPerSecond.show(3.12e14), "312 TFLOP/s");
        assert_eq!(Unit::BytesPerSecond.show(2.039e12), "2.039 TB/s");
        assert_eq!(Unit::Seconds.show(2.302e-6), "2.30 us");
        assert_eq!(Unit::Seconds.show(0.5e-9), "0.5 ns");
        assert_eq!(Unit::Bytes.show(1536.0), "1.5 KiB");
        assert_eq!(Unit::One.show(0.8519), "0.8519");
        assert_eq!(number(174.1043), "174.1");
        assert_eq!(number(11008.0), "11008");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(1.25e-9), "1.250e-9");
    }
}
