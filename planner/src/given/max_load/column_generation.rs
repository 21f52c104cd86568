//! Whether the set-partition program over device subsets of load at most T needs more devices
//! than there are.

use super::chain::long_intervals;
use super::control::Control;
use super::layers::Layers;
use super::master::{CpuShare, Master, Solution};
use super::model::Model;
use super::pricing::{Grid, Pricer, Subset};

/// Prices are multiples of 2^-32, so that their sums are exact.
pub(super) const PRICE_UNIT: f64 = 4_294_967_296.0;
/// How far the program's value may lie above the number of devices, and count as equal.
const SLACK: f64 = 1e-6;
/// What makes a class that an earlier subset of the round holds unattractive.
const DISCOUNT: f64 = 0.001;
/// How far prices may lie from those with the best bound so far, at first and at most: prices beyond
/// mean that a class has no device.
const FIRST_REACH: f64 = 0.02;
const FARTHEST: f64 = 1e5;
/// Factor by which the reach grows where the program's prices keep what they promise, and shrinks
/// where they don't.
const REACH_GROWTH: f64 = 2.0;
/// Part of what the program promises that is worth a farther reach.
const KEPT: f64 = 0.5;
/// Cells of a pricing, as a part of the limit: first coarse, then finer where that decides nothing.
const GRIDS: [f64; 3] = [1.0 / 2_000.0, 1.0 / 20_000.0, 1.0 / 200_000.0];
/// Cells of pricings that only bring further subsets.
const ROUGH_GRID: f64 = 1.0 / 600.0;
/// By how much, relatively, a proof must be clear of rounding.
const STRICT: f64 = 1e-9;
/// Rounds beyond which nothing is expected any more.
const MAX_ROUNDS: usize = 4_000;

/// The question: can the classes that are not placed yet run on `n_devices` accelerators and the
/// CPU cores with loads of at most `limit`?
pub(super) struct Question<'a> {
    pub(super) model: &'a Model,
    /// See [`super::order::linear_order`].
    pub(super) order: &'a [u32],
    /// T, ns.
    pub(super) limit: f64,
    pub(super) n_devices: usize,
    /// Classes that are on a device already.
    pub(super) is_placed: Vec<bool>,
}

/// Prices that prove that more devices are needed.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) price: Vec<f64>,
    /// Of an accelerator's memory.
    pub(super) byte_price: f64,
}

/// The answer of the program.
pub(super) enum Answer {
    /// More devices are needed.
    Infeasible(Proof),
    /// The program has a solution: subsets and their shares.
    Feasible(Vec<(Subset, f64)>),
    /// Stopped, or too large.
    Unknown,
}

/// What one question leaves to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Columns of the program.
    pub(super) subsets: Vec<Subset>,
    /// Prices with the best bound.
    pub(super) prices: Option<Proof>,
}

impl<'a> Question<'a> {
    /// The whole model at a limit.
    pub(super) fn whole(model: &'a Model, order: &'a [u32], limit: f64) -> Self {
        let is_placed = (0..model.n_classes()).map(|v| !model.is_on_accelerators(v)).collect();
        Self { model, order, limit, n_devices: model.n_accelerators, is_placed }
    }

    /// What the CPU cores can take beside the classes that run nowhere else.
    fn cpu_share(&self) -> CpuShare {
        let model = self.model;
        let n = model.n_classes();
        let on_cpu = |class: &usize| !model.is_on_accelerators(*class);
        let forced: f64 = (0..n).filter(on_cpu).map(|v| model.cpu[v]).sum();
        let budget = model.n_cpus as f64 - forced / self.limit;
        let time = |cpu: &f64| (model.n_cpus > 0 && *cpu <= self.limit).then(|| cpu / self.limit);
        let memory = model.limit_bytes.max(1) as f64;
        let bytes: Vec<f64> = model.bytes.iter().map(|bytes| *bytes as f64 / memory).collect();
        let total: f64 = (0..n).filter(|v| !self.is_placed[*v]).map(|v| bytes[v]).sum();
        // Rounding must not make memory tighter than it is.
        let least_bytes = total * (1.0 - STRICT) - self.n_devices as f64;
        CpuShare { time: model.cpu.iter().map(time).collect(), budget, bytes, least_bytes }
    }

