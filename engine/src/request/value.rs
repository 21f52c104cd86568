//! Values of flags and of fields of a request, from text.

use std::ops::RangeInclusive;
use std::time::Duration;

use documents::quantity::size;
use ir::card::Skew;
use ir::card::stored::CacheType;
use ir::tensor::DType;
use ir::units::{Bytes, Watts};
use ir::workload::{Mode, Optimizer, StepPhase};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::Value;

use super::{ExpertSkew, ObjectiveName, Pue};
use crate::request::element_type;
use crate::request::executor::Executor;
use crate::request::task::Task;

/// What people write as a text, such as `8..64` or `38GiB`.
pub trait Written: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What is needed, in words.
    fn read(text: &str) -> Result<Self, String>;
    /// As it is read.
    fn text(&self) -> String;
}

/// Reads a text, or a number as its text; for `#[serde(with)]`.
///
/// # Errors
/// Those of the format, and of [`Written::read`].
pub fn deserialize<'de, T: Written, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    let text = match Value::deserialize(from)? {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        number @ Value::Number(_) => number.to_string(),
        _ => return Err(D::Error::custom("needs a text or a number")),
    };
    T::read(&text).map(Some).map_err(|what| D::Error::custom(format!("`{text}`: {what}")))
}

/// Writes the text; for `#[serde(with)]`.
///
/// # Errors
/// Those of the format.
pub fn serialize<T: Written, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.serialize_str(&value.text()),
        None => to.serialize_none(),
    }
}

/// Names with whole numbers, as an object.
pub mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the format.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, u64)>, D::Error> {
        BTreeMap::deserialize(from).map(|pairs| pairs.into_iter().collect())
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(pairs: &[(String, u64)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(pairs.iter().map(|(name, n)| (name, n)))
    }
}

/// One of some names.
pub(super) fn named<T: Copy>(
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    let names = || all.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", ");
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| format!("needs one of {}", names()))
}

