//! Small programs that scripts calculate with, where what they read is known.

use super::values::{Doubt, is_known, unknown};
use super::{Ran, Shell};

/// Numbers of `seq` at most.
const MOST_NUMBERS: i64 = 1 << 16;

impl Shell<'_> {
    /// Runs one of them; whether it is one and what it prints is known.
    pub(super) fn filter(&mut self, name: &str, arguments: &[String]) -> Ran<bool> {
        if name == "tee" {
            let text = self.input().unwrap_or_else(|| unknown(Doubt::Plain, "$(tee)"));
            let adds = arguments.iter().any(|word| word == "-a");
            for file in arguments.iter().filter(|word| !word.starts_with('-')) {
                self.files.write(&self.path(file), adds, text.clone(), self.n_choices > 0);
            }
            self.print(&text)?;
            return Ok(true);
        }
        if name == "cat" {
            return self.cat(arguments);
        }
        if let ("grep", [option, pattern, files @ ..]) = (name, arguments)
            && option == "-v"
            && pattern == "^#"
        {
            return self.cat_lines(files, &|line| !line.starts_with('#'));
        }
        if !arguments.iter().all(|word| is_known(word)) {
            return Ok(false);
        }
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let text = match (name, words.as_slice()) {
            ("seq", words) => seq(words),
            ("basename", [path]) => Some(base(path)),
            ("basename", [path, end]) => {
                let base = base(path);
                Some(base.strip_suffix(end).map_or(base.clone(), str::to_owned))
            }
            ("dirname", [path]) => {
                let path = path.trim_end_matches('/');
                Some(path.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned())
            }
            ("expr", words) => {
                let is_sum = words.iter().all(|word| {
                    word.parse::<i64>().is_ok()
                        || ["+", "-", "*", "/", "%", "(", ")"].contains(word)
                });
                let sum = words.join(" ");
                let value = if is_sum { self.sum(&sum)? } else { None };
                value.map(|value| value.to_string())
            }
            ("wc" | "tr" | "cut" | "head" | "tail" | "bc", words) => self.filtered(name, words)?,
            _ => None,
        };
        let Some(text) = text else { return Ok(false) };
        self.status = Some(true);
        self.print(&text)?;
        if name != "tr" {
            self.print("\n")?;
        }
        Ok(true)
    }

    fn input(&mut self) -> Option<String> {
        self.state.input.take()
    }

    fn cat(&mut self, arguments: &[String]) -> Ran<bool> {
        self.cat_lines(arguments, &|_| true)
    }

    fn cat_lines(&mut self, arguments: &[String], is_taken: &dyn Fn(&str) -> bool) -> Ran<bool> {
        if arguments.iter().any(|word| word.starts_with('-') && word.len() > 1) {
            return Ok(false);
        }
        let mut all = String::new();
        if arguments.is_empty() {
            let Some(text) = self.input() else { return Ok(false) };
            all = text;
        }
        for file in arguments {
            let text = if file == "-" { self.input() } else { self.read_file(file) };
            let Some(text) = text else { return Ok(false) };
            all.push_str(&text);
        }
        self.status = Some(true);
        let all: String = all.split_inclusive('\n').filter(|line| is_taken(line)).collect();
        self.print(&all)?;
        Ok(true)
    }

    /// What a filter of lines makes of its input, without the last end of a line.
    fn filtered(&mut self, name: &str, words: &[&str]) -> Ran<Option<String>> {
        let Some(text) = self.state.input.clone().filter(|text| is_known(text)) else {
            return Ok(None);
        };
        let plain = text.strip_suffix('\n').unwrap_or(&text);
        let lines = || plain.split('\n');
        let first =
            |n: &str| n.trim_start_matches("-n").trim_start_matches('-').parse::<usize>().ok();
        Ok(match (name, words) {
            ("wc", ["-l"]) => Some(text.matches('\n').count().to_string()),
            ("wc", ["-c"]) => Some(text.len().to_string()),
            ("wc", ["-w"]) => Some(text.split_whitespace().count().to_string()),
            ("tr", ["-d", set]) if is_set(set) => {
                let set = super::letters::unescaped(set, true);
                Some(text.replace(|c| set.contains(c), ""))
            }
            ("tr", ["-cd", set]) if is_set(set) => {
                let set = super::letters::unescaped(set, true);
                Some(text.chars().filter(|c| set.contains(*c)).collect())
            }
            ("tr", [from, to]) if is_set(from) && is_set(to) => {
                let [from, to] = [from, to].map(|set| super::letters::unescaped(set, true));
                let to: Vec<char> = to.chars().collect();
                let of = |c: char| match from.chars().position(|own| own == c) {
                    Some(at) => *to.get(at).or(to.last()).unwrap_or(&c),
                    None => c,
                };
                Some(text.chars().map(of).collect())
            }
            ("tr", ["A-Z" | "[:upper:]" | "[A-Z]", "a-z" | "[:lower:]" | "[a-z]"]) => {
                Some(text.to_lowercase())
            }
            ("tr", ["a-z" | "[:lower:]" | "[a-z]", "A-Z" | "[:upper:]" | "[A-Z]"]) => {
                Some(text.to_uppercase())
            }
            ("head", ["-1" | "-n1"] | ["-n", "1"]) => lines().next().map(str::to_owned),
            ("tail", ["-1" | "-n1"] | ["-n", "1"]) => lines().next_back().map(str::to_owned),
            ("head", [n]) if first(n).is_some() => {
                Some(lines().take(first(n).unwrap_or(0)).collect::<Vec<_>>().join("\n"))
            }
            ("cut", _) => cut(words, plain),
            ("bc", []) => {
                let is_sum = plain.chars().all(|c| c.is_ascii_digit() || "+-*/() ".contains(c));
                let value = if is_sum { self.sum(plain)? } else { None };
                value.map(|value| value.to_string())
            }
            _ => None,
        })
    }
}

