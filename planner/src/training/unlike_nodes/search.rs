//! The beam and the search in depth.

use std::rc::Rc;

use cost_model::runs::judge::{fold, over_limit};
use cost_model::runs::oracle::Place;
use cost_model::runs::unlike::{Fleet, StagePrice, in_flight};
use ir::card::Recompute;
use ir::plan::{Parallelism, Partition, Plan, Stage, StageMesh};
use ir::schedule::Schedule;
use ir::units::Nanos;

use super::prices::Prices;
use super::shapes::{Classes, MOST_SHAPES, Shape};
use super::{Found, Judged, MOST_SAMPLES, Options, divisors};
use crate::run::StopReason;
use crate::training::order::Order;
use crate::training::search_3d::space::MOST_CELLS;

/// Target times of the beam, as multiples of the least.
const TARGETS: [f64; 12] = [1.0, 1.03, 1.07, 1.12, 1.2, 1.3, 1.45, 1.7, 2.0, 2.6, 4.0, 8.0];

/// A stage of a plan that is being made.
#[derive(Clone)]
struct Chosen {
    mesh: Rc<StageMesh>,
    blocks: u32,
    recompute: Recompute,
    price: StagePrice,
}

/// The last stages of a plan.
#[derive(Clone)]
struct Part {
    /// The last stage first.
    chosen: Vec<Chosen>,
    /// Blocks before them.
    left: u32,
    /// By class, groups that are used.
    used: Vec<usize>,
    /// A group of which parts are left: its class, shape and how many.
    open: Option<(usize, usize)>,
    /// Seconds that the stages take for all micro-batches, with what lies between them.
    worst_s: f64,
    /// Seconds that no plan with these stages falls below.
    least_s: f64,
}

/// By class, groups that are used; of the shape of an open group, how many parts are left.
type Used = (Vec<usize>, Option<(usize, usize)>);

/// A search under way.
pub(super) struct Searched<'s> {
    fleet: &'s Fleet<'s>,
    classes: &'s Classes,
    shapes: &'s [Shape],
    prices: Prices<'s>,
    options: &'s Options,
    global_batch: u64,
    n_blocks: u32,
    /// By class, blocks and samples per second of all devices of a group.
    speeds: Vec<f64>,
    /// Blocks that the head is worth.
    head: f64,
    best: Option<Judged>,
    bound: Nanos,
    n_nodes: u64,
    n_judged: u64,
}

type Observer<'o> = &'o mut dyn FnMut(&Judged, Nanos);

