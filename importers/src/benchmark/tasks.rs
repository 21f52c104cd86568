//! Tasks of known sizes, and what devices took for tasks before.

use std::collections::HashMap;

use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, Task, TaskInstance, TaskRun};
use serde::Deserialize;

use super::quantity::out_of_range;
use crate::json;
use crate::source::{self, Source};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: String,
    devices: Vec<Name>,
    tasks: Vec<TaskDocument>,
    #[serde(default)]
    history: Vec<RunDocument>,
}

/// A name; numbers are names too.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Name {
    Text(String),
    Number(u64),
}

impl Name {
    pub(super) fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskDocument {
    id: Name,
    size: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunDocument {
    device: Name,
    size: f64,
    seconds: f64,
}

/// Most pairs of a task and a device.
const MAX_PAIRS: usize = 1 << 24;
/// Most devices: each has a queue of its own in the plan.
const MAX_DEVICES: usize = 100_000;
/// Sizes, and seconds of a unit of size.
const RANGE: std::ops::RangeInclusive<f64> = 1e-9..=1e12;
/// Most seconds of a task that was run.
const MAX_SECONDS: f64 = 1e6;

/// Reads an instance.
///
/// # Errors
/// Those of the JSON reader, and `empty-instance`, `size-budget`, `duplicate-id`, `unknown-device`,
/// `number-out-of-range`, `invalid-field`.
pub(crate) fn read(source: &dyn Source, name: &str) -> Result<Instance, Diagnostic> {
    let document: Document = json::parse(&source::read_all(source, json::MAX_BYTES)?)?;
    if document.kind != "tasks" {
        let message = format!("`kind` is `{}`, not `tasks`", document.kind);
        return Err(Diagnostic::input("invalid-field", message).hint("write \"kind\": \"tasks\""));
    }
    super::quantity::some_nodes(document.devices.len(), "devices")?;
    super::quantity::some_nodes(document.tasks.len(), "tasks")?;
    let (n, k) = (document.tasks.len(), document.devices.len());
    if k > MAX_DEVICES || k.saturating_mul(n) > MAX_PAIRS {
        let message = format!(
            "{n} tasks on {k} devices are more than {MAX_PAIRS} pairs, or {MAX_DEVICES} devices"
        );
        return Err(Diagnostic::input("size-budget", message).hint("plan a part of the tasks"));
    }
    let devices: Vec<String> = document.devices.into_iter().map(Name::text).collect();
    let at = positions(&devices, "devices")?;
    let task = |entry: TaskDocument| {
        let (name, size) = (entry.id.text(), entry.size);
        in_range("size", size, ("task", &name))?;
        Ok(Task { name, size })
    };
    let tasks = document.tasks.into_iter().map(task).collect::<Result<Vec<_>, Diagnostic>>()?;
    let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
    positions(&names, "tasks")?;
    let run = |entry: RunDocument| {
        let name = entry.device.text();
        let Some(device) = at.get(name.as_str()).copied() else {
            let message =
                format!("`history` names the device `{name}`, which is not among `devices`");
            return Err(Diagnostic::input("unknown-device", message)
                .hint("name it in `devices`, or leave the entry out"));
        };
        in_range("size", entry.size, ("history of device", &name))?;
        if !(0.0..=MAX_SECONDS).contains(&entry.seconds) {
            let message = format!(
                "`seconds` is {:?} in the history of device `{name}`, not in 0..={MAX_SECONDS}",
                entry.seconds
            );
            return Err(out_of_range("seconds", message));
        }
        Ok(TaskRun { device, size: entry.size, seconds: entry.seconds })
    };
    let history = document.history.into_iter().map(run).collect::<Result<Vec<_>, _>>()?;
    drop(at);
    Ok(Instance::Tasks(TaskInstance { name: name.to_owned(), devices, tasks, history }))
}

/// By name its position.
pub(super) fn positions<'n>(
    names: &'n [String],
    what: &str,
) -> Result<HashMap<&'n str, usize>, Diagnostic> {
    let mut at = HashMap::with_capacity(names.len());
    for (position, name) in names.iter().enumerate() {
        if at.insert(name.as_str(), position).is_some() {
            let message = format!("two of `{what}` are called `{name}`");
            return Err(
                Diagnostic::input("duplicate-id", message).hint("give each a name of its own")
            );
        }
    }
    Ok(at)
}

fn in_range(what: &'static str, value: f64, of: (&str, &str)) -> Result<(), Diagnostic> {
    if RANGE.contains(&value) {
        return Ok(());
    }
    let (start, end) = (RANGE.start(), RANGE.end());
    let message =
        format!("`{what}` of {} `{}` is {value:?}, not in {start:e} to {end:e}", of.0, of.1);
    Err(out_of_range(what, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"kind": "tasks", "devices": ["a", 2], "tasks": [{"id": 7, "size": 3},
        {"id": "x", "size": 0.5}], "history": [{"device": 2, "size": 4, "seconds": 2}]}"#;

    fn of(text: &str) -> Result<TaskInstance, Diagnostic> {
        match read(&text.as_bytes(), "t")? {
            Instance::Tasks(instance) => Ok(instance),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_read() {
        let instance = of(FILE).unwrap();
        assert_eq!(instance.devices, ["a", "2"]);
        assert_eq!((instance.tasks[0].name.as_str(), instance.tasks[1].size), ("7", 0.5));
        assert_eq!(instance.history, [TaskRun { device: 1, size: 4.0, seconds: 2.0 }]);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (from, to, code) in [
            ("\"seconds\": 2", "\"seconds\": -1", "number-out-of-range"),
            ("\"seconds\": 2", "\"seconds\": 1e300", "number-out-of-range"),
            ("\"size\": 3", "\"size\": 0", "number-out-of-range"),
            ("\"size\": 4", "\"size\": -4", "number-out-of-range"),
            ("\"device\": 2", "\"device\": \"b\"", "unknown-device"),
            ("\"id\": \"x\"", "\"id\": \"7\"", "duplicate-id"),
            ("[\"a\", 2]", "[\"2\", 2]", "duplicate-id"),
            ("[\"a\", 2]", "[]", "empty-instance"),
            ("\"tasks\", \"dev", "\"jobs\", \"dev", "invalid-field"),
        ] {
            let text = FILE.replacen(from, to, 1);
            assert_ne!(text, FILE, "{from}");
            assert_eq!(of(&text).unwrap_err().code, code, "{to}");
        }
        assert!(of(&FILE.replacen("\"size\": 3", "\"size\": 3, \"rank\": 1", 1)).is_err());
    }
}