    /// Whether the work of all classes is more than the devices can do.
    pub(super) fn by_work(&self) -> Option<Proof> {
        let cpu = self.cpu_share();
        let model = self.model;
        let worth = |class: usize| {
            let work = if self.is_placed[class] { 0.0 } else { model.accelerator[class] };
            // Rounded down: a device's worth must not exceed 1.
            (work / self.limit * PRICE_UNIT * (1.0 - STRICT)).floor() / PRICE_UNIT
        };
        let price: Vec<f64> = (0..model.n_classes()).map(worth).collect();
        let is_over = cpu.budget < 0.0
            || self.need(&cpu, &price, 0.0) > self.n_devices as f64 * (1.0 + STRICT);
        is_over.then_some(Proof { price, byte_price: 0.0 })
    }

    /// Worth that the accelerators must take: all of it but the most that fits the CPU cores.
    fn need(&self, cpu: &CpuShare, price: &[f64], byte_price: f64) -> f64 {
        let mut items: Vec<(f64, f64)> = Vec::new();
        let mut need = byte_price * cpu.least_bytes.max(0.0);
        for (class, price) in price.iter().enumerate() {
            if self.is_placed[class] {
                continue;
            }
            need += price;
            let worth = price + byte_price * cpu.bytes[class];
            if let Some(time) = cpu.time[class].filter(|_| worth > 0.0) {
                items.push((worth, time));
            }
        }
        items.sort_by(|a, b| (b.0 / b.1).total_cmp(&(a.0 / a.1)));
        let mut budget = cpu.budget;
        for (worth, time) in items {
            if time <= budget {
                need -= worth;
                budget -= time;
            } else {
                need -= worth * budget / time;
                break;
            }
        }
        need
    }

    /// Answers the question. Subsets and prices that are `known` are tried; those that the program
    /// ends with are returned in it.
    pub(super) fn answer(&self, known: &mut Known, control: &Control) -> Answer {
        let cpu = self.cpu_share();
        if cpu.budget < 0.0 {
            return Answer::Infeasible(Proof {
                price: vec![0.0; self.model.n_classes()],
                byte_price: 0.0,
            });
        }
        if self.is_placed.iter().all(|placed| *placed) {
            return Answer::Feasible(Vec::new());
        }
        let Some(layers) = Layers::new(self.model, self.order, self.limit, &self.is_placed) else {
            return Answer::Unknown;
        };
        if !control.spend(2 * layers.n_states as u64) {
            return Answer::Unknown;
        }
        let Ok(mut master) = Master::new(&cpu, &self.is_placed) else { return Answer::Unknown };
        let intervals = long_intervals(self.model, self.order, self.limit);
        for subset in known.subsets.iter().chain(&intervals) {
            if subset.load > self.limit {
                continue;
            }
            if master.add(subset).is_err() {
                return Answer::Unknown;
            }
        }
        let pricer = Pricer::new(layers);
        let mut generation = Generation::new(self, cpu, master, pricer, control);
        let answer = generation.rounds(known.prices.take());
        *known = Known { subsets: generation.master.subsets, prices: Some(generation.best.0) };
        answer
    }
}

/// One column generation.
struct Generation<'a> {
    question: &'a Question<'a>,
    cpu: CpuShare,
    master: Master,
    pricer: Pricer,
    control: &'a Control,
    /// Prices with the best bound so far, the dearest subset of which is worth 1, and that bound in
    /// devices.
    best: (Proof, f64),
    /// How far the program's prices may lie from these.
    reach: f64,
    /// Width of the cells of a pricing, ns.
    grid: f64,
}

/// What a round brought.
enum Round {
    Proved(Proof),
    /// How many, and the bound in devices.
    Columns(usize, f64),
    Stopped,
}

impl<'a> Generation<'a> {
    fn new(
        question: &'a Question<'a>,
        cpu: CpuShare,
        master: Master,
        pricer: Pricer,
        control: &'a Control,
    ) -> Self {
        let model = question.model;
        let price = (0..model.n_classes())
            .map(
                |v| if question.is_placed[v] { 0.0 } else { model.accelerator[v] / question.limit },
            )
            .collect();
        let best = (Proof { price, byte_price: 0.0 }, 0.0);
        Self {
            question,
            cpu,
            master,
            pricer,
            control,
            best,
            reach: FIRST_REACH,
            grid: question.limit * GRIDS[0],
        }
    }

