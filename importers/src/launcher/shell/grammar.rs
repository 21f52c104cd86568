//! The grammar of Bash: commands, from the text to the tree.

use std::cell::OnceCell;
use std::rc::Rc;

use super::letters::{Mode, Reader};
use super::tree::{
    Argument, Arm, ArmEnd, Assigned, Assignment, Command, Item, Kind, List, Pipeline, Redirect,
    Target, Test,
};
use super::words::{DECLARES, is_name};

/// Why a text is no script.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    Syntax,
    /// Nested too deep.
    Deep,
}

pub(super) type Parsed<T> = Result<T, Fault>;

/// Commands of a text up to the first that is none.
pub(super) fn parse(text: &str) -> (List, Option<(Fault, usize)>) {
    let mut reader = Reader::new(text);
    let mut items = List::new();
    loop {
        let start = match reader.lines() {
            Ok(()) if reader.peek().is_none() => return (items, None),
            Ok(()) => reader.at,
            Err(fault) => return (items, Some((fault, reader.at))),
        };
        match reader.item() {
            Ok(item) => items.push(item),
            Err(fault) => return (items, Some((fault, start))),
        }
    }
}

/// Whether a command sets variables and starts nothing.
pub(super) fn is_assignment(item: &Item) -> bool {
    let is_one = |command: &Command| matches!(&command.kind, Kind::Simple { arguments, .. } if arguments.is_empty());
    item.rest.is_empty() && item.first.commands.iter().all(is_one)
}

