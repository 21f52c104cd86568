//! Strict JSON: a byte-order mark is skipped; duplicate keys, numbers out of range, `NaN`, depth
//! past the limit and trailing bytes are errors that say where.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ir::diagnostic::Diagnostic;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::source::{self, Source};

/// What some editors put before UTF-8 text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Largest JSON file that is read whatever the machine, in bytes: an instance of 400,000 ops.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// Largest instance on any machine, in bytes: six million ops.
const MOST_BYTES: u64 = 1 << 30;

/// Reading takes up to twelve times the size of a file in memory, a file made to take most of it
/// included; a quarter of what is free stays free.
const BLOW_UP: u64 = 16;

/// Largest instance that this machine has room for, in bytes: more than [`MAX_BYTES`] where the
/// system says how much memory is free.
pub(crate) fn budget() -> u64 {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    let kibibytes = available.unwrap_or(0);
    (kibibytes.saturating_mul(1024) / BLOW_UP).clamp(MAX_BYTES, MOST_BYTES)
}

/// Starts the message of a duplicate key, so that it can be told from other data errors.
const DUPLICATE: &str = "duplicate key";

/// The keys of the object at the top, after the whole text was checked; nothing else is kept.
///
/// # Errors
/// `invalid-json`, `truncated-json`, `nesting-limit`, `duplicate-key`, `number-out-of-range`,
/// `size-budget`, `unreadable-file`.
pub(crate) fn top_keys(source: &dyn Source) -> Result<BTreeSet<String>, Diagnostic> {
    let mut bytes = source::read_all(source, budget())?;
    bounded(&mut bytes);
    keys(&bytes)
}

fn keys(bytes: &[u8]) -> Result<BTreeSet<String>, Diagnostic> {
    let mut reader = serde_json::Deserializer::from_slice(text(bytes));
    let keys = TopKeys.deserialize(&mut reader).map_err(|error| diagnose(&error))?;
    reader.end().map_err(|error| diagnose(&error))?;
    Ok(keys)
}

/// A typed object with its keys, from text that is checked as strictly as a file.
///
/// # Errors
/// As [`top_keys`], and `invalid-document` where the text does not have the type's form.
pub fn object<T: DeserializeOwned + Send>(
    bytes: &[u8],
) -> Result<(T, BTreeSet<String>), Diagnostic> {
    // Side by side; of two faults that of the strict reading counts.
    let (document, keys) = ir::threads::beside(|| parse(bytes), || keys(bytes));
    let keys = keys?;
    Ok((document?, keys))
}

/// A typed document. Whoever calls it has had the text checked by [`top_keys`].
///
/// # Errors
/// As [`top_keys`], and `invalid-document` where the text does not have the type's form.
pub(crate) fn document<T: DeserializeOwned>(source: &dyn Source) -> Result<T, Diagnostic> {
    let bytes = source::read_all(source, MAX_BYTES)?;
    parse(&bytes)
}

/// [`document`] on bytes.
///
/// # Errors
/// As [`document`].
pub(crate) fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Diagnostic> {
    documents::json::read(text(bytes), diagnose)
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// What Python writes for a number without bound, and a finite one of the same length.
const INFINITY: &[u8] = b"Infinity";
const FINITE: &[u8] = b"1.0e+308";

/// The text with [`FINITE`] for each number without bound, which Python's `json` writes against the
/// standard and configs of state-space models hold; in strings it stays.
fn bounded(bytes: &mut [u8]) {
    if !bytes.windows(INFINITY.len()).any(|window| window == INFINITY) {
        return;
    }
    let (mut at, mut in_string) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            b'I' if !in_string && bytes[at..].starts_with(INFINITY) => {
                bytes[at..at + INFINITY.len()].copy_from_slice(FINITE);
            }
            _ => {}
        }
        at += 1;
    }
}

pub(crate) fn diagnose(error: &serde_json::Error) -> Diagnostic {
    // The crate ends its messages with the position, which becomes facts here.
    let full = error.to_string();
    let what = full.rsplit_once(" at line ").map_or(full.as_str(), |parts| parts.0);
    let (code, message) = match error.classify() {
        Category::Eof => ("truncated-json", "unexpected end of JSON".to_owned()),
        _ if what.contains("recursion limit") => {
            ("nesting-limit", "the JSON nests too deep: recursion limit exceeded".to_owned())
        }
        _ if what.starts_with("number out of range") => {
            ("number-out-of-range", "a JSON number is out of range".to_owned())
        }
        _ if what.starts_with(DUPLICATE) || what.starts_with("duplicate field") => {
            ("duplicate-key", what.replace("duplicate field", DUPLICATE))
        }
        Category::Data => ("invalid-document", documents::json::reason(error)),
        _ => ("invalid-json", format!("this is no valid JSON: {what}")),
    };
    Diagnostic::input(code, message).fact("line", error.line()).fact("column", error.column())
}

