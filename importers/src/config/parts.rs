//! Fields that models of several parts state for their text part alone.

use serde_json::{Map, Value};

use super::fields::Fields;

/// Members that hold the config of a text part.
const TEXT: [&str; 5] =
    ["text_config", "llm_config", "language_config", "thinker_config", "decoder"];

/// The first of these fields that a config states for the whole, or else for its text part.
pub(super) fn stated<'a>(fields: Fields<'a>, names: &[&str]) -> Option<&'a Value> {
    let value = names.iter().find_map(|name| fields.get(name));
    value.or_else(|| {
        let parts = TEXT.iter().filter_map(|part| fields.get(part)?.as_object());
        parts.into_iter().find_map(|part| of_part(part, names))
    })
}

/// The same of a part; one of a part of it is the text's.
fn of_part<'a>(part: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let value = names.iter().filter_map(|name| part.get(*name)).find(|value| !value.is_null());
    value.or_else(|| of_part(part.get(TEXT[0])?.as_object()?, names))
}
