//! Instances with given costs: how a row of the registry solves them, and one way to run it.
//! What a row claims is judged again before it is believed.

mod first;
mod portfolio;
mod run;

use std::sync::Arc;
use std::time::Duration;

use cost_model::given::averaging::Matching;
use cost_model::given::gradients::Buckets;
use cost_model::given::synchronisation::Synchronisation;
use cost_model::given::time_per_sample::Stage;
use cost_model::given::{Goal, row};
use ir::diagnostic::Diagnostic;
use ir::instance::{AveragingInstance, Instance, Peers};
use ir::units::Nanos;

use crate::given::max_load::certificate::Certificate;
use crate::run::algorithm::{Guarantee, Options};
use crate::run::entry::{Door, Entry, Problems, Rows};
use crate::run::recipe::Ingredient;
use crate::run::watch::Watch;
use crate::run::{Attempt, Bound, Case, Event, Heard, Limits, StopReason, TracePoint, gap};

use run::Closed;

pub(crate) use portfolio::METHOD as PORTFOLIO;
pub use run::{Run, judge, simple_bound};

/// What a run on an instance may run, and keeps to.
#[derive(Clone)]
pub struct Request {
    /// The rows that it may run.
    pub rows: Rows,
    /// Limits.
    pub limits: Limits,
    /// Devices of a straight pipeline, which its file does not state.
    pub n_devices: usize,
}

impl Request {
    /// A request without limits.
    #[must_use]
    pub fn new(rows: Rows) -> Self {
        Self { rows, limits: Limits::default(), n_devices: 0 }
    }
}

/// A solution, in the form of its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Solution {
    /// Device (or stage) of each node, by position.
    Devices(Vec<u32>),
    /// Stages with degrees.
    Stages(Vec<Stage>),
    /// What is exchanged together.
    Buckets(Buckets),
    /// Pairs of nodes by round.
    Rounds(Vec<Matching>),
    /// Bytes of each client.
    Uploads(Vec<u64>),
    /// How often replicas average.
    Synchronisation(Synchronisation),
}

impl Case for Instance {
    type Solution = Solution;
    type Figures = Nanos;
}

/// Names of the bounds that searches prove.
pub mod method {
    /// By prices of device subsets, with a certificate.
    pub const COLUMNS: &str = "columns";
    /// All ideals were searched.
    pub const IDEALS: &str = "all ideals";
    /// By an integer program.
    pub const PROGRAM: &str = "integer program (HiGHS)";
    /// All groups of neighbours were searched.
    pub const GROUPS: &str = "all groups";
    /// All splits that may end earlier were tried.
    pub const SPLITS: &str = "all splits";
    /// Faster links hold no matching of links that join all nodes.
    pub const MATCHINGS: &str = "matchings of faster links";
    /// All rounds of faster links were tried.
    pub const ROUNDS: &str = "all rounds";
    /// All of them.
    pub const ALL: [&str; 7] = [COLUMNS, IDEALS, PROGRAM, GROUPS, SPLITS, MATCHINGS, ROUNDS];
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
    pub algorithm: String,
    /// Rows that were tried, in order.
    pub attempts: Vec<Attempt<Nanos>>,
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
        Some(gap(*value, self.bound.value))
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

/// Instances with given costs.
const INSTANCES: Problems =
    Problems { name: "instances", planned: "solves instances with given costs" };

impl Door for Method {
    fn takes(&self) -> Problems {
        INSTANCES
    }

    fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    fn objectives(&self) -> Vec<&'static str> {
        self.goals.iter().map(|goal| row(*goal).name).collect()
    }
}

/// Goals of an instance; the first one is the usual one.
#[must_use]
pub fn goals(instance: &Instance) -> &'static [Goal] {
    match instance {
        Instance::Load(_) => &[Goal::MaxLoad, Goal::ContiguousMaxLoad, Goal::Latency],
        Instance::Stages(_) => &[Goal::TimePerSample],
        Instance::Profile(_) => &[Goal::SlowestStage],
        Instance::Gradients(_) => &[Goal::StepTime],
        Instance::Tasks(_) => &[Goal::Makespan],
        Instance::Averaging(AveragingInstance { peers: Peers::Pairs { .. }, .. }) => {
            &[Goal::SlowestRound]
        }
        Instance::Averaging(AveragingInstance { peers: Peers::Server { .. }, .. }) => {
            &[Goal::UploadTime]
        }
        Instance::Averaging(AveragingInstance { peers: Peers::All(_), .. }) => {
            &[Goal::AveragedStep]
        }
    }
}

