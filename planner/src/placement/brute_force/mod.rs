//! Brute force: the best plan there is, for tiny problems. The yardstick of every other row.
//!
//! # Decides
//! Placement, op orders, transfer orders and waits.
//!
//! # Idea
//! Every placement that respects what can run where, the groups and the parameters' memory, one
//! of each set of mirror images, the most promising first; for each of them a chronological
//! search that starts, at time 0 and at each end of an action, any subset of what could start.
//! Some optimal plan has this form: shift the actions of an optimal plan to the left one by one
//! as far as inputs, resources and memory allow, and each stops at 0 or at the end of another.
//! A placement on which everything fits at once is searched without memory. On others the
//! search without memory comes first: its result is a bound, and often already fits. No bound or
//! replay of the cost model is used, since this row is what they are tested against.
//!
//! # Paper
//! The chronological scheme is that of precedence-based branch and bound for scheduling with
//! limited resources, as surveyed in Brucker, Drexl, Möhring, Neumann and Pesch,
//! "Resource-constrained project scheduling", EJOR 112 (1999); the exchange rules are proved
//! where they are applied. The model is that of `docs/conventions.md`.
//!
//! # Guarantee
//! Optimal; or a proof by exhaustion that no plan exists.
//!
//! # Complexity
//! Exponential. At most 8 actions on 3 devices; larger problems are refused.
//!
//! # Limits
//! At most 64 actions and transfers in one placement.
//!
//! # Example
//! `meshwright place tiny.json --algorithm brute-force`

mod placements;
mod sequence;
mod tasks;

use std::collections::BTreeMap;

use cost_model::ops::bound::Bound;
use cost_model::ops::problem::{Objective, Problem};
use ir::diagnostic::Diagnostic;
use ir::id::{ChannelId, DeviceId, OpId};
use ir::plan::{Parallelism, Partition, Placement, Plan};
use ir::schedule::{Action, Schedule, Task, Transfer, Wait};
use ir::units::Nanos;

use self::sequence::Times;
use self::tasks::{MAX_DEVICES, MAX_TASKS, Tasks, bits};
use crate::draft::Draft;
use crate::run::Run;
use crate::run::algorithm::{Decide, OptionRow, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

/// Actions at most.
pub const MAX_ACTIONS: usize = 8;

/// Options of the row: none.
pub const OPTIONS: &[OptionRow] = &[];

/// Makes the row ready.
///
/// # Errors
/// None.
pub fn build(_options: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(BruteForce)))
}

struct BruteForce;

impl Decide for BruteForce {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        if run.problem().objective != Objective::STEP_TIME {
            return Err(other_objective());
        }
        let mut nodes_spent = 0u64;
        let verdict = solve(run.problem(), &mut |nodes| {
            nodes_spent = nodes_spent.saturating_add(nodes);
            run.spend(nodes).is_err()
        });
        run.note("nodes", nodes_spent);
        let plan = match verdict {
            Verdict::Optimal(plan, step_time) => {
                run.bound(Bound { value: Nanos(step_time), method: "exhaustive search" });
                plan
            }
            Verdict::Stopped(Some((plan, _))) => plan,
            Verdict::Stopped(None) => return Err(stopped()),
            Verdict::Infeasible(obstacle) => return Err(infeasible(obstacle)),
            Verdict::TooLarge => return Err(too_large(run.problem())),
        };
        let Draft { placement, schedule, .. } = Draft::from_plan(*plan);
        Ok(Draft { placement, schedule, ..draft })
    }
}

fn other_objective() -> NoPlan {
    let message = "`brute-force` knows the least step time only";
    NoPlan::not_found(Reason::Unsupported, "not-for-objective", message)
        .hint("use `orders,refine-load`, or --objective step-time")
}

fn stopped() -> NoPlan {
    let message = "the search was stopped before it found a plan";
    NoPlan::not_found(Reason::Budget, "budget-spent", message).hint("allow more time or nodes")
}

fn infeasible(obstacle: Obstacle) -> NoPlan {
    let (reason, code, message, hint) = match obstacle {
        Obstacle::Memory => (
            Reason::MemoryExceeded,
            "memory-exceeded",
            "no placement, order or wait keeps every device within its memory limit",
            "use devices with more memory, or more of them",
        ),
        Obstacle::NoWay => (
            Reason::Unreachable,
            "unreachable",
            "every placement separates some op from an input that has no way to it",
            "add links between the devices, or loosen pins and groups",
        ),
    };
    let diagnostic = Diagnostic::error(ir::diagnostic::Blame::Infeasible, code, message);
    NoPlan::proved(reason, diagnostic.hint(hint))
}

