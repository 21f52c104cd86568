//! Small programs that scripts calculate with, where what they read is known.

use super::lines::{FILTERS, Filter, Printed};
use super::patterns::STEPS;
use super::values::{Doubt, is_known, unknown};
use super::{Ran, Shell};

/// What a filter costs, as bytes: it may have a pattern.
const COST: usize = 4_096;
/// Numbers of `seq` at most.
const MOST_NUMBERS: i64 = 1 << 16;

impl Shell<'_> {
    /// Runs one of them; whether it is one and what it prints is known.
    pub(super) fn filter(&mut self, name: &str, arguments: &[String]) -> Ran<bool> {
        if name == "tee" {
            let text = self.state.input.take();
            let text = text.unwrap_or_else(|| unknown(Doubt::Plain, "$(tee)"));
            let adds = arguments.iter().any(|word| word == "-a");
            for file in arguments.iter().filter(|word| !word.starts_with('-')) {
                self.files.write(&self.path(file), adds, text.clone(), self.n_choices > 0);
            }
            self.print(&text)?;
            return Ok(true);
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
                let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
                Some(if folder.is_empty() { "/" } else { folder }.to_owned())
            }
            // Without options of the script.
            ("getopt", [.., "--"]) => Some(" --".to_owned()),
            ("expr", words) => {
                let is_sum = words.iter().all(|word| {
                    word.parse::<i64>().is_ok()
                        || ["+", "-", "*", "/", "%", "(", ")"].contains(word)
                });
                self.decimal(&words.join(" "), is_sum)?
            }
            ("bc", []) => match self.state.input.clone() {
                Some(text) => {
                    let is_sum = text
                        .trim_end()
                        .chars()
                        .all(|c| c.is_ascii_digit() || "+-*/() ".contains(c));
                    self.decimal(text.trim_end(), is_sum)?
                }
                None => None,
            },
            _ if FILTERS.iter().any(|(own, _)| *own == name) => return self.of_lines(name, &words),
            _ => None,
        };
        let Some(text) = text else { return Ok(false) };
        self.status = Some(name != "expr" || text != "0");
        self.print(&(text + "\n"))?;
        Ok(true)
    }

    /// A sum of numbers that a zero does not make octal.
    fn decimal(&mut self, sum: &str, is_sum: bool) -> Ran<Option<String>> {
        if !is_sum || sum.is_empty() {
            return Ok(None);
        }
        let mut all = String::new();
        for letter in sum.chars() {
            let is_in_number = all.ends_with(|c: char| c.is_ascii_digit());
            if is_in_number && all.ends_with('0') && letter.is_ascii_digit() {
                let before = all[..all.len() - 1].ends_with(|c: char| c.is_ascii_digit());
                all.truncate(all.len() - usize::from(!before));
            }
            all.push(letter);
        }
        Ok(self.sum(&all)?.map(|value| value.to_string()))
    }

    /// Runs a filter of the lines of files, or of what it reads.
    fn of_lines(&mut self, name: &str, words: &[&str]) -> Ran<bool> {
        let Some(filter) = Filter::new(name, words) else { return Ok(false) };
        let mut all = String::new();
        let mut has_all = true;
        for file in &filter.files {
            let text = if *file == "-" { self.state.input.take() } else { self.read_file(file) };
            has_all &= text.is_some();
            all.push_str(&text.unwrap_or_default());
        }
        if filter.files.is_empty() {
            let text = self.state.input.take();
            has_all = text.is_some();
            all = text.unwrap_or_default();
        }
        let size: usize = words.iter().map(|word| word.len()).sum();
        self.spend(COST + all.len().saturating_mul(size + STEPS) / STEPS)?;
        let printed = Some(all).filter(|_| has_all).and_then(|text| filter.run(&text));
        let Some(Printed { text, is_true }) = printed else { return Ok(false) };
        match filter.changes() {
            true => {
                let path = self.path(filter.files[0]);
                self.files.write(&path, false, text, self.n_choices > 0);
            }
            false => self.print(&text)?,
        }
        self.status = Some(is_true);
        Ok(true)
    }
}

fn base(path: &str) -> String {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn seq(words: &[&str]) -> Option<String> {
    let own = words.first().and_then(|word| word.strip_prefix("-s")).filter(|own| !own.is_empty());
    let (separator, words) = match words {
        [_, rest @ ..] if own.is_some() => (own.unwrap_or_default(), rest),
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