/// Those of the rows that solve for a goal, in their order, with how they do it.
pub fn rows_for(rows: Rows, goal: Goal) -> impl Iterator<Item = (&'static Entry, &'static Method)> {
    let fitting = move |entry: &'static Entry| {
        let method = entry.door::<Method>()?;
        method.goals.contains(&goal).then_some((entry, method))
    };
    rows.iter().filter_map(fitting)
}

/// Runs a row with its options, such as `columns` (`None`: `auto`), on the caller's own thread.
///
/// # Errors
/// `unknown-algorithm`, `unknown-option`, `no-objective` where goal, instance and row don't fit
/// each other, and the judge's fault if a row's solution is illegal.
pub fn solve(
    instance: &Instance,
    goal: Goal,
    algorithm: Option<&str>,
    request: &Request,
) -> Result<Answer, Diagnostic> {
    let used = used(instance, goal, (algorithm.unwrap_or("auto"), request.rows))?;
    let (heard, done) =
        Heard::here(&request.limits, |line| Run::new(instance, goal, request, line).solve(&used));
    Ok(answer(heard, Some(done?), used.entry.name))
}

/// Runs a row with its options and tells what happens; every solution was judged. Answers in time,
/// whatever the row does: by the end of what `watch` allows, with what is known by then.
///
/// # Errors
/// Those of [`solve`].
pub fn solve_observed(
    (instance, goal): (Arc<Instance>, Goal),
    algorithm: &str,
    (request, watch): (&Request, &Watch),
    observe: &mut dyn FnMut(&Event<Instance>),
) -> Result<Answer, Diagnostic> {
    let used = used(&instance, goal, (algorithm, request.rows))?;
    let (name, copy) = (used.entry.name, request.clone());
    let work = move |line| Run::new(&instance, goal, &copy, line).solve(&used);
    let (heard, ended) = Heard::from(watch, &request.limits, work, observe);
    Ok(answer(heard, ended.done().transpose()?, name))
}

/// The row that is to solve an instance for a goal.
fn used(
    instance: &Instance,
    goal: Goal,
    (algorithm, rows): (&str, Rows),
) -> Result<Ingredient, Diagnostic> {
    if !goals(instance).contains(&goal) {
        let message = format!("`{}` is no objective of this instance", row(goal).name);
        let names: Vec<&str> = goals(instance).iter().map(|goal| row(*goal).name).collect();
        return Err(Diagnostic::usage("no-objective", message)
            .hint(format!("use one of {}", names.join(", "))));
    }
    let used = Ingredient::parse(algorithm, rows)?;
    if used.entry.door::<Method>().is_some_and(|method| method.goals.contains(&goal)) {
        return Ok(used);
    }
    let names: Vec<&str> = rows_for(rows, goal).map(|(entry, _)| entry.name).collect();
    let message = format!("`{}` does not solve for `{}`", used.entry.name, row(goal).name);
    Err(Diagnostic::usage("wrong-algorithm", message)
        .hint(format!("use one of {}", names.join(", "))))
}

/// What was found, with what the row ended with; `None` where it was left alone.
fn answer(heard: Heard<Instance>, closed: Option<Closed>, requested: &str) -> Answer {
    let closed = closed.unwrap_or_default();
    let is_proved = closed.is_closed || heard.is_optimal();
    let stop = match heard.stop {
        _ if is_proved && heard.best.is_some() => StopReason::ProvedOptimal,
        stop => stop.unwrap_or(StopReason::Finished),
    };
    let algorithm = heard.best.as_ref().map_or(requested, |best| &best.algorithm).to_owned();
    Answer {
        best: heard.best.map(|best| (best.value, Arc::unwrap_or_clone(best.solution))),
        bound: heard.bound,
        certificate: closed.certificate,
        is_proved,
        stop,
        algorithm,
        attempts: heard.attempts,
        trace: heard.trace,
        elapsed: heard.elapsed,
    }
}
