//! Sums of whole numbers as `$((..))` has them.

use super::parameters::number_text;
use super::tree::{Index, Part, Word};
use super::values::{CLOSE, Doubt, OPEN, Value, is_known, unknown};
use super::{Ran, Shell};

/// Deepest nesting of parentheses, and of names that have sums as values.
const MAX_DEPTH: u32 = 32;

/// Letters of a sum at most.
const LONGEST: usize = 4_096;

/// Operators by how they bind, the loosest first.
const OPERATORS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];
/// Beginnings that are other operators.
const OTHERS: [&str; 7] = ["||", "&&", "<<", ">>", "**", "++", "--"];
/// Operators that set what is before them.
const SETS: [&str; 11] = ["<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "="];

/// No sum, or one of what is not followed.
struct Fault;

type Known = Option<i64>;
type Found = Result<Known, Fault>;

impl Shell<'_> {
    /// The value of a sum; `None` where it is unknown. What it sets is set.
    pub(super) fn sum_of(&mut self, word: &Word) -> Ran<Option<i64>> {
        let text = self.text(word)?;
        self.sum(&text)
    }

    pub(super) fn sum(&mut self, text: &str) -> Ran<Option<i64>> {
        self.spend(text.len())?;
        if text.trim().is_empty() {
            return Ok(Some(0));
        }
        let doubts = self.n_doubts;
        let found = self.sum_at(text, MAX_DEPTH);
        self.n_doubts = doubts;
        if let Ok(value) = found {
            return Ok(value);
        }
        if is_known(text) && doubts == 0 {
            self.fail(text);
        }
        // What it sets up to there is unknown.
        for name in names(text) {
            if self
                .state
                .get(&name)
                .is_some_and(|_| text.contains('=') || text.contains("++") || text.contains("--"))
            {
                self.set_text(&name, unknown(Doubt::Plain, &format!("${name}")));
            }
        }
        Ok(None)
    }

    fn sum_at(&mut self, text: &str, depth: u32) -> Found {
        if text.len() > LONGEST {
            return Err(Fault);
        }
        let mut sum = Sum { rest: text.trim_start(), shell: self, skips: 0 };
        let value = sum.list(depth)?;
        if sum.rest.is_empty() { Ok(value) } else { Err(Fault) }
    }
}

/// Names of a text.
fn names(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    parts.filter(|part| super::words::is_name(part)).map(str::to_owned).collect()
}

/// A variable of a sum.
struct Target {
    name: String,
    key: Option<String>,
}

struct Sum<'t, 's, 'o> {
    rest: &'t str,
    shell: &'s mut Shell<'o>,
    /// Sides around that do not run.
    skips: u32,
}

impl<'t> Sum<'t, '_, '_> {
    fn step(&mut self, n: usize) {
        self.rest = self.rest[n..].trim_start();
    }

