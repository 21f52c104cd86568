//! Instances with given costs: one table of the methods that solve them, and one way to run them.
//! What a method claims is judged again before it is believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cost_model::instance::time_per_sample::Stage;
use cost_model::instance::{Goal, Judge, row};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::{Instance, LayerProfile, LoadInstance, StageInstance};
use ir::units::Nanos;

use crate::partition::{ideals, latency, straight, time_per_sample};
use crate::placement::max_load::check::check;
use crate::placement::max_load::control::Control;
use crate::placement::max_load::search;
use crate::placement::milp;

/// How much a run may spend.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Wall-clock time; `None` = as long as it takes.
    pub time: Option<Duration>,
    /// Seed of methods that draw lots.
    pub seed: u64,
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

/// What a method found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The best solution and its value, judged.
    pub best: Option<(Nanos, Solution)>,
    /// No legal solution is below this.
    pub bound: Nanos,
    /// Name of the bound.
    pub bound_method: &'static str,
    /// Whether the solution is optimal, or there is none at all.
    pub is_proved: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Answer {
    /// Value over bound, less 1; infinite where only the bound is 0.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        let (value, _) = self.best.as_ref()?;
        Some(match (value.get(), self.bound.get()) {
            (0, _) => 0.0,
            (_, 0) => f64::INFINITY,
            (value, bound) => value as f64 / bound as f64 - 1.0,
        })
    }
}

/// What a method claims.
struct Claim {
    solution: Option<Solution>,
    scope: Scope,
    /// Nothing is below this, and how that is known.
    bound: Option<(Nanos, &'static str)>,
    is_proved: bool,
}

/// Which solutions a claim speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All that the objective allows.
    All,
    /// Contiguous splits alone.
    Contiguous,
}

