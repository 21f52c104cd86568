//! The search: seeds, the threshold test at chosen limits, and what improves the incumbent.

use ir::diagnostic::Diagnostic;
use ir::instance::LoadInstance;

use super::certificate::{Certificate, Reason, Round};
use super::column_generation::{Answer, Known, Proof, Question};
use super::control::Control;
use super::dive::{Choice, dive};
use super::evaluate::evaluate;
use super::exhaust;
use super::frame::Frame;
use super::local_search::Heat;
use super::model::Model;
use super::packing;
use super::pendant::without_pendants;

/// Gaps that are tried one after the other: first the promise, then better ones.
const STEPS: [f64; 5] = [1e-2, 1.5e-3, 3e-4, 3e-5, 1e-6];
/// Bounds this close to what the program allows are not worth another test.
const CLOSE: f64 = 3e-4;
/// Part of the time left that the first test may take, and any.
const FIRST_PATIENCE: f64 = 0.3;
const MOST_PATIENCE: f64 = 0.5;
/// Classes beyond which only chains, annealing and the work bound are used.
pub(super) const MAX_CLASSES: usize = 5_000;
/// Moves of the annealing of a plan that was improved.
pub(super) const POLISH_MOVES: u64 = 100_000;
/// Subsets that are carried from one limit to the next.
const MAX_CARRIED: usize = 3_000;

/// A point of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Seconds since the start.
    pub seconds: f64,
    /// The incumbent's greatest load, ns.
    pub value_ns: u64,
    /// No plan has a smaller one, ns.
    pub bound_ns: u64,
}

/// What a search ends with.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Device of each node, accelerators first.
    pub device_of: Vec<u32>,
    /// Greatest load, ns.
    pub value_ns: u64,
    /// No plan has a smaller one, ns.
    pub bound_ns: u64,
    /// Why no plan has all loads below the bound; `None` where the bound is 0.
    pub certificate: Option<Certificate>,
    /// How incumbent and bound came about.
    pub trace: Vec<Point>,
}

/// Looks for a placement of least greatest load until the gap is at most `gap`, or stopped.
/// `start` is a placement to begin with, if there is one.
///
/// # Errors
/// `bad-instance` for sums that are too large; `infeasible` if it is proved that no placement keeps
/// memory; `no-placement` if none was found.
pub fn solve(
    instance: &LoadInstance,
    options: &Options,
    control: &Control,
    on_point: &mut dyn FnMut(&Point, &[u32]),
) -> Result<Outcome, Diagnostic> {
    let (model, followers) = without_pendants(&Model::new(instance)?);
    let mut search = Search {
        instance,
        options,
        control,
        on_point,
        frame: Frame::whole(model),
        best: None,
        value: f64::INFINITY,
        bound: 0.0,
        certificate: None,
        followers,
        fits: f64::INFINITY,
        patience: FIRST_PATIENCE,
        carried: Vec::new(),
        prices: None,
        trace: Vec::new(),
        is_empty: false,
    };
    search.run();
    if search.is_empty {
        return Err(packing::infeasible(instance));
    }
    let Some(device_of) = search.best else {
        return Err(Diagnostic::input("no-placement", "no placement was found that keeps memory")
            .fact("instance", instance.name.as_str())
            .hint("use accelerators with more memory, or a CPU core"));
    };
    Ok(Outcome {
        device_of,
        value_ns: search.value as u64,
        bound_ns: search.bound as u64,
        certificate: search.certificate,
        trace: search.trace,
    })
}

/// What a search is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of its lots.
    pub seed: u64,
    /// Stops at this gap (value / bound - 1); 0 = proves the optimum if it can.
    pub gap: f64,
    /// A device for each node to begin with.
    pub start: Option<Vec<u32>>,
    /// Classes up to which all placements are tried.
    pub exhausted: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, gap: 0.0, start: None, exhausted: exhaust::MAX_CLASSES }
    }
}

pub(super) struct Search<'a> {
    pub(super) instance: &'a LoadInstance,
    pub(super) options: &'a Options,
    pub(super) control: &'a Control,
    on_point: &'a mut dyn FnMut(&Point, &[u32]),
    /// Without contraction: what placements and subsets are kept in.
    pub(super) frame: Frame,
    /// Device of each node.
    pub(super) best: Option<Vec<u32>>,
    pub(super) value: f64,
    pub(super) bound: f64,
    certificate: Option<Certificate>,
    followers: Vec<(u32, u32)>,
    /// Least limit at which the program has a solution, or was given up.
    pub(super) fits: f64,
    /// Part of the time left that a test may take.
    patience: f64,
    carried: Vec<Vec<u32>>,
    /// Prices that are carried from one limit to the next.
    prices: Option<Proof>,
    trace: Vec<Point>,
    /// Whether it is proved that there is no placement.
    pub(super) is_empty: bool,
}

