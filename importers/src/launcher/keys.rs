//! The keys of a recipe, each of which is read, refused or listed as one without effect.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use serde_json::Value;

use super::flags::not_judged;
use super::limits::{MOST_DEGREE, MOST_SAMPLES, bad};

/// Deepest nesting of keys.
const MAX_DEPTH: u32 = 8;

/// Most values of a recipe.
const MAX_NODES: usize = 50_000;

/// The leaves of a recipe by their paths, `fsdp_config.fsdp_version`; lists are leaves.
pub(super) struct Keys {
    pub(super) values: BTreeMap<String, Value>,
    asked: RefCell<BTreeSet<String>>,
    /// Keys that are known, and in no plan.
    idle: RefCell<BTreeSet<String>>,
}

impl Keys {
    /// Reads a recipe.
    ///
    /// # Errors
    /// `bad-settings` for what is no YAML of keys.
    pub(super) fn read(text: &str) -> Result<Self, Diagnostic> {
        let invalid = |why: String| {
            Diagnostic::input("bad-settings", format!("this is no valid YAML: {why}"))
                .hint("give the file as the launcher takes it")
        };
        let options = serde_yaml::options! {
            budget: serde_yaml::budget! {
                max_depth: 64,
                flow_nesting_limit: 64,
                max_nodes: MAX_NODES,
                max_events: 2 * MAX_NODES,
                max_anchors: 64,
                max_aliases: 64,
            },
            with_snippet: false,
        };
        let document = serde_yaml::from_str_with_options::<Value>(text, options);
        let document = document.map_err(|error| {
            let why = error.to_string();
            invalid(why.lines().next().unwrap_or_default().to_owned())
        })?;
        if !document.is_object() {
            return Err(invalid("there are no keys".to_owned()));
        }
        Self::of(document).map_err(invalid)
    }

    /// The leaves of a document.
    ///
    /// # Errors
    /// What is nested too deeply.
    pub(super) fn of(document: Value) -> Result<Self, String> {
        let mut keys = Self::of_values(BTreeMap::new());
        keys.add("", document, MAX_DEPTH)?;
        Ok(keys)
    }

    /// Leaves by their paths.
    pub(super) fn of_values(values: BTreeMap<String, Value>) -> Self {
        Self { values, asked: RefCell::default(), idle: RefCell::default() }
    }

    /// Keys that nobody asked for, but those that are left open. To be called when all were asked for.
    pub(super) fn not_planned(&self) -> BTreeSet<String> {
        let known = self.asked.borrow();
        let is_open = |value: &Value| value.is_null() || *value == "";
        let unread =
            self.values.iter().filter(|(key, value)| !is_open(value) && !known.contains(*key));
        unread.map(|(key, _)| key.chars().take(120).collect()).collect()
    }

    fn add(&mut self, path: &str, value: Value, depth: u32) -> Result<(), String> {
        let Value::Object(members) = value else {
            self.values.insert(path.to_owned(), value);
            return Ok(());
        };
        if depth == 0 {
            return Err(format!("`{path}` is nested deeper than {MAX_DEPTH}"));
        }
        for (key, value) in members {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            self.add(&path, value, depth - 1)?;
        }
        Ok(())
    }

