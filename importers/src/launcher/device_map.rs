//! Hugging Face Accelerate's `device_map`: module paths and the devices that they are on.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::launch::{DeviceMap, MapPlace};
use serde_json::Value;

use super::limits::{MAX_BYTES, bad};
use crate::json;

/// Accelerators of one host are fewer.
const MOST_ACCELERATORS: u32 = 1 << 16;

/// Whether a text is a device map: a JSON object of which every value names a device.
#[must_use]
pub fn is_device_map(text: &str) -> bool {
    if text.len() > MAX_BYTES {
        return false;
    }
    let entries: Result<BTreeMap<String, Value>, _> = json::parse(text.as_bytes());
    entries.is_ok_and(|entries| {
        !entries.is_empty() && entries.values().all(|value| place(value).is_some())
    })
}

/// Reads a device map.
///
/// # Errors
/// `bad-settings` where a value names no device, or a key is below another one (which of the two
/// wins is not defined); those of JSON, duplicate keys included; `file-too-large`.
pub fn read(text: &str) -> Result<DeviceMap, Diagnostic> {
    if text.len() > MAX_BYTES {
        let message = format!("a device map of {} bytes, more than {MAX_BYTES}", text.len());
        return Err(Diagnostic::input("file-too-large", message));
    }
    json::top_keys(&text.as_bytes())?;
    let values: BTreeMap<String, Value> = json::parse(text.as_bytes())?;
    let mut entries = BTreeMap::new();
    for (key, value) in values {
        let place = place(&value).ok_or_else(|| {
            bad(&key, &value.to_string(), "name an accelerator by its number, \"cpu\" or \"disk\"")
        })?;
        entries.insert(key, place);
    }
    for (key, place) in &entries {
        let above = std::iter::once("").chain(key.match_indices('.').map(|(at, _)| &key[..at]));
        let above = above.filter(|above| above.len() < key.len());
        for above in above {
            if entries.get(above).is_some_and(|other| other != place) {
                let message = format!("`{above}` covers `{key}`, but the two are on two devices");
                return Err(Diagnostic::input("bad-settings", message)
                    .hint("give each module one key; which of two wins is not defined"));
            }
        }
    }
    Ok(DeviceMap { entries })
}

fn place(value: &Value) -> Option<MapPlace> {
    let accelerator = |number: u64| {
        let number = u32::try_from(number).ok().filter(|number| *number < MOST_ACCELERATORS)?;
        Some(MapPlace::Accelerator(number))
    };
    match value {
        Value::Number(number) => accelerator(number.as_u64()?),
        Value::String(text) => match text.as_str() {
            "cpu" => Some(MapPlace::Cpu),
            "disk" => Some(MapPlace::Disk),
            "cuda" => accelerator(0),
            name => {
                let (kind, number) = name.split_once(':')?;
                let is_kind = ["cuda", "xpu", "npu", "hpu", "mps"].contains(&kind);
                is_kind.then(|| accelerator(number.parse().ok()?)).flatten()
            }
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_device_is_known() {
        let text = r#"{"a": 0, "b": "cuda:3", "c.0": "cpu", "c.1": "disk", "d": "cuda"}"#;
        assert!(is_device_map(text));
        let map = read(text).unwrap().entries;
        let expected = [
            ("a", MapPlace::Accelerator(0)),
            ("b", MapPlace::Accelerator(3)),
            ("c.0", MapPlace::Cpu),
            ("c.1", MapPlace::Disk),
            ("d", MapPlace::Accelerator(0)),
        ];
        assert!(map.iter().map(|(key, place)| (key.as_str(), *place)).eq(expected));
    }

    #[test]
    fn what_is_no_map_is_told_from_one_that_is_wrong() {
        for other in ["{}", "[1]", "nonsense", r#"{"format": "a plan"}"#, r#"{"a": {"b": 1}}"#] {
            assert!(!is_device_map(other), "{other}");
        }
        let wrong = [
            (r#"{"a": -1}"#, "bad-settings"),
            (r#"{"a": "tpu"}"#, "bad-settings"),
            (r#"{"a": 0, "a.b": 1}"#, "bad-settings"),
            (r#"{"": 0, "a": 1}"#, "bad-settings"),
            (r#"{"a": 0, "a": 1}"#, "duplicate-key"),
            (r#"{"a": 0"#, "truncated-json"),
        ];
        for (text, code) in wrong {
            assert_eq!(read(text).unwrap_err().code, code, "{text}");
        }
        // A key below another one that says the same leaves nothing open.
        assert!(read(r#"{"": 0, "a": 0}"#).is_ok());
    }
}