    /// The sign here, if it is one of these.
    fn sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let sign = *signs.iter().find(|sign| self.rest.starts_with(**sign))?;
        let is_other = OTHERS.iter().any(|other| {
            self.rest.starts_with(other) && *other != sign && sign.len() < other.len()
        });
        let behind = &self.rest[sign.len()..];
        let sets =
            behind.starts_with('=') && !behind.starts_with("==") && "+-*/%&|^<<>>".contains(sign);
        if is_other || sets {
            return None;
        }
        self.step(sign.len());
        Some(sign)
    }

    fn list(&mut self, depth: u32) -> Found {
        let mut value = self.choice(depth)?;
        while self.sign(&[","]).is_some() {
            value = self.choice(depth)?;
        }
        Ok(value)
    }

    /// A side that runs, does not, or may.
    fn side(&mut self, runs: Option<bool>, read: impl FnOnce(&mut Self) -> Found) -> Found {
        let (skips, doubts) = (self.skips, self.shell.n_doubts);
        self.skips += u32::from(runs == Some(false));
        self.shell.n_doubts += u32::from(runs.is_none());
        let value = read(self);
        (self.skips, self.shell.n_doubts) = (skips, doubts);
        value
    }

    /// What sets a variable, or another sum.
    fn choice(&mut self, depth: u32) -> Found {
        let rest = self.rest;
        if let Some(target) = self.target(depth)? {
            let sets = SETS.into_iter().find(|sign| self.rest.starts_with(sign));
            if let Some(sign) = sets.filter(|_| !self.rest.starts_with("==")) {
                return self.changed(&target, sign, depth);
            }
            self.rest = rest;
        }
        self.conditional(depth)
    }

    /// `condition ? this : that`.
    fn conditional(&mut self, depth: u32) -> Found {
        let condition = self.operation(0, depth)?;
        if self.sign(&["?"]).is_none() {
            return Ok(condition);
        }
        let depth = depth.checked_sub(1).ok_or(Fault)?;
        let is_true = condition.map(|value| value != 0);
        let this = self.side(is_true, |sum| sum.choice(depth))?;
        self.sign(&[":"]).ok_or(Fault)?;
        let that = self.side(is_true.map(|is| !is), |sum| sum.conditional(depth))?;
        Ok(match is_true {
            Some(true) => this,
            Some(false) => that,
            None => this.filter(|_| this == that),
        })
    }

    fn operation(&mut self, level: usize, depth: u32) -> Found {
        let Some(signs) = OPERATORS.get(level) else { return self.power(depth) };
        let mut value = self.operation(level + 1, depth)?;
        while let Some(sign) = self.sign(signs) {
            let decided = match sign {
                "||" => value.map(|value| value == 0),
                "&&" => value.map(|value| value != 0),
                _ => Some(true),
            };
            let other = self.side(decided, |sum| sum.operation(level + 1, depth))?;
            value = match (sign, value, other) {
                ("||", Some(a), _) if a != 0 => Some(1),
                ("||", None, Some(b)) if b != 0 => Some(1),
                ("&&", Some(0), _) | ("&&", None, Some(0)) => Some(0),
                (_, Some(a), Some(b)) if self.skips == 0 => {
                    Some(operated(a, sign, b).ok_or(Fault)?)
                }
                _ => None,
            };
        }
        Ok(value)
    }

    fn power(&mut self, depth: u32) -> Found {
        let value = self.signed(depth)?;
        if self.sign(&["**"]).is_none() {
            return Ok(value);
        }
        // Powers of powers begin with the last.
        let power = self.power(depth.checked_sub(1).ok_or(Fault)?)?;
        let (Some(value), Some(power)) = (value, power) else { return Ok(None) };
        let power = u32::try_from(power).map_err(|_| Fault)?;
        Ok(Some(value.wrapping_pow(power)))
    }

    fn signed(&mut self, depth: u32) -> Found {
        let below = depth.checked_sub(1).ok_or(Fault);
        if let Some(sign) = self.sign(&["++", "--"]) {
            let target = self.target(below?)?.ok_or(Fault)?;
            let value = self.value_of(&target, depth)?;
            let by = if sign == "++" { 1 } else { -1 };
            return self.set(&target, value.map(|value| value.wrapping_add(by)));
        }
        match self.sign(&["!", "-", "+", "~"]) {
            None => self.one(depth),
            Some(sign) => {
                let value = self.signed(below?)?;
                Ok(value.map(|value| match sign {
                    "!" => i64::from(value == 0),
                    "-" => value.wrapping_neg(),
                    "~" => !value,
                    _ => value,
                }))
            }
        }
    }

    fn one(&mut self, depth: u32) -> Found {
        let below = depth.checked_sub(1).ok_or(Fault);
        if self.sign(&["("]).is_some() {
            let value = self.list(below?)?;
            return self.sign(&[")"]).map(|_| value).ok_or(Fault);
        }
        let is_word = |c: char| "_#@".contains(c) || c.is_ascii_alphanumeric();
        if self.rest.starts_with(OPEN) {
            while let Some(rest) = self.rest.strip_prefix(OPEN) {
                let rest = rest.split_once(CLOSE).map_or("", |(_, rest)| rest);
                self.rest = rest.trim_start_matches(is_word);
            }
            self.step(0);
            return Ok(None);
        }
        if !self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            let target = self.target(below?)?.ok_or(Fault)?;
            return self.variable(&target, depth);
        }
        let end = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.step(end);
        if self.rest.starts_with(OPEN) {
            return self.one(depth).map(|_| None);
        }
        number(word).map(Some).ok_or(Fault)
    }

    /// The name here, with its index.
    fn target(&mut self, depth: u32) -> Result<Option<Target>, Fault> {
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let end = self.rest.find(|c: char| !is_name(c)).unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        if !super::words::is_name(&name) {
            return Ok(None);
        }
        self.rest = &self.rest[end..];
        let mut key = None;
        if self.rest.starts_with('[') {
            let mut open = 0_usize;
            let closes = |(_, letter): &(usize, char)| {
                open += usize::from(*letter == '[');
                open -= usize::from(*letter == ']');
                open == 0
            };
            let end = self.rest.char_indices().find(closes).ok_or(Fault)?.0;
            depth.checked_sub(1).ok_or(Fault)?;
            key = Some(self.rest[1..end].to_owned());
            self.rest = &self.rest[end + 1..];
        }
        self.step(0);
        Ok(Some(Target { name, key }))
    }

    fn variable(&mut self, target: &Target, depth: u32) -> Found {
        if let Some(sign) = ["++", "--"].into_iter().find(|sign| self.rest.starts_with(sign)) {
            self.step(sign.len());
            let value = self.value_of(target, depth)?;
            let by = if sign == "++" { 1 } else { -1 };
            self.set(target, value.map(|value| value.wrapping_add(by)))?;
            return Ok(value);
        }
        self.value_of(target, depth)
    }

    fn changed(&mut self, target: &Target, sign: &str, depth: u32) -> Found {
        self.step(sign.len());
        let value = self.choice(depth.checked_sub(1).ok_or(Fault)?)?;
        if sign == "=" {
            return self.set(target, value);
        }
        let (Some(old), Some(value)) = (self.value_of(target, depth)?, value) else {
            return self.set(target, None);
        };
        if self.skips > 0 {
            return Ok(None);
        }
        let value = operated(old, &sign[..sign.len() - 1], value).ok_or(Fault)?;
        self.set(target, Some(value))
    }

    fn value_of(&mut self, target: &Target, depth: u32) -> Found {
        let index = target.key.as_ref().map(|key| Index::Key(vec![Part::Quoted(key.clone())]));
        let base = self.shell.base(&target.name, index.as_ref()).map_err(|_| Fault)?;
        let Some(text) = number_text(base) else { return Ok(None) };
        if let Some(value) = number(&text) {
            return Ok(Some(value));
        }
        self.shell.sum_at(&text, depth.checked_sub(1).ok_or(Fault)?)
    }

    fn set(&mut self, target: &Target, value: Known) -> Found {
        if self.skips > 0 {
            return Ok(value);
        }
        let shown = format!("${}", target.name);
        let text = value.map_or_else(|| unknown(Doubt::Plain, &shown), |value| value.to_string());
        match &target.key {
            None => self.shell.set(&target.name, Value::Text(text)),
            Some(key) => {
                let evaluated = super::assigned::Evaluated {
                    name: target.name.clone(),
                    key: Some(key.clone()),
                    adds: false,
                    value: super::assigned::Given::Text(text),
                };
                self.shell.give(evaluated).map_err(|_| Fault)?;
            }
        }
        Ok(value)
    }
}

