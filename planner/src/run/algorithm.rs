//! What a row of the registry is: its kind, its options, its promise, and the three traits.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::diagnostic::{Diagnostic, Value};
use ir::plan::Plan;

use super::context::Run;
use super::no_plan::NoPlan;
use crate::draft::Draft;

/// What a row does. A recipe is `Transform* Decide+ Improve*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Problem to an easier problem, with a way back.
    Transform,
    /// Decides fields of the plan.
    Decide,
    /// Makes a whole plan better.
    Improve,
}

impl Kind {
    /// Name in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Decide => "decide",
            Self::Improve => "improve",
        }
    }
}

/// A field of the plan, in decision order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Degrees and batch sizes.
    Parallelism,
    /// Stages.
    Partition,
    /// Where each op runs.
    Placement,
    /// Expert placement.
    Experts,
    /// Gradient exchange.
    Communication,
    /// Orders and waits.
    Schedule,
}

impl Field {
    /// Name in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parallelism => "parallelism",
            Self::Partition => "partition",
            Self::Placement => "placement",
            Self::Experts => "experts",
            Self::Communication => "communication",
            Self::Schedule => "schedule",
        }
    }
}

/// What a row promises of the value that it finds, where it takes the problem and runs to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// No legal solution has a lower value.
    Optimal,
    /// No solution of this kind, in the field's words, has a lower value.
    OptimalAmong(&'static str),
    /// A lower bound comes with the value; it is optimal where they meet.
    Bound,
    /// Nothing.
    Heuristic,
}

impl Guarantee {
    /// Whether nothing of what it searches is better than what it finds.
    #[must_use]
    pub fn is_optimal(self) -> bool {
        matches!(self, Self::Optimal | Self::OptimalAmong(_))
    }

    /// Name in listings.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Optimal => "optimal".to_owned(),
            Self::OptimalAmong(which) => format!("optimal among {which}"),
            Self::Bound => "lower bound".to_owned(),
            Self::Heuristic => "heuristic".to_owned(),
        }
    }
}

/// An option of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionRow {
    /// Name in a recipe: `m-sct(theta=0.2)`.
    pub name: &'static str,
    /// Unit, or the accepted words separated by `|`.
    pub unit: &'static str,
    /// Default, as it would be written.
    pub default: &'static str,
    /// What it changes.
    pub summary: &'static str,
}

/// Options of one use of a row, as they were written; names are checked against the row's schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    given: BTreeMap<String, String>,
}

impl Options {
    /// Takes options whose names were checked.
    #[must_use]
    pub fn new(given: BTreeMap<String, String>) -> Self {
        Self { given }
    }

    /// Names and values as written, by name.
    #[must_use]
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// The text of an option, or the row's default.
    #[must_use]
    pub fn text<'a>(&'a self, row: &'a OptionRow) -> &'a str {
        self.given.get(row.name).map_or(row.default, String::as_str)
    }

    /// A finite number.
    ///
    /// # Errors
    /// `bad-option` if it is none.
    pub fn real(&self, row: &OptionRow) -> Result<f64, Diagnostic> {
        let text = self.text(row);
        text.parse().ok().filter(|x: &f64| x.is_finite()).ok_or_else(|| bad_option(row, text))
    }

    /// A count.
    ///
    /// # Errors
    /// `bad-option` if it is none.
    pub fn count(&self, row: &OptionRow) -> Result<u64, Diagnostic> {
        let text = self.text(row);
        text.parse().map_err(|_| bad_option(row, text))
    }

    /// One of the words of the row's unit.
    ///
    /// # Errors
    /// `bad-option` if it is none of them.
    pub fn word<'a>(&'a self, row: &'a OptionRow) -> Result<&'a str, Diagnostic> {
        let text = self.text(row);
        if row.unit.split('|').any(|word| word == text) {
            Ok(text)
        } else {
            Err(bad_option(row, text))
        }
    }
}

/// The error for a value that does not suit an option.
#[must_use]
pub fn bad_option(row: &OptionRow, text: &str) -> Diagnostic {
    Diagnostic::usage(
        "bad-option",
        format!("option `{}` can't be `{text}` (expected: {})", row.name, row.unit),
    )
    .fact("option", row.name)
    .fact("value", text)
    .hint(format!("leave it out for its default, `{}={}`", row.name, row.default))
}

/// What a transform makes of a problem.
pub struct Transformed {
    /// The problem that the rows after it plan.
    pub problem: Arc<Problem>,
    /// The way back.
    pub lift: Box<dyn Lift>,
    /// What it did, for explanations, such as `("ops", 120)`.
    pub facts: Vec<(&'static str, Value)>,
}

/// Takes a draft of the transformed problem to one of the problem before it.
pub trait Lift: Send + Sync {
    /// The draft in the ids of the problem before the transform. Fields that have no counterpart
    /// (such as transfer orders) are left undecided: [`Draft::finish`] fills them.
    fn lift(&self, draft: Draft) -> Draft;
}

/// A row of kind [`Kind::Transform`].
pub trait Transform {
    /// Makes the new problem.
    ///
    /// # Errors
    /// If the problem can't be transformed; never because nothing was found to change.
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan>;
}

/// A row of kind [`Kind::Decide`].
pub trait Decide {
    /// Fills the fields that its row names, for [`Run::problem`].
    ///
    /// # Errors
    /// If it found no plan.
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan>;
}

/// A row of kind [`Kind::Improve`].
pub trait Improve {
    /// A plan that is not worse, for [`Run::problem`].
    ///
    /// # Errors
    /// If it can't work on such a plan; the runner then keeps the old one.
    fn improve(&self, run: &Run, plan: Plan) -> Result<Plan, NoPlan>;
}

/// A row with its options, ready to run.
pub enum Row {
    /// See [`Transform`].
    Transform(Box<dyn Transform>),
    /// See [`Decide`].
    Decide(Box<dyn Decide>),
    /// See [`Improve`].
    Improve(Box<dyn Improve>),
}