impl Search<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.control.is_over() || self.value <= self.bound * (1.0 + self.options.gap)
    }

    fn run(&mut self) {
        self.is_empty = packing::is_hopeless(&self.frame.model);
        if self.is_empty {
            return;
        }
        self.seeds();
        if self.frame.model.n_classes() <= self.options.exhausted {
            self.exhaust();
        }
        if self.value.is_infinite() && !self.is_empty {
            self.first_fit();
        }
        self.work_bound();
        if self.is_done() || self.value.is_infinite() {
            return;
        }
        let is_large = self.frame.model.n_classes() > MAX_CLASSES;
        if !is_large {
            self.first_packings();
        }
        let mut turn = 0;
        while !self.is_done() {
            let limit = if is_large { None } else { self.next_limit() };
            if let Some(limit) = limit {
                self.test(limit, Choice::Largest);
            }
            if !self.is_done() && (self.fits < self.value || limit.is_none()) {
                self.improve(turn);
                turn += 1;
            }
        }
    }

    /// Tries all placements.
    fn exhaust(&mut self) {
        let frame = self.frame.clone();
        let Some(found) = exhaust::best_below(&frame.model, self.value, self.control) else {
            return;
        };
        if let Some((device_of, _)) = found {
            self.offer(&frame, &device_of);
        }
        self.is_empty = self.value.is_infinite() && packing::is_none(self.instance, &frame);
        if self.value.is_finite() && self.value >= 1.0 {
            self.refuted(self.value - 1.0, Vec::new(), &frame, Reason::Exhausted);
        }
    }

    /// Takes a placement of the classes of a frame.
    pub(super) fn offer(&mut self, frame: &Frame, device_of: &[u32]) -> f64 {
        let Some(value) = frame.model.value(device_of) else { return f64::INFINITY };
        if value >= self.value {
            return value;
        }
        let nodes: Vec<u32> =
            frame.model.class_of.iter().map(|class| device_of[*class as usize]).collect();
        // The model is an abridged form of the instance: only the definition counts.
        let Some(value) = evaluate(self.instance, &nodes) else { return f64::INFINITY };
        if (value as f64) < self.value {
            self.value = value as f64;
            self.best = Some(nodes);
            self.publish();
        }
        value as f64
    }

    fn publish(&mut self) {
        let Some(best) = &self.best else { return };
        let point = Point {
            seconds: self.control.seconds(),
            value_ns: self.value as u64,
            bound_ns: self.bound as u64,
        };
        self.trace.push(point);
        (self.on_point)(&point, best);
    }

    /// Raises the bound to where work alone refutes a limit.
    fn work_bound(&mut self) {
        let (mut low, mut high) = (0.0_f64, self.value);
        if high.is_infinite() {
            return;
        }
        while high - low > 1.0 {
            let limit = (0.5 * (low + high)).floor();
            if limit <= low {
                break;
            }
            match Question::whole(&self.frame.model, &self.frame.order, limit).by_work() {
                Some(_) => low = limit,
                None => high = limit,
            }
        }
        if low < 1.0 {
            return;
        }
        let question = Question::whole(&self.frame.model, &self.frame.order, low);
        if let Some(proof) = question.by_work() {
            let frame = self.frame.clone();
            self.refuted(low, Vec::new(), &frame, Reason::prices(&frame.model, &proof));
        }
    }

    /// Raises the bound above a refuted limit; `model` is what the rounds left.
    pub(super) fn refuted(
        &mut self,
        limit: f64,
        rounds: Vec<Round>,
        frame: &Frame,
        reason: Reason,
    ) {
        if limit + 1.0 > self.bound {
            self.bound = limit + 1.0;
            let first = frame.model.first_nodes();
            self.certificate = Some(Certificate {
                limit_ns: limit as u64,
                followers: self.followers.clone(),
                rounds,
                order: frame.order.iter().map(|class| first[*class as usize]).collect(),
                reason,
            });
            self.publish();
        }
    }

    /// The limit to test next; `None` if the program can't tell more.
    fn next_limit(&self) -> Option<f64> {
        let top = self.value.min(self.fits);
        let steps = STEPS.iter().map(|step| (self.value / (1.0 + step)).floor());
        let open = |limit: &f64| *limit >= self.bound.max(1.0) && *limit < top;
        if let Some(limit) = steps.chain([self.value - 1.0]).find(open) {
            let is_all_open = self.fits >= self.value;
            if is_all_open || limit < 0.5 * (self.bound + top) {
                return Some(limit);
            }
        }
        (top > self.bound * (1.0 + CLOSE)).then(|| (0.5 * (self.bound + top)).floor())
    }

    /// The threshold test at a limit, and a dive where the program has a solution.
    pub(super) fn test(&mut self, limit: f64, choice: Choice) {
        let control = self.control.phase(self.patience * self.control.seconds_left());
        let frame = match self.frame.at(limit, &control) {
            None => return self.fits = self.fits.min(limit),
            Some(Err(rounds)) => {
                let frame = self.frame.clone();
                return self.refuted(limit, rounds, &frame, Reason::NoDevice);
            }
            Some(Ok(frame)) => frame,
        };
        let question = Question::whole(&frame.model, &frame.order, limit);
        let mut known = Known {
            subsets: frame.lower_subsets(&self.carried, limit),
            prices: self.prices.as_ref().map(|prices| frame.lower_prices(prices)),
        };
        let answer = question.answer(&mut known, &control);
        self.carry(&frame, &known);
        match answer {
            Answer::Infeasible(proof) => {
                let reason = Reason::prices(&frame.model, &proof);
                self.refuted(limit, frame.rounds.clone(), &frame, reason);
            }
            Answer::Unknown => {
                self.patience = (1.3 * self.patience).min(MOST_PATIENCE);
                self.fits = self.fits.min(limit);
            }
            Answer::Feasible(shares) => {
                self.fits = self.fits.min(limit);
                let device_of = dive(&question, shares, known, choice, &control);
                self.anneal(&frame, &device_of, POLISH_MOVES, Heat::Low, 1);
            }
        }
    }

    fn carry(&mut self, frame: &Frame, known: &Known) {
        self.prices = known.prices.as_ref().map(|prices| frame.lift_prices(prices));
        let mut lifted = frame.lift_subsets(&known.subsets);
        lifted.append(&mut self.carried);
        let mut seen = std::collections::HashSet::new();
        lifted.retain(|subset| seen.insert(subset.clone()));
        lifted.truncate(MAX_CARRIED);
        self.carried = lifted;
    }
}
