//! What a search tells, and what is known from it, whether it came to its end or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;

use super::bound::Bound;
use super::case::{Case, Event, TracePoint};
use super::control::Control;
use super::limits::{Limits, StopReason};
use super::no_plan::{Attempt, NoPlan};
use super::watch::{Ended, Tell, Watch};

/// A judged solution on its way to the watcher.
pub struct Incumbent<C: Case> {
    /// What found it.
    pub algorithm: String,
    /// Its value under the objective.
    pub value: Nanos,
    /// The solution.
    pub solution: Arc<C::Solution>,
    elapsed: Duration,
    /// How many there were up to this one.
    number: u64,
}

/// What the worker tells the watcher.
enum Message<C: Case> {
    Started(String),
    Incumbent(Box<Incumbent<C>>),
    /// The solution that is returned in place of the best one.
    Settled(Box<Incumbent<C>>),
    Bound(Bound, Duration),
    /// A bound that was proved at a moment that is past.
    Past(Nanos, Duration),
    Attempt(Box<Attempt<C::Figures>>),
    Warning(Diagnostic),
    /// Why there is no solution, while ways out are looked for.
    Failure(Box<NoPlan>),
}

/// The line from a search to whoever waits for it, with the limits that it keeps to.
pub struct Line<C: Case> {
    /// Limits.
    pub control: Arc<Control>,
    tell: Tell<Message<C>>,
    /// Solutions on their way, and those that have arrived.
    n_incumbents: Arc<AtomicU64>,
}

impl<C: Case> Line<C> {
    /// An algorithm has started.
    pub fn started(&self, algorithm: &str) {
        (self.tell)(Message::Started(algorithm.to_owned()));
    }

    /// A judged solution that is better than all before it.
    pub fn incumbent(&self, algorithm: &str, value: Nanos, solution: C::Solution) {
        self.control.lower_value(value);
        (self.tell)(Message::Incumbent(self.found(algorithm, value, solution)));
    }

    /// A solution to answer with in place of a better one.
    pub(super) fn settle(&self, algorithm: &str, value: Nanos, solution: C::Solution) {
        (self.tell)(Message::Settled(self.found(algorithm, value, solution)));
    }

    fn found(&self, algorithm: &str, value: Nanos, solution: C::Solution) -> Box<Incumbent<C>> {
        Box::new(Incumbent {
            algorithm: algorithm.to_owned(),
            value,
            solution: Arc::new(solution),
            elapsed: self.control.elapsed(),
            number: self.n_incumbents.fetch_add(1, Ordering::Relaxed) + 1,
        })
    }

    /// The bound from now on.
    pub fn bound(&self, bound: Bound) {
        self.control.set_bound(bound.value);
        (self.tell)(Message::Bound(bound, self.control.elapsed()));
    }

    /// A proved bound, if it is better than the one that is known.
    pub fn raise(&self, bound: Bound) {
        if bound.value > self.control.bound() {
            self.bound(bound);
        }
    }

    /// A bound that was proved some time ago.
    pub fn bound_ago(&self, bound: Nanos, ago: Duration) {
        (self.tell)(Message::Past(bound, self.control.elapsed().saturating_sub(ago)));
    }

    /// An algorithm has ended.
    pub fn attempted(&self, attempt: Attempt<C::Figures>) {
        (self.tell)(Message::Attempt(Box::new(attempt)));
    }

    /// What is worth knowing.
    pub fn warn(&self, warning: Diagnostic) {
        (self.tell)(Message::Warning(warning));
    }

    /// Why there is no solution.
    pub fn failed(&self, why: &NoPlan) {
        (self.tell)(Message::Failure(Box::new(why.clone())));
    }

    /// To nobody: only what the search returns counts.
    #[must_use]
    pub fn silent(limits: &Limits) -> Self {
        Self {
            control: Arc::new(Control::new(limits)),
            tell: Arc::new(|_| {}),
            n_incumbents: Arc::default(),
        }
    }
}

/// What a run has told.
pub struct Heard<C: Case> {
    /// The best solution.
    pub best: Option<Box<Incumbent<C>>>,
    /// What the best one was worth before a simpler one was taken.
    pub fastest: Option<Nanos>,
    /// Why there is none, before ways out were looked for.
    pub failure: Option<NoPlan>,
    /// The best bound.
    pub bound: Bound,
    /// Algorithms that were tried, in order.
    pub attempts: Vec<Attempt<C::Figures>>,
    /// How value and bound moved.
    pub trace: Vec<TracePoint>,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
    /// Why it was stopped, if it was.
    pub stop: Option<StopReason>,
    /// How long it took.
    pub elapsed: Duration,
}