    /// Starts from the work of the classes and from `prices`, whichever are better.
    fn rounds(&mut self, prices: Option<Proof>) -> Answer {
        let n_devices = self.question.n_devices as f64;
        let work = self.best.0.clone();
        for prices in prices.iter().chain([&work]) {
            match self.round(prices) {
                Round::Proved(proof) => return Answer::Infeasible(proof),
                Round::Stopped => return Answer::Unknown,
                Round::Columns(..) => {}
            }
        }
        for _ in 0..MAX_ROUNDS {
            let (centre, reached) = &self.best;
            let reached = *reached;
            self.master.centre(&centre.price, centre.byte_price, self.reach);
            let Ok(solution) = self.master.solve() else { return Answer::Unknown };
            if solution.value <= n_devices + SLACK {
                if !solution.is_boxed {
                    return Answer::Feasible(self.shares(&solution));
                }
                if self.reach > FARTHEST {
                    return Answer::Unknown;
                }
                self.reach *= REACH_GROWTH * REACH_GROWTH;
                continue;
            }
            let promise = solution.value - reached;
            let price = Proof { price: solution.price, byte_price: solution.byte_price };
            match self.round(&price) {
                Round::Proved(proof) => return Answer::Infeasible(proof),
                Round::Columns(0, _) => {
                    let finer = GRIDS.iter().map(|part| part * self.question.limit);
                    let Some(grid) = finer.into_iter().find(|grid| *grid < self.grid) else {
                        return Answer::Unknown;
                    };
                    self.grid = grid;
                }
                Round::Columns(_, ratio) if ratio > reached + KEPT * promise => {
                    self.reach *= REACH_GROWTH;
                }
                Round::Columns(_, ratio) if ratio < reached - promise => {
                    self.reach /= REACH_GROWTH;
                }
                Round::Columns(..) => {}
                Round::Stopped => return Answer::Unknown,
            }
        }
        Answer::Unknown
    }

    fn shares(&self, solution: &Solution) -> Vec<(Subset, f64)> {
        let pairs = self.master.subsets.iter().zip(&solution.share);
        pairs.filter(|(_, share)| **share > 0.0).map(|(s, share)| (s.clone(), *share)).collect()
    }

    /// Prices one subset per device, each without the classes of those before.
    fn round(&mut self, prices: &Proof) -> Round {
        let n_devices = self.question.n_devices;
        let rounded = |x: &f64| (x * PRICE_UNIT).round() / PRICE_UNIT;
        let mut price: Vec<f64> = prices.price.iter().map(rounded).collect();
        let byte_price = rounded(&prices.byte_price);
        let need = self.question.need(&self.cpu, &price, byte_price);
        // Just below what proves the case, so that the proof is strict.
        let floor = need / n_devices.max(1) as f64 * (1.0 - STRICT);
        let Some(priced) =
            self.pricer.exact(&price, floor.max(0.0), Grid::Relaxing(self.grid), self.control)
        else {
            return Round::Stopped;
        };
        if need > n_devices as f64 * priced.bound {
            return Round::Proved(Proof { price, byte_price });
        }
        let ratio = need / priced.bound;
        if ratio > self.best.1 {
            let worth = |price: &f64| price / priced.bound;
            let price = price.iter().map(worth).collect();
            self.best = (Proof { price, byte_price: worth(&byte_price) }, ratio);
        }
        let rough = Grid::Thinning(self.question.limit * ROUGH_GRID);
        let mut n_new = 0;
        let mut subset = priced.best;
        for _ in 1..n_devices.max(2) {
            match self.master.add(&subset) {
                Ok(is_new) => n_new += usize::from(is_new),
                Err(_) => return Round::Stopped,
            }
            for class in &subset.classes {
                let price = &mut price[*class as usize];
                *price = price.min(0.0) - DISCOUNT;
            }
            match self.pricer.exact(&price, 0.0, rough, self.control) {
                Some(next) if !next.best.classes.is_empty() => subset = next.best,
                Some(_) => break,
                None => return Round::Stopped,
            }
        }
        match self.master.add(&subset) {
            Ok(is_new) => Round::Columns(n_new + usize::from(is_new), ratio),
            Err(_) => Round::Stopped,
        }
    }
}
