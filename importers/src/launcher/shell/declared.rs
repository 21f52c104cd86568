//! Variables that `export` and its like take, and those that a script exports.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use super::words::requoted;
use super::{LONGEST, MAX_DEPTH, Shell};

/// An `export`, `local`, `declare` or `readonly`.
#[derive(Default)]
pub(super) struct Declared {
    exports: bool,
    /// Whether it takes an export back.
    removes: bool,
    locks: bool,
    /// Whether their elements have names.
    maps: bool,
    /// Earlier values of the variables that it sets: all its words are expanded before it sets any.
    pub(super) before: BTreeMap<String, Option<Option<String>>>,
}

impl Shell {
    /// A command begins that declares variables.
    pub(super) fn begin_declared(&mut self, command: &str) {
        self.declared = Some(Declared {
            exports: command == "export",
            locks: command == "readonly",
            ..Declared::default()
        });
    }

    /// Takes a word of such a command that is no assignment.
    pub(super) fn note_declared(&mut self, word: &str, is_sure: bool) {
        let Some(declared) = &mut self.declared else { return };
        let Some(options) = word.strip_prefix(['-', '+']) else {
            let (locks, maps) = (declared.locks, declared.maps);
            self.note_export(word, is_sure);
            self.locked.extend(locks.then(|| word.to_owned()));
            if maps && is_sure {
                self.set(word, Some(String::new()));
                self.arrays.insert(word.to_owned());
                self.maps.insert(word.to_owned());
            }
            return;
        };
        declared.maps |= options.contains('A');
        declared.exports |= options.contains('x');
        declared.locks |= options.contains('r');
        declared.removes |= options.contains('n') || word.starts_with('+');
    }

    /// Notes that a variable is set, and exported where its command or the script exports all.
    pub(super) fn note_export(&mut self, name: &str, is_sure: bool) {
        let declared = self.declared.as_ref();
        if declared.is_some_and(|declared| declared.maps) {
            self.maps.insert(name.to_owned());
        }
        let (exports, removes) =
            declared.map_or((false, false), |declared| (declared.exports, declared.removes));
        if removes && exports {
            self.exported.remove(name);
        } else if exports || self.exports_all {
            let was_sure = self.exported.get(name).is_some_and(|was| *was);
            self.exported.insert(name.to_owned(), is_sure || was_sure);
        }
    }

    /// Notes what kind of variable one is that is set; whether its new value is not known.
    pub(super) fn takes_none(&mut self, name: &str, is_array: bool, adds: bool) -> bool {
        let is_array_already = self.arrays.contains(name);
        // An error, behind which a script may go on or not; what is added to the first element alone.
        if self.locked.contains(name) || adds && is_array_already && !is_array {
            self.forget(name);
            return true;
        }
        if self.declared.as_ref().is_some_and(|declared| declared.locks) {
            self.locked.insert(name.to_owned());
        }
        match is_array {
            true => self.arrays.insert(name.to_owned()),
            false => self.arrays.remove(name),
        };
        false
    }

    /// Takes `NAME[key]=value` of an array that has names for all its elements.
    pub(super) fn set_element(&mut self, word: &str, is_sure: bool) -> Result<bool, Diagnostic> {
        let parts = word.split_once('[').and_then(|(name, rest)| {
            let (key, value) = rest.split_once("]=")?;
            Some((name, key, value))
        });
        let Some((name, key, value)) = parts.filter(|(name, ..)| self.maps.contains(*name)) else {
            return Ok(false);
        };
        let before = self.value_of(name).filter(|list| list.len() < LONGEST).map(str::to_owned);
        let Some(before) = before.filter(|_| is_sure && !self.functions.is_inside()) else {
            return Ok(false);
        };
        let (key, (value, _)) = (self.expand(key, MAX_DEPTH)?, self.word(value)?);
        let all = format!("{before}[{key}]={} ", requoted(&value));
        self.note_before(name);
        self.set(name, Some(all));
        Ok(true)
    }
}
