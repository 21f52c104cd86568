//! Commands of the shell itself.

use std::rc::Rc;

use super::assigned::{Evaluated, Given};
use super::letters::unescaped;
use super::run::{Around, Flow};
use super::values::{
    Doubt, Value, counted, derived_flags, is_known, is_many, known, pattern_of, unknown,
};
use super::words::DECLARES;
use super::{Ran, Shell};

/// Notes at most that are compared with a new one.
const MOST_NOTES: usize = 64;
/// Commands with words that are taken as they are, as no file has such a name.
const OF_SHELL: [&str; 8] =
    ["[", "test", "let", "unset", "read", "mapfile", "readarray", "getopts"];
/// Options that are followed, with their letters of `set`.
const OPTIONS: [(char, &str); 11] = [
    ('e', "errexit"),
    ('a', "allexport"),
    ('E', "errtrace"),
    ('f', "noglob"),
    ('n', "noexec"),
    (' ', "pipefail"),
    (' ', "nocasematch"),
    (' ', "expand_aliases"),
    (' ', "inherit_errexit"),
    (' ', "lastpipe"),
    (' ', "nullglob"),
];

impl Shell<'_> {
    /// Starts a command by its words, of which `own` variables are its alone.
    pub(super) fn started(
        &mut self,
        own: &[String],
        words: &[String],
        declared: Vec<(usize, Evaluated)>,
    ) -> Ran<Flow> {
        self.spend(words.iter().map(String::len).sum())?;
        let is_own = DECLARES.contains(&words[0].as_str()) || OF_SHELL.contains(&words[0].as_str());
        let letters = |word: &String| pattern_of(word).map_or(word.clone(), str::to_owned);
        let plain: Vec<String> = words.iter().filter(|_| is_own).map(letters).collect();
        let words = if is_own { &plain } else { words };
        let (name, arguments) = (words[0].as_str(), &words[1..]);
        let status = self.status.replace(true);
        let code = std::mem::replace(&mut self.code, 1);
        match self.state.functions.get(name).cloned() {
            Some(Some(function)) => {
                (self.status, self.code) = (status, code);
                return self.call(&function.0, arguments);
            }
            Some(None) => {
                self.out.undecided.push(name.to_owned());
                self.status = None;
                return Ok(Flow::Next);
            }
            None => {}
        }
        if DECLARES.contains(&name) {
            self.declare(words, declared)?;
            return Ok(Flow::Next);
        }
        if ["exit", "return"].contains(&name) && arguments.is_empty() {
            (self.status, self.code) = (status, code);
        }
        if let Some(flow) = self.jump(name, arguments)? {
            return Ok(flow);
        }
        if self.builtin(name, arguments)? || self.filter(name, arguments)? {
            return Ok(if self.state.has("noexec") { Flow::Exit } else { Flow::Next });
        }
        self.program(own, words)
    }

    /// Commands that change how a script goes on.
    fn jump(&mut self, name: &str, arguments: &[String]) -> Ran<Option<Flow>> {
        let number = || arguments.first().and_then(|n| n.parse::<u32>().ok());
        let n_loops = || number().unwrap_or(1).max(1);
        Ok(Some(match name {
            "exit" | "return" => {
                if let Some(first) = arguments.first() {
                    let code = first.parse::<i64>().ok();
                    self.status = code.map(|n| n == 0);
                    self.code = code.unwrap_or(1);
                }
                if name == "exit" { Flow::Exit } else { Flow::Return }
            }
            "break" | "continue" => {
                let is_inside =
                    self.frames.iter().rev().take_while(|frame| frame.around == Around::Loop);
                let inside = u32::try_from(is_inside.count()).unwrap_or(0);
                match (inside, name) {
                    (0, _) => Flow::Next,
                    (_, "break") => Flow::Break(n_loops().min(inside)),
                    _ => Flow::Continue(n_loops().min(inside)),
                }
            }
            "exec" if arguments.is_empty() => Flow::Next,
            "exec" => {
                let skipped = arguments.iter().take_while(|word| word.starts_with('-')).count();
                self.started(&[], &arguments[skipped.min(arguments.len() - 1)..], Vec::new())?;
                self.state.traps = Rc::default();
                Flow::Exit
            }
            "kill" => self.kill(arguments)?,
            "eval" => {
                let text = arguments.join(" ");
                self.note_unknown("eval", &text);
                self.run_text(&text)?
            }
            "source" | "." => match arguments.first() {
                Some(file) => self.source(file, &arguments[1..])?,
                None => Flow::Next,
            },
            "command" | "builtin" => {
                let rest = arguments.iter().position(|word| !word.starts_with('-'));
                match rest {
                    Some(at) if at == 0 || arguments[0] == "-p" => {
                        let was = self.state.functions.clone();
                        let name = &arguments[at];
                        Rc::make_mut(&mut self.state.functions).remove(name);
                        let flow = self.started(&[], &arguments[at..], Vec::new())?;
                        self.state.functions = was;
                        flow
                    }
                    _ => {
                        self.status = None;
                        self.print(&unknown(Doubt::Plain, "$(command -v)"))?;
                        Flow::Next
                    }
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Signals, of which one to the shell itself runs what `trap` has for it, or ends it.
    fn kill(&mut self, arguments: &[String]) -> Ran<Flow> {
        self.status = None;
        let is_self = |word: &String| derived_flags(word) == "$$" && !is_known(word);
        let Some(at) = arguments.iter().position(is_self) else { return Ok(Flow::Next) };
        let options: String = arguments[..at].concat();
        let signal = options.trim_start_matches("-s").trim_start_matches('-');
        let signal = signal_of(if signal.is_empty() { "TERM" } else { signal });
        self.status = Some(true);
        match self.state.traps.get(&signal).cloned() {
            Some(text) => self.run_text(&text),
            None if signal == "EXIT" => Ok(Flow::Next),
            None => Ok(Flow::Exit),
        }
    }

    fn trap(&mut self, arguments: &[String]) {
        self.status = Some(true);
        let rest = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
        let (text, signals) = match rest {
            [] => return,
            [first, ..] if first.starts_with('-') && first.len() > 1 => return,
            [signal] => ("-", std::slice::from_ref(signal)),
            [text, signals @ ..] => (text.as_str(), signals),
        };
        for signal in signals.iter().map(|signal| signal_of(signal)) {
            if ["DEBUG", "RETURN"].contains(&signal.as_str()) && !["", "-"].contains(&text) {
                self.note(format!("trap {} {signal}", derived_flags(text)));
            }
            let traps = Rc::make_mut(&mut self.state.traps);
            match text {
                "-" => drop(traps.remove(&signal)),
                text => drop(traps.insert(signal, text.to_owned())),
            }
        }
    }

    /// Notes a command that does what is not followed.
    pub(super) fn note(&mut self, command: String) {
        if !self.out.unset.iter().rev().take(MOST_NOTES).any(|own| *own == command) {
            self.out.unset.push(command);
        }
    }

    /// Notes a command that may set what the script does not state.
    pub(super) fn note_unknown(&mut self, command: &str, text: &str) {
        if !is_known(text) && text.split_whitespace().next().is_some_and(|word| !is_known(word)) {
            self.note(format!("{command} {}", derived_flags(text)));
        }
    }

    fn source(&mut self, file: &str, arguments: &[String]) -> Ran<Flow> {
        let path = self.path(file);
        self.files.run(&path);
        let Some(text) = self.read_file(file) else {
            // Of a file that it wrote and changed more is known than can be followed.
            let is_own = self.files.is_there(&path);
            let list = if is_own { &mut self.out.undecided } else { &mut self.out.unset };
            list.push(format!("source {}", derived_flags(file)));
            self.status = None;
            return Ok(Flow::Next);
        };
        let outer = self.state.arguments.clone();
        if !arguments.is_empty() {
            self.state.arguments = Rc::new(arguments.to_vec());
        }
        let flow = self.run_text(&text)?;
        // Unless `set` gave it others.
        if !arguments.is_empty() && arguments.ends_with(&self.state.arguments) {
            self.state.arguments = outer;
        }
        Ok(if flow == Flow::Return { Flow::Next } else { flow })
    }

    /// Other commands; whether it is one.
    pub(super) fn builtin(&mut self, name: &str, arguments: &[String]) -> Ran<bool> {
        match name {
            ":" | "true" | "hash" | "umask" => self.status = Some(true),
            "trap" => self.trap(arguments),
            "alias" => {
                // What it does is not followed.
                for (name, _) in arguments.iter().filter_map(|word| word.split_once('=')) {
                    if self.state.has("expand_aliases") {
                        Rc::make_mut(&mut self.state.functions).insert(name.to_owned(), None);
                    }
                }
            }
            "false" => self.status = Some(false),
            "echo" => self.echo(arguments)?,
            "printf" => self.printf(arguments)?,
            "test" => self.status = self.test_words(arguments)?,
            "[" => {
                let n = arguments.len();
                self.status = match arguments.last().map(String::as_str) {
                    Some("]") => self.test_words(&arguments[..n - 1])?,
                    _ => Some(false),
                };
            }
            "let" => {
                for sum in arguments {
                    self.status = self.sum(sum)?.map(|value| value != 0);
                }
            }
            "unset" => self.unset(arguments),
            "set" => self.set_options(arguments),
            "shopt" => self.set_more_options(arguments),
            "shift" => {
                let n = arguments.first().map_or(Some(1), |n| n.parse::<usize>().ok());
                self.shift(n);
            }
            "read" => self.read(arguments)?,
            "mapfile" | "readarray" => self.read_lines(arguments),
            "getopts" => {
                self.status = Some(false).filter(|_| self.state.arguments.is_empty());
                if let Some(name) = arguments.get(1).filter(|_| self.status.is_some()) {
                    self.set_text(name, "?".to_owned());
                } else if let Some(name) = arguments.get(1) {
                    self.forget(name);
                    self.forget("OPTARG");
                    self.forget("OPTIND");
                }
            }
            "cd" | "pushd" | "popd" => {
                self.change_folder(name, arguments);
                self.status = None;
            }
            "wait" | "ulimit" | "type" | "jobs" | "disown" | "times" | "bg" | "fg" => {
                self.status = None
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn echo(&mut self, arguments: &[String]) -> Ran<()> {
        let is_option = |word: &&String| {
            word.len() > 1 && word.starts_with('-') && word[1..].chars().all(|c| "neE".contains(c))
        };
        let n = arguments.iter().take_while(is_option).count();
        let options = arguments[..n].concat();
        let mut text = arguments[n..].join(" ");
        if options.contains('e') {
            text = unescaped(&text, false);
        }
        if !options.contains('n') {
            text.push('\n');
        }
        self.status = Some(true);
        self.print(&text)
    }

    fn printf(&mut self, arguments: &[String]) -> Ran<()> {
        let mut rest = arguments;
        let mut name = None;
        if let [first, own, ..] = rest
            && first == "-v"
        {
            let own = pattern_of(own).unwrap_or(own);
            self.note_unknown("printf -v", own);
            (name, rest) = (Some(own.to_owned()), &rest[2..]);
        }
        if rest.first().is_some_and(|word| word == "--") {
            rest = &rest[1..];
        }
        let Some((format, values)) = rest.split_first() else { return Ok(()) };
        let text = formatted(format, values).unwrap_or_else(|| {
            let shown = name.as_ref().map_or("$(printf)".to_owned(), |name| format!("${name}"));
            super::values::derived(&arguments.join(" "), &shown)
        });
        self.status = Some(true);
        match name {
            Some(name) => {
                let (name, key) = match name.split_once('[') {
                    Some((name, key)) => {
                        (name.to_owned(), key.strip_suffix(']').map(str::to_owned))
                    }
                    None => (name, None),
                };
                self.give(Evaluated { name, key, adds: false, value: Given::Text(text) })
            }
            None => self.print(&text),
        }
    }

    fn unset(&mut self, arguments: &[String]) {
        let is_function = arguments.first().is_some_and(|word| word == "-f");
        for name in arguments.iter().filter(|word| !word.starts_with('-')) {
            if is_function {
                Rc::make_mut(&mut self.state.functions).remove(name);
                continue;
            }
            let (name, key) =
                name.split_once('[').map_or((name.as_str(), None), |(a, b)| (a, Some(b)));
            let is_locked = self.state.get(name).is_some_and(|one| one.is_locked);
            match key {
                _ if is_locked => self.forget(name),
                Some(key) => {
                    let key = key.trim_end_matches(']').trim_matches(['"', '\'']);
                    let is_there = match self.state.get(name).and_then(|one| one.value.clone()) {
                        Some(Value::Map(mut all)) => {
                            all.remove(key);
                            self.set(name, Value::Map(all));
                            is_known(key)
                        }
                        Some(Value::List(mut all)) => {
                            let at = key.parse::<i64>().ok().filter(|at| *at >= 0);
                            at.is_some_and(|at| {
                                all.remove(&at);
                                let is_plain = !all.values().any(|one| is_many(one));
                                self.set(name, Value::List(all));
                                is_plain
                            })
                        }
                        _ => true,
                    };
                    if !is_there {
                        self.forget(name);
                    }
                }
                None => {
                    let variable = self.state.change(name);
                    (variable.value, variable.exported) = (None, Some(false));
                    if self.state.functions.contains_key(name) && self.state.get(name).is_none() {
                        Rc::make_mut(&mut self.state.functions).remove(name);
                    }
                }
            }
        }
        self.status = Some(true);
    }

    fn set_options(&mut self, arguments: &[String]) {
        let mut at = 0;
        while let Some(word) = arguments.get(at) {
            at += 1;
            let (is_on, letters) = match word.strip_prefix('-') {
                Some("") | Some("-") => {
                    self.state.arguments = Rc::new(arguments[at..].to_vec());
                    self.state.is_bare = false;
                    return;
                }
                Some(letters) => (true, letters),
                None => match word.strip_prefix('+') {
                    Some(letters) => (false, letters),
                    None => {
                        self.state.arguments = Rc::new(arguments[at - 1..].to_vec());
                        self.state.is_bare = false;
                        return;
                    }
                },
            };
            self.switch(|letter, _| letters.contains(letter), is_on);
            if let Some(option) = arguments.get(at).filter(|_| letters.contains('o')) {
                at += 1;
                self.switch(|_, name| name == option, is_on);
            }
        }
        self.status = Some(true);
    }

    fn set_more_options(&mut self, arguments: &[String]) {
        let flag = arguments.first().filter(|word| word.contains(['s', 'u']));
        let is_on = flag.is_some_and(|word| word.contains('s'));
        for option in arguments.iter().filter(|_| flag.is_some()) {
            self.switch(|_, name| name == option, is_on);
        }
    }

    fn switch(&mut self, is_meant: impl Fn(char, &str) -> bool, is_on: bool) {
        for (_, name) in OPTIONS.iter().filter(|(letter, name)| is_meant(*letter, name)) {
            self.state.switch(name, is_on);
        }
    }

    fn shift(&mut self, n: Option<usize>) {
        let arguments = self.state.arguments.clone();
        match n {
            Some(n) if arguments.iter().take(n).any(|one| is_many(one)) => {
                self.state.arguments = Rc::new(arguments[..].to_vec());
                self.status = None;
            }
            Some(n) if n <= arguments.len() => {
                self.state.arguments = Rc::new(arguments[n..].to_vec());
                self.status = Some(true);
            }
            Some(_) => self.status = Some(false),
            None => {
                let open = counted(&unknown(Doubt::Plain, "$@"), true);
                (self.state.arguments, self.status) = (Rc::new(vec![open]), None);
            }
        }
    }
}

/// The name of a signal.
fn signal_of(text: &str) -> String {
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if name == "0" { "EXIT".to_owned() } else { name.to_owned() }
}

/// What `printf` prints; `None` where it is not followed.
fn formatted(format: &str, values: &[String]) -> Option<String> {
    if !is_known(format) {
        return None;
    }
    let (mut all, mut values) = (String::new(), values.iter().peekable());
    loop {
        let n_before = values.len();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            all.push_str(&unescaped(before, true));
            let end = after.find(|c: char| !"0123456789-+ #.".contains(c))?;
            let (flags, sign) = (&after[..end], after[end..].chars().next()?);
            rest = &after[end + sign.len_utf8()..];
            if sign == '%' {
                all.push('%');
                continue;
            }
            let value = values.next().cloned().unwrap_or_default();
            all.push_str(&match sign {
                's' if flags.is_empty() => value,
                'b' if flags.is_empty() => unescaped(&value, false),
                'd' | 'i' if flags.is_empty() || flags.starts_with('0') => {
                    let text = known(&value)?;
                    let number =
                        if text.is_empty() { 0 } else { super::arithmetic::number(&text)? };
                    let width = flags.parse::<usize>().unwrap_or(0).min(64);
                    format!("{number:0width$}")
                }
                _ => return None,
            });
        }
        all.push_str(&unescaped(rest, true));
        if values.len() == 0 || values.len() == n_before || all.len() > super::MAX_BYTES {
            return Some(all);
        }
    }
}
