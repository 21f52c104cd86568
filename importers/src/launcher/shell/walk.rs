//! A script word by word.

use ir::diagnostic::Diagnostic;

use super::super::flags::{ends_line, quoted};
use super::branches::{Branches, tested};
use super::documents::{Document, parted};
use super::inner::{REMOTE, SHELLS, is_given, is_remote, output_of};
use super::unset::{Behind, serves};
use super::words::{DECLARES, assignment, has_decisive, is_assignment, is_before_command, program};
use super::{Assigned, Expanded, MAX_DEPTH, Shell, effects};

/// Words behind which a command may not run.
const MAYBE: [&str; 2] = ["&&", "||"];
/// Words of a command at most that are looked at before a script.
const FARTHEST: usize = 64;
/// Programs, beside shells, that run a script that they name.
const RUNNERS: [&str; 14] = [
    "sbatch", "srun", "env", "nohup", "exec", "time", "sudo", "ssh", "docker", "mpirun", "source",
    ".", "timeout", "setsid",
];
/// Programs that run a script in the shell of the script that names it.
const SOURCES: [&str; 2] = ["source", "."];

/// What a word of a command may be.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// An assignment or the program.
    Start,
    /// A variable of `export` or its like.
    Declared,
    Argument,
}

/// The words around the present one.
struct Walk<'s> {
    /// The script with and without its here-documents.
    whole: &'s str,
    text: &'s str,
    words: &'s [&'s str],
    documents: std::iter::Peekable<std::vec::IntoIter<Document>>,
    at: usize,
    branches: Branches,
    /// Whether the script runs; `None` where it may.
    runs_at_all: Option<bool>,
    may_skip: bool,
    is_left: bool,
    /// Whether the test or assignment before was true.
    status: Option<bool>,
    behind: Behind,
    /// The first word of the command.
    start: usize,
    place: Place,
    /// Whether a command begins here, whatever word is before it.
    begins: bool,
}

/// Whether a word may set a variable, or begins a command that may, or a group.
fn declares(word: &str) -> bool {
    is_assignment(word) || DECLARES.contains(&word) || ["{", "(", ":"].contains(&word)
}

impl Shell {
    /// Reads a script; `runs` is whether it runs, `None` where it may.
    pub(super) fn walk(
        &mut self,
        whole: &str,
        runs: Option<bool>,
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        let (text, documents) = parted(whole);
        let words = quoted(&text);
        let mut walk = Walk {
            whole,
            text: &text,
            words: &words,
            documents: documents.into_iter().peekable(),
            at: 0,
            branches: Branches::default(),
            runs_at_all: runs,
            may_skip: false,
            is_left: false,
            status: None,
            behind: Behind::default(),
            start: 0,
            place: Place::Start,
            begins: true,
        };
        while walk.at < walk.words.len() {
            walk.step(self, expanded)?;
        }
        expanded.undecided.append(&mut self.changed_later);
        Ok(())
    }
}