impl<'s> Searched<'s> {
    pub(super) fn new(
        (fleet, classes, shapes): (&'s Fleet<'s>, &'s Classes, &'s [Shape]),
        prices: Prices<'s>,
        (global_batch, options): (u64, &'s Options),
    ) -> Self {
        let n_blocks = fleet.base.model.n_blocks();
        let (speeds, best, bound) = (Vec::new(), None, Nanos(0));
        let (n_nodes, n_judged, head) = (0, 0, 0.0);
        Self {
            fleet,
            classes,
            shapes,
            prices,
            options,
            global_batch,
            n_blocks,
            speeds,
            head,
            best,
            bound,
            n_nodes,
            n_judged,
        }
    }

    /// Tensor degrees of a group of a class.
    fn tensors(&self, n_devices: usize) -> Vec<u32> {
        (1..=n_devices as u32).filter(|t| (n_devices as u32).is_multiple_of(*t)).collect()
    }

    /// The device-seconds of each class at its best, for the bound.
    fn rate(&mut self) {
        let most = self.global_batch.min(MOST_SAMPLES);
        let mut heads = f64::INFINITY;
        for class in 0..self.classes.groups.len() {
            let n = self.classes.devices[class];
            let (mut block, mut head) = (f64::INFINITY, f64::INFINITY);
            for tensor in self.tensors(n) {
                for samples in 1..=most {
                    let Some(unit) = self.prices.unit(class, tensor, samples) else { break };
                    let each = f64::from(tensor) / samples as f64;
                    block = block.min(unit[0] * each);
                    head = head.min(unit[1] * each);
                }
            }
            self.speeds.push(if block.is_finite() { n as f64 / block } else { 0.0 });
            if block.is_finite() {
                heads = heads.min(head / block);
            }
        }
        self.head = if heads.is_finite() { heads } else { 0.0 };
        let all: f64 =
            self.speeds.iter().zip(&self.classes.groups).map(|(s, g)| s * g.len() as f64).sum();
        let work = self.global_batch as f64 * (f64::from(self.n_blocks) + self.head);
        // One part in a million for the rounding of the judge.
        self.bound = Nanos((work / all * (1.0 - 1e-6) * 1e9).max(0.0) as u64);
    }

    /// Blocks and samples per second of what is not used.
    fn speed_left(&self, part: &Part) -> f64 {
        let free = self.speeds.iter().zip(&self.classes.groups).zip(&part.used);
        let whole: f64 = free.map(|((s, g), used)| s * (g.len() - used) as f64).sum();
        whole
            + part.open.map_or(0.0, |(shape, left)| {
                let own = &self.shapes[shape];
                let class = own.counts[0].0;
                self.speeds[class] * left as f64 / own.parts as f64
            })
    }

    fn best_s(&self) -> f64 {
        self.best.as_ref().map_or(f64::INFINITY, |best| best.step.seconds())
    }

    fn run_of(&self, micro_batch: u64) -> Parallelism {
        let n_micro_batches = self.global_batch / micro_batch;
        Parallelism { pipeline: 2, n_micro_batches, micro_batch, ..Parallelism::default() }
    }

    /// Shapes that may come before a part, with the devices of each, and what is used then.
    fn next_shapes(&self, part: &Part) -> Vec<(usize, usize, Used)> {
        let mut found = Vec::new();
        if let Some((shape, left)) = part.open {
            let open = (left > 1).then_some((shape, left - 1));
            found.push((shape, left - 1, (part.used.clone(), open)));
        }
        for (at, shape) in self.shapes.iter().enumerate() {
            let is_free = |(class, n): &(usize, usize)| {
                part.used[*class] + n <= self.classes.groups[*class].len()
            };
            if shape.counts.iter().all(is_free) {
                let mut used = part.used.clone();
                shape.counts.iter().for_each(|(class, n)| used[*class] += n);
                let open = (shape.parts > 1).then_some((at, shape.parts - 1));
                found.push((at, shape.parts - 1, (used, open)));
            }
        }
        found
    }

    /// Parts with one more stage before; with a target, only the stage of most blocks that is
    /// done in so many seconds.
    fn grown(&mut self, part: &Part, run: &Parallelism, target: Option<f64>) -> Vec<Part> {
        let mut grown = Vec::new();
        for (at, index, (used, open)) in self.next_shapes(part) {
            let shape = &self.shapes[at];
            let mut before = used.clone();
            shape.counts.iter().for_each(|(class, n)| before[*class] -= n);
            let devices = shape.devices((self.fleet, self.classes), &before, index);
            let of_group = shape.n_devices.min(self.classes.devices[shape.counts[0].0]);
            for tensor in self.tensors(of_group) {
                let key = (at, tensor, run.micro_batch);
                let Some(samples) = self.prices.samples(key, run) else { continue };
                let mesh = StageMesh { devices: devices.clone(), tensor, samples };
                let mesh = Rc::new(mesh);
                let way_s = match part.chosen.last() {
                    None => 0.0,
                    Some(next) => match self.fleet.boundary(&mesh, &next.mesh) {
                        None => continue,
                        Some(way) => 2.0 * way.link.time(way.activation, 1).seconds(),
                    },
                };
                let next = (mesh, (used.clone(), open));
                match target {
                    None => {
                        for blocks in 1..=part.left {
                            grown.extend(self.with(part, &next, (key, run, blocks, way_s)));
                        }
                    }
                    Some(target) => {
                        grown.extend(self.fullest(part, &next, (key, run, way_s), target));
                    }
                }
            }
        }
        grown
    }

    fn fullest(
        &mut self,
        part: &Part,
        next: &(Rc<StageMesh>, Used),
        (key, run, way_s): ((usize, u32, u64), &Parallelism, f64),
        target: f64,
    ) -> Option<Part> {
        let m = run.n_micro_batches as f64;
        let (mut low, mut high, mut best) = (1, part.left, None);
        while low <= high {
            let blocks = low + (high - low) / 2;
            let found = self.with(part, next, (key, run, blocks, way_s));
            let is_done =
                |own: &Part| own.chosen.last().is_some_and(|own| m * seconds(&own.price) <= target);
            match found.filter(is_done) {
                Some(own) => {
                    best = Some(own);
                    low = blocks + 1;
                }
                None => high = blocks - 1,
            }
        }
        best
    }

    /// A part with one more stage of so many blocks before; `None` where it does not fit.
    fn with(
        &mut self,
        part: &Part,
        (mesh, (used, open)): &(Rc<StageMesh>, Used),
        (key, run, blocks, way_s): ((usize, u32, u64), &Parallelism, u32, f64),
    ) -> Option<Part> {
        let place = Place { first: blocks == part.left, last: part.chosen.is_empty() };
        let pipeline = if place.first && place.last { 1 } else { 2 };
        let run = &Parallelism { pipeline, ..run.clone() };
        let kept = in_flight(run.n_micro_batches, part.chosen.len());
        let (recompute, price) = self.prices.fitted((key, run), blocks, (place, kept))?;
        let m = run.n_micro_batches as f64;
        let own_s = seconds(&price);
        let after_s = if place.last { 0.0 } else { part.worst_s + own_s + way_s };
        let worst_s = after_s.max(m * own_s);
        let mut chosen = part.chosen.clone();
        chosen.push(Chosen { mesh: Rc::clone(mesh), blocks, recompute, price });
        let left = part.left - blocks;
        let (used, open) = (used.clone(), *open);
        let mut next = Part { chosen, left, used, open, worst_s, least_s: worst_s };
        if left > 0 {
            let work = f64::from(left) * run.micro_batch as f64;
            let spread_s = (1.0 - 1e-6) * work / self.speed_left(&next);
            next.least_s = (worst_s + spread_s).max(m * spread_s);
        }
        Some(next)
    }

    /// Judges a whole plan, and keeps it where it is better.
    fn judge(&mut self, part: &Part, run: &Parallelism, observer: Observer<'_>) -> Option<()> {
        let pipeline = u32::try_from(part.chosen.len()).ok()?;
        let run = Parallelism { pipeline, ..run.clone() };
        if run.n_micro_batches.saturating_mul(2 * u64::from(pipeline)) > MOST_CELLS {
            return None;
        }
        let stages: Vec<(&StageMesh, StagePrice)> =
            part.chosen.iter().rev().map(|own| (&*own.mesh, own.price)).collect();
        let costs = self.fleet.together(&stages, &run)?;
        let steady = Order::OneFOneB.steady(pipeline, 1);
        let most = self.best.as_ref().map_or(Nanos(u64::MAX), |best| best.step);
        self.n_judged += 1;
        let grid = |m| Order::OneFOneB.grid(pipeline, 1, m, |_| false).ok();
        let report = fold::report(&costs, steady, most, grid).ok()??;
        if over_limit(&report).is_some() || report.step_time >= most {
            return None;
        }
        let m = u32::try_from(run.n_micro_batches).ok()?;
        let mut next = 0;
        let stage = |own: &Chosen| {
            let start = next;
            next += own.blocks;
            Stage {
                blocks: start..next,
                recompute: own.recompute,
                mesh: Some((*own.mesh).clone()),
                ..Stage::default()
            }
        };
        let stages = part.chosen.iter().rev().map(stage).collect();
        let plan = Plan {
            parallelism: run,
            partition: Partition { stages },
            placement: Default::default(),
            schedule: Schedule { grid: grid(m), ..Schedule::default() },
        };
        let judged = Judged { plan, step: report.step_time };
        observer(&judged, self.bound.min(judged.step));
        self.best = Some(judged);
        Some(())
    }

    fn root(&self) -> Part {
        Part {
            chosen: Vec::new(),
            left: self.n_blocks,
            used: vec![0; self.classes.groups.len()],
            open: None,
            worst_s: 0.0,
            least_s: self.bound.seconds(),
        }
    }

    /// Plans of one micro-batch whose stages take at most so long.
    fn beam(&mut self, run: &Parallelism, target: f64, observer: Observer<'_>) {
        let mut level = vec![self.root()];
        while !level.is_empty() && self.options.control.stop().is_none() {
            let mut next: Vec<Part> = Vec::new();
            for part in &level {
                self.n_nodes += 1;
                self.options.control.spend(1);
                next.extend(self.grown(part, run, Some(target)));
            }
            let best_s = self.best_s();
            next.retain(|part| part.least_s < best_s);
            next.sort_by(|a, b| {
                (a.least_s.total_cmp(&b.least_s)).then(b.left.cmp(&a.left).reverse())
            });
            let (whole, mut open): (Vec<Part>, Vec<Part>) =
                next.into_iter().partition(|part| part.left == 0);
            for part in whole.iter().take(self.options.width) {
                self.judge(part, run, observer);
            }
            open.truncate(self.options.width);
            level = open;
        }
    }

    /// All plans of one micro-batch that may be better; whether none was left out.
    fn deep(&mut self, run: &Parallelism, nodes: u64, observer: Observer<'_>) -> bool {
        let mut stack = vec![self.root()];
        let end = self.n_nodes.saturating_add(nodes);
        while let Some(part) = stack.pop() {
            if part.least_s >= self.best_s() {
                continue;
            }
            if part.left == 0 {
                self.judge(&part, run, observer);
                continue;
            }
            if self.n_nodes >= end || self.options.control.stop().is_some() {
                return false;
            }
            self.n_nodes += 1;
            self.options.control.spend(1);
            let best_s = self.best_s();
            let mut grown = self.grown(&part, run, None);
            grown.retain(|part| part.least_s < best_s);
            // The most promising one is taken next.
            grown.sort_by(|a, b| b.least_s.total_cmp(&a.least_s));
            stack.append(&mut grown);
        }
        true
    }

    pub(super) fn run(mut self, observer: Observer<'_>) -> Found {
        self.rate();
        let runs: Vec<Parallelism> = divisors(self.global_batch)
            .into_iter()
            .map(|micro_batch| self.run_of(micro_batch))
            .collect();
        let least_s = self.bound.seconds();
        for target in TARGETS {
            for run in &runs {
                if self.options.control.stop().is_none() && target * least_s < self.best_s() {
                    self.beam(run, target * least_s, observer);
                }
            }
        }
        let mut is_whole = self.shapes.len() < MOST_SHAPES;
        for run in runs.iter().rev() {
            let left = self.options.nodes / runs.len() as u64;
            is_whole &= self.deep(run, left, observer);
        }
        let stop = match (self.options.control.stop(), is_whole) {
            (_, true) => StopReason::Finished,
            (Some(reason), false) => reason,
            (None, false) => StopReason::NodeBudget,
        };
        let best = self.best.as_ref().map(|best| best.step);
        let bound = match (best, is_whole) {
            (Some(best), true) => best,
            (Some(best), false) => best.min(self.bound),
            (None, _) => self.bound,
        };
        let Self { best, n_nodes, n_judged, .. } = self;
        Found { best, bound, stop, n_nodes, n_judged }
    }
}

/// Both passes of one micro-batch.
fn seconds(price: &StagePrice) -> f64 {
    (price.stage.forward + price.stage.backward + price.stage.recompute).seconds()
}