/// Whether each letter of a set of `tr` is itself.
fn is_set(set: &str) -> bool {
    !set.contains('[') && (!set.contains('-') || set.len() == 1)
}

fn base(path: &str) -> String {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn seq(words: &[&str]) -> Option<String> {
    let (separator, words) = match words {
        ["-s", separator, rest @ ..] => (*separator, rest),
        words => ("\n", words),
    };
    let numbers: Option<Vec<i64>> = words.iter().map(|word| word.parse().ok()).collect();
    let (first, step, last) = match numbers?.as_slice() {
        [last] => (1, 1, *last),
        [first, last] => (*first, 1, *last),
        [first, step, last] if *step != 0 => (*first, *step, *last),
        _ => return None,
    };
    let n = (i128::from(last) - i128::from(first)) / i128::from(step);
    if n >= i128::from(MOST_NUMBERS) {
        return None;
    }
    let n = i64::try_from(n.max(-1)).ok()?;
    let is_empty = (last - first).signum() * step.signum() < 0;
    let all: Vec<String> =
        (0..=n).filter(|_| !is_empty).map(|at| (first + at * step).to_string()).collect();
    Some(all.join(separator))
}

/// `cut -d, -f1`.
fn cut(words: &[&str], text: &str) -> Option<String> {
    let (mut separator, mut field, mut at) = ('\t', None, 0);
    while let Some(word) = words.get(at) {
        at += 1;
        let mut value = |rest: &str| match rest {
            "" => {
                at += 1;
                words.get(at - 1).map(|word| (*word).to_owned())
            }
            rest => Some(rest.to_owned()),
        };
        if let Some(rest) = word.strip_prefix("-d") {
            separator = value(rest)?.parse().ok()?;
        } else if let Some(rest) = word.strip_prefix("-f") {
            field = value(rest)?.parse::<usize>().ok();
        } else {
            return None;
        }
    }
    let field = field?.checked_sub(1)?;
    let one = |line: &str| match line.contains(separator) {
        true => line.split(separator).nth(field).unwrap_or_default().to_owned(),
        false => line.to_owned(),
    };
    Some(text.split('\n').map(one).collect::<Vec<_>>().join("\n"))
}