/// What a method works on.
enum Input<'a> {
    Load(&'a LoadInstance),
    Stages(&'a StageInstance),
    Profile(&'a LayerProfile),
}

type Solve = fn(&Input, Goal, &Request, &dyn Fn() -> bool) -> Claim;

/// A method: everything that the command line and the documentation say about it.
pub struct Method {
    /// Name on the command line.
    pub name: &'static str,
    /// What it solves for.
    pub goals: &'static [Goal],
    /// Source of the method.
    pub paper: &'static str,
    /// One sentence.
    pub summary: &'static str,
    solve: Solve,
}

static METHODS: &[Method] = &[
    Method {
        name: "columns",
        goals: &[Goal::MaxLoad],
        paper: "Gilmore and Gomory, Operations Research 9(6), 1961; Barnhart et al., 1998",
        summary: "any split, by device subsets that are priced as they are needed, with a proof",
        solve: by_columns,
    },
    Method {
        name: "ideals",
        goals: &[Goal::ContiguousMaxLoad, Goal::MaxLoad],
        paper: "Tarnawski et al., NeurIPS 2020, section 5.1",
        summary: "the best contiguous split, by a program over ideals",
        solve: by_ideals,
    },
    Method {
        name: "orders",
        goals: &[Goal::ContiguousMaxLoad, Goal::MaxLoad],
        paper: "Tarnawski et al., NeurIPS 2020, section 5.1, linearisation",
        summary: "the best contiguous split of a few topological orders",
        solve: by_orders,
    },
    Method {
        name: "blocks-anneal",
        goals: &[Goal::Latency],
        paper: "Tarnawski et al., NeurIPS 2020, section 4; Kirkpatrick et al., Science 220, 1983",
        summary: "shortest chains of blocks, then moves of nodes between devices",
        solve: by_blocks,
    },
    Method {
        name: "labels",
        goals: &[Goal::TimePerSample],
        paper: "Tarnawski et al., Piper, NeurIPS 2021",
        summary: "the best pipeline, by devices and copies over ideals for bisected targets",
        solve: by_labels,
    },
    Method {
        name: "milp",
        goals: &[Goal::Latency, Goal::ContiguousMaxLoad, Goal::MaxLoad],
        paper: "Tarnawski et al., NeurIPS 2020, sections 3 to 5; Huangfu and Hall, HiGHS, 2018",
        summary: "integer programs from the best heuristic's plan, with HiGHS's bound",
        solve: by_milp,
    },
    Method {
        name: "straight",
        goals: &[Goal::SlowestStage],
        paper: "Narayanan et al., PipeDream, SOSP 2019, section 3.1",
        summary: "the best straight pipeline, by a program over ideals",
        solve: by_straight,
    },
];

/// All methods; the first one for a goal is the usual one.
#[must_use]
pub fn methods() -> &'static [Method] {
    METHODS
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

/// Runs a method (`None`: the usual one) and judges what it found.
///
/// # Errors
/// `unknown-algorithm`, `no-objective` where goal, instance and method don't fit each other, and
/// the judge's fault if a method's solution is illegal.
pub fn solve(
    instance: &Instance,
    goal: Goal,
    name: Option<&str>,
    request: &Request,
) -> Result<Answer, Diagnostic> {
    let row = row(goal);
    if !goals(instance).contains(&goal) {
        let message = format!("`{}` is no objective of this instance", row.name);
        let names: Vec<&str> =
            goals(instance).iter().map(|goal| cost_model::instance::row(*goal).name).collect();
        return Err(Diagnostic::usage("no-objective", message)
            .hint(format!("use one of {}", names.join(", "))));
    }
    let fits = |method: &&Method| method.goals.contains(&goal);
    let method = methods().iter().filter(fits).find(|m| name.is_none_or(|name| name == m.name));
    let method = method.ok_or_else(|| {
        let names: Vec<&str> = methods().iter().filter(fits).map(|method| method.name).collect();
        let message = format!("no method `{}` solves for `{}`", name.unwrap_or("-"), row.name);
        Diagnostic::usage("unknown-algorithm", message)
            .hint(format!("use one of {}", names.join(", ")))
    })?;
    let input = match instance {
        Instance::Load(instance) => Input::Load(instance),
        Instance::Stages(instance) => Input::Stages(instance),
        Instance::Profile(profile) => Input::Profile(profile),
    };
    let started = Instant::now();
    let deadline = request.time.and_then(|time| started.checked_add(time));
    let stop = || {
        request.cancel.load(Ordering::Relaxed)
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
    };
    let claim = (method.solve)(&input, goal, request, &stop);
    let elapsed = started.elapsed();
    judged(&input, &row.judge, goal, request, claim, elapsed)
}

/// The value and the simple bound come from the judge, never from the method.
fn judged(
    input: &Input,
    judge: &Judge,
    goal: Goal,
    request: &Request,
    claim: Claim,
    elapsed: Duration,
) -> Result<Answer, Diagnostic> {
    let (value, simple) = match (input, judge, &claim.solution) {
        (Input::Load(instance), Judge::Load { evaluate, bound }, solution) => {
            let value = match solution {
                Some(Solution::Devices(devices)) => Some(evaluate(instance, devices)?),
                _ => None,
            };
            (value, bound(instance))
        }
        (Input::Stages(instance), Judge::Stages { evaluate, bound }, solution) => {
            let value = match solution {
                Some(Solution::Stages(stages)) => Some(evaluate(instance, stages)?),
                _ => None,
            };
            (value, bound(instance))
        }
        (Input::Profile(profile), Judge::Straight { evaluate, bound }, solution) => {
            let value = match solution {
                Some(Solution::Devices(stages)) => {
                    Some(evaluate(profile, stages, request.n_devices)?)
                }
                _ => None,
            };
            (value, bound(profile, request.n_devices))
        }
        _ => {
            let message = "an objective and an instance of different forms";
            return Err(Diagnostic::error(Blame::Internal, "internal", message));
        }
    };
    // What holds for contiguous splits says nothing about all of them.
    let is_meant = goal != Goal::MaxLoad || claim.scope == Scope::All;
    let claimed = claim.bound.filter(|_| is_meant);
    let is_proved = claim.is_proved && is_meant;
    let name = if goal == Goal::Latency { "critical path" } else { "work" };
    let (bound, bound_method) = match claimed {
        Some((bound, name)) if bound > simple => (bound, name),
        _ => (simple, name),
    };
    Ok(Answer {
        is_proved: is_proved || value == Some(bound),
        best: value.zip(claim.solution),
        bound,
        bound_method,
        elapsed,
    })
}

const NOTHING: Claim = Claim { solution: None, scope: Scope::All, bound: None, is_proved: false };
/// Time of a search that would go on until a proof, where none is set.
const USUAL_TIME: Duration = Duration::from_secs(30);

/// The bound counts only once its certificate was checked.
fn by_columns(input: &Input, _: Goal, request: &Request, _: &dyn Fn() -> bool) -> Claim {
    let Input::Load(instance) = input else { return NOTHING };
    let deadline = Instant::now().checked_add(request.time.unwrap_or(USUAL_TIME));
    let control = Control::new(deadline, None, Arc::clone(&request.cancel));
    let options = search::Options { seed: request.seed, ..search::Options::default() };
    let found = match search::solve(instance, &options, &control, &mut |_, _| {}) {
        Ok(found) => found,
        Err(error) => return Claim { is_proved: error.code == "infeasible", ..NOTHING },
    };
    let is_checked = found.certificate.as_ref().is_some_and(|certificate| {
        certificate.limit_ns.saturating_add(1) >= found.bound_ns
            && check(instance, certificate).is_ok()
    });
    Claim {
        bound: is_checked.then_some((Nanos(found.bound_ns), "columns")),
        is_proved: is_checked && found.bound_ns == found.value_ns,
        solution: Some(Solution::Devices(found.device_of)),
        scope: Scope::All,
    }
}

fn by_ideals(input: &Input, _: Goal, _: &Request, stop: &dyn Fn() -> bool) -> Claim {
    let Input::Load(instance) = input else { return NOTHING };
    of_ideals(ideals::solve(instance, &ideals::Limits::default(), stop))
}

fn of_ideals(found: ideals::Found) -> Claim {
    let proved = found.split.as_ref().filter(|_| found.is_proved);
    Claim {
        scope: Scope::Contiguous,
        bound: proved.map(|split| (split.value, "all ideals")),
        is_proved: found.is_proved,
        solution: found.split.map(|split| Solution::Devices(split.devices)),
    }
}

fn by_orders(input: &Input, _: Goal, _: &Request, stop: &dyn Fn() -> bool) -> Claim {
    let Input::Load(instance) = input else { return NOTHING };
    let split = ideals::on_orders(instance, &ideals::Limits::default(), stop);
    Claim { solution: split.map(|split| Solution::Devices(split.devices)), ..NOTHING }
}

fn by_blocks(input: &Input, _: Goal, request: &Request, stop: &dyn Fn() -> bool) -> Claim {
    let Input::Load(instance) = input else { return NOTHING };
    let effort = latency::Effort { seed: request.seed, ..latency::Effort::default() };
    let split = latency::solve(instance, &effort, stop);
    Claim { solution: split.map(|split| Solution::Devices(split.devices)), ..NOTHING }
}

fn by_labels(input: &Input, _: Goal, _: &Request, stop: &dyn Fn() -> bool) -> Claim {
    let Input::Stages(instance) = input else { return NOTHING };
    let found = time_per_sample::solve(instance, &time_per_sample::Limits::default(), stop);
    Claim {
        scope: Scope::All,
        bound: Some((found.bound, "all ideals")),
        is_proved: found.is_proved,
        solution: found.pipeline.map(|(_, stages)| Solution::Stages(stages)),
    }
}

fn by_milp(input: &Input, goal: Goal, request: &Request, stop: &dyn Fn() -> bool) -> Claim {
    let Input::Load(instance) = input else { return NOTHING };
    let options = milp::Options { time: request.time, ..milp::Options::default() };
    let found = milp::solve(instance, goal, &options, stop, &mut |_, _| {});
    let is_all = goal != Goal::ContiguousMaxLoad;
    Claim {
        solution: found.best.map(|(_, devices)| Solution::Devices(devices)),
        scope: if is_all { Scope::All } else { Scope::Contiguous },
        bound: Some((found.bound, "integer program (HiGHS)")),
        is_proved: found.verdict != milp::Verdict::Open,
    }
}

fn by_straight(input: &Input, _: Goal, request: &Request, stop: &dyn Fn() -> bool) -> Claim {
    let Input::Profile(profile) = input else { return NOTHING };
    of_ideals(straight::solve(profile, request.n_devices, &ideals::Limits::default(), stop))
}