fn too_large(problem: &Problem) -> NoPlan {
    let message = format!(
        "`brute-force` plans at most {MAX_ACTIONS} ops on {MAX_DEVICES} devices with at most \
         {MAX_TASKS} ops and transfers"
    );
    NoPlan::not_found(Reason::Unsupported, "problem-too-large", message)
        .fact("ops", problem.actions.len())
        .fact("devices", problem.cluster.n_devices())
        .hint("use `auto`, or `m-sct`")
}

/// What the search found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This plan, with its step time in nanoseconds, and nothing is shorter.
    Optimal(Box<Plan>, u64),
    /// No plan exists, and this is what stands against each placement.
    Infeasible(Obstacle),
    /// Stopped early; the best plan so far, if any.
    Stopped(Option<(Box<Plan>, u64)>),
    /// Too large for an exhaustive search.
    TooLarge,
}

/// What stands against every placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Memory, on every placement that is connected.
    Memory,
    /// Every placement separates some op from an input that can't reach it.
    NoWay,
}

/// A schedule on a placement.
struct Found {
    device: Vec<DeviceId>,
    times: Times,
}

struct Solver<'a, 's> {
    problem: &'a Problem,
    order: Vec<OpId>,
    tasks: Tasks,
    best: Option<Found>,
    memory_met: bool,
    stopped: bool,
    stop: &'s mut dyn FnMut(u64) -> bool,
}

/// Whether the problem is small enough, and its step time is what counts.
#[must_use]
pub fn applies(problem: &Problem) -> bool {
    let n_devices = problem.cluster.n_devices();
    let n_outputs: usize = problem.actions.iter().map(|op| problem.outputs(*op).len()).sum();
    let n_channels = problem.cluster.links.channels.len();
    problem.objective == Objective::STEP_TIME
        && (1..=MAX_DEVICES).contains(&n_devices)
        && problem.actions.len() <= MAX_ACTIONS
        && n_outputs.saturating_mul(n_devices - 1) <= MAX_TASKS - MAX_ACTIONS
        && n_devices + n_channels <= 64
}

/// Searches all plans. `stop` is told the nodes spent since it was last asked; `true` ends the
/// search with the best plan so far.
pub fn solve(problem: &Problem, stop: &mut dyn FnMut(u64) -> bool) -> Verdict {
    if !applies(problem) {
        return Verdict::TooLarge;
    }
    let mut solver = Solver {
        problem,
        order: problem.topological_order(),
        tasks: Tasks::default(),
        best: None,
        memory_met: false,
        stopped: false,
        stop,
    };
    // One device after the other gives a first bound cheaply.
    for device in problem.cluster.device_ids() {
        if problem.actions.iter().all(|op| problem.can_place(*op, device)) {
            solver.try_placement(&vec![device; problem.n_ops()]);
        }
    }
    let (candidates, met) = placements::below(problem, &solver.order, solver.upper());
    for candidate in candidates {
        if candidate.bound >= solver.upper() || solver.stopped {
            break;
        }
        solver.try_placement(&candidate.device);
    }
    let found = solver.best.take().map(|found| solver.plan(&found));
    match found {
        best if solver.stopped => Verdict::Stopped(best),
        Some((plan, step_time)) => Verdict::Optimal(plan, step_time),
        None if solver.memory_met || met.full_device || !met.no_way => {
            Verdict::Infeasible(Obstacle::Memory)
        }
        None => Verdict::Infeasible(Obstacle::NoWay),
    }
}

impl Solver<'_, '_> {
    /// Only plans that are shorter than this are of interest.
    fn upper(&self) -> u64 {
        self.best.as_ref().map_or(u64::MAX, |found| found.times.makespan)
    }

    fn offer(&mut self, device: &[DeviceId], times: Option<Times>) {
        if let Some(times) = times
            && (times.makespan < self.upper() || self.best.is_none())
        {
            self.best = Some(Found { device: device.to_vec(), times });
        }
    }

    fn try_placement(&mut self, device: &[DeviceId]) {
        if self.tasks.rebuild(self.problem, &self.order, device).is_none() {
            return;
        }
        let tasks = &self.tasks;
        // What lies there when the step is over does not depend on the order.
        if !tasks::fits(&tasks.usage(tasks.all(), tasks.all()), &tasks.limits) {
            self.memory_met = true;
            return;
        }
        let floor = tasks.bound();
        if self.best.is_some() && floor >= self.upper() {
            return;
        }
        let free = tasks.never_binds();
        if self.best.is_none() && !self.try_serial(device) {
            return;
        }
        let unlimited = self.shortest([u64::MAX; MAX_DEVICES], floor);
        let Some(times) = unlimited else { return };
        if free || sequence::is_within(&self.tasks, &times) {
            self.offer(device, Some(times));
            return;
        }
        let limits = self.tasks.limits;
        if self.try_serial(device) {
            let times = self.shortest(limits, times.makespan);
            self.offer(device, times);
        }
    }