impl Reader<'_> {
    /// Commands up to one of these words or signs, which is not taken.
    pub(super) fn list(&mut self, ends: &[&str]) -> Parsed<List> {
        let mut items = List::new();
        loop {
            self.lines()?;
            let is_end = |end: &&str| match end.starts_with([')', ';']) {
                true => self.starts_with(end),
                false => self.keyword() == *end,
            };
            if ends.iter().any(is_end) {
                return Ok(items);
            }
            items.push(self.item()?);
        }
    }

    /// All commands of a text.
    pub(super) fn list_to_end(&mut self) -> Parsed<List> {
        let mut items = List::new();
        loop {
            self.lines()?;
            if self.peek().is_none() {
                return Ok(items);
            }
            items.push(self.item()?);
        }
    }

    fn item(&mut self) -> Parsed<Item> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        let is_background = loop {
            self.blanks();
            if self.takes("&&") {
                self.lines()?;
                rest.push((true, self.pipeline()?));
            } else if self.takes("||") {
                self.lines()?;
                rest.push((false, self.pipeline()?));
            } else if self.takes("&") {
                break true;
            } else {
                if !self.starts_with(";;") && !self.starts_with(";&") {
                    self.takes(";");
                }
                break false;
            }
        };
        Ok(Item { first, rest, is_background })
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        let mut is_negated = false;
        loop {
            self.blanks();
            match self.keyword() {
                "!" => is_negated = !is_negated,
                "time" => {}
                _ => break,
            }
            let is_time = !self.takes("!");
            self.at += if is_time { "time".len() } else { 0 };
            self.blanks();
            if is_time && self.keyword() == "-p" {
                self.at += 2;
            }
        }
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.starts_with("||") || !self.takes("|") {
                return Ok(Pipeline { is_negated, commands });
            }
            self.takes("&");
            self.lines()?;
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.enter()?;
        self.blanks();
        let kind = match self.keyword() {
            "if" => self.branches()?,
            word @ ("while" | "until") => {
                let is_until = word == "until";
                self.at += word.len();
                let condition = self.list(&["do"])?;
                Kind::While { is_until, condition, body: self.body()? }
            }
            word @ ("for" | "select") => self.loop_of(word)?,
            "case" => self.case()?,
            "{" => {
                self.at += 1;
                let list = self.list(&["}"])?;
                self.at += 1;
                Kind::Group(list)
            }
            "[[" => {
                self.at += 2;
                let test = self.test(&["||", "&&"])?;
                self.blanks();
                self.expect("]]")?;
                Kind::Test(test)
            }
            "function" => {
                self.at += "function".len();
                self.blanks();
                let name = self.run().to_owned();
                let name = name.strip_suffix("()").unwrap_or(&name);
                self.at += name.len();
                self.blanks();
                if self.takes("(") {
                    self.blanks();
                    self.expect(")")?;
                }
                self.function(name)?
            }
            "coproc" | "then" | "do" | "done" | "fi" | "elif" | "else" | "esac" | "in" | "}" => {
                return Err(Fault::Syntax);
            }
            _ => self.other()?,
        };
        let mut redirects = Vec::new();
        if let Kind::Simple { assignments, arguments } = kind {
            let simple = self.simple(assignments, arguments)?;
            self.leave();
            return Ok(simple);
        }
        if !matches!(kind, Kind::Function { .. }) {
            self.blanks();
            while let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                self.blanks();
            }
        }
        self.leave();
        Ok(Command { kind, redirects })
    }

    /// A sum, a subshell, a function, or the begin of a simple command.
    fn other(&mut self) -> Parsed<Kind> {
        if self.starts_with("((")
            && let Some(sum) = self.sum("((")?
        {
            return Ok(Kind::Sum(sum));
        }
        if self.takes("(") {
            let list = self.list(&[")"])?;
            self.at += 1;
            return Ok(Kind::Subshell(list));
        }
        let name = self.run().to_owned();
        let start = self.at;
        if !name.is_empty() && !name.contains('=') {
            self.at += name.len();
            self.blanks();
            if self.takes("(") {
                self.blanks();
                self.expect(")")?;
                return self.function(&name);
            }
            self.at = start;
        }
        Ok(Kind::Simple { assignments: Vec::new(), arguments: Vec::new() })
    }

    fn function(&mut self, name: &str) -> Parsed<Kind> {
        self.lines()?;
        let body = self.command()?;
        match body.kind {
            Kind::Simple { .. } => Err(Fault::Syntax),
            _ => Ok(Kind::Function { name: name.to_owned(), body: Rc::new(body) }),
        }
    }

    fn branches(&mut self) -> Parsed<Kind> {
        let (mut arms, mut otherwise) = (Vec::new(), List::new());
        loop {
            let word = self.keyword().len();
            self.at += word;
            let condition = self.list(&["then"])?;
            self.at += "then".len();
            arms.push((condition, self.list(&["elif", "else", "fi"])?));
            if self.keyword() == "elif" {
                continue;
            }
            if self.keyword() == "else" {
                self.at += "else".len();
                otherwise = self.list(&["fi"])?;
            }
            self.at += "fi".len();
            return Ok(Kind::If { arms, otherwise });
        }
    }

    /// `do .. done`.
    fn body(&mut self) -> Parsed<List> {
        self.lines()?;
        if self.keyword() == "{" {
            self.at += 1;
            let body = self.list(&["}"])?;
            self.at += 1;
            return Ok(body);
        }
        self.expect("do")?;
        let body = self.list(&["done"])?;
        self.at += "done".len();
        Ok(body)
    }

    fn loop_of(&mut self, word: &str) -> Parsed<Kind> {
        self.at += word.len();
        self.blanks();
        match self.takes("((") {
            true => self.count(),
            false => self.loop_over(word == "select"),
        }
    }

    fn loop_over(&mut self, is_select: bool) -> Parsed<Kind> {
        let name = self.run().to_owned();
        if !is_name(&name) {
            return Err(Fault::Syntax);
        }
        self.at += name.len();
        self.lines()?;
        let mut words = None;
        if self.keyword() == "in" {
            self.at += "in".len();
            let mut all = Vec::new();
            self.blanks();
            while !self.is_end() {
                all.push(self.word()?);
                self.blanks();
            }
            words = Some(all);
        }
        self.takes(";");
        let body = self.body()?;
        Ok(if is_select { Kind::Select { name, body } } else { Kind::For { name, words, body } })
    }

    fn count(&mut self) -> Parsed<Kind> {
        let mut sums = [Vec::new(), Vec::new(), Vec::new()];
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = self.parts(Mode::sum(if at == 2 { "" } else { ";" }))?;
            self.expect(if at == 2 { "))" } else { ";" })?;
        }
        self.blanks();
        self.takes(";");
        Ok(Kind::Count { sums, body: self.body()? })
    }

    fn case(&mut self) -> Parsed<Kind> {
        self.at += "case".len();
        self.blanks();
        let subject = self.word()?;
        self.lines()?;
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.lines()?;
            if self.keyword() == "esac" {
                self.at += "esac".len();
                return Ok(Kind::Case { subject, arms });
            }
            self.takes("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?);
                self.blanks();
                if !self.takes("|") {
                    break;
                }
            }
            self.expect(")")?;
            let body = self.list(&[";;", ";&", "esac"])?;
            let end = if self.takes(";;&") {
                ArmEnd::Tries
            } else if self.takes(";&") {
                ArmEnd::Falls
            } else {
                self.takes(";;");
                ArmEnd::Leaves
            };
            arms.push(Arm { patterns, body, end });
        }
    }

    /// What `[[ ]]` encloses, parted by these signs.
    fn test(&mut self, signs: &[&str]) -> Parsed<Test> {
        let Some((sign, inner)) = signs.split_first() else { return self.test_of_words() };
        let mut test = self.test(inner)?;
        loop {
            self.lines()?;
            if !self.takes(sign) {
                return Ok(test);
            }
            let both = (Box::new(test), Box::new(self.test(inner)?));
            test = if *sign == "||" { Test::Or(both.0, both.1) } else { Test::And(both.0, both.1) };
        }
    }

    fn test_of_words(&mut self) -> Parsed<Test> {
        self.enter()?;
        self.lines()?;
        let test = if self.keyword() == "!" {
            self.at += 1;
            Test::Not(Box::new(self.test_of_words()?))
        } else if self.takes("(") {
            let test = self.test(&["||", "&&"])?;
            self.lines()?;
            self.expect(")")?;
            test
        } else {
            let run = self.run().to_owned();
            let is_unary = run.len() == 2 && run.starts_with('-');
            let first = self.word()?;
            self.blanks();
            match () {
                () if self.is_end() && !self.starts_with("<") && !self.starts_with(">") => {
                    Test::Word(first)
                }
                () if self.keyword() == "]]" => Test::Word(first),
                () if is_unary => Test::Unary(run, self.word()?),
                () => {
                    let sign = match self.takes("<") {
                        true => "<".to_owned(),
                        false if self.takes(">") => ">".to_owned(),
                        false => self.run().to_owned(),
                    };
                    self.at += if sign.len() > 1 || sign == "=" { sign.len() } else { 0 };
                    self.blanks();
                    let is_pattern = sign == "=~";
                    let second = if is_pattern { self.parts(Mode::regex())? } else { self.word()? };
                    Test::Binary(first, sign, second)
                }
            }
        };
        self.leave();
        Ok(test)
    }

    fn simple(
        &mut self,
        mut assignments: Vec<Assignment>,
        mut arguments: Vec<Argument>,
    ) -> Parsed<Command> {
        let (mut redirects, mut declares) = (Vec::new(), false);
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
            } else if self.is_end() {
                break;
            } else if arguments.is_empty()
                && let Some(assignment) = self.assignment()?
            {
                assignments.push(assignment);
            } else if declares && let Some(assignment) = self.assignment()? {
                arguments.push(Argument::Assignment(assignment));
            } else {
                let run = self.run();
                declares |= arguments.is_empty() && DECLARES.contains(&run);
                arguments.push(Argument::Word(self.word()?));
            }
        }
        if assignments.is_empty() && arguments.is_empty() && redirects.is_empty()
            || self.starts_with("(")
        {
            return Err(Fault::Syntax);
        }
        Ok(Command { kind: Kind::Simple { assignments, arguments }, redirects })
    }

    fn assignment(&mut self) -> Parsed<Option<Assignment>> {
        let start = self.at;
        let name = self.name().to_owned();
        self.at += name.len();
        let mut key = None;
        if !name.is_empty() && self.takes("[") {
            key = match self.parts(Mode::key()) {
                Ok(word) => Some(word).filter(|_| self.takes("]")),
                Err(Fault::Syntax) => None,
                Err(fault) => return Err(fault),
            };
        }
        let adds = self.takes("+=");
        if name.is_empty() || !(adds || self.takes("=")) {
            self.at = start;
            return Ok(None);
        }
        let value = match self.takes("(") {
            true => Assigned::Array(self.elements()?),
            false => Assigned::Scalar(self.word()?),
        };
        Ok(Some(Assignment { name, key, adds, value }))
    }

    fn elements(&mut self) -> Parsed<Vec<(Option<super::tree::Word>, super::tree::Word)>> {
        let mut all = Vec::new();
        loop {
            self.lines()?;
            if self.takes(")") {
                return Ok(all);
            }
            let start = self.at;
            let mut key = None;
            if self.takes("[") {
                let word = self.parts(Mode::key());
                match word {
                    Ok(word) if self.takes("]=") => key = Some(word),
                    Err(Fault::Deep) => return Err(Fault::Deep),
                    _ => self.at = start,
                }
            }
            let word = self.word()?;
            if word.is_empty() && key.is_none() {
                return Err(Fault::Syntax);
            }
            all.push((key, word));
        }
    }

    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let signs = &self.rest()[digits..];
        let is_both = digits == 0 && signs.starts_with("&>");
        let is_file = signs.starts_with("<(") || signs.starts_with(">(");
        if !(is_both || signs.starts_with(['<', '>'])) || is_file {
            return Ok(None);
        }
        let number = self.rest()[..digits].parse().ok();
        self.at += digits + usize::from(is_both);
        let sign = ["<<<", "<<-", "<<", "<&", ">&", ">>", ">|", "<>", "<", ">"];
        let sign = *sign.iter().find(|sign| self.starts_with(sign)).ok_or(Fault::Syntax)?;
        self.at += sign.len();
        self.blanks();
        let target = match sign {
            "<<<" => Target::Line(self.word()?),
            "<<" | "<<-" => {
                let document = Rc::new(OnceCell::new());
                self.document(sign == "<<-", &document)?;
                Target::Text(document)
            }
            "<&" | ">&" => {
                let word = self.run();
                let is_number = word.trim_end_matches('-').bytes().all(|b| b.is_ascii_digit());
                let is_file = sign == ">&" && number.is_none() && !is_number;
                let word = self.word()?;
                if is_file { Target::Write(word) } else { Target::Duplicate }
            }
            ">>" => Target::Append(self.word()?),
            "<" | "<>" => Target::Read(self.word()?),
            _ => Target::Write(self.word()?),
        };
        Ok(Some(Redirect { number, target }))
    }
}
