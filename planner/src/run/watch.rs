//! The watcher: listens to the worker thread, keeps the best plan, and answers in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cost_model::ops::bound::{Bound, memory_certificate, route_certificate};
use cost_model::ops::judge::report::report;
use cost_model::ops::objective;
use cost_model::ops::problem::Problem;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Nanos;

use super::control::{Control, Incumbent, Message};
use super::{Attempt, Event, Outcome, Request, Run, StopReason, TracePoint, remedy, thread};
use crate::no_plan::{NoPlan, Reason};
use crate::placement::list_schedule::size;

/// How long a row that was asked to stop may take to answer.
const GRACE: Duration = Duration::from_millis(100);
/// How often a flag without a wake-up call is looked at.
const POLL: Duration = Duration::from_millis(20);

pub(super) fn solve(
    problem: Arc<Problem>,
    request: &Request,
    observe: &mut dyn FnMut(&Event),
) -> Result<Outcome, NoPlan> {
    let (sender, receiver) = channel();
    let control = Arc::new(Control::new(request, sender));
    let mut watcher = Watcher {
        control: Arc::clone(&control),
        observe,
        best: None,
        fastest: None,
        failure: None,
        bound: Bound { value: Nanos::ZERO, method: "none" },
        attempts: Vec::new(),
        trace: Vec::new(),
        warnings: Vec::new(),
    };
    let worker = spawn(Arc::clone(&control), Arc::clone(&problem), request);
    let (result, stop) = watcher.listen(&receiver, worker.as_ref());
    control.abandoned.store(true, Ordering::Relaxed);
    watcher.answer(&problem, result, stop)
}

fn spawn(
    control: Arc<Control>,
    problem: Arc<Problem>,
    request: &Request,
) -> Option<JoinHandle<()>> {
    let request = request.clone();
    let builder = std::thread::Builder::new().name("planner".to_owned());
    thread::start(builder, move || {
        let result = work(&control, &problem, &request);
        control.send(Message::Done(result));
    })
}

/// All that takes time: proofs that there is no plan, the bound, the recipe, ways out. The watcher
/// answers without what is not there when the time is over.
fn work(control: &Arc<Control>, problem: &Arc<Problem>, request: &Request) -> Result<(), NoPlan> {
    let started = control.started;
    let failed = |no_plan: &NoPlan| control.send(Message::Failure(Box::new(no_plan.clone())));
    if let Some(diagnostic) = route_certificate(problem) {
        return Err(NoPlan::proved(Reason::Unreachable, diagnostic));
    }
    if let Some(certificate) = memory_certificate(problem) {
        let proof = certificate.diagnostic.clone();
        failed(&NoPlan::proved(Reason::MemoryExceeded, proof));
        return Err(remedy::of_certificate(problem, request, started, certificate));
    }
    size::check(problem)?;
    let bound = (objective::row(problem.objective).bound)(problem);
    control.raise_bound(bound.value);
    control.send(Message::Bound(bound, started.elapsed()));
    let run = Run::new(Arc::clone(control), Arc::clone(problem), request.recipe.to_string());
    run.execute(&request.recipe).map(|_| ()).map_err(|no_plan| {
        failed(&no_plan);
        remedy::of_failure(problem, request, started, no_plan)
    })
}

struct Watcher<'a> {
    control: Arc<Control>,
    observe: &'a mut dyn FnMut(&Event),
    best: Option<Box<Incumbent>>,
    /// What the best plan was worth before a simpler one was taken.
    fastest: Option<Nanos>,
    /// Why there is no plan, before ways out were looked for.
    failure: Option<NoPlan>,
    bound: Bound,
    attempts: Vec<Attempt>,
    trace: Vec<TracePoint>,
    warnings: Vec<Diagnostic>,
}

