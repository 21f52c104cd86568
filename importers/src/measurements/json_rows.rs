//! Rows from JSON: a list of flat objects, or an object that holds one as `samples`, or a recorded
//! trace. Objects are handed on one by one, so that a long list takes no memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use ir::diagnostic::Diagnostic;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::kineto::{Event, Trace};
use super::{Fields, MAX_ROWS, empty_table, too_many_rows};

/// What a JSON file held.
pub(super) enum Held {
    /// Rows, which were handed on.
    Rows,
    /// A trace.
    Trace(Trace),
}

/// Reads a JSON file and calls `row` with every row of it.
pub(super) fn each_row(
    source: impl Read,
    file: &str,
    device: Option<&str>,
    row: &mut dyn FnMut(&Fields) -> Result<(), Diagnostic>,
) -> Result<Held, Diagnostic> {
    let failure = RefCell::new(None);
    let rows = Rows { file, device, row, n: 0, failure: &failure };
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    let read = Top(rows).deserialize(&mut deserializer).and_then(|contents| {
        deserializer.end()?;
        Ok(contents)
    });
    match (read, failure.into_inner()) {
        (_, Some(diagnostic)) => Err(diagnostic),
        (Ok(contents), None) => Ok(contents),
        (Err(error), None) => Err(crate::json::diagnose(&error).fact("file", file)),
    }
}

struct Rows<'a> {
    file: &'a str,
    device: Option<&'a str>,
    row: &'a mut dyn FnMut(&Fields) -> Result<(), Diagnostic>,
    n: u64,
    failure: &'a RefCell<Option<Diagnostic>>,
}

impl Rows<'_> {
    /// Ends the reading with a diagnostic of our own.
    fn fail<E: Error>(&self, diagnostic: Diagnostic) -> E {
        self.failure.replace(Some(diagnostic));
        E::custom("refused")
    }

    fn take<'de, A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<(), A::Error> {
        while let Some(object) = items.next_element::<Object>()? {
            self.n += 1;
            if self.n > MAX_ROWS {
                return Err(self.fail(too_many_rows(self.file)));
            }
            let mut record = csv::StringRecord::new();
            let mut columns = BTreeMap::new();
            for (index, (name, cell)) in object.cells.iter().enumerate() {
                if columns.insert(name.clone(), index).is_some() {
                    let message = format!("the key `{name}` appears twice");
                    let diagnostic = Diagnostic::input("duplicate-key", message);
                    return Err(self.fail(self.at(diagnostic, name)));
                }
                let Some(text) = cell else {
                    let message = format!("`{name}` is no plain value");
                    return Err(self.fail(self.at(Diagnostic::input("bad-cell", message), name)));
                };
                record.push_field(text);
            }
            let (file, row, device) = (self.file, self.n, self.device);
            let fields = Fields { columns: &columns, record: &record, file, row, device };
            (self.row)(&fields).map_err(|diagnostic| self.fail(diagnostic))?;
        }
        if self.n == 0 {
            return Err(self.fail(empty_table(self.file)));
        }
        Ok(())
    }

    fn at(&self, diagnostic: Diagnostic, column: &str) -> Diagnostic {
        diagnostic.fact("file", self.file).fact("row", self.n).fact("column", column)
    }
}

/// The document.
struct Top<'a>(Rows<'a>);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Held;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Held, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Held;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects, or an object with `samples` or `traceEvents`")
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Held, A::Error> {
        self.0.take(&mut items)?;
        Ok(Held::Rows)
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Held, A::Error> {
        let mut trace = Trace::default();
        let (mut has_rows, mut has_events) = (false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "samples" if !has_rows => {
                    has_rows = true;
                    map.next_value_seed(List(&mut self.0))?;
                }
                "traceEvents" if !has_events => {
                    has_events = true;
                    map.next_value_seed(Events(&mut trace))?;
                }
                "deviceProperties" => trace.devices = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match (has_rows, has_events) {
            (true, false) => Ok(Held::Rows),
            (false, true) => Ok(Held::Trace(trace)),
            _ => {
                let message = "the file is neither a list of measurements nor a trace";
                let diagnostic = Diagnostic::input("unknown-table", message);
                Err(self.0.fail(diagnostic.fact("file", self.0.file).hint(
                    "a list of objects, an object with `samples`, or one with `traceEvents`",
                )))
            }
        }
    }
}

/// The list of rows inside an object.
struct List<'a, 'b>(&'a mut Rows<'b>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.take(&mut items)
    }
}

/// The events of a trace, of which only those that measure something are kept.
struct Events<'a>(&'a mut Trace);

impl<'de> DeserializeSeed<'de> for Events<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(event) = items.next_element::<Event>()? {
            self.0.push(event);
        }
        Ok(())
    }
}

/// A flat object: keys in order, cells as text, `None` for lists and objects.
struct Object {
    cells: Vec<(String, Option<String>)>,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one value per column")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut cells = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    cells.push((key, map.next_value::<Cell>()?.0));
                }
                Ok(Object { cells })
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

struct Cell(Option<String>);

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(match value {
            serde_json::Value::Null => Some(String::new()),
            serde_json::Value::Bool(value) => Some(value.to_string()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            serde_json::Value::String(text) => Some(text),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
        }))
    }
}
