//! What assignments set.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::environment::Values;
use super::parameters::cased;
use super::tree::{Assigned, Assignment};
use super::values::{Doubt, Value, Variable, counted, derived, is_known, is_many, unknown};
use super::{Ran, Shell};

/// An assignment with its value.
pub(super) struct Evaluated {
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) adds: bool,
    pub(super) value: Given,
}

pub(super) enum Given {
    Text(String),
    Elements(Vec<(Option<String>, Vec<String>)>),
}

impl Shell<'_> {
    /// An assignment with its value.
    pub(super) fn evaluated(&mut self, assignment: &Assignment) -> Ran<Evaluated> {
        let Assignment { name, key, adds, value } = assignment;
        let key = key.as_ref().map(|key| self.text(key)).transpose()?;
        let value = match value {
            Assigned::Scalar(word) => Given::Text(self.text(word)?),
            Assigned::Array(elements) => {
                let mut all = Vec::new();
                for (key, word) in elements {
                    let key = key.as_ref().map(|key| self.text(key)).transpose()?;
                    let values = match key {
                        Some(_) => vec![self.text(word)?],
                        None => self.fields(word)?,
                    };
                    all.push((key, values));
                }
                Given::Elements(all)
            }
        };
        Ok(Evaluated { name: name.clone(), key, adds: *adds, value })
    }

    pub(super) fn assign(&mut self, assignment: &Assignment) -> Ran<()> {
        let evaluated = self.evaluated(assignment)?;
        self.give(evaluated)
    }

    /// Sets what an assignment sets.
    pub(super) fn give(&mut self, evaluated: Evaluated) -> Ran<()> {
        let Evaluated { name, key, adds, value } = evaluated;
        let name = self.state.referred(&name);
        let variable = self.state.get(&name).cloned().unwrap_or_default();
        let before = variable.value;
        if variable.is_locked && self.frames.is_empty() && self.n_choices == 0 {
            // An error, behind which the next command runs.
            return Ok(());
        }
        self.spend(before.as_ref().filter(|_| adds || key.is_some()).map_or(0, Value::cost))?;
        let value = match (value, key) {
            (Given::Text(text), Some(key)) => {
                self.with_element(&name, before, (&key, text), adds)?
            }
            (Given::Text(text), None) if variable.is_integer => {
                let sum = if adds {
                    let old = before.as_ref().and_then(Value::scalar).unwrap_or("0").to_owned();
                    format!("({old})+({text})")
                } else {
                    text
                };
                let value = self.sum(&sum)?;
                let shown = format!("${name}");
                Value::Text(value.map_or_else(|| unknown(Doubt::Plain, &shown), |n| n.to_string()))
            }
            (Given::Text(text), None) => match (before, adds) {
                (Some(Value::Text(old)), true) => Value::Text(old + &text),
                // To an array the first element is added.
                (Some(Value::List(mut all)), _) => {
                    let first = all.entry(0).or_default();
                    *first = if adds { format!("{first}{text}") } else { text };
                    Value::List(all)
                }
                (Some(Value::Map(mut all)), _) => {
                    all.insert("0".to_owned(), text);
                    Value::Map(all)
                }
                (None, true) if self.state.get(&name).is_none() => {
                    Value::Text(unknown(Doubt::Plain, &format!("${name}")) + &text)
                }
                _ => Value::Text(text),
            },
            (Given::Elements(elements), _) => self.with_elements(&name, before, elements, adds)?,
        };
        let value = match (value, variable.case) {
            (Value::Text(text), Some(sign)) if is_known(&text) => {
                Value::Text(cased(&text, sign, true))
            }
            (value, _) => value,
        };
        self.set(&name, value);
        Ok(())
    }

    fn with_element(
        &mut self,
        name: &str,
        before: Option<Value>,
        (key, text): (&str, String),
        adds: bool,
    ) -> Ran<Value> {
        let shown = format!("${{{name}[@]}}");
        if let Some(Value::Map(mut all)) = before {
            if !is_known(key) {
                all.values_mut().for_each(|one| *one = unknown(Doubt::Plain, &shown));
            }
            let own = all.entry(key.to_owned()).or_default();
            *own = if adds { format!("{own}{text}") } else { text };
            return Ok(Value::Map(all));
        }
        let mut all = match before {
            Some(Value::List(all)) => all,
            Some(value) => BTreeMap::from([(0, value.scalar().unwrap_or_default().to_owned())]),
            None => BTreeMap::new(),
        };
        let last = all.keys().next_back().map_or(0, |last| last + 1);
        let at = self.sum(key)?.map(|at| if at < 0 { last + at } else { at });
        if at.is_none() || all.values().any(|one| is_many(one)) {
            let all = all.into_values().collect::<Vec<_>>().join(" ") + " " + &text;
            let open = counted(&derived(&all, &shown), true);
            return Ok(Value::List(BTreeMap::from([(0, open)])));
        }
        let own = all.entry(at.unwrap_or_default()).or_default();
        *own = if adds { format!("{own}{text}") } else { text };
        Ok(Value::List(all))
    }

    fn with_elements(
        &mut self,
        name: &str,
        before: Option<Value>,
        elements: Vec<(Option<String>, Vec<String>)>,
        adds: bool,
    ) -> Ran<Value> {
        if let Some(Value::Map(old)) = before {
            let mut all = if adds { old } else { BTreeMap::new() };
            let mut keys = None;
            for (key, values) in elements {
                match (key, values) {
                    (Some(key), values) => drop(all.insert(key, values.concat())),
                    // Without brackets names and values take turns.
                    (None, values) => {
                        for value in values {
                            match keys.take() {
                                None => keys = Some(value),
                                Some(key) => drop(all.insert(key, value)),
                            }
                        }
                    }
                }
            }
            return Ok(Value::Map(all));
        }
        let mut all = match before {
            Some(Value::List(all)) if adds => all,
            Some(Value::Text(text)) if adds => BTreeMap::from([(0, text)]),
            None if adds && self.state.get(name).is_none() => BTreeMap::from([(
                0,
                counted(&unknown(Doubt::Plain, &format!("${{{name}[@]}}")), true),
            )]),
            _ => BTreeMap::new(),
        };
        let mut at = all.keys().next_back().map_or(0, |last| last + 1);
        for (key, values) in elements {
            if let Some(key) = key {
                at = match self.sum(&key)? {
                    Some(at) => at,
                    None => {
                        let open = unknown(Doubt::Plain, &format!("${{{name}[@]}}"));
                        return Ok(Value::List(BTreeMap::from([(0, counted(&open, true))])));
                    }
                };
            }
            for value in values {
                all.insert(at, value);
                at += 1;
            }
        }
        Ok(Value::List(all))
    }

    /// Sets a variable, if it is not locked.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let name = &self.state.referred(name);
        let exports = self.state.has("allexport") || self.state.pending.contains(name);
        let doubts = self.n_doubts > 0;
        let variable = self.state.change(name);
        let value = match variable.is_locked || doubts {
            // An error, behind which a script may go on or not.
            true => Value::Text(unknown(Doubt::Plain, &format!("${name}"))),
            false => value,
        };
        variable.value = Some(value);
        if exports {
            variable.exported = Some(true);
        }
    }

    /// What another program gets.
    pub(super) fn exports(&self) -> Values {
        let of = |(name, variable): (&String, &Rc<Variable>)| {
            let text = match (&variable.value, variable.exported) {
                (_, Some(false)) | (None, _) => return None,
                (Some(Value::Text(text)), Some(true)) => Some(text.clone()),
                (Some(Value::Text(_)), None) => None,
                _ => return None,
            };
            Some((name.clone(), text))
        };
        self.state.variables.iter().filter_map(of).collect()
    }
}
