//! One shape for everything that went wrong or is worth knowing.

use std::fmt;

use crate::units::{Bytes, Nanos};

/// Severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The result is valid.
    Warning,
    /// There is no result.
    Error,
}

/// Cause of a failure; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Internal error (exit 1).
    Internal,
    /// The command line (exit 2).
    Usage,
    /// An input file (exit 3).
    Input,
    /// No plan can exist, proved (exit 4).
    Infeasible,
    /// No plan was found, not proved (exit 5).
    NotFound,
    /// A plan is illegal (exit 6).
    IllegalPlan,
}

impl Blame {
    /// The process exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Input => 3,
            Self::Infeasible => 4,
            Self::NotFound => 5,
            Self::IllegalPlan => 6,
        }
    }
}

/// A typed value of a fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, such as a name.
    Text(String),
    /// A count.
    Count(u64),
    /// A real number.
    Real(f64),
    /// A size.
    Bytes(Bytes),
    /// A duration.
    Nanos(Nanos),
    /// Several names.
    List(Vec<String>),
    /// Sizes by name.
    Sizes(Vec<(String, Bytes)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}
impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}
impl From<f64> for Value {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}
impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
impl From<Nanos> for Value {
    fn from(nanos: Nanos) -> Self {
        Self::Nanos(nanos)
    }
}
impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}
impl From<Vec<(String, Bytes)>> for Value {
    fn from(sizes: Vec<(String, Bytes)>) -> Self {
        Self::Sizes(sizes)
    }
}

/// What happened, the facts, and a way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Stable kebab-case code, such as `memory-exceeded`.
    pub code: &'static str,
    /// Severity of a diagnostic.
    pub severity: Severity,
    /// Whose turn it is.
    pub blame: Blame,
    /// One sentence without a full stop; names in back-quotes.
    pub message: String,
    /// Named facts, in order of interest. `file`, `offset`, `line`, `column`, `node` say where.
    pub facts: Vec<(&'static str, Value)>,
    /// Ways out, each an imperative sentence.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn error(blame: Blame, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            blame,
            message: message.into(),
            facts: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// An error in an input file.
    #[must_use]
    pub fn input(code: &'static str, message: impl Into<String>) -> Self {
        Self::error(Blame::Input, code, message)
    }

    /// An error on the command line.
    #[must_use]
    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::error(Blame::Usage, code, message)
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(Blame::Input, code, message) }
    }

    /// With one more fact.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    /// With one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What loosening one constraint alone led to: the hint where that was a plan, so that the
    /// constraint joins the fact `resolved_by`; else, where the search was not cut short, it joins
    /// `not_resolved_by`. What is in `resolved_by` is part of every set of constraints that conflict.
    pub fn loosened(&mut self, constraint: &str, way: Option<String>, is_searched: bool) {
        let name = match way {
            Some(_) => "resolved_by",
            None if is_searched => "not_resolved_by",
            None => return,
        };
        self.hints.extend(way);
        match self.facts.iter_mut().find(|(key, _)| *key == name) {
            Some((_, Value::List(all))) => all.push(constraint.to_owned()),
            _ => self.facts.push((name, Value::List(vec![constraint.to_owned()]))),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Diagnostic {}
