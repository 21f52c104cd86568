//! Integer programs for splits of instances with given costs, solved by HiGHS.
//!
//! # Decides
//! The device of every node: for max-load of any split, for max-load of splits into pieces in an
//! order, and for latency with one block per accelerator. Models: [`models`].
//!
//! # Idea
//! Nodes that share a device are one class, and outputs with equal members one net, before anything
//! is written down. A class is on one place; a net costs an accelerator that holds some, but not
//! all of its members. Of equal devices, the one with the greatest class comes first, so that plans
//! that differ by names only are one; pieces have their order instead. The search of the row starts from the
//! plan of a heuristic, whose value is the unit of all times.
//!
//! # Paper
//! Tarnawski et al., NeurIPS 2020, sections 3, 4 and 5.2 (the programs); Huangfu and Hall,
//! Mathematical Programming Computation 10, 2018 (HiGHS). Representatives of equal devices: Campêlo
//! et al., Discrete Applied Mathematics 156, 2008.
//!
//! # Guarantee
//! Every plan is judged in whole nanoseconds by the objective itself. "Optimal" needs three things:
//! such a plan, the solver's bound less its tolerance at that value, and a second run without
//! presolve and with another seed that finds nothing below. "Infeasible" needs two such runs, or a
//! count of bytes and devices. Anything else is open. The bound of an open search is the solver's
//! word, less its tolerance of 10^-6. The solver runs on a thread of its own, which is left behind
//! where it does not answer a stop at once.
//!
//! # Complexity
//! Exponential in classes x devices at worst.
//!
//! # Limits
//! Programs of more than 2 million entries are left to others. Pieces without a common order, each
//! of them convex, are not looked for.
//!
//! # Example
//! Two nodes of 3 ns on one accelerator, 30 ns on a core, 5 ns between them, two accelerators:
//! together, 6 ns; the program has 6 columns for the classes, 2 nets and the value.

pub(crate) mod callback;
mod forms;
mod latencies;
mod loads;
pub mod models;
mod pieces;
pub(crate) mod program;
pub(crate) mod row;
mod search;
pub(crate) mod solver;
mod start;
mod watch;

use std::time::{Duration, Instant};

use cost_model::given::{Goal, Judge, row};
use ir::instance::LoadInstance;
use ir::units::Nanos;

use forms::{Form, Ground};
use search::{Search, Task};
use watch::Watch;

/// What the solver may be off by, as a part of its unit.
const TOLERANCE: f64 = 1e-6;
/// Programs with more entries are not tried.
const MOST_ENTRIES: usize = 2_000_000;

/// How to search.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Wall-clock time; `None` = as long as it takes.
    pub time: Option<Duration>,
    /// Nodes of the search tree; with them and without time, an answer depends on nothing else.
    pub nodes: Option<u64>,
    /// Device of each node of a plan to begin with.
    pub start: Option<Vec<u32>>,
}

/// What is known for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The plan is optimal.
    Optimal,
    /// There is no plan.
    Infeasible,
    /// Neither is certain.
    Open,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Judged value and device of each node of the best plan.
    pub best: Option<(Nanos, Vec<u32>)>,
    /// No plan is below, as far as the solver's tolerance goes; equal to the value only if proved.
    pub bound: Nanos,
    /// What is certain.
    pub verdict: Verdict,
}

/// A better plan, or a better bound.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// Judged value, and device of each node.
    pub plan: Option<(Nanos, &'a [u32])>,
    /// The bound so far.
    pub bound: Nanos,
}

/// Looks for the best plan of an instance for a goal of [`ir::instance::Instance::Load`].
///
/// `stop` is asked now and then whether to give up; `on_news` hears of every better plan and of
/// every better bound.
#[must_use]
pub fn solve(
    instance: &LoadInstance,
    goal: Goal,
    options: &Options,
    stop: &dyn Fn() -> bool,
    on_news: &mut dyn FnMut(News),
) -> Found {
    let Judge::Load { evaluate, bound } = row(goal).judge else {
        return Found { best: None, bound: Nanos::ZERO, verdict: Verdict::Open };
    };
    let mut ground = Ground::new(instance, goal);
    let least = bound(instance);
    ground.lower_ns = least.as_f64();
    let judge = |devices: &[u32]| evaluate(instance, devices).ok();
    let mut watch = Watch::new(&ground.graph.class_of, &judge, stop, on_news, least);
    if ground.n_classes() == 0 {
        watch.offer(&[]);
        return watch.found(Verdict::Optimal);
    }
    if ground.is_hopeless() {
        return watch.found(Verdict::Infeasible);
    }
    let is_small = n_entries(&ground) <= MOST_ENTRIES;
    if let Some(nodes) = &options.start {
        watch.offer_nodes(nodes);
    }
    if let Some((value, _)) = &watch.best {
        ground.upper_ns = value.as_f64();
    }
    if !is_small {
        return watch.found(Verdict::Open);
    }
    let deadline = options.time.and_then(|time| Instant::now().checked_add(time));
    let splits = Splits { ground: &ground, goal };
    let verdict = Search { task: &splits, deadline, nodes: options.nodes }.run(&mut watch);
    watch.found(verdict)
}

/// About how many entries the program has.
fn n_entries(ground: &Ground) -> usize {
    let devices = ground.n_accelerators() + ground.n_cpus();
    let members: usize = ground.graph.nets.iter().map(|net| 4 * net.members.len() + 2).sum();
    let order = ground.n_classes().saturating_mul(ground.n_classes());
    let edges = 4 * ground.instance.edges.len() + ground.instance.nodes.len();
    devices.saturating_mul(members.saturating_add(order).saturating_add(edges))
}

/// Splits of an instance.
struct Splits<'a> {
    ground: &'a Ground<'a>,
    goal: Goal,
}

impl Task for Splits<'_> {
    fn form(&self) -> Form {
        self.ground.form(self.goal)
    }

    fn places(&self, plan: &[u32]) -> Option<Vec<usize>> {
        match self.goal {
            Goal::ContiguousMaxLoad => pieces::places(self.ground, plan),
            Goal::Latency => {
                let last = self.ground.n_accelerators();
                let places = loads::places(self.ground, plan);
                Some(places.into_iter().map(|place| place.min(last)).collect())
            }
            _ => Some(loads::places(self.ground, plan)),
        }
    }

    fn too_much(&self, form: &Form, plan: &[u32]) -> Vec<(Vec<usize>, Vec<usize>)> {
        let memory = u128::from(self.ground.instance.accelerator_memory.get());
        let n_places = form.column.first().map_or(0, Vec::len);
        let places: Vec<usize> = (0..n_places).filter(|at| form.is_accelerator(*at)).collect();
        let by_device = (0..self.ground.instance.n_accelerators as u32)
            .map(|device| (0..plan.len()).filter(|c| plan[*c] == device).collect());
        by_device
            .filter(|classes: &Vec<usize>| {
                classes.iter().map(|c| u128::from(self.ground.graph.bytes[*c])).sum::<u128>()
                    > memory
            })
            .map(|classes| (classes, places.clone()))
            .collect()
    }
}
