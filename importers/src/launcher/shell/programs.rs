//! Other programs: shells that a script starts, with what they get, and what runs for itself.

use std::rc::Rc;

use super::environment::{Environment, environment};
use super::run::Flow;
use super::values::{Doubt, State, Value, Variable, counted, derived_flags, is_known, unknown};
use super::words::program;
use super::{Ran, Shell, batch};

/// Words of a command at most that are looked at before a script.
const FARTHEST: usize = 256;
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];
/// Programs that give a command to a shell elsewhere, and those of their options that take a value.
const REMOTE: [(&str, &str); 3] =
    [("ssh", "BbcDEeFIiJLlmOopQRSWw"), ("pdsh", "wxfltu"), ("clush", "wgxftul")];
/// Programs that start batches of Slurm.
const BATCHES: [&str; 2] = ["sbatch", "salloc"];
/// Programs that take a command in one word.
const TERMINALS: [&str; 2] = ["tmux", "screen"];
/// Programs, beside shells, that run a script that they name.
const RUNNERS: [&str; 12] = [
    "sbatch", "srun", "env", "nohup", "time", "sudo", "docker", "mpirun", "timeout", "setsid",
    "stdbuf", "numactl",
];
/// Programs that read files and change none.
const READERS: [&str; 14] = [
    "chmod", "cat", "ls", "grep", "head", "tail", "scp", "rsync", "mkdir", "wc", "sort", "diff",
    "stat", "file",
];
/// Programs that change files that their words name, if at all, but run no script of them.
const LAUNCHERS: [&str; 5] = ["torchrun", "python", "python3", "deepspeed", "accelerate"];

/// A script for another shell.
struct Inner {
    text: String,
    arguments: Vec<String>,
    /// Words before it.
    at: usize,
}

