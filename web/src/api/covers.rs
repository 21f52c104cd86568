//! What a stored profile was measured of.

use documents::profile::{KindDocument, ProfileDocument};
use serde_json::{Value, json};

use crate::content::{self, Content};
use crate::problem::Problem;
use crate::store::Store;

/// Longest profile that is looked at, in bytes; longer ones are not read when planning either.
const LONGEST: i64 = 32 << 20;

/// By kind of device, link and stack, what was measured; null for a profile that is no JSON of a form
/// that this version knows.
pub(super) fn of(store: &Store, profile: &Content) -> Result<Value, Problem> {
    if profile.bytes > LONGEST {
        return Ok(Value::Null);
    }
    let mut text = Vec::new();
    content::each_chunk(store, &profile.holder, &mut |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(serde_json::from_slice(&text).map_or(Value::Null, |document| covers(&document)))
}

fn covers(profile: &ProfileDocument) -> Value {
    let row = |what: &str, name: &str, measured: Vec<String>| json!({ "what": what, "name": name, "measured": measured });
    let kinds = profile.kinds.iter().map(|(name, kind)| row("device", name, of_kind(kind)));
    let rates = vec!["latency and rate".to_owned()];
    let links = profile.links.keys().map(|name| row("link", name, rates.clone()));
    let constants = vec!["constants of training steps".to_owned()];
    let stacks = profile.stacks.keys().map(|name| row("stack", name, constants.clone()));
    kinds.chain(links).chain(stacks).collect()
}

fn of_kind(kind: &KindDocument) -> Vec<String> {
    let mut measured = Vec::new();
    measured.extend(kind.kernels.is_some().then(|| "kernels".to_owned()));
    measured.extend(kind.by_dtype.keys().map(|dtype| format!("kernels in {dtype}")));
    measured.extend(kind.peak_flops_per_s.keys().map(|dtype| format!("products in {dtype}")));
    measured.extend(kind.memory_bytes_per_s.is_some().then(|| "memory".to_owned()));
    measured.extend(kind.streams.keys().map(|name| format!("streams: {name}")));
    measured.extend(kind.forms.keys().map(|name| format!("form: {name}")));
    measured.extend(
        kind.collectives
            .iter()
            .map(|collective| format!("{} of {} ranks", collective.operation, collective.ranks)),
    );
    measured.extend((!kind.overlaps.is_empty()).then(|| "overlap of streams".to_owned()));
    measured.dedup();
    measured
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_was_measured_is_listed_and_what_is_no_profile_covers_nothing_known() {
        let text = json!({ "version": 1, "name": "lab", "links": {},
            "kinds": { "h100_sxm5_80gb": { "peak_flops_per_s": { "bf16": 7e14 }, "memory_bytes_per_s": 3e12 } } });
        let profile: ProfileDocument = serde_json::from_value(text).unwrap();
        let row = json!({ "what": "device", "name": "h100_sxm5_80gb",
            "measured": ["products in bf16", "memory"] });
        assert_eq!(covers(&profile), json!([row]));
    }
}