impl<C: Case> Heard<C> {
    /// Runs a search that must end in time, whatever it does, on a thread of its own; with it comes
    /// what the search returned, if it did.
    pub fn from<T: Send + 'static>(
        watch: &Watch,
        limits: &Limits,
        search: impl FnOnce(Line<C>) -> T + Send + 'static,
        observe: &mut dyn FnMut(&Event<C>),
    ) -> (Self, Ended<T>) {
        let (control, n_incumbents) = (Arc::new(Control::new(limits)), Arc::default());
        let mut heard = Self::nothing();
        let (shared, numbers) = (Arc::clone(&control), Arc::clone(&n_incumbents));
        let work = move |tell| search(Line { control: shared, tell, n_incumbents: numbers });
        let ended = watch.run(work, &mut |message| heard.take(message, &n_incumbents, observe));
        control.abandon();
        heard.stop = match ended {
            Ended::Left(reason) => Some(reason),
            Ended::Done(_) | Ended::Died(_) => control.noted_stop(),
        };
        heard.ended(&control);
        (heard, ended)
    }

    /// Runs a search on the caller's own thread, which waits for its end.
    pub fn here<T>(limits: &Limits, search: impl FnOnce(Line<C>) -> T) -> (Self, T) {
        let (control, n_incumbents) = (Arc::new(Control::new(limits)), Arc::default());
        let (sender, receiver) = channel();
        let tell: Tell<Message<C>> = Arc::new(move |message| drop(sender.send(message)));
        let (shared, numbers) = (Arc::clone(&control), Arc::clone(&n_incumbents));
        let done = search(Line { control: shared, tell, n_incumbents: numbers });
        let mut heard = Self::nothing();
        for message in receiver.try_iter() {
            heard.take(message, &n_incumbents, &mut |_| {});
        }
        heard.stop = control.noted_stop();
        heard.ended(&control);
        (heard, done)
    }

    fn nothing() -> Self {
        Self {
            best: None,
            fastest: None,
            failure: None,
            bound: Bound::NONE,
            attempts: Vec::new(),
            trace: Vec::new(),
            warnings: Vec::new(),
            stop: None,
            elapsed: Duration::ZERO,
        }
    }

    /// The trace goes on to the end of the run.
    fn ended(&mut self, control: &Control) {
        self.elapsed = control.elapsed();
        self.mark(self.elapsed);
    }

    fn take(
        &mut self,
        message: Message<C>,
        n_incumbents: &AtomicU64,
        observe: &mut dyn FnMut(&Event<C>),
    ) {
        match message {
            Message::Started(algorithm) => observe(&Event::Started { algorithm }),
            Message::Attempt(attempt) => self.attempts.push(*attempt),
            Message::Warning(warning) => self.warnings.push(warning),
            Message::Failure(no_plan) => self.failure = Some(*no_plan),
            Message::Bound(bound, elapsed) => {
                self.bound = bound;
                observe(&Event::Bound { bound, elapsed });
                self.mark(elapsed);
            }
            Message::Past(bound, elapsed) => self.mark_past(bound, elapsed),
            Message::Settled(incumbent) => {
                self.fastest = self.best.as_ref().map(|best| best.value);
                self.best = Some(incumbent);
            }
            Message::Incumbent(found) => {
                let elapsed = found.elapsed;
                // Whoever writes plans to files must not fall behind: only the newest is told.
                if n_incumbents.load(Ordering::Relaxed) == found.number {
                    observe(&Event::Incumbent {
                        algorithm: found.algorithm.clone(),
                        value: found.value,
                        bound: self.bound,
                        solution: Arc::clone(&found.solution),
                        elapsed,
                    });
                }
                self.best = Some(found);
                self.mark(elapsed);
            }
        }
    }

    fn mark(&mut self, elapsed: Duration) {
        let value = self.best.as_ref().map(|best| best.value);
        self.trace.push(TracePoint { elapsed, value, bound: Some(self.bound.value) });
    }

    fn mark_past(&mut self, bound: Nanos, elapsed: Duration) {
        let at = self.trace.partition_point(|point| point.elapsed <= elapsed);
        let before = at.checked_sub(1).map(|before| self.trace[before]);
        if before.is_some_and(|before| before.bound >= Some(bound)) {
            return;
        }
        let value = before.and_then(|before| before.value);
        self.trace.insert(at, TracePoint { elapsed, value, bound: Some(bound) });
        for point in &mut self.trace[at..] {
            point.bound = point.bound.max(Some(bound));
        }
    }

    /// Whether the best solution meets the bound.
    #[must_use]
    pub fn is_optimal(&self) -> bool {
        self.best.as_ref().is_some_and(|best| best.value <= self.bound.value)
    }

    /// Why it ended.
    #[must_use]
    pub fn stop_reason(&self) -> StopReason {
        match self.stop {
            _ if self.is_optimal() => StopReason::ProvedOptimal,
            stop => stop.unwrap_or(StopReason::Finished),
        }
    }
}