impl Shell<'_> {
    pub(super) fn program(&mut self, own: &[String], words: &[String]) -> Ran<Flow> {
        self.status = None;
        let name = program(&words[0]).to_owned();
        let inner = match name == "xargs" {
            true => {
                self.xargs(words)?;
                self.status = None;
                return Ok(Flow::Next);
            }
            false => self.inner(words),
        };
        match inner {
            Some(inner) => self.nested(own, words, inner)?,
            None => {
                self.change_files(&name, words)?;
                self.emit(words)?;
                self.print(&unknown(Doubt::Plain, &format!("$({name} ..)")))?;
            }
        }
        self.status = None;
        Ok(Flow::Next)
    }

    /// What a program that is not read does to the files of the script.
    fn change_files(&mut self, name: &str, words: &[String]) -> Ran<()> {
        self.spend(self.files.count())?;
        let is_shell = SHELLS.contains(&name) || name.ends_with(".sh");
        if is_shell || name.starts_with("python") {
            self.files.doubt(&derived_flags(&words[..words.len().min(2)].join(" ")));
        }
        if !is_shell && !READERS.contains(&name) {
            for word in &words[1..] {
                self.spend(self.files.count())?;
                let path = self.path(word);
                self.files.change(&path, word, !LAUNCHERS.contains(&name));
            }
        }
        Ok(())
    }

    /// Starts what `xargs` does, with what it reads among its words.
    fn xargs(&mut self, words: &[String]) -> Ran<()> {
        let (mut at, mut most, mut slot, mut is_exact) = (1, usize::MAX, None, true);
        let mut input = self.state.input.take();
        while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
            at += 1;
            let is_short = !word.starts_with("--");
            let (option, rest) = word.split_at_checked(2).unwrap_or((word, ""));
            let mut value = || {
                at += usize::from(rest.is_empty());
                let next = words.get(at - 1).map(String::as_str).unwrap_or_default();
                if rest.is_empty() { next.to_owned() } else { rest.to_owned() }
            };
            match option {
                "-r" | "-t" if rest.is_empty() => {}
                "-n" => most = value().parse().ok().filter(|n| *n > 0).unwrap_or(usize::MAX),
                "-I" => slot = Some(value()).filter(|slot| !slot.is_empty()),
                "-a" => input = self.read_file(&value()),
                "-P" => drop(value()),
                _ => {
                    is_exact = false;
                    if is_short && "EdLs".contains(option.trim_start_matches('-')) {
                        drop(value());
                    }
                }
            }
        }
        let command = words.get(at..).filter(|rest| !rest.is_empty());
        let command = command.map_or_else(|| vec!["echo".to_owned()], <[String]>::to_vec);
        let is_plain = |text: &String| {
            is_known(text) && text.len() < super::MAX_BYTES / 8 && !text.contains(['"', '\'', '\\'])
        };
        let input = input.filter(|text| is_exact && is_plain(text));
        let shown = words.get(at).map_or("xargs".to_owned(), |name| format!("xargs {name}"));
        let more = vec![counted(&unknown(Doubt::Plain, &shown), true)];
        let lines: Vec<Vec<String>> = match &input {
            None => vec![more],
            Some(text) if slot.is_some() => {
                let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty());
                lines.map(|line| vec![line.to_owned()]).collect()
            }
            Some(text) => {
                let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                words.chunks(most).map(<[String]>::to_vec).collect()
            }
        };
        for line in lines {
            self.xargs_once(&command, slot.as_deref(), line)?;
        }
        Ok(())
    }

    /// Starts a command with words behind it, or in place of a slot.
    fn xargs_once(&mut self, command: &[String], slot: Option<&str>, line: Vec<String>) -> Ran<()> {
        let n_slots = |word: &String| slot.map_or(0, |slot| word.matches(slot).count());
        let more: usize = line.iter().map(String::len).sum();
        let size = |word: &String| word.len() + n_slots(word).saturating_mul(more);
        self.spend(command.iter().map(size).sum::<usize>() + more)?;
        let all: Vec<String> = match slot {
            Some(slot) => command.iter().map(|word| word.replace(slot, &line[0])).collect(),
            None => command.iter().cloned().chain(line).collect(),
        };
        let is_own = ["echo", "printf"].contains(&all[0].as_str());
        if !(is_own && self.builtin(&all[0], &all[1..])? || self.filter(&all[0], &all[1..])?) {
            self.program(&[], &all)?;
        }
        Ok(())
    }

    /// The script that a command gives to another shell, if it does.
    fn inner(&mut self, words: &[String]) -> Option<Inner> {
        for (at, word) in words.iter().enumerate().take(FARTHEST) {
            let before = at.checked_sub(1).map_or("", |at| words[at].as_str());
            if ["--entrypoint", "--shell", "which", "install"].contains(&before) {
                continue;
            }
            let name = program(word);
            let found = if SHELLS.contains(&name) {
                self.of_shell(words, at)
            } else if let Some((_, options)) = REMOTE.iter().find(|(own, _)| *own == name) {
                self.of_remote(words, at, options)
            } else if TERMINALS.contains(&name) {
                let found =
                    words.iter().skip(at + 1).position(|word| word.contains(char::is_whitespace));
                found.map(|n| given(words, at + 1 + n))
            } else {
                self.of_file(words, at)
            };
            if found.is_some() {
                return found;
            }
        }
        let runs = |name: &&str| words.iter().take(FARTHEST).any(|word| program(word) == *name);
        for (at, word) in words.iter().enumerate().take(FARTHEST) {
            let next = words.get(at + 1);
            if let Some(text) = word.strip_prefix("--wrap=").filter(|_| runs(&"sbatch")) {
                return Some(Inner { text: text.to_owned(), arguments: Vec::new(), at });
            }
            if word == "--wrap" && runs(&"sbatch") && next.is_some() {
                return Some(given(words, at + 1));
            }
            // With a shell as entrypoint, the command follows the image.
            let is_entry = |at: usize| {
                words[at].strip_prefix("--entrypoint").is_some_and(|rest| {
                    let shell = rest.strip_prefix('=').or(words.get(at + 1).map(String::as_str));
                    SHELLS.contains(&program(shell.unwrap_or_default()))
                })
            };
            let is_script = word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
            if is_script
                && next.is_some()
                && ((0..at).any(is_entry) || runs(&"su") || runs(&"runuser"))
            {
                return Some(given(words, at + 1));
            }
        }
        let is_batch = program(&words[0]) == "sbatch";
        let text = self.state.input.clone().filter(|_| is_batch)?;
        Some(Inner { text, arguments: Vec::new(), at: words.len() })
    }

    /// What a shell at a place runs: the word behind `-c`, a file that the script wrote, or what it reads.
    fn of_shell(&mut self, words: &[String], shell: usize) -> Option<Inner> {
        let mut at = shell + 1;
        while let Some(word) = words.get(at).filter(|word| word.starts_with(['-', '+'])) {
            at += 1;
            match word.as_str() {
                "-s" | "--" => break,
                "--rcfile" | "--init-file" => at += 1,
                _ if word.starts_with("--") => {}
                _ if word.contains('c') => {
                    // Other options may stand behind it.
                    while words.get(at).is_some_and(|word| word.starts_with('-') && word != "-") {
                        at += 1;
                    }
                    return words.get(at).map(|_| given(words, at));
                }
                _ => at += usize::from(word.ends_with(['o', 'O'])),
            }
        }
        let reads = words.get(at - 1).is_some_and(|word| word == "-s");
        at += usize::from(reads && words.get(at).is_some_and(|word| word == "--"));
        if let Some(file) = words.get(at).filter(|_| !reads) {
            let text = self.files.run(&self.path(file))?;
            return Some(Inner { text, arguments: words[at + 1..].to_vec(), at });
        }
        let text = self.state.input.take()?;
        Some(Inner { text, arguments: words.get(at..).unwrap_or_default().to_vec(), at })
    }

    /// What runs on another host.
    fn of_remote(&mut self, words: &[String], start: usize, options: &str) -> Option<Inner> {
        let mut at = start + 1;
        let mut has_host = program(&words[start]) != "ssh";
        while let Some(word) = words.get(at) {
            if let Some(letters) = word.strip_prefix('-') {
                let takes = letters.len() == 1 && options.contains(letters);
                at += 1 + usize::from(takes);
            } else if has_host {
                break;
            } else {
                has_host = true;
                at += 1;
            }
        }
        let at = at.min(words.len());
        let text = match words[at..].join(" ") {
            text if text.is_empty() => self.state.input.take()?,
            text => text,
        };
        Some(Inner { text, arguments: Vec::new(), at })
    }

    /// The file at a place, if the script wrote it and the command runs it.
    fn of_file(&mut self, words: &[String], at: usize) -> Option<Inner> {
        let path = self.path(&words[at]);
        if !self.files.is_there(&path) {
            return None;
        }
        let own = &words[..at];
        let is_program = own.is_empty() || own.iter().any(|word| RUNNERS.contains(&program(word)));
        let is_passed = own.iter().any(|word| word.ends_with(".py"))
            || own.last().is_some_and(|word| word.starts_with("--") && !word.contains('='));
        let text = (is_program && !is_passed).then(|| self.files.run(&path)).flatten()?;
        Some(Inner { text, arguments: words[at + 1..].to_vec(), at })
    }

    /// Runs a script in a shell of its own, which `words` start.
    fn nested(&mut self, own: &[String], words: &[String], inner: Inner) -> Ran<()> {
        let Inner { text, arguments, at } = inner;
        let assigned = own.iter().filter_map(|name| {
            let variable = self.state.get(name)?;
            Some(format!("{name}={}", variable.value.as_ref()?.scalar()?))
        });
        let before: Vec<String> =
            assigned.chain(words[..at.min(words.len())].iter().cloned()).collect();
        self.spend(before.iter().map(String::len).sum())?;
        let environment = environment(self.exports(), &before);
        let mut state = self.fresh(environment, arguments);
        state.input = self.state.input.take();
        state.output.clone_from(&self.state.output);
        let wrappers = self.wrappers.clone();
        self.wrappers.extend_from_slice(&words[..at.min(words.len())]);
        self.subshell(|shell| {
            shell.state = state;
            shell.n_conditions = 0;
            if let Some(at) = before.iter().rposition(|word| BATCHES.contains(&program(word))) {
                let has_head = program(&before[at]) == BATCHES[0]
                    && before[at..].iter().all(|word| !word.starts_with("--wrap"));
                shell.begin_batch(if has_head { &text } else { "" }, &before[at..]);
            }
            shell.run_text(&text)
        })?;
        self.wrappers = wrappers;
        Ok(())
    }

    /// A shell as it begins.
    fn fresh(&self, environment: Environment, arguments: Vec<String>) -> State {
        let mut state = State { is_open: environment.is_open, ..State::default() };
        for (name, value) in environment.values {
            let text = value.unwrap_or_else(|| unknown(Doubt::Plain, &format!("${name}")));
            let value = Some(Value::Text(text));
            *state.change(&name) = Variable { value, exported: Some(true), ..Variable::default() };
        }
        state.arguments = Rc::new(arguments);
        state.folder.clone_from(&self.state.folder);
        let shared = self.state.functions.iter().filter(|(name, _)| self.shared.contains(name));
        state.functions =
            Rc::new(shared.map(|(name, body)| (name.clone(), body.clone())).collect());
        state
    }

    /// Sets what Slurm sets for a script.
    pub(super) fn begin_batch(&mut self, text: &str, options: &[String]) {
        for (name, value) in batch::variables(text, options) {
            let text = value.unwrap_or_else(|| unknown(Doubt::Name, &format!("${name}")));
            let variable = self.state.change(&name);
            (variable.value, variable.exported) = (Some(Value::Text(text)), Some(true));
        }
    }

    /// Runs scripts that nobody is known to run, with what they may get.
    pub(super) fn run_rest(&mut self) -> Ran<()> {
        for text in self.files.rest() {
            let values = self.exports().into_keys().map(|name| (name, None)).collect();
            let mut state = self.fresh(Environment { values, is_open: false }, Vec::new());
            state.is_bare = true;
            self.subshell(|shell| {
                shell.state = state;
                shell.begin_batch(&text, &[]);
                shell.run_text(&text)
            })?;
        }
        Ok(())
    }
}

/// The script that a word is, with the arguments behind it, of which the first is its name.
fn given(words: &[String], at: usize) -> Inner {
    let arguments = words.get(at + 2..).unwrap_or_default().to_vec();
    let many = words.get(at + 1).filter(|word| super::values::is_many(word));
    let arguments = match many {
        Some(many) => vec![counted(&unknown(Doubt::Plain, &derived_flags(many)), true)],
        None => arguments,
    };
    Inner { text: words[at].clone(), arguments, at }
}
