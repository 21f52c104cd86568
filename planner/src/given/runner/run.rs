//! What a row sees of the run on an instance that it is part of.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cost_model::given::{Goal, Judge, row};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use ir::units::Nanos;

use super::{Method, Request, Solution};
use crate::given::max_load::certificate::Certificate;
use crate::run::algorithm::Options;
use crate::run::entry::Rows;
use crate::run::no_plan::{NoPlan, Reason};
use crate::run::recipe::Ingredient;
use crate::run::{Attempt, Bound, Line, Standing};

/// What a row may ask of, and tell to, the run that it is part of.
pub struct Run<'a> {
    instance: &'a Instance,
    goal: Goal,
    rows: Rows,
    n_devices: usize,
    line: Line<Instance>,
    /// The row that runs.
    algorithm: Cell<&'static str>,
    best: RefCell<Option<(Nanos, Solution)>>,
    /// The row that found the best.
    found_by: Cell<&'static str>,
    bound: Cell<Bound>,
    n_attempts: Cell<usize>,
    closed: RefCell<Closed>,
}

/// What a run knows beside its best solution.
#[derive(Default)]
pub(super) struct Closed {
    /// Whether nothing is left to find, a solution or not.
    pub(super) is_closed: bool,
    /// What proves the bound.
    pub(super) certificate: Option<Certificate>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        instance: &'a Instance,
        goal: Goal,
        &Request { rows, n_devices, .. }: &Request,
        line: Line<Instance>,
    ) -> Self {
        let bound = simple_bound(instance, goal, n_devices);
        line.bound(bound);
        Self {
            instance,
            goal,
            rows,
            n_devices,
            line,
            algorithm: Cell::new(""),
            best: RefCell::new(None),
            found_by: Cell::new(""),
            bound: Cell::new(bound),
            n_attempts: Cell::new(0),
            closed: RefCell::default(),
        }
    }

    /// Runs the row that was asked for.
    ///
    /// # Errors
    /// What the row says.
    pub(super) fn solve(self, used: &Ingredient) -> Result<Closed, Diagnostic> {
        if let Some(method) = used.entry.door() {
            self.execute(used.entry.name, method, &used.options)?;
        }
        Ok(self.closed.into_inner())
    }

    /// What is solved.
    #[must_use]
    pub fn instance(&self) -> &'a Instance {
        self.instance
    }

    /// What it is solved for.
    #[must_use]
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// The rows that it may run.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.rows
    }

    /// Seed of lots.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.line.control.limits().seed
    }

    /// The gap (value / bound - 1) at which the run may stop.
    #[must_use]
    pub fn gap(&self) -> f64 {
        self.line.control.limits().gap
    }

    /// Threads that the row may use, at least 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.line.control.threads()
    }

    /// Devices of a straight pipeline.
    #[must_use]
    pub fn n_devices(&self) -> usize {
        self.n_devices
    }

    /// Raised when the run must stop.
    #[must_use]
    pub fn cancel(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.line.control.limits().cancel)
    }

    /// When the run must end; `usual` from now where neither time nor nodes are limited.
    #[must_use]
    pub fn deadline_or(&self, usual: Duration) -> Option<Instant> {
        let control = &self.line.control;
        match (control.deadline(), control.limits().nodes) {
            (None, None) => Instant::now().checked_add(usual),
            (deadline, _) => deadline,
        }
    }

    /// Whether choices must not depend on the clock.
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        self.line.control.limits().deterministic
    }

    /// Nodes left; `None` without a budget.
    #[must_use]
    pub fn nodes_left(&self) -> Option<u64> {
        self.line.control.nodes_left()
    }

    /// Books nodes; true if the row must stop now.
    pub fn spend(&self, nodes: u64) -> bool {
        self.line.control.spend(nodes);
        self.is_over()
    }

    /// Whether the row must stop now.
    pub fn is_over(&self) -> bool {
        self.line.control.stop().is_some() || self.is_proved()
    }

    /// Whether nothing is left to find.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        let bound = self.bound.get().value;
        self.closed.borrow().is_closed
            || self.best.borrow().as_ref().is_some_and(|(value, _)| *value <= bound)
    }

    /// The best solution so far.
    #[must_use]
    pub fn best(&self) -> Option<Solution> {
        self.best.borrow().as_ref().map(|(_, solution)| solution.clone())
    }

    /// Judges a solution and publishes it if it is better than all before it. The only way out for
    /// an incumbent; its value comes from the judge, never from the row.
    ///
    /// # Errors
    /// The judge's fault, where it is illegal.
    pub fn offer(&self, solution: Solution) -> Result<Nanos, Diagnostic> {
        let value = judge(self.instance, self.goal, self.n_devices, &solution)?;
        if self.best.borrow().as_ref().is_some_and(|(best, _)| *best <= value) {
            return Ok(value);
        }
        let algorithm = self.algorithm.get();
        self.found_by.set(algorithm);
        self.line.incumbent(algorithm, value, solution.clone());
        *self.best.borrow_mut() = Some((value, solution));
        Ok(value)
    }

    /// Tells a proved bound.
    pub fn prove(&self, value: Nanos, method: &'static str) {
        if value > self.bound.get().value {
            self.stand(Bound { value, method, standing: Standing::Derived }, None);
        }
    }

    /// The best bound so far.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.bound.get()
    }

    /// Replaces the bound and what proves it.
    pub(crate) fn stand(&self, bound: Bound, certificate: Option<Certificate>) {
        self.bound.set(bound);
        self.closed.borrow_mut().certificate = certificate;
        self.line.bound(bound);
    }

    /// Whether the clock or the user ends the run, whatever else is left of its budget.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        let control = &self.line.control;
        control.is_cancelled() || control.deadline().is_some_and(|end| Instant::now() >= end)
    }

    /// Tells that no solution is better than the best so far, or that there is none at all.
    pub fn close(&self, method: &'static str) {
        self.closed.borrow_mut().is_closed = true;
        let best = self.best.borrow().as_ref().map(|(value, _)| *value);
        if let Some(value) = best {
            self.prove(value, method);
        }
    }

    /// A bound that was proved at a moment that is past.
    pub(crate) fn prove_at(&self, bound: Nanos, seconds_ago: f64) {
        let ago = Duration::try_from_secs_f64(seconds_ago).unwrap_or_default();
        self.line.bound_ago(bound, ago);
    }

    /// Runs a row and records it as an attempt.
    ///
    /// # Errors
    /// What the row says.
    pub(super) fn execute(
        &self,
        name: &'static str,
        method: &Method,
        options: &Options,
    ) -> Result<(), Diagnostic> {
        let (started, n_before) = (Instant::now(), self.n_attempts.get());
        let outer = self.algorithm.replace(name);
        self.line.started(name);
        let result = (method.solve)(self, options);
        self.algorithm.set(outer);
        // A portfolio is recorded as what it ran.
        if self.n_attempts.get() == n_before {
            self.n_attempts.set(n_before + 1);
            let best = self.best.borrow();
            let found = best.as_ref().filter(|_| self.found_by.get() == name);
            let none = || NoPlan::not_found(Reason::Budget, "no-plan", "nothing better was found");
            self.line.attempted(Attempt {
                algorithm: name.to_owned(),
                result: found.map(|(value, _)| *value).ok_or_else(none),
                elapsed: started.elapsed(),
                steps: Vec::new(),
            });
        }
        result
    }
}