impl Written for Mode {
    fn read(text: &str) -> Result<Self, String> {
        named(text, &Self::ALL, Self::name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl Written for Task {
    fn read(text: &str) -> Result<Self, String> {
        named(text, &Self::ALL, Self::name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl Written for Optimizer {
    fn read(text: &str) -> Result<Self, String> {
        named(text, &Self::ALL, Self::name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl Written for Executor {
    fn read(text: &str) -> Result<Self, String> {
        Self::of(text).map_err(|error| {
            [error.message].into_iter().chain(error.hints).collect::<Vec<_>>().join("; ")
        })
    }

    fn text(&self) -> String {
        (*self).text()
    }
}

impl Written for ObjectiveName {
    fn read(text: &str) -> Result<Self, String> {
        named(text, &Self::all(), Self::name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl Written for DType {
    fn read(text: &str) -> Result<Self, String> {
        element_type::named(text)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl Written for Skew {
    fn read(text: &str) -> Result<Self, String> {
        skew(text)
    }

    fn text(&self) -> String {
        match self {
            Self::Balanced => "balanced".to_owned(),
            Self::Zipf { thousandths } => format!("zipf:{}", f64::from(*thousandths) / 1e3),
        }
    }
}

/// Expert load imbalance.
///
/// # Errors
/// What is needed, in words.
pub fn skew(text: &str) -> Result<Skew, String> {
    let needed = || "needs balanced, or zipf:S with S of 0 to 10".to_owned();
    if text == "balanced" {
        return Ok(Skew::Balanced);
    }
    let power = text.strip_prefix("zipf:").and_then(|power| power.parse::<f64>().ok());
    let power = power.filter(|power| (0.0..=10.0).contains(power)).ok_or_else(needed)?;
    Ok(Skew::Zipf { thousandths: (power * 1e3).round() as u32 })
}

impl Written for ExpertSkew {
    fn read(text: &str) -> Result<Self, String> {
        expert_skew(text)
    }

    fn text(&self) -> String {
        match self {
            Self::Law(skew) => skew.text(),
            Self::File(file) => file.display().to_string(),
        }
    }
}

/// An expert distribution: a law, or a file where no law begins so.
///
/// # Errors
/// As [`skew`].
pub fn expert_skew(text: &str) -> Result<ExpertSkew, String> {
    let is_law = text.is_empty() || text == "balanced" || text.starts_with("zipf");
    match is_law && !text.ends_with(".json") {
        true => skew(text).map(ExpertSkew::Law),
        false => Ok(ExpertSkew::File(text.into())),
    }
}

impl Written for StepPhase {
    fn read(text: &str) -> Result<Self, String> {
        named(text, &Self::ALL, Self::name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl Written for CacheType {
    fn read(text: &str) -> Result<Self, String> {
        named(text, &Self::ROWS.map(|row| row.0), Self::name)
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl Written for u64 {
    fn read(text: &str) -> Result<Self, String> {
        positive(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Written for usize {
    fn read(text: &str) -> Result<Self, String> {
        count(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Written for Pue {
    fn read(text: &str) -> Result<Self, String> {
        let factor = text.trim().parse().ok().filter(|factor| (1.0..=10.0).contains(factor));
        factor.map(Self).ok_or_else(|| "needs a factor from 1 to 10, such as 1.2".to_owned())
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Written for Watts {
    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let units = [("MW", 1e6), ("kW", 1e3), ("W", 1.0)];
        let unit = units.iter().find_map(|(name, factor)| Some((text.strip_suffix(name)?, factor)));
        let (number, factor) = unit.unwrap_or((text, &1.0));
        let watts = number.trim().parse::<f64>().ok().and_then(|value| Self::new(value * factor));
        watts
            .filter(|watts| watts.get() <= 1e12)
            .ok_or_else(|| "needs watts, such as 2500, 40kW or 1.5MW".to_owned())
    }

    fn text(&self) -> String {
        self.get().to_string()
    }
}

impl Written for f64 {
    fn read(text: &str) -> Result<Self, String> {
        share(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Written for Duration {
    fn read(text: &str) -> Result<Self, String> {
        duration(text)
    }

    fn text(&self) -> String {
        format!("{}s", self.as_secs_f64())
    }
}

impl Written for RangeInclusive<u32> {
    fn read(text: &str) -> Result<Self, String> {
        range(text)
    }

    fn text(&self) -> String {
        format!("{}..{}", self.start(), self.end())
    }
}

impl Written for Bytes {
    fn read(text: &str) -> Result<Self, String> {
        bytes(text)
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

/// A whole number of at least 1.
pub fn positive(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("needs a whole number of at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Devices: a whole number from 1 to 4,096.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=4096) => Ok(count),
        _ => Err("needs a whole number from 1 to 4096".to_owned()),
    }
}

/// `NAME=N` with `N` at least 1; the name may hold `=` itself.
pub fn dimension(text: &str) -> Result<(String, u64), String> {
    match extent(text)? {
        (_, 0) => Err("needs a whole number of at least 1 after `=`".to_owned()),
        named => Ok(named),
    }
}

/// `NAME=N`; the name may hold `=` itself.
pub fn extent(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text.rsplit_once('=').ok_or("needs the form NAME=N")?;
    let number = number.parse().map_err(|_| "needs a whole number after `=`")?;
    if name.is_empty() {
        Err("needs a name before `=`".to_owned())
    } else {
        Ok((name.to_owned(), number))
    }
}

/// `1%` or `0.01`; at least 0.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let share: Option<f64> = number.trim().parse().ok();
    let share = share.map(|share| share * scale).filter(|share| share.is_finite() && *share >= 0.0);
    share.ok_or_else(|| "needs a share such as 1% or 0.01".to_owned())
}

/// The longest time that is taken, some 31 years.
const LONGEST_SECONDS: f64 = 1e9;

/// `500ms`, `30s`, `2m`, `1h`, or a bare number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 4] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, scale) = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
        .unwrap_or((text, 1.0));
    let wrong = || "needs a time in ms, s, m or h, such as 500ms or 2m".to_owned();
    let seconds: f64 = number.trim().parse().map_err(|_| wrong())?;
    // No clock adds up much more than that.
    if seconds * scale > LONGEST_SECONDS {
        return Err(format!(
            "is too long; leave the limit out, or give at most {LONGEST_SECONDS:e} s"
        ));
    }
    Duration::try_from_secs_f64(seconds * scale).map_err(|_| wrong())
}

/// A share below the whole.
pub fn margin(text: &str) -> Result<f64, String> {
    share(text).and_then(|share| match share < 1.0 {
        true => Ok(share),
        false => Err("needs a share below 100%, such as 5%".to_owned()),
    })
}

/// `8` or `8..64`, both ends included.
pub fn range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let wrong = || "needs a count such as 8, or a range such as 8..64".to_owned();
    let count = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(wrong);
    match text.split_once("..") {
        None => count(text).map(|n| n..=n),
        Some((low, high)) => {
            let (low, high) = (count(low)?, count(high.trim_start_matches('='))?);
            if low <= high { Ok(low..=high) } else { Err(wrong()) }
        }
    }
}

/// A device's memory: a size with a unit, decimal or binary. A number alone counts bytes, and is
/// refused below a megabyte, which no device has: whoever writes `40` means another unit.
pub fn bytes(text: &str) -> Result<Bytes, String> {
    const LEAST: f64 = 1e6;
    let wrong = || "needs a size such as 40GB, 38GiB or a number of bytes".to_owned();
    let value = size(text).ok_or_else(wrong)?;
    if text.trim().parse::<f64>().is_ok_and(|plain| plain < LEAST) && value >= 1.0 {
        let plain = text.trim();
        return Err(format!("has no unit; write {plain}GB, {plain}GiB or {plain}MiB"));
    }
    if value.is_finite() && (1.0..1e18).contains(&value) {
        Ok(Bytes(value.round() as u64))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert!(duration("-1s").is_err() && duration("nan").is_err() && duration("1e30h").is_err());
        assert!(duration("1e19").is_err() && duration("inf").is_err());
        assert!(duration("1e9").is_ok());
    }

    #[test]
    fn shares_are_parts_or_per_cent() {
        assert_eq!((share("1%"), share("0.25"), share("0")), (Ok(0.01), Ok(0.25), Ok(0.0)));
        assert!(share("-1%").is_err() && share("inf").is_err() && share("%").is_err());
    }

    #[test]
    fn extents_split_at_the_last_sign() {
        assert_eq!(extent("a=b=3"), Ok(("a=b".to_owned(), 3)));
        assert!(dimension("a=1").is_ok() && dimension("a=0").is_err());
        assert!(extent("=3").is_err() && extent("a").is_err() && extent("a=x").is_err());
    }

    #[test]
    fn sizes_and_ranges_are_read() {
        assert_eq!(bytes("40GB"), Ok(Bytes(40_000_000_000)));
        assert_eq!(bytes("1.5 GiB"), Ok(Bytes(1_610_612_736)));
        assert_eq!(bytes("40000000000"), Ok(Bytes(40_000_000_000)));
        assert_eq!(bytes("512MB"), Ok(Bytes(512_000_000)));
        for plain in ["40", "81920", " 0.5e3 "] {
            assert!(bytes(plain).unwrap_err().starts_with("has no unit; write"), "{plain}");
        }
        assert!(bytes("-1GB").is_err() && bytes("nanGB").is_err() && bytes("").is_err());
        assert_eq!(range("8"), Ok(8..=8));
        assert_eq!(range("8..64"), Ok(8..=64));
        assert!(range("64..8").is_err() && range("0..8").is_err() && range("x").is_err());
    }
}
