//! `export` and its like.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::assigned::{Evaluated, Given};
use super::run::Around;
use super::values::{Doubt, Value, Variable, is_known, unknown};
use super::words::is_name;
use super::{Ran, Shell};

/// What options of `export` and its like say.
#[derive(Default)]
struct Options {
    exports: bool,
    unexports: bool,
    is_integer: bool,
    is_locked: bool,
    is_list: bool,
    is_map: bool,
    /// Whether they list what is there.
    shows: bool,
    is_function: bool,
    is_global: bool,
    is_reference: bool,
    case: Option<char>,
}

impl Shell<'_> {
    /// `export`, `local` and their like.
    pub(super) fn declare(
        &mut self,
        words: &[String],
        declared: Vec<(usize, Evaluated)>,
    ) -> Ran<()> {
        let command = words[0].as_str();
        let is_function = self.frames.iter().rev().any(|frame| frame.around == Around::Function);
        let mut options = Options {
            exports: command == "export",
            is_locked: command == "readonly",
            ..Options::default()
        };
        let mut rest = Vec::new();
        if command == "local" && !is_function {
            self.status = Some(false);
            return Ok(());
        }
        for word in &words[1..] {
            match word.strip_prefix('-') {
                Some(letters) => options.take(letters, command),
                None if word.starts_with('+') => options.unexports |= word.contains('x'),
                None => rest.push(word.clone()),
            }
        }
        if options.is_function {
            if options.exports {
                self.shared.extend(rest);
            }
            return Ok(());
        }
        if options.shows {
            return self.print(&unknown(Doubt::Plain, &format!("$({command} -p)")));
        }
        let is_local =
            is_function && !options.is_global && ["local", "declare", "typeset"].contains(&command);
        for word in rest {
            self.declare_word(&word, (command, &options, is_local))?;
        }
        for (_, evaluated) in declared {
            let name = evaluated.name.clone();
            if self.is_locked(&name) {
                continue;
            }
            self.declare_one(&name, &options, is_local);
            if let Given::Elements(_) = evaluated.value
                && !options.is_map
                && !matches!(
                    self.state.get(&name).and_then(|one| one.value.as_ref()),
                    Some(Value::List(_) | Value::Map(_))
                )
                && !evaluated.adds
            {
                self.state.change(&name).value = None;
            }
            self.give(evaluated)?;
            self.lock(&name, &options);
        }
        Ok(())
    }

    /// Takes a word that is a name, or that an expansion makes an assignment.
    fn declare_word(
        &mut self,
        word: &str,
        (command, options, is_local): (&str, &Options, bool),
    ) -> Ran<()> {
        if !is_known(word) && !word.contains('=') {
            self.note_unknown(command, word);
            return Ok(());
        }
        // What an expansion makes an assignment.
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.trim_end_matches('+'), Some(value)),
            None => (word, None),
        };
        if !is_name(name) {
            self.note_unknown(command, name);
            return Ok(());
        }
        if self.is_locked(name) {
            return Ok(());
        }
        self.declare_one(name, options, is_local);
        if let Some(value) = value {
            let adds = word[name.len()..].starts_with('+');
            let value = Given::Text(value.to_owned());
            self.give(Evaluated { name: name.to_owned(), key: None, adds, value })?;
        }
        self.lock(name, options);
        Ok(())
    }

    /// Whether a variable is locked, so that declaring it fails.
    fn is_locked(&mut self, name: &str) -> bool {
        let is_locked = self.state.get(name).is_some_and(|one| one.is_locked);
        self.status = self.status.filter(|_| !is_locked).or(is_locked.then_some(false));
        is_locked
    }

    fn declare_one(&mut self, name: &str, options: &Options, is_local: bool) {
        if is_local {
            let before = self.state.variables.get(name).cloned();
            let frame = self.frames.iter_mut().rev().find(|frame| frame.around == Around::Function);
            if let Some(frame) = frame
                && !frame.locals.contains_key(name)
            {
                frame.locals.insert(name.to_owned(), before);
                let exported = self.state.get(name).and_then(|one| one.exported);
                let variable = self.state.change(name);
                *variable = Variable { exported: exported.or(Some(false)), ..Default::default() };
            }
        }
        let is_new = self.state.get(name).is_none_or(|one| one.value.is_none());
        let is_there = self.state.get(name).is_some();
        if options.is_reference && !is_local {
            *self.state.change(name) = Variable::default();
        }
        let is_of_kind =
            options.is_integer || options.is_map || options.is_list || options.case.is_some();
        let changes = is_local || is_of_kind || options.exports || options.unexports;
        if !changes {
            return;
        }
        // `export NAME` of what is not set here leaves it as it is.
        if !is_there && options.exports {
            Rc::make_mut(&mut self.state.pending).insert(name.to_owned());
        }
        if !is_there && !is_of_kind && !is_local {
            return;
        }
        let variable = self.state.change(name);
        variable.is_integer |= options.is_integer;
        variable.case = options.case.or(variable.case);
        if options.is_map && is_new {
            variable.value = Some(Value::Map(BTreeMap::new()));
        } else if options.is_list && is_new {
            variable.value = Some(Value::List(BTreeMap::new()));
        }
    }

    /// Exports and locks a variable behind its value.
    fn lock(&mut self, name: &str, options: &Options) {
        let is_there = self.state.get(name).is_some();
        if options.is_reference {
            let variable = self.state.change(name);
            let other = variable.value.take().and_then(|value| value.scalar().map(str::to_owned));
            variable.refers = other.filter(|other| is_name(other) && other != name);
        }
        if options.unexports {
            self.state.change(name).exported = Some(false);
        } else if options.exports && is_there {
            self.state.change(name).exported = Some(true);
        }
        if options.is_locked {
            self.state.change(name).is_locked = true;
        }
    }
}

impl Options {
    fn take(&mut self, letters: &str, command: &str) {
        let is_export = command == "export";
        self.exports |= letters.contains('x') || is_export && !letters.contains('n');
        self.unexports |= is_export && letters.contains('n');
        self.is_reference |= !is_export && letters.contains('n');
        self.is_integer |= letters.contains('i');
        let sign = |(letter, sign)| letters.contains(letter).then_some(sign);
        self.case = self.case.or([('u', '^'), ('l', ',')].into_iter().find_map(sign));
        self.is_locked |= letters.contains('r');
        self.is_list |= letters.contains('a');
        self.is_map |= letters.contains('A');
        self.shows |= letters.contains('p');
        self.is_function |= letters.contains(['f', 'F']);
        self.is_global |= letters.contains('g');
    }
}