/// The bound that follows from the instance alone; `n_devices` as for [`judge`].
#[must_use]
pub fn simple_bound(instance: &Instance, goal: Goal, n_devices: usize) -> Bound {
    let value = match (instance, row(goal).judge) {
        (Instance::Load(instance), Judge::Load { bound, .. }) => bound(instance),
        (Instance::Stages(instance), Judge::Stages { bound, .. }) => bound(instance),
        (Instance::Profile(profile), Judge::Straight { bound, .. }) => bound(profile, n_devices),
        (Instance::Gradients(instance), Judge::Buckets { bound, .. }) => bound(instance),
        (Instance::Tasks(instance), Judge::Tasks { bound, .. }) => bound(instance),
        (
            Instance::Averaging(instance),
            Judge::Rounds { bound, .. }
            | Judge::Uploads { bound, .. }
            | Judge::Synchronisation { bound, .. },
        ) => bound(instance),
        _ => Nanos::ZERO,
    };
    let method = match goal {
        Goal::Latency => "critical path",
        Goal::SlowestRound => "fastest tree of links",
        Goal::UploadTime => "slowest client",
        Goal::AveragedStep => "every choice",
        _ => "work",
    };
    Bound { value, method, standing: Standing::Derived }
}

/// The value of a solution, `n_devices` of them where the instance does not say how many there are.
///
/// # Errors
/// The judge's fault, where it is illegal.
pub fn judge(
    instance: &Instance,
    goal: Goal,
    n_devices: usize,
    solution: &Solution,
) -> Result<Nanos, Diagnostic> {
    match (instance, row(goal).judge, solution) {
        (Instance::Load(instance), Judge::Load { evaluate, .. }, Solution::Devices(found)) => {
            evaluate(instance, found)
        }
        (Instance::Stages(instance), Judge::Stages { evaluate, .. }, Solution::Stages(found)) => {
            evaluate(instance, found)
        }
        (
            Instance::Profile(profile),
            Judge::Straight { evaluate, .. },
            Solution::Devices(found),
        ) => evaluate(profile, found, n_devices),
        (
            Instance::Gradients(instance),
            Judge::Buckets { evaluate, .. },
            Solution::Buckets(found),
        ) => evaluate(instance, found),
        (Instance::Tasks(instance), Judge::Tasks { evaluate, .. }, Solution::Devices(found)) => {
            evaluate(instance, found)
        }
        (
            Instance::Averaging(instance),
            Judge::Rounds { evaluate, .. },
            Solution::Rounds(found),
        ) => evaluate(instance, found),
        (
            Instance::Averaging(instance),
            Judge::Uploads { evaluate, .. },
            Solution::Uploads(found),
        ) => evaluate(instance, found),
        (
            Instance::Averaging(instance),
            Judge::Synchronisation { evaluate, .. },
            Solution::Synchronisation(found),
        ) => evaluate(instance, found),
        _ => {
            let message = "an objective, an instance and a solution of different forms";
            Err(Diagnostic::error(Blame::Internal, "internal", message))
        }
    }
}
