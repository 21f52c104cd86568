//! What a row sees of the run on an instance that it is part of.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cost_model::given::{Goal, Judge, row};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use ir::units::Nanos;

use super::{Answer, Attempt, Bound, Event, Method, Request, Solution, Standing};
use crate::algorithm::Options;
use crate::given::max_load::certificate::Certificate;
use crate::run::{DEFAULT_NODES, StopReason, TracePoint};

/// What a row may ask of, and tell to, the run that it is part of.
pub struct Run<'a> {
    instance: &'a Instance,
    goal: Goal,
    request: &'a Request,
    started: Instant,
    deadline: Option<Instant>,
    nodes: Option<u64>,
    spent: Cell<u64>,
    /// The row that runs.
    algorithm: Cell<&'static str>,
    observe: RefCell<&'a mut dyn FnMut(&Event)>,
    best: RefCell<Option<(Nanos, Solution)>>,
    /// The row that found the best.
    found_by: Cell<&'static str>,
    bound: Cell<Bound>,
    certificate: RefCell<Option<Certificate>>,
    /// Whether nothing is left to find, a solution or not.
    is_closed: Cell<bool>,
    stopped: Cell<Option<StopReason>>,
    attempts: RefCell<Vec<Attempt>>,
    trace: RefCell<Vec<TracePoint>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        instance: &'a Instance,
        goal: Goal,
        request: &'a Request,
        algorithm: &'static str,
        observe: &'a mut dyn FnMut(&Event),
    ) -> Self {
        let started = Instant::now();
        let run = Self {
            instance,
            goal,
            request,
            started,
            deadline: request.time.and_then(|time| started.checked_add(time)),
            nodes: request.nodes.or(request.deterministic.then_some(DEFAULT_NODES)),
            spent: Cell::new(0),
            algorithm: Cell::new(algorithm),
            observe: RefCell::new(observe),
            best: RefCell::new(None),
            found_by: Cell::new(algorithm),
            bound: Cell::new(simple_bound(instance, goal, request.n_devices)),
            certificate: RefCell::new(None),
            is_closed: Cell::new(false),
            stopped: Cell::new(None),
            attempts: RefCell::new(Vec::new()),
            trace: RefCell::new(Vec::new()),
        };
        run.mark(started);
        run
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

    /// Seed of lots.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.request.seed
    }

    /// The gap (value / bound - 1) at which the run may stop.
    #[must_use]
    pub fn gap(&self) -> f64 {
        self.request.gap
    }

    /// Threads that the row may use, at least 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        crate::run::threads(self.request.threads)
    }

    /// Devices of a straight pipeline.
    #[must_use]
    pub fn n_devices(&self) -> usize {
        self.request.n_devices
    }

    /// Raised when the run must stop.
    #[must_use]
    pub fn cancel(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.request.cancel)
    }

    /// When the run must end; `usual` from now where neither time nor nodes are limited.
    #[must_use]
    pub fn deadline_or(&self, usual: Duration) -> Option<Instant> {
        match (self.deadline, self.nodes) {
            (None, None) => Instant::now().checked_add(usual),
            (deadline, _) => deadline,
        }
    }

    /// Whether choices must not depend on the clock.
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        self.request.deterministic
    }

    /// Nodes left; `None` without a budget.
    #[must_use]
    pub fn nodes_left(&self) -> Option<u64> {
        self.nodes.map(|nodes| nodes.saturating_sub(self.spent.get()))
    }

    /// Books nodes; true if the row must stop now.
    pub fn spend(&self, nodes: u64) -> bool {
        self.spent.set(self.spent.get().saturating_add(nodes));
        self.is_over()
    }

    /// Whether the row must stop now.
    pub fn is_over(&self) -> bool {
        let reason = if self.request.cancel.load(Ordering::Relaxed) {
            StopReason::Cancelled
        } else if self.nodes_left() == Some(0) {
            StopReason::NodeBudget
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            StopReason::Deadline
        } else if self.request.gap > 0.0 && self.is_within_gap() {
            StopReason::GapReached
        } else {
            return self.is_proved();
        };
        self.stopped.set(self.stopped.get().or(Some(reason)));
        true
    }

    fn is_within_gap(&self) -> bool {
        let most = self.bound.get().value.get() as f64 * (1.0 + self.request.gap);
        self.best.borrow().as_ref().is_some_and(|(value, _)| value.get() as f64 <= most)
    }

    /// Whether nothing is left to find.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        let bound = self.bound.get().value;
        self.is_closed.get()
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
        let value = judge(self.instance, self.goal, self.request.n_devices, &solution)?;
        if self.best.borrow().as_ref().is_some_and(|(best, _)| *best <= value) {
            return Ok(value);
        }
        let algorithm = self.algorithm.get();
        self.found_by.set(algorithm);
        (self.observe.borrow_mut())(&Event::Incumbent {
            algorithm,
            solution: &solution,
            value,
            bound: self.bound.get(),
            elapsed: self.started.elapsed(),
        });
        *self.best.borrow_mut() = Some((value, solution));
        self.mark(Instant::now());
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
        *self.certificate.borrow_mut() = certificate;
        (self.observe.borrow_mut())(&Event::Bound(bound));
        self.mark(Instant::now());
    }

    /// Whether the clock or the user ends the run, whatever else is left of its budget.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.request.cancel.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Tells that no solution is better than the best so far, or that there is none at all.
    pub fn close(&self, method: &'static str) {
        self.is_closed.set(true);
        let best = self.best.borrow().as_ref().map(|(value, _)| *value);
        if let Some(value) = best {
            self.prove(value, method);
        }
    }

    /// A bound that was proved at a moment that is past.
    pub(crate) fn prove_at(&self, bound: Nanos, seconds_ago: f64) {
        let ago = Duration::try_from_secs_f64(seconds_ago).unwrap_or_default();
        let elapsed = self.started.elapsed().saturating_sub(ago);
        let mut trace = self.trace.borrow_mut();
        let at = trace.partition_point(|point| point.elapsed <= elapsed);
        let before = at.checked_sub(1).map(|before| trace[before]);
        if before.is_some_and(|before| before.bound >= Some(bound)) {
            return;
        }
        let value = before.and_then(|before| before.value);
        trace.insert(at, TracePoint { elapsed, value, bound: Some(bound) });
        for point in &mut trace[at..] {
            point.bound = point.bound.max(Some(bound));
        }
    }

    fn mark(&self, now: Instant) {
        self.trace.borrow_mut().push(TracePoint {
            elapsed: now.saturating_duration_since(self.started),
            value: self.best.borrow().as_ref().map(|(value, _)| *value),
            bound: Some(self.bound.get().value),
        });
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
        let started = Instant::now();
        let n_before = self.attempts.borrow().len();
        let outer = self.algorithm.replace(name);
        (self.observe.borrow_mut())(&Event::Started { algorithm: name });
        let result = (method.solve)(self, options);
        self.algorithm.set(outer);
        let mut attempts = self.attempts.borrow_mut();
        // A portfolio is recorded as what it ran.
        if attempts.len() == n_before {
            let value = (self.found_by.get() == name)
                .then(|| self.best.borrow().as_ref().map(|(value, _)| *value))
                .flatten();
            attempts.push(Attempt { algorithm: name, value, elapsed: started.elapsed() });
        }
        result
    }

    pub(super) fn answer(self) -> Answer {
        let is_proved = self.is_proved();
        self.mark(Instant::now());
        let best = self.best.into_inner();
        let bound = self.bound.get();
        Answer {
            stop: match self.stopped.get() {
                _ if is_proved && best.is_some() => StopReason::ProvedOptimal,
                Some(reason) => reason,
                None => StopReason::Finished,
            },
            best,
            bound,
            certificate: self.certificate.into_inner(),
            is_proved,
            algorithm: self.found_by.get(),
            attempts: self.attempts.into_inner(),
            trace: self.trace.into_inner(),
            elapsed: self.started.elapsed(),
        }
    }
}

/// The bound that follows from the instance alone; `n_devices` as for [`judge`].
#[must_use]
pub fn simple_bound(instance: &Instance, goal: Goal, n_devices: usize) -> Bound {
    let value = match (instance, row(goal).judge) {
        (Instance::Load(instance), Judge::Load { bound, .. }) => bound(instance),
        (Instance::Stages(instance), Judge::Stages { bound, .. }) => bound(instance),
        (Instance::Profile(profile), Judge::Straight { bound, .. }) => bound(profile, n_devices),
        _ => Nanos::ZERO,
    };
    let method = if goal == Goal::Latency { "critical path" } else { "work" };
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
        _ => {
            let message = "an objective, an instance and a solution of different forms";
            Err(Diagnostic::error(Blame::Internal, "internal", message))
        }
    }
}