/// `None` where it has no value.
fn operated(a: i64, sign: &str, b: i64) -> Option<i64> {
    Some(match sign {
        "||" => i64::from(a != 0 || b != 0),
        "&&" => i64::from(a != 0 && b != 0),
        "|" => a | b,
        "^" => a ^ b,
        "&" => a & b,
        "==" => i64::from(a == b),
        "!=" => i64::from(a != b),
        "<=" => i64::from(a <= b),
        ">=" => i64::from(a >= b),
        "<" => i64::from(a < b),
        ">" => i64::from(a > b),
        "<<" => a.wrapping_shl(u32::try_from(b & 63).ok()?),
        ">>" => a.wrapping_shr(u32::try_from(b & 63).ok()?),
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" => a.checked_div(b)?,
        _ => a.checked_rem(b)?,
    })
}

/// A number as shells read it: `0x` begins a hexadecimal one, another `0` an octal one, `10#` one of tens.
pub(super) fn number(text: &str) -> Option<i64> {
    let (digits, sign) = text.trim().strip_prefix('-').map_or((text.trim(), 1), |rest| (rest, -1));
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Some((base, digits)) = digits.split_once('#') {
        let base = base.parse().ok().filter(|base| (2..=36).contains(base))?;
        return i64::from_str_radix(digits, base).ok().filter(|n| *n >= 0)?.checked_mul(sign);
    }
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
    let value = match (hexadecimal, octal) {
        (Some(digits), _) => i64::from_str_radix(digits, 16),
        (None, Some(digits)) => i64::from_str_radix(digits, 8),
        (None, None) => digits.parse(),
    };
    value.ok()?.checked_mul(sign)
}