    /// A value that is not left open.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.values.get(key).filter(|value| !value.is_null() && **value != "")
    }

    /// Counts keys as read.
    pub(super) fn pass(&self, keys: impl IntoIterator<Item = String>) {
        self.asked.borrow_mut().extend(keys);
    }

    /// Counts keys as known ones that are in no plan.
    pub(super) fn idle(&self, keys: impl IntoIterator<Item = String>) {
        self.idle.borrow_mut().extend(keys);
    }

    /// A word or a number as one.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Whether a switch is on; `None` where it is not stated.
    ///
    /// # Errors
    /// `bad-settings` for what is none.
    pub(super) fn switch(&self, key: &str) -> Result<Option<bool>, Diagnostic> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.to_lowercase().as_str() {
            "true" | "yes" => Ok(Some(true)),
            "false" | "no" => Ok(Some(false)),
            _ => Err(bad(key, &text, "give true or false")),
        }
    }

    pub(super) fn is_on(&self, key: &str) -> Result<bool, Diagnostic> {
        Ok(self.switch(key)?.unwrap_or(false))
    }

    /// A number of samples or tokens.
    ///
    /// # Errors
    /// `bad-settings` for anything but 1 to [`MOST_SAMPLES`].
    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, Diagnostic> {
        self.number(key, MOST_SAMPLES)
    }

    /// A degree.
    ///
    /// # Errors
    /// `bad-settings` for anything but 1 to [`MOST_DEGREE`].
    pub(super) fn degree(&self, key: &str) -> Result<Option<u32>, Diagnostic> {
        Ok(self.number(key, MOST_DEGREE)?.and_then(|n| u32::try_from(n).ok()))
    }

    fn number(&self, key: &str, most: u64) -> Result<Option<u64>, Diagnostic> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|n| (1..=most).contains(n));
        let hint = format!("give a whole number from 1 to {most}");
        number.map(Some).ok_or_else(|| bad(key, &text, &hint))
    }

    /// What products are computed in, by the switches of 16-bit types.
    ///
    /// # Errors
    /// `bad-settings` where both are on.
    pub(super) fn dtype(&self, bf16: bool, fp16: bool) -> Result<DType, Diagnostic> {
        match (bf16, fp16) {
            (true, true) => Err(bad("fp16", "true", "switch on one of bf16 and fp16")),
            (true, false) => Ok(DType::Bf16),
            (false, true) => Ok(DType::F16),
            (false, false) => Ok(DType::F32),
        }
    }

    /// Refuses what changes the run in a way that is not judged, unless it is off.
    ///
    /// # Errors
    /// `not-judged` with the key and its value.
    pub(super) fn refuse(&self, rows: &[(&str, &str)]) -> Result<(), Diagnostic> {
        for (key, why) in rows {
            if let Some(value) = self.get(key).filter(|value| !is_off(value)) {
                return Err(not_judged(&format!("{key}: {}", shown(value)), why));
            }
        }
        Ok(())
    }

    /// Settings among these that are on, which change time alone and not by what a plan knows.
    pub(super) fn noted(&self, keys: &[&str]) -> Vec<String> {
        let is_on = |key: &&&str| self.get(key).is_some_and(|value| !is_off(value));
        keys.iter().filter(is_on).map(|key| (*key).to_owned()).collect()
    }

    /// Refuses keys that nobody asked for and that `idle` does not list, a line each: a key covers those
    /// below it, `wandb_*` those that begin so. To be called when all were asked for.
    ///
    /// # Errors
    /// `unknown-flag`.
    pub(super) fn finish(&self, idle: &str) -> Result<(), Diagnostic> {
        let known = self.asked.borrow();
        let covers = |row: &str, key: &str| match row.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => {
                key.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
        };
        let idle_keys = self.idle.borrow();
        let has = |key: &str| known.contains(key) || idle_keys.contains(key);
        let is_known = |key: &str| has(key) || idle.lines().any(|row| covers(row, key));
        let open = self.values.iter().find(|(key, value)| !is_off(value) && !is_known(key));
        open.map_or(Ok(()), |(key, _)| {
            let shown: String = key.chars().take(60).collect();
            let message = format!("`{shown}` is not among the keys that are read of this launcher");
            Err(Diagnostic::input("unknown-flag", message)
                .fact("flag", shown)
                .hint("correct it, or leave it out to judge the run without it"))
        })
    }
}

/// Whether a value switches nothing on.
pub(super) fn is_off(value: &Value) -> bool {
    let text = value.as_str().map(str::to_lowercase);
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        _ => matches!(text.as_deref(), Some("" | "no" | "none" | "false")),
    }
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(60).collect()
}
