//! The search on a program: its objective first, then the ties, then what is proved.

use std::time::Instant;

use super::bound;
use super::form::{Aim, Form};
use super::ground::Ground;
use super::packing;
use super::question::{Objective, Role};
use super::units::enough;
use super::verify::{Flaw, Plan, served, verify};
use super::{Proof, Verdict};
use crate::given::milp::callback::Listener;
use crate::given::milp::solver::{self, Budget, Ending, Mode, Run};
use crate::run::{Control, StopReason};

/// What the solver may be off by, as a part of its objective.
const TOLERANCE: f64 = 1e-6;
/// By how much more a rate must be, so that it counts as more: 2^-20 of it. Workers that are whole but for the
/// solver's tolerance of 10^-7 serve less than that.
const MORE_DIGITS: u32 = 20;
/// By how much a demand is raised where the solver's tolerance let a plan pass: 2^-30 of it.
const CUT_DIGITS: u32 = 30;
/// How often a plan that the solver's tolerance let pass is cut off.
const MOST_CUTS: usize = 3;
/// Nodes for each of the ties.
const TIE_NODES: u64 = 2_000;
/// How ties are broken, in this order.
const TIES: [Aim; 3] = [Aim::Devices, Aim::Types, Aim::Workers];

/// What a search found; costs and rates in units.
#[derive(Clone, Debug)]
pub(super) struct Searched {
    pub(super) best: Option<Plan>,
    /// No fleet costs less, or serves more.
    pub(super) bound: Option<i128>,
    pub(super) counted: Option<i128>,
    pub(super) relaxed: Option<i128>,
    pub(super) proof: Option<Proof>,
    pub(super) verdict: Verdict,
    pub(super) ties_proved: bool,
    pub(super) stop: StopReason,
}

/// A value to be made small, then devices, types and workers.
type Key = (i128, u64, usize, u64);

struct Search<'a, 'q> {
    ground: &'a Ground<'q>,
    control: &'a Control,
    best: Option<(Key, Plan)>,
    /// Values of the columns of the best plan.
    values: Vec<f64>,
    /// Rates beyond this don't count, in units.
    enough: i128,
    counted: Option<i128>,
    relaxed: Option<i128>,
    /// What the solver says, in units: the least cost, or the greatest rate.
    solved: Option<i128>,
}

/// Searches; `ties`: also the least devices, types and workers among equals.
pub(super) fn search(ground: &Ground, control: &Control, ties: bool) -> Searched {
    let counted = counted(ground);
    let mut search = Search {
        ground,
        control,
        best: None,
        values: Vec::new(),
        enough: i128::MAX,
        counted,
        relaxed: None,
        solved: None,
    };
    let has = |role: Role| ground.kept.iter().any(|of| of.role == role);
    let is_split = has(Role::Prefill) && has(Role::Decode);
    let is_nothing = search.is_throughput() && counted == Some(0);
    if !(has(Role::Aggregated) || is_split) || is_nothing {
        return search.ended(None, Verdict::Infeasible, true);
    }
    let mut form = Form::new(ground);
    search.know(&mut form);
    let (proof, verdict) = search.value(&mut form);
    let mut ties_proved = false;
    if ties && verdict == Verdict::Optimal {
        ties_proved = search.ties(&mut form);
    }
    search.ended(proof, verdict, ties_proved)
}

/// The bound that counting gives, in units.
fn counted(ground: &Ground) -> Option<i128> {
    if ground.question.objective != Objective::Throughput {
        return bound::least_cost(ground).map(i128::from);
    }
    let pools =
        ground.question.pools.iter().map(|pool| {
            pool.hosts.map(|hosts| u64::from(hosts) * u64::from(pool.devices_per_host))
        });
    let limits = [pools.sum::<Option<u64>>(), ground.question.most_devices];
    let most = limits.into_iter().flatten().min()?;
    bound::greatest_rate(ground, most / ground.unit.max(1))
}

impl Search<'_, '_> {
    fn is_throughput(&self) -> bool {
        self.ground.question.objective == Objective::Throughput
    }

    /// Writes down what counting proved.
    fn know(&self, form: &mut Form) {
        match (self.counted, self.is_throughput()) {
            (Some(least), false) => {
                form.floor(self.ground, Aim::Cost, u64::try_from(least).unwrap_or(0));
            }
            (Some(most), true) => form.serve_at_most(most + (most >> MORE_DIGITS)),
            (None, _) => {}
        }
    }

