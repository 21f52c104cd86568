//! Variables that `export` and its like take, and those that a script exports.

use std::collections::BTreeMap;

use super::Shell;

/// An `export`, `local`, `declare` or `readonly` whose words are read.
#[derive(Default)]
pub(super) struct Declared {
    exports: bool,
    /// Whether it takes an export back.
    removes: bool,
    locks: bool,
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
            self.note_export(word, is_sure);
            return;
        };
        declared.exports |= options.contains('x');
        declared.locks |= options.contains('r');
        declared.removes |= options.contains('n') || word.starts_with('+');
    }

    /// Notes that a variable is set, and exported where its command or the script exports all.
    pub(super) fn note_export(&mut self, name: &str, is_sure: bool) {
        let (exports, removes, locks) = match &self.declared {
            Some(declared) => (declared.exports, declared.removes, declared.locks),
            None => (false, false, false),
        };
        if removes && exports {
            self.exported.remove(name);
        } else if exports || self.exports_all {
            let was_sure = self.exported.get(name).is_some_and(|was| *was);
            self.exported.insert(name.to_owned(), is_sure || was_sure);
        }
        if locks {
            self.locked_next = Some(name.to_owned());
        }
    }
}