/// Whether a text could not be told to be of any format, for it is no JSON.
pub(crate) fn is_broken(error: &Diagnostic) -> bool {
    ["invalid-json", "truncated-json", "number-out-of-range"].contains(&error.code)
}

/// A value that is checked and dropped.
struct Checked;

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Checked)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        distinct_keys(map).map(drop)
    }
}

fn distinct_keys<'de, A: MapAccess<'de>>(mut map: A) -> Result<BTreeSet<Key<'de>>, A::Error> {
    // Objects with few keys, as nearly all are, need no tree while they are read.
    let mut first: Vec<Key<'de>> = Vec::new();
    let mut keys: BTreeSet<Key<'de>> = BTreeSet::new();
    while let Some(key) = map.next_key::<Key<'de>>()? {
        map.next_value_seed(Checked)?;
        if first.contains(&key) || keys.contains(&key) {
            return Err(serde::de::Error::custom(format_args!("{DUPLICATE} `{}`", key.0)));
        }
        if first.len() < FEW {
            first.push(key);
        } else {
            keys.insert(key);
        }
    }
    keys.extend(first);
    Ok(keys)
}

/// So many keys are compared one by one.
const FEW: usize = 16;

/// A key, borrowed from the text where it holds no escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The keys of an object whose values are checked and dropped.
struct TopKeys;

impl<'de> DeserializeSeed<'de> for TopKeys {
    type Value = BTreeSet<String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TopKeys {
    type Value = BTreeSet<String>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        // The depth is checked first: it is the worse fault.
        Checked.visit_seq(items)?;
        Err(serde::de::Error::custom("expected a JSON object at the top, found an array"))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let keys = distinct_keys(map)?;
        Ok(keys.into_iter().map(|key| key.0.into_owned()).collect())
    }
}

/// The object of a config, in which numbers may be without bound.
///
/// # Errors
/// As [`document`].
pub(crate) fn config(mut bytes: Vec<u8>) -> Result<Object, Diagnostic> {
    bounded(&mut bytes);
    parse(&bytes)
}

/// A JSON object of any form, for documents with many optional members.
pub(crate) type Object = BTreeMap<String, serde_json::Value>;

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        top_keys(&text.as_bytes()).unwrap_err().code
    }

    #[test]
    fn faults_have_codes() {
        assert_eq!(code(r#"{"a":1,"a":2}"#), "duplicate-key");
        assert_eq!(code(r#"{"a":[{"b":1,"b":2}]}"#), "duplicate-key");
        assert_eq!(code(r#"{"a":NaN}"#), "invalid-json");
        assert_eq!(code(r#"{"a":1e400}"#), "number-out-of-range");
        assert_eq!(code(r#"{"a":1"#), "truncated-json");
        assert_eq!(code(r#"{"a":1} x"#), "invalid-json");
        assert_eq!(code(&"[".repeat(100_000)), "nesting-limit");
        assert_eq!(code(&r#"{"a":"#.repeat(100_000)), "nesting-limit");
        assert_eq!(code("[1]"), "invalid-document");
    }

    /// As `json.dumps({"a": [0.0, math.inf], "Infinity": "\\"Infinity"})` writes it.
    #[test]
    fn numbers_without_bound_are_those_of_configs() {
        let text = br#"{"a": [0.0, -Infinity, Infinity], "Infinity": "\"Infinity"}"#;
        let object = config(text.to_vec()).unwrap();
        assert_eq!(object["a"][2].as_f64(), Some(1e308));
        assert_eq!(object["Infinity"], "\"Infinity");
        assert!(top_keys(&text.as_slice()).unwrap().contains("Infinity"));
        assert_eq!(config(b"{\"a\": NaN}".to_vec()).unwrap_err().code, "invalid-json");
    }

    #[test]
    fn many_keys_are_compared_too() {
        let many: Vec<String> = (0..40).map(|at| format!("\"k{at}\":{at}")).collect();
        assert!(top_keys(&format!("{{{}}}", many.join(",")).as_bytes()).is_ok());
        for twice in [3, 30] {
            let text = format!("{{{},\"k{twice}\":0}}", many.join(","));
            assert_eq!(code(&text), "duplicate-key");
            assert_eq!(code(&format!("{{\"a\":{text}}}")), "duplicate-key");
        }
        // An escape is the letter that it stands for.
        assert_eq!(code(r#"{"a":1,"\u0061":2}"#), "duplicate-key");
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_positions_are_given() {
        let keys = top_keys(&b"\xEF\xBB\xBF{\"b\":1,\"a\":{}}".as_slice()).unwrap();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        let error = top_keys(&b"{\n  \"a\": ?}".as_slice()).unwrap_err();
        assert!(error.facts.contains(&("line", 2usize.into())));
        assert!(error.facts.contains(&("column", 8usize.into())));
    }
}