    /// The value, and what is proved of it.
    fn value(&mut self, form: &mut Form) -> (Option<Proof>, Verdict) {
        form.aim(self.ground, if self.is_throughput() { Aim::Rate } else { Aim::Cost });
        let mut is_whole = true;
        let mut run = self.run(form, None);
        if run.ending == Ending::Infeasible && self.best.is_none() {
            let again = self.once(form, Mode::Confirming, None);
            let is_empty = again.ending == Ending::Infeasible && self.best.is_none();
            return (None, if is_empty { Verdict::Infeasible } else { Verdict::Open });
        }
        self.hear(form, run.dual_bound);
        for _ in 0..MOST_CUTS {
            if !self.cut_off(form, &run) {
                break;
            }
            is_whole = false;
            run = self.run(form, None);
        }
        let known = self.best.as_ref().map(|(key, _)| key.0);
        self.relaxed = bound::relaxed(self.ground, known);
        let Some(value) = known else { return (None, Verdict::Open) };
        for (bound, proof) in [(self.counted, Proof::Counted), (self.relaxed, Proof::Relaxed)] {
            if bound.is_some_and(|bound| self.is_as_good(value, bound)) {
                return (Some(proof), Verdict::Optimal);
            }
        }
        if run.ending != Ending::Optimal || !is_whole {
            return (None, Verdict::Open);
        }
        let mut better = form.clone();
        if self.is_throughput() {
            better.serve(-value + (-value >> MORE_DIGITS));
        } else if value == 0 {
            return (Some(Proof::Program), Verdict::Optimal);
        } else {
            let most = u64::try_from(value - 1).unwrap_or(0);
            better.cap(self.ground, Aim::Cost, most);
        }
        let again = self.once(&better, Mode::Confirming, None);
        let is_same = self.best.as_ref().is_some_and(|(key, _)| key.0 == value);
        match again.ending {
            Ending::Infeasible if is_same => (Some(Proof::Program), Verdict::Optimal),
            _ => (None, Verdict::Open),
        }
    }

    /// Whether a value is at a bound.
    fn is_as_good(&self, value: i128, bound: i128) -> bool {
        if self.is_throughput() { bound::meets(-value, bound) } else { value <= bound }
    }

    /// The least devices, types and workers of plans with the same value; whether that is proved.
    fn ties(&mut self, form: &mut Form) -> bool {
        let Some(value) = self.best.as_ref().map(|(key, _)| key.0) else { return false };
        if self.is_throughput() {
            self.enough = enough(-value);
            form.serve(self.enough);
        } else {
            form.cap(self.ground, Aim::Cost, u64::try_from(value).unwrap_or(u64::MAX));
        }
        if let Some((key, _)) = &mut self.best {
            key.0 = key.0.max(-self.enough);
        }
        let has_whole = self.ground.kept.iter().any(|of| of.role == Role::Aggregated);
        let is_devices = self.ground.question.objective == Objective::FewestDevices;
        for aim in TIES {
            let now = self.of_best(aim);
            let is_least = match aim {
                Aim::Devices => is_devices,
                Aim::Types => now == if has_whole { 1 } else { 2 },
                _ => false,
            };
            if !is_least {
                form.aim(self.ground, aim);
                let run = self.run(form, Some(TIE_NODES));
                if run.ending != Ending::Optimal {
                    return false;
                }
            } else if aim == Aim::Types {
                form.aim(self.ground, aim);
            }
            form.cap(self.ground, aim, self.of_best(aim));
        }
        true
    }

    fn of_best(&self, aim: Aim) -> u64 {
        self.best.as_ref().map_or(0, |(key, _)| match aim {
            Aim::Devices => key.1,
            Aim::Types => key.2 as u64,
            _ => key.3,
        })
    }

    /// A run of the solver, and another one without presolve where that left it at a loss.
    fn run(&mut self, form: &Form, nodes: Option<u64>) -> Run {
        let run = self.once(form, Mode::Usual, nodes);
        if run.ending != Ending::Open || self.control.stop().is_some() {
            return run;
        }
        let again = self.once(form, Mode::Confirming, nodes);
        Run { dual_bound: run.dual_bound.max(again.dual_bound), ..again }
    }

    /// One run of the solver; its plans are judged.
    fn once(&mut self, form: &Form, mode: Mode, nodes: Option<u64>) -> Run {
        let left = self.control.nodes_left();
        let budget = Budget {
            time: self.control.deadline().map(|end| end.saturating_duration_since(Instant::now())),
            nodes: nodes.into_iter().chain(left).min(),
        };
        let mut ear = Ear { control: self.control, bound: f64::NEG_INFINITY, met: Vec::new() };
        let is_start = self.values.len() >= form.x.len() && mode == Mode::Usual;
        let start = is_start.then(|| form.start(self.values.clone()));
        if let Some(stop) = self.control.stop() {
            self.control.note_stop(stop);
            return Run { ending: Ending::Open, dual_bound: f64::NEG_INFINITY, columns: None };
        }
        let mut run = solver::run(&form.program, start.as_deref(), mode, budget, &mut ear);
        run.dual_bound = run.dual_bound.max(ear.bound);
        for values in ear.met.iter().chain(&run.columns) {
            self.offer(form, values);
        }
        run
    }

