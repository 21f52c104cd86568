//! How often tokens visit the experts of each layer: `{"3": [12, 7, ...], "4": [...]}`, by the position
//! of the layer in the model, a number for each expert.

use std::collections::BTreeMap;
use std::path::Path;

use ir::diagnostic::Diagnostic;

use crate::json::{self, MAX_BYTES};
use crate::{located, source};

/// Visits of the experts of each layer, in any unit.
pub type Histogram = BTreeMap<u32, Vec<f64>>;

/// Reads a histogram.
///
/// # Errors
/// `bad-histogram` for a layer that is no number, for none at all, and where visits of a layer are
/// missing, below zero or all zero; those of the JSON reader.
pub fn read(path: &Path) -> Result<Histogram, Diagnostic> {
    let read = || {
        let (source, _) = located::open(path)?;
        of_bytes(&source::read_all(&source, MAX_BYTES)?)
    };
    read().map_err(|error| error.fact("file", path.display().to_string()))
}

/// As [`read`], from the text of a file.
///
/// # Errors
/// As [`read`].
pub fn of_bytes(bytes: &[u8]) -> Result<Histogram, Diagnostic> {
    let (named, _) = json::object::<BTreeMap<String, Vec<f64>>>(bytes)?;
    if named.is_empty() {
        return Err(bad("the histogram has no layer".to_owned()));
    }
    let mut layers = Histogram::new();
    for (name, visits) in named {
        // One spelling of each number, so that no layer is there twice.
        let layer = name.parse().ok().filter(|number: &u32| number.to_string() == name);
        let layer = layer.ok_or_else(|| bad(format!("`{name}` is no position of a layer")))?;
        let wrong =
            |why: String| Err(bad(format!("layer {layer} {why}")).fact("layer", u64::from(layer)));
        if visits.is_empty() {
            return wrong("has no experts".to_owned());
        }
        if let Some(expert) = visits.iter().position(|count| *count < 0.0) {
            return wrong(format!("has {} visits of expert {expert}, below zero", visits[expert]));
        }
        let sum: f64 = visits.iter().sum();
        if sum <= 0.0 || !sum.is_finite() {
            let why =
                if sum <= 0.0 { "no visits at all" } else { "more visits than can be summed" };
            return wrong(format!("has {why}"));
        }
        layers.insert(layer, visits);
    }
    Ok(layers)
}

fn bad(message: String) -> Diagnostic {
    Diagnostic::input("bad-histogram", message)
        .hint("give {\"LAYER\": [VISITS, ...], ...} with a number from 0 up for each expert")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_layer_can_have_is_refused_by_name() {
        let read = |text: &str| of_bytes(text.as_bytes());
        let histogram = read("{\"10\": [1, 0.5], \"3\": [2, 0]}").unwrap();
        assert_eq!(histogram, BTreeMap::from([(3, vec![2.0, 0.0]), (10, vec![1.0, 0.5])]));
        for (text, expected) in [
            ("{}", "no layer"),
            ("{\"a\": [1]}", "`a` is no position"),
            ("{\"03\": [1]}", "`03` is no position"),
            ("{\"-1\": [1]}", "`-1` is no position"),
            ("{\"3\": []}", "layer 3 has no experts"),
            ("{\"3\": [0, 0]}", "layer 3 has no visits at all"),
            ("{\"3\": [1, -2]}", "-2 visits of expert 1, below zero"),
            ("{\"3\": [1e308, 1e308]}", "more visits than can be summed"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.code, "bad-histogram", "{text}");
            assert!(error.message.contains(expected), "{text}: {}", error.message);
        }
        assert_eq!(read("{\"3\": [1], \"3\": [2]}").unwrap_err().code, "duplicate-key");
        for text in ["[1]", "{\"3\": 1}", "{\"3\": [\"x\"]}", "{\"3\": [NaN]}", "{\"3\": [1e999]}"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