impl Walk<'_> {
    fn runs(&self) -> Option<bool> {
        match self.branches.runs() {
            Some(true) => self.runs_at_all,
            other => other,
        }
    }

    /// Whether a line ends behind a word.
    fn ends(&self, at: usize) -> bool {
        let next = self.words.get(at + 1);
        next.is_some_and(|next| ends_line(self.text, self.words[at], next))
    }

    /// Takes the next word, with those that belong to it.
    fn step(&mut self, shell: &mut Shell, expanded: &mut Expanded) -> Result<(), Diagnostic> {
        let (words, first) = (self.words, self.at);
        let word = words[first];
        self.at += 1;
        self.begin(shell, first);
        let document = self.document(word);
        let own = &words[self.start..first];
        let is_inner = is_given(own)
            || word.contains(char::is_whitespace)
                && word.starts_with(['"', '\''])
                && is_remote(own);
        if !is_inner {
            shell.note_subshell(word);
        }
        if self.control(shell, first)? {
            return Ok(());
        }
        if is_inner {
            return self.inner(shell, first, expanded);
        }
        if let Some(document) = document {
            self.read(shell, document, expanded)?;
        }
        let runs = self.runs();
        if self.place != Place::Argument && shell.set_element(word, runs == Some(true))? {
            return Ok(());
        }
        if let Some(n) = shell.changed(self.text, (words, first), runs == Some(true)) {
            self.at += n;
            return Ok(());
        }
        if let Some(command) = output_of(word) {
            return self.output(shell, command, expanded);
        }
        if self.file(shell, first, expanded)? {
            return Ok(());
        }
        self.plain(shell, first, expanded)
    }

    /// Takes a word that decides what runs, or that does not run, with those that belong to it; whether it is one.
    fn control(&mut self, shell: &mut Shell, first: usize) -> Result<bool, Diagnostic> {
        let (words, word) = (self.words, self.words[first]);
        // `[` compares letters as they are.
        let is_plain = word == "[" || words.get(self.at) == Some(&"[");
        let lowers = shell.ignores_case && !is_plain;
        let value = |word: &str| {
            let word = shell.condition(word);
            if lowers { word.to_lowercase() } else { word }
        };
        if let Some(n) = self.branches.take(word, &words[self.at..], &value) {
            shell.note_branch((word, n), &words[self.at..], &mut self.branches)?;
            // A condition that starts a program is read as a command.
            let is_run = ["if", "elif", "while", "until"].contains(&word)
                && has_decisive(&words[self.at..self.at + n].join(" "));
            (self.at, self.begins) = (self.at + if is_run { 0 } else { n }, word != "for");
            (self.status, self.is_left, self.may_skip) = (None, false, false);
            return Ok(true);
        }
        let runs = self.runs();
        if runs == Some(false) {
            return Ok(true);
        }
        if let Some((n, is_true)) = tested(word, &words[self.at..], &value) {
            self.at += n;
            self.status = is_true.map(|runs| runs == (words[self.at - 1] == "&&"));
            self.at += shell.group(&words[self.at..], is_true);
            (self.may_skip, self.begins) = (is_true.is_none(), true);
            self.is_left |= is_true == Some(false);
            return Ok(true);
        }
        let is_command = !declares(word) && !MAYBE.contains(&word);
        if self.is_left && self.place == Place::Start && is_command {
            self.skip(first);
            return Ok(true);
        }
        Ok(false)
    }

    /// Notes whether a command begins with a word.
    fn begin(&mut self, shell: &mut Shell, first: usize) {
        let begins = std::mem::take(&mut self.begins);
        let before = first.checked_sub(1).map(|at| self.words[at]);
        if begins || before.is_none_or(is_before_command) || self.ends(first - 1) {
            (self.start, self.place) = (first, Place::Start);
            shell.declared = None;
            if !begins && before.is_none_or(|before| !MAYBE.contains(&before)) {
                (self.is_left, self.may_skip) = (false, false);
            }
        }
    }

    /// Steps over a command that a test leaves out.
    fn skip(&mut self, first: usize) {
        let goes_on = |at: &usize| {
            let next = self.words.get(at + 1);
            let is_end = next.is_none_or(|next| MAYBE.contains(next));
            !(is_end || self.words[*at].ends_with(';') || self.ends(*at))
        };
        self.at = first + 1 + (first..self.words.len()).take_while(goes_on).count();
        (self.is_left, self.begins) = (false, true);
    }

    /// Takes a word that is no command of its own.
    fn plain(
        &mut self,
        shell: &mut Shell,
        first: usize,
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        let (words, word, runs) = (self.words, self.words[first], self.runs());
        let plain = word.trim_end_matches(';');
        shell.note_source(self.text, (words, first), expanded)?;
        let is_sure = runs == Some(true) && !self.may_skip;
        shell.take_default(word, is_sure)?;
        let was_left = self.is_left;
        shell.note_call(plain, is_sure && !was_left);
        // Of several assignments before the end of a command all are left.
        let goes_on = effects::goes_on(self.text, words, self.at);
        self.may_skip &= goes_on;
        self.is_left &= goes_on;
        if MAYBE.contains(&plain) {
            let runs = self.status.map(|is_true| is_true == (plain == "&&"));
            (self.may_skip, self.is_left) = (runs.is_none(), runs == Some(false));
        }
        let written = match assignment(plain).filter(|_| self.place != Place::Argument) {
            Some((name, value)) => {
                let adds = plain[name.len()..].starts_with('+');
                let is_array = value.starts_with('(');
                let value = shell.assigned_value(value, words, &mut self.at)?;
                if was_left {
                    return Ok(());
                }
                let is_own = effects::is_of_command(self.text, words, (first, self.at));
                let is_output = value.contains(['$', '`']) || is_own;
                self.status = (is_sure && !is_output).then_some(true);
                shell.note_export(name, is_sure);
                let assigned = Assigned { name, value, adds, is_array, is_sure, is_own };
                shell.assign(self.whole, assigned, expanded)
            }
            None => {
                if !MAYBE.contains(&plain) && !DECLARES.contains(&plain) && !was_left {
                    self.status = None;
                }
                self.note_place(shell, plain, is_sure);
                shell.expand(word, MAX_DEPTH)?
            }
        };
        let is_either = runs.is_none() && self.branches.is_choice();
        expanded.undecided_servers |= is_either && serves(plain);
        self.behind.take(shell, (word, &written), expanded);
        expanded.push(&written, self.ends(self.at - 1))
    }

    /// Notes what the words behind one may be.
    fn note_place(&mut self, shell: &mut Shell, plain: &str, is_sure: bool) {
        match self.place {
            Place::Start if DECLARES.contains(&plain) => {
                self.place = Place::Declared;
                shell.begin_declared(plain);
            }
            Place::Start => self.place = Place::Argument,
            Place::Declared => shell.note_declared(plain, is_sure),
            Place::Argument => {}
        }
    }

    /// The here-document that a word begins.
    fn document(&mut self, word: &str) -> Option<Document> {
        let offset = word.as_ptr() as usize - self.text.as_ptr() as usize;
        self.documents.next_if(|document| document.at < offset + word.len())
    }

    /// Runs the script that a word is: `bash -c ".."`.
    fn inner(
        &mut self,
        shell: &mut Shell,
        first: usize,
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        let (words, word) = (self.words, self.words[first]);
        let own = &words[self.start..first];
        (self.place, self.status) = (Place::Argument, None);
        shell.note_used(word);
        let (text, length) = shell.word(word)?;
        if own.last() == Some(&"eval") {
            shell.nested_walk(&text, self.runs(), expanded)?;
        } else {
            let arguments = if is_given(own) { self.arguments(&word[length..]) } else { &[] };
            let environment = shell.environment(own)?;
            shell.nested((&text, arguments), environment, expanded)?;
            let is_either = self.runs().is_none() && self.branches.is_choice();
            expanded.undecided_servers |= is_either && text.split_whitespace().any(serves);
        }
        expanded.push(&word[length..], self.ends(self.at - 1))?;
        shell.note_subshell(&word[length..]);
        Ok(())
    }

    /// Reads the command of a word `$(..)`, which is its output.
    fn output(
        &mut self,
        shell: &mut Shell,
        command: &str,
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        let word = self.words[self.at - 1];
        shell.note_subshell("(");
        shell.nested_walk(command, self.runs(), expanded)?;
        shell.note_subshell(")");
        let name = assignment(word).map(|(name, _)| name);
        name.into_iter().for_each(|name| shell.forget(name));
        expanded.push("", self.ends(self.at - 1) || word.ends_with(';'))
    }

    /// The arguments from here on, up to where it is piped, and steps over them.
    fn arguments(&mut self, end: &str) -> &[&str] {
        let from = self.at;
        let is_end = |word: &str| {
            is_before_command(word)
                || word
                    .trim_start_matches(|c: char| c.is_ascii_digit() || c == '&')
                    .starts_with(['<', '>'])
        };
        let mut is_open = end.is_empty() && !self.ends(from - 1);
        while is_open && self.words.get(self.at).is_some_and(|word| !is_end(word)) {
            is_open = !self.ends(self.at);
            self.at += 1;
        }
        &self.words[from..self.at]
    }

    /// Reads a here-document: runs it, or notes the file that it is written to.
    fn read(
        &mut self,
        shell: &mut Shell,
        document: Document,
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        let is_quoted = document.is_quoted;
        let text = if is_quoted { document.body } else { shell.document(&document.body)? };
        let end = (self.at - 1..self.words.len()).find(|at| self.ends(*at));
        let line = &self.words[self.start..end.map_or(self.words.len(), |at| at + 1)];
        let is_part = |word: &&&str| *word != &"&&" && *word != &"||" && !word.ends_with(';');
        let line = &line[..line.iter().take_while(is_part).count()];
        let command = line.iter().take_while(|word| **word != "|").copied();
        let runs = |word: &str| SHELLS.contains(&program(word)) || program(word) == "sbatch";
        let is_run = command.clone().any(|word| runs(word) || REMOTE.contains(&program(word)));
        let target = line.windows(2).find_map(|pair| match pair[0] {
            ">" | "1>" | "tee" => Some((pair[1], false)),
            ">>" | "-a" => Some((pair[1], true)),
            _ => {
                let file = pair[1].strip_prefix('>').filter(|file| !file.is_empty());
                let file =
                    file.or_else(|| pair[0].strip_prefix('>').filter(|file| !file.is_empty()));
                file.map(|file| (file.trim_start_matches('>'), file.starts_with('>')))
            }
        });
        if is_run || target.is_none() && line.iter().any(|word| runs(word)) {
            let environment = shell.environment(line)?;
            expanded.text.push('\n');
            shell.nested((&text, &[]), environment, expanded)?;
            expanded.text.push('\n');
            return Ok(());
        }
        let name = target.map(|(name, adds)| Ok::<_, Diagnostic>((shell.word(name)?.0, adds)));
        let name = name.transpose()?;
        let adds = name.as_ref().is_some_and(|(_, adds)| *adds);
        shell.files.write((name.as_ref().map(|(name, _)| name.as_str()), adds), text);
        Ok(())
    }

    /// Runs the file that a word names, if the script wrote it.
    fn file(
        &mut self,
        shell: &mut Shell,
        first: usize,
        expanded: &mut Expanded,
    ) -> Result<bool, Diagnostic> {
        if shell.files.all.is_empty() || is_assignment(self.words[first]) {
            return Ok(false);
        }
        let (words, word) = (self.words, self.words[first]);
        let own = &words[self.start.max(first.saturating_sub(FARTHEST))..first];
        let (name, length) = shell.word(word)?;
        if !shell.files.has(&name) {
            return Ok(false);
        }
        let is_runner =
            |word: &&str| RUNNERS.contains(&program(word)) || SHELLS.contains(&program(word));
        let is_program = own.iter().all(|word| is_assignment(word)) || own.iter().any(is_runner);
        let is_passed = own.iter().any(|word| word.contains(['<', '>']) || word.ends_with(".py"))
            || own.last().is_some_and(|word| word.starts_with("--") && !word.contains('='));
        let Some(text) = (is_program && !is_passed).then(|| shell.files.run(&name)).flatten()
        else {
            return Ok(false);
        };
        if own.last().is_some_and(|word| SOURCES.contains(word)) {
            shell.nested_walk(&text, self.runs(), expanded)?;
        } else {
            self.arguments(&word[length..]);
            let environment = shell.environment(own)?;
            shell.nested((&text, &words[first..self.at]), environment, expanded)?;
        }
        self.place = Place::Argument;
        expanded.push(&word[length..], self.ends(self.at - 1))?;
        Ok(true)
    }
}