    /// Judges a solution.
    fn offer(&mut self, form: &Form, values: &[f64]) {
        let Some(plan) = self.plan(form, values) else { return };
        if plan.counts.is_empty() || verify(self.ground.question, &plan).is_err() {
            return;
        }
        let key = self.key(&plan);
        if self.best.as_ref().is_none_or(|(best, _)| key < *best) {
            self.best = Some((key, plan));
            self.values = values.to_vec();
        }
    }

    fn plan(&self, form: &Form, values: &[f64]) -> Option<Plan> {
        packing::plan(self.ground, &form.counts(values)?, (&form.arcs, values))
    }

    fn key(&self, plan: &Plan) -> Key {
        let question = self.ground.question;
        let value = if self.is_throughput() {
            -served(question, self.ground.scale, &plan.counts).0.min(self.enough)
        } else {
            let of = |at: usize| self.ground.kept.iter().find(|of| of.at == at);
            let cost = |(at, count): &(usize, u32)| {
                of(*at).map_or(0, |of| i128::from(of.cost)) * i128::from(*count)
            };
            plan.counts.iter().map(cost).sum()
        };
        (value, plan.figures.n_devices, plan.counts.len(), plan.n_workers())
    }

    /// Asks for more where the last solution serves too little by less than the solver's tolerance; whether
    /// that was so.
    fn cut_off(&self, form: &mut Form, run: &Run) -> bool {
        let (Some(values), Some(demand)) = (&run.columns, self.ground.demand) else { return false };
        let Some(plan) = self.plan(form, values) else { return false };
        let is_short = matches!(verify(self.ground.question, &plan), Err(Flaw::Rate(_)));
        if is_short {
            form.serve(demand + (demand >> CUT_DIGITS));
        }
        is_short
    }

    /// Takes the solver's bound, less its tolerance.
    fn hear(&mut self, form: &Form, dual_bound: f64) {
        if !dual_bound.is_finite() {
            return;
        }
        self.solved = Some(if self.is_throughput() {
            form.units(-dual_bound * (1.0 + TOLERANCE))
        } else {
            let bound = dual_bound * form.cost_per;
            (bound - TOLERANCE * bound.abs().max(1.0)).ceil().max(0.0) as i128
        });
    }

    fn ended(self, proof: Option<Proof>, verdict: Verdict, ties_proved: bool) -> Searched {
        let value = self.best.as_ref().map(|(key, _)| key.0.abs());
        // A bound of the solver that says as much as a proof is one only if a second run confirms it.
        let is_short = |bound: &i128| match self.is_throughput() {
            true => value.is_none_or(|value| *bound > value),
            false => value.is_none_or(|value| *bound < value),
        };
        let solved = self.solved.filter(is_short);
        let bounds = [self.counted, self.relaxed, solved].into_iter().flatten();
        let bound = match (verdict, self.is_throughput()) {
            (Verdict::Optimal, _) => value,
            // None serves less than what is known to be served.
            (_, true) => bounds.min().map(|bound| bound.max(value.unwrap_or(0))),
            (_, false) => bounds.max().map(|bound| bound.min(value.unwrap_or(i128::MAX))),
        };
        let stop = match verdict {
            Verdict::Optimal | Verdict::Infeasible => StopReason::ProvedOptimal,
            Verdict::Open => self.control.noted_stop().unwrap_or(StopReason::Finished),
        };
        let (best, counted, relaxed) =
            (self.best.map(|(_, plan)| plan), self.counted, self.relaxed);
        Searched { best, bound, counted, relaxed, proof, verdict, ties_proved, stop }
    }
}

/// Ends the solver with the run, and keeps what it met.
struct Ear<'c> {
    control: &'c Control,
    bound: f64,
    met: Vec<Vec<f64>>,
}

impl Listener for Ear<'_> {
    fn goes_on(&mut self, dual_bound: f64) -> bool {
        if dual_bound.is_finite() {
            self.bound = self.bound.max(dual_bound);
        }
        self.control.stop().is_none()
    }

    fn improved(&mut self, columns: &[f64]) {
        self.met.push(columns.to_vec());
    }
}
