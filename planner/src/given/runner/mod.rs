//! Instances with given costs: how a row of the registry solves them, and one way to run it.
//! What a row claims is judged again before it is believed.

mod first;
mod portfolio;
mod run;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cost_model::given::time_per_sample::Stage;
use cost_model::given::{Goal, row};
use ir::diagnostic::Diagnostic;
use ir::instance::Instance;
use ir::units::Nanos;

use crate::algorithm::{Guarantee, Options};
use crate::given::max_load::certificate::Certificate;
use crate::recipe::Ingredient;
use crate::registry::{Entry, entries};
use crate::run::{StopReason, TracePoint};

pub(crate) use portfolio::METHOD as PORTFOLIO;
pub use run::{Run, judge, simple_bound};

/// How much a run may spend.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Wall-clock time; `None` = as long as it takes.
    pub time: Option<Duration>,
    /// Labels, states, pairs and moves to look at; `None` = no limit, or
    /// [`crate::run::DEFAULT_NODES`] where `deterministic`.
    pub nodes: Option<u64>,
    /// Stops at this gap (value / bound - 1); 0 = goes on to a proof.
    pub gap: f64,
    /// Seed of methods that draw lots.
    pub seed: u64,
    /// Threads that rows may use; 0 = one per core.
    pub threads: usize,
    /// Whether choices may depend on node counts only, never on the clock: same input, same bytes.
    /// The time limit then only cuts the run off.
    pub deterministic: bool,
    /// Devices of a straight pipeline, which its file does not state.
    pub n_devices: usize,
    /// Set to stop; the best so far is kept.
    pub cancel: Arc<AtomicBool>,
}

/// A solution, in the form of its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Solution {
    /// Device (or stage) of each node, by position.
    Devices(Vec<u32>),
    /// Stages with degrees.
    Stages(Vec<Stage>),
}

/// A value that no legal solution is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The value.
    pub value: Nanos,
    /// How it was found.
    pub method: &'static str,
    /// What stands behind it.
    pub standing: Standing,
}

/// Names of the bounds that searches prove.
pub mod method {
    /// By prices of device subsets, with a certificate.
    pub const COLUMNS: &str = "columns";
    /// All ideals were searched.
    pub const IDEALS: &str = "all ideals";
    /// By an integer program.
    pub const PROGRAM: &str = "integer program (HiGHS)";
    /// All of them.
    pub const ALL: [&str; 3] = [COLUMNS, IDEALS, PROGRAM];
}

/// What stands behind a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It follows from the instance, or from a search of all that there is.
    Derived,
    /// A second program has checked the search's certificate.
    Checked,
    /// The search proved it; its certificate is too large to check again.
    TooLarge,
    /// The search proved it; there was no time to check its certificate.
    NoTime,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Derived, Self::Checked, Self::TooLarge, Self::NoTime];

    /// Its name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Derived => "derived",
            Self::Checked => "certificate-checked",
            Self::TooLarge => "certificate-too-large-to-check",
            Self::NoTime => "certificate-not-checked-in-time",
        }
    }

    /// What people have to know of it.
    #[must_use]
    pub fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Derived | Self::Checked => None,
            Self::TooLarge => Some("certificate too large to check again"),
            Self::NoTime => Some("no time to check the certificate again"),
        }
    }
}

/// What happens while a run goes on.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A row has started.
    Started {
        /// Its name.
        algorithm: &'static str,
    },
    /// A judged solution that is better than all before it.
    Incumbent {
        /// The row that found it.
        algorithm: &'static str,
        /// The solution.
        solution: &'a Solution,
        /// Its value.
        value: Nanos,
        /// The best bound so far.
        bound: Bound,
        /// Since the start of the run.
        elapsed: Duration,
    },
    /// A better bound, or one that stands on firmer ground.
    Bound(Bound),
}