    fn shortest(&mut self, limits: tasks::PerDevice, floor: u64) -> Option<Times> {
        let (stop, stopped) = (&mut self.stop, &mut self.stopped);
        let upper = self.best.as_ref().map_or(u64::MAX, |found| found.times.makespan);
        sequence::shortest(&self.tasks, limits, upper, floor, &mut |nodes| {
            *stopped |= stop(nodes);
            *stopped
        })
    }

    /// Whether the placement fits in memory at all; one action at a time is then a plan.
    fn try_serial(&mut self, device: &[DeviceId]) -> bool {
        let (stop, stopped) = (&mut self.stop, &mut self.stopped);
        let order = sequence::one_at_a_time(&self.tasks, &mut |nodes| {
            *stopped |= stop(nodes);
            *stopped
        });
        let times = order.map(|order| sequence::serial(&self.tasks, &order));
        let fits = times.is_some();
        self.memory_met |= !fits;
        self.offer(device, times);
        fits
    }

    fn plan(&mut self, found: &Found) -> (Box<Plan>, u64) {
        // It was built before, so it builds again.
        let _ = self.tasks.rebuild(self.problem, &self.order, &found.device);
        let mut device = vec![None; self.problem.n_ops()];
        for op in &self.problem.actions {
            device[op.index()] = Some(found.device[op.index()]);
        }
        let plan = Plan {
            parallelism: Parallelism::default(),
            partition: Partition::whole(),
            placement: Placement { device },
            schedule: schedule(self.problem, &self.tasks, &found.times),
        };
        (Box::new(plan), found.times.makespan)
    }
}

/// Orders by start, and a wait for each piece that starts later than its inputs and its
/// resources would have it.
fn schedule(problem: &Problem, tasks: &Tasks, times: &Times) -> Schedule {
    let mut actions = vec![Vec::new(); problem.cluster.n_devices()];
    let mut channels: BTreeMap<ChannelId, Vec<Transfer>> = BTreeMap::new();
    let mut after = Vec::new();
    let end = |at: usize| times.starts[at].saturating_add(tasks.pieces[at].duration);
    let mut sequence: Vec<usize> = (0..tasks.pieces.len()).collect();
    // At one instant, what takes no time comes before what does, and producers (which stand at
    // lower positions) before consumers.
    sequence.sort_by_key(|at| (times.starts[*at], tasks.pieces[*at].duration > 0, *at));
    let mut free = vec![0u64; tasks.n_resources];
    for at in sequence {
        let piece = &tasks.pieces[at];
        let inputs = bits(piece.before).map(end).max().unwrap_or(0);
        let resources = bits(piece.resources).map(|r| free[r]).max().unwrap_or(0);
        if times.starts[at] > inputs.max(resources) {
            let task = piece.task;
            after.push(Wait { task, after: enders(tasks, times, at) });
        }
        bits(piece.resources).for_each(|r| free[r] = end(at));
        match piece.task {
            Task::Op(op) => actions[piece.device].push(Action::Op(op)),
            Task::Transfer(transfer) => {
                for channel in tasks.channels_of(at) {
                    channels.entry(channel).or_default().push(transfer);
                }
            }
        }
    }
    after.sort_unstable();
    Schedule { actions, channels, after, grid: None }
}

/// What a piece that waits waits for: actions that end when it starts and free bytes where it
/// allocates, or else any that end then. Those that take no time at that very instant are left
/// out: they may depend on the piece itself.
fn enders(tasks: &Tasks, times: &Times, waiter: usize) -> Vec<Task> {
    let now = times.starts[waiter];
    let end = |at: usize| times.starts[at].saturating_add(tasks.pieces[at].duration);
    let ended: Vec<usize> =
        (0..tasks.pieces.len()).filter(|at| end(*at) == now && times.starts[*at] < now).collect();
    let device = tasks.pieces[waiter].device;
    let frees: Vec<usize> =
        ended.iter().copied().filter(|at| tasks.frees_on(*at, device)).collect();
    let chosen = if frees.is_empty() { ended } else { frees };
    let mut after: Vec<Task> = chosen.into_iter().map(|at| tasks.pieces[at].task).collect();
    after.sort_unstable();
    after
}