impl Watcher<'_> {
    /// Until the worker is done, or has been silent for too long after it was asked to stop.
    fn listen(
        &mut self,
        receiver: &Receiver<Message>,
        worker: Option<&JoinHandle<()>>,
    ) -> (Option<NoPlan>, Option<StopReason>) {
        let mut cancelled_at = None;
        loop {
            let now = Instant::now();
            if cancelled_at.is_none() && self.control.is_cancelled() {
                cancelled_at = Some(now);
            }
            let cancel_limit = cancelled_at.map(|at| (at + GRACE, StopReason::Cancelled));
            let limit = self.control.deadline.map(|at| (at + GRACE, StopReason::Deadline));
            let limit = [cancel_limit, limit].into_iter().flatten().min_by_key(|limit| limit.0);
            if let Some((at, reason)) = limit
                && now >= at
            {
                // What is in the line already counts.
                if let Some(result) = self.drain(receiver) {
                    return (result.err(), self.control.noted_stop());
                }
                return (None, Some(reason));
            }
            let wait = limit.map_or(POLL, |(at, _)| POLL.min(at - now));
            match receiver.recv_timeout(wait) {
                Ok(message) => {
                    if let Some(result) = self.take(message) {
                        return (result.err(), self.control.noted_stop());
                    }
                }
                // A worker that ended without a word has died.
                Err(_) if worker.is_none_or(JoinHandle::is_finished) => {
                    return match self.drain(receiver) {
                        Some(result) => (result.err(), self.control.noted_stop()),
                        None => (Some(vanished()), None),
                    };
                }
                Err(_) => {}
            }
        }
    }

    /// Takes what has arrived, up to the worker's last word.
    fn drain(&mut self, receiver: &Receiver<Message>) -> Option<Result<(), NoPlan>> {
        while let Ok(message) = receiver.try_recv() {
            if let Some(result) = self.take(message) {
                return Some(result);
            }
        }
        None
    }

    fn take(&mut self, message: Message) -> Option<Result<(), NoPlan>> {
        match message {
            Message::Done(result) => return Some(result),
            Message::Event(event) => (self.observe)(&event),
            Message::Attempt(attempt) => self.attempts.push(*attempt),
            Message::Warning(warning) => self.warnings.push(warning),
            Message::Bound(bound, elapsed) => {
                if bound.value > self.bound.value {
                    self.bound = bound;
                    self.announce_bound(elapsed);
                }
            }
            Message::Failure(no_plan) => self.failure = Some(*no_plan),
            Message::Settled(incumbent) => {
                self.fastest = self.best.as_ref().map(|best| best.value);
                self.best = Some(incumbent);
            }
            Message::Incumbent(incumbent) => {
                // Whoever writes plans to files must not fall behind: only the newest is told.
                if self.control.is_latest(&incumbent) {
                    self.announce(&incumbent);
                }
                let elapsed = incumbent.elapsed;
                self.best = Some(incumbent);
                self.mark(elapsed);
            }
        }
        None
    }

    fn announce(&mut self, incumbent: &Incumbent) {
        (self.observe)(&Event::Incumbent {
            algorithm: incumbent.algorithm.clone(),
            value: incumbent.value,
            bound: self.bound,
            plan: Arc::clone(&incumbent.plan),
            timeline: Arc::clone(&incumbent.timeline),
            elapsed: incumbent.elapsed,
        });
    }

    fn announce_bound(&mut self, elapsed: Duration) {
        (self.observe)(&Event::Bound {
            value: self.bound.value,
            method: self.bound.method,
            elapsed,
        });
        self.mark(elapsed);
    }

    fn mark(&mut self, elapsed: Duration) {
        self.trace.push(TracePoint {
            elapsed,
            value: self.best.as_ref().map(|best| best.value),
            bound: Some(self.bound.value),
        });
    }

    fn answer(
        mut self,
        problem: &Problem,
        failure: Option<NoPlan>,
        stop: Option<StopReason>,
    ) -> Result<Outcome, NoPlan> {
        // The trace goes on to the end of the run.
        self.mark(self.control.started.elapsed());
        let Some(best) = self.best else {
            // A row that was stopped proves nothing, and its own words say most.
            let failure = failure.or(self.failure);
            let no_plan = failure.unwrap_or_else(|| out_of_time(stop));
            return Err(NoPlan { attempts: self.attempts.into(), ..no_plan });
        };
        let value = best.value;
        let stop = if value <= self.bound.value {
            StopReason::ProvedOptimal
        } else {
            stop.unwrap_or(StopReason::Finished)
        };
        Ok(Outcome {
            report: report(problem, &best.plan, &best.timeline),
            gap: gap(value.get(), self.bound.value.get()),
            plan: Arc::unwrap_or_clone(best.plan),
            value,
            fastest: self.fastest,
            timeline: Arc::unwrap_or_clone(best.timeline),
            bound: self.bound,
            stop,
            algorithm: best.algorithm,
            attempts: self.attempts,
            trace: self.trace,
            warnings: self.warnings,
        })
    }
}

fn gap(value: u64, bound: u64) -> f64 {
    if value == bound {
        0.0
    } else if bound == 0 {
        f64::INFINITY
    } else {
        value as f64 / bound as f64 - 1.0
    }
}

fn out_of_time(stop: Option<StopReason>) -> NoPlan {
    match stop {
        Some(StopReason::Cancelled) => {
            NoPlan::not_found(Reason::Budget, "cancelled", "cancelled before a plan was found")
        }
        _ => NoPlan::not_found(Reason::Budget, "deadline", "no plan was found within the limit")
            .hint("raise the time limit, or plan with `m-etf` or `m-topo`"),
    }
}

fn vanished() -> NoPlan {
    let message = "the planning thread ended without an answer";
    NoPlan::new(Reason::Budget, Diagnostic::error(Blame::Internal, "planner-died", message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn a_worker_that_dies_is_our_fault() {
        let (sender, receiver) = channel();
        let request = Request::new(Recipe::parse("m-etf").unwrap());
        let mut watcher = Watcher {
            control: Arc::new(Control::new(&request, sender)),
            observe: &mut |_| {},
            best: None,
            fastest: None,
            failure: None,
            bound: Bound { value: Nanos::ZERO, method: "none" },
            attempts: Vec::new(),
            trace: Vec::new(),
            warnings: Vec::new(),
        };
        let worker = std::thread::spawn(|| panic!("a row that is wrong"));
        let (failure, stop) = watcher.listen(&receiver, Some(&worker));
        let failure = failure.unwrap();
        assert_eq!((failure.diagnostic.code, stop), ("planner-died", None));
        assert_eq!(failure.diagnostic.blame.exit_code(), 1);
        assert!(!failure.proved && worker.join().is_err());
    }
}
