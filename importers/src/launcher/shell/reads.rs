//! `read` and its like.

use std::collections::BTreeMap;

use super::values::{Doubt, Value, counted, is_known, unknown};
use super::words::is_name;
use super::{Ran, Shell};

impl Shell<'_> {
    /// `read`: the next line, where it is known.
    pub(super) fn read(&mut self, arguments: &[String]) -> Ran<()> {
        let (mut names, mut is_array, mut at, mut is_plain) = (Vec::new(), false, 0, true);
        if let [options @ .., end, name] = arguments
            && end.is_empty()
            && options.concat().replace(['-', 'r'], "") == "d"
        {
            // All of what is there, which has no other end.
            let text = self.state.input.take();
            let text = text.unwrap_or_else(|| unknown(Doubt::Plain, &format!("${name}")));
            self.set_text(name, text.trim_matches([' ', '\t', '\n']).to_owned());
            self.status = Some(false);
            return Ok(());
        }
        while let Some(word) = arguments.get(at) {
            at += 1;
            match word.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => {
                    is_array |= letters.contains('a');
                    let takes = letters.ends_with(['d', 'i', 'n', 'N', 'p', 't', 'u']);
                    is_plain &= !letters.contains(['d', 'n', 'N', 'u']);
                    at += usize::from(takes);
                }
                _ => names.push(word.clone()),
            }
        }
        if names.is_empty() {
            names.push("REPLY".to_owned());
        }
        let line =
            self.state.input.as_ref().filter(|text| is_plain && is_known(text)).map(|text| {
                let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
                (line.to_owned(), rest.to_owned(), text.contains('\n'))
            });
        let separators =
            self.state.get("IFS").and_then(|one| one.value.as_ref()?.scalar().map(str::to_owned));
        let separators = separators.unwrap_or_else(|| " \t\n".to_owned());
        let Some((line, rest, is_true)) =
            line.filter(|(line, ..)| !line.contains('\\') && is_known(&separators))
        else {
            for name in &names {
                let open = counted(&unknown(Doubt::Plain, &format!("${name}")), true);
                match is_array {
                    true => self.set(name, Value::List(BTreeMap::from([(0, open)]))),
                    false => self.set_text(name, open),
                }
            }
            self.state.input = None;
            self.status = None;
            return Ok(());
        };
        self.state.input = Some(rest);
        self.status = Some(is_true);
        self.give_parts(&names, is_array, (&line, &separators));
        Ok(())
    }

    /// Sets variables to the parts of a line.
    fn give_parts(&mut self, names: &[String], is_array: bool, (line, separators): (&str, &str)) {
        let is_blank = |c: char| separators.contains(c) && c.is_whitespace();
        let is_separator = |c: char| separators.contains(c);
        let mut left = line.trim_matches(is_blank);
        let mut parts = Vec::new();
        while is_array && !left.is_empty() || !is_array && parts.len() + 1 < names.len() {
            let (part, rest) = left.split_once(is_separator).unwrap_or((left, ""));
            parts.push(part.to_owned());
            left = rest.trim_start_matches(is_blank);
        }
        if is_array {
            let all = parts.into_iter().zip(0..).map(|(part, at)| (at, part)).collect();
            self.set(&names[0], Value::List(all));
            return;
        }
        parts.push(left.to_owned());
        for (name, part) in names.iter().zip(parts) {
            self.set_text(name, part);
        }
    }

    pub(super) fn read_lines(&mut self, arguments: &[String]) {
        let name = arguments.last().filter(|word| is_name(word)).map_or("MAPFILE", |name| name);
        let is_plain = arguments.iter().all(|word| word == "-t" || is_name(word));
        let is_bare = arguments.iter().any(|word| word == "-t");
        let text = self.state.input.take().filter(|text| is_plain && is_known(text));
        let all = match text {
            Some(text) => {
                let bare = |line: &str| line.strip_suffix('\n').unwrap_or(line).to_owned();
                let of = |line: &str| if is_bare { bare(line) } else { line.to_owned() };
                text.split_inclusive('\n').map(of).zip(0..).map(|(line, at)| (at, line)).collect()
            }
            None => BTreeMap::from([(
                0,
                counted(&unknown(Doubt::Plain, &format!("${{{name}[@]}}")), true),
            )]),
        };
        let name = name.to_owned();
        self.set(&name, Value::List(all));
        self.status = None;
    }
}