/// What one row achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its name.
    pub algorithm: &'static str,
    /// Value of its best solution.
    pub value: Option<Nanos>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The best solution and its value, judged.
    pub best: Option<(Nanos, Solution)>,
    /// No legal solution is below this.
    pub bound: Bound,
    /// Why not, where a search for the greatest load says so.
    pub certificate: Option<Certificate>,
    /// Whether the solution is optimal, or there is none at all.
    pub is_proved: bool,
    /// Why the run ended.
    pub stop: StopReason,
    /// The row that found the solution; the one that was asked for where there is none.
    pub algorithm: &'static str,
    /// Rows that were tried, in order.
    pub attempts: Vec<Attempt>,
    /// How value and bound moved.
    pub trace: Vec<TracePoint>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Answer {
    /// Value over bound, less 1; infinite where only the bound is 0.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        let (value, _) = self.best.as_ref()?;
        Some(match (value.get(), self.bound.value.get()) {
            (0, _) => 0.0,
            (_, 0) => f64::INFINITY,
            (value, bound) => value as f64 / bound as f64 - 1.0,
        })
    }
}

/// When a row has its turn in the portfolio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Ends by itself, soon.
    Quick,
    /// Goes on to a proof where it can.
    Thorough,
    /// Runs the others.
    Portfolio,
}

/// How a row solves instances. It tells what it finds through [`Run::offer`] and [`Run::prove`].
#[derive(Clone, Copy)]
pub struct Method {
    /// What it solves for.
    pub goals: &'static [Goal],
    /// When it has its turn.
    pub effort: Effort,
    /// What it promises of its value.
    pub guarantee: Guarantee,
    /// Solves [`Run::instance`] for [`Run::goal`].
    pub solve: fn(&Run, &Options) -> Result<(), Diagnostic>,
}

/// Goals of an instance; the first one is the usual one.
#[must_use]
pub fn goals(instance: &Instance) -> &'static [Goal] {
    match instance {
        Instance::Load(_) => &[Goal::MaxLoad, Goal::ContiguousMaxLoad, Goal::Latency],
        Instance::Stages(_) => &[Goal::TimePerSample],
        Instance::Profile(_) => &[Goal::SlowestStage],
    }
}

/// Rows that solve for a goal, in the order of the registry, with how they do it.
pub fn rows_for(goal: Goal) -> impl Iterator<Item = (&'static Entry, &'static Method)> {
    let fitting = move |entry: &'static Entry| {
        let method = entry.method()?;
        method.goals.contains(&goal).then_some((entry, method))
    };
    entries().iter().filter_map(fitting)
}

/// Runs a row with its options, such as `columns` (`None`: `auto`).
///
/// # Errors
/// As [`solve_observed`].
pub fn solve(
    instance: &Instance,
    goal: Goal,
    algorithm: Option<&str>,
    request: &Request,
) -> Result<Answer, Diagnostic> {
    solve_observed(instance, goal, algorithm.unwrap_or("auto"), request, &mut |_| {})
}

/// Runs a row with its options and tells what happens; every solution was judged.
///
/// # Errors
/// `unknown-algorithm`, `unknown-option`, `no-objective` where goal, instance and row don't fit
/// each other, and the judge's fault if a row's solution is illegal.
pub fn solve_observed(
    instance: &Instance,
    goal: Goal,
    algorithm: &str,
    request: &Request,
    observe: &mut dyn FnMut(&Event),
) -> Result<Answer, Diagnostic> {
    if !goals(instance).contains(&goal) {
        let message = format!("`{}` is no objective of this instance", row(goal).name);
        let names: Vec<&str> = goals(instance).iter().map(|goal| row(*goal).name).collect();
        return Err(Diagnostic::usage("no-objective", message)
            .hint(format!("use one of {}", names.join(", "))));
    }
    let used = Ingredient::parse(algorithm)?;
    let method = used.entry.method().filter(|method| method.goals.contains(&goal));
    let method = method.ok_or_else(|| {
        let names: Vec<&str> = rows_for(goal).map(|(entry, _)| entry.name).collect();
        let message = format!("`{}` does not solve for `{}`", used.entry.name, row(goal).name);
        Diagnostic::usage("wrong-algorithm", message)
            .hint(format!("use one of {}", names.join(", ")))
    })?;
    let run = Run::new(instance, goal, request, used.entry.name, observe);
    run.execute(used.entry.name, method, &used.options)?;
    Ok(run.answer())
}
