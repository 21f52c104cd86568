//! The beam and the search in depth.

mod near;
mod next;
mod part;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

use cost_model::runs::judge::costs::PipelineCosts;
use cost_model::runs::judge::{fold, over_limit};
use cost_model::runs::oracle::Place;
use cost_model::runs::unlike::{Fleet, StagePrice, in_flight};
use ir::grid::Grid;
use ir::plan::{Parallelism, Partition, Plan, Stage, StageMesh};
use ir::schedule::Schedule;
use ir::units::Nanos;

use super::edges;
use super::least::{Least, Unit};
use super::prices::{Fitted, Prices};
use super::shapes::{Classes, MOST_FIRST_TRIED, MOST_SHAPES, Shape, first_tried, sizes};
use super::{Found, Judged, Options, divisors};
use crate::run::StopReason;
use crate::training::order::Order;
use crate::training::search_3d::space::MOST_CELLS;
use near::Outline;
use next::Meshed;
use part::{Chain, Chosen, MeshPlace, Open, Part};

/// Target times of the beam, as multiples of the least: some plan first, then good ones.
const TARGETS: [f64; 12] = [2.6, 1.7, 1.2, 1.0, 1.05, 1.1, 1.3, 1.45, 1.6, 2.0, 4.0, 8.0];

/// Most parts of plans that wait to be gone on with.
const MOST_OPEN: usize = 1 << 19;

/// A micro-batch, with what hosts keep.
struct Run {
    degrees: Parallelism,
    /// A position among the fleets.
    fleet: usize,
    /// What no stages are faster than.
    least: Least,
}

/// A search under way.
pub(super) struct Searched<'s> {
    /// The fleet, and where hosts may keep states the same with these there.
    fleets: &'s [Fleet<'s>],
    fleet: &'s Fleet<'s>,
    classes: &'s Classes,
    shapes: &'s [Shape],
    /// Shapes of single groups, by class and number of devices.
    singles: BTreeMap<(usize, usize), usize>,
    /// Shapes that are tried, positions of them.
    tried: Vec<usize>,
    /// Whether groups are cut into equal parts alone, which are neighbours in the pipeline.
    is_even: bool,
    prices: Prices<'s>,
    options: &'s Options,
    global_batch: u64,
    n_blocks: u32,
    /// By micro-batch and fleet, with what no stages are faster than.
    runs: Vec<Run>,
    /// Devices and samples of stages.
    meshes: BTreeMap<MeshPlace, Option<Rc<StageMesh>>>,
    /// Seconds between two stages, there and back.
    ways: BTreeMap<(MeshPlace, MeshPlace, u32), f64>,
    best: Option<Judged>,
    /// What a plan has to be faster than to be looked at.
    most: Nanos,
    /// Plans to begin at, with their steps.
    starts: Vec<(Nanos, Outline)>,
    bound: Nanos,
    /// What no plan that was left out is below, and why the least of them was.
    left_out: (f64, StopReason),
    n_nodes: u64,
    n_judged: u64,
}

/// A stage with its devices, number of blocks and price.
pub(super) type Priced<'m> = (&'m StageMesh, u32, StagePrice);

type Observer<'o> = &'o mut dyn FnMut(&Judged, Nanos);

impl<'s> Searched<'s> {
    pub(super) fn new(
        (fleets, classes, shapes): (&'s [Fleet<'s>], &'s Classes, &'s [Shape]),
        prices: Prices<'s>,
        (global_batch, options): (u64, &'s Options),
    ) -> Self {
        let fleet = &fleets[0];
        let n_blocks = fleet.base.model.n_blocks();
        Self {
            fleets,
            fleet,
            classes,
            shapes,
            singles: (0..)
                .zip(shapes)
                .filter(|(_, shape)| shape.is_of_one())
                .map(|(at, shape)| ((shape.counts[0].0, shape.n_devices), at))
                .collect(),
            tried: (0..shapes.len()).collect(),
            is_even: true,
            prices,
            options,
            global_batch,
            n_blocks,
            runs: Vec::new(),
            meshes: BTreeMap::new(),
            ways: BTreeMap::new(),
            best: None,
            most: options.below,
            starts: Vec::new(),
            bound: Nanos(0),
            left_out: (f64::INFINITY, StopReason::Finished),
            n_nodes: 0,
            n_judged: 0,
        }
    }

    /// Tensor degrees of a group of a class.
    fn tensors(&self, n_devices: usize) -> Vec<u32> {
        let most = if self.fleet.base.model.is_of_parts() { 1 } else { n_devices as u32 };
        (1..=most).filter(|t| (n_devices as u32).is_multiple_of(*t)).collect()
    }

    /// By class, what a replica may be, with samples of a micro-batch, of which there are so many.
    fn units(&mut self, (micro_batch, m): (u64, u64), fleet: usize) -> Vec<Vec<Unit>> {
        let classes = 0..self.classes.groups.len();
        let n_devices: usize = self.fleet.groups.iter().map(|group| group.devices.len()).sum();
        let of_class = |class: usize| {
            let mut units = Vec::new();
            let update_s = self.prices.update_s(class, fleet) / n_devices as f64;
            let tensors = sizes(self.classes.devices[class]).flat_map(|size| self.tensors(size));
            for tensor in tensors.collect::<BTreeSet<_>>() {
                for samples in 1..=micro_batch.min(self.prices.most_samples) {
                    let Some([block_s, head_s]) = self.prices.unit(class, tensor, samples) else {
                        break;
                    };
                    // A device updates its part of a block once a step, beside its passes.
                    let share = samples as f64 / f64::from(tensor);
                    let block_share = share * block_s / (block_s + update_s / m as f64);
                    Unit { share, block_share, block_s, head_s }.add_to(&mut units);
                }
            }
            units
        };
        classes.map(of_class).collect()
    }

    /// Devices of each class that are not used.
    fn devices_left(&self, part: &Part) -> Vec<usize> {
        let sizes = self.classes.devices.iter().zip(&self.classes.groups);
        let of = |(n, groups): (&usize, &Vec<usize>)| {
            n * groups.len() - groups.iter().map(|group| part.used[*group]).sum::<usize>()
        };
        sizes.map(of).collect()
    }

    fn best_s(&self) -> f64 {
        self.best.as_ref().map_or(f64::INFINITY, |best| best.step.seconds())
    }

    fn most_s(&self) -> f64 {
        self.most.seconds()
    }

    fn run_of(&self, micro_batch: u64) -> Parallelism {
        let n_micro_batches = self.global_batch / micro_batch;
        Parallelism { pipeline: 2, n_micro_batches, micro_batch, ..Parallelism::default() }
    }

    /// Parts with one more stage before; with a target, only the stage of most blocks that is
    /// done in so many seconds.
    fn grown(&mut self, part: &Part, at_run: usize, target: Option<f64>) -> Vec<Part> {
        let mut grown = Vec::new();
        for next in self.next_shapes(part) {
            for tensor in self.shape_tensors(next.shape) {
                let Some(next) = self.meshed(&next, (tensor, at_run)) else { continue };
                match target {
                    None => {
                        // More equal blocks take longer, and more memory, but for what a stage
                        // receives: the first one does not, and a single one has no buffers for it.
                        let may_need_less =
                            part.chain.is_none() || self.fleet.base.stack.posts_receives;
                        let mut fits = true;
                        for blocks in 1..=part.left {
                            let is_all = may_need_less && blocks == part.left;
                            if fits || is_all || !self.fleet.is_uniform() {
                                let longer = self.with(part, &next, blocks);
                                fits = longer.is_some();
                                grown.extend(longer);
                            }
                        }
                    }
                    Some(target) => grown.extend(self.fullest(part, &next, target)),
                }
            }
        }
        grown
    }

    fn fullest(&mut self, part: &Part, next: &Meshed, target: f64) -> Option<Part> {
        let m = self.runs[next.place.4].degrees.n_micro_batches as f64;
        let (mut low, mut high, mut best) = (1, part.left, None);
        while low <= high {
            let blocks = low + (high - low) / 2;
            let found = self.with(part, next, blocks);
            let is_done = |longer: &Part| {
                longer.stages().next().is_some_and(|stage| m * seconds(&stage.price) <= target)
            };
            match found.filter(is_done) {
                Some(longer) => {
                    best = Some(longer);
                    low = blocks + 1;
                }
                None => high = blocks - 1,
            }
        }
        best
    }

    /// A part with one more stage of so many blocks before; `None` where it does not fit, or takes
    /// longer than the best plan.
    fn with(&mut self, part: &Part, next: &Meshed, blocks: u32) -> Option<Part> {
        self.n_nodes += 1;
        self.options.control.spend(1);
        let Meshed { place: mesh_place, mesh, used } = next;
        let (shape, .., at_run) = *mesh_place;
        let n_devices =
            part.stages().fold(mesh.devices.len(), |n, stage| n + stage.mesh.devices.len());
        if n_devices > self.options.devices {
            return None;
        }
        let place = Place { first: blocks == part.left, last: part.chain.is_none() };
        let pipeline = if place.first && place.last { 1 } else { 2 };
        let of = &self.runs[at_run];
        let run = &Parallelism { pipeline, ..of.degrees.clone() };
        let n_in_flight = in_flight(run.n_micro_batches, part.n_stages);
        let key = (shape, mesh.tensor, run.micro_batch, of.fleet);
        let range = part.left - blocks..part.left;
        let Fitted { recompute, price, samples } =
            self.prices.fitted((key, run), range, (place, n_in_flight))?;
        let mesh = match samples {
            Some(samples) if *samples != mesh.samples => {
                Rc::new(StageMesh { samples: samples.to_vec(), ..(**mesh).clone() })
            }
            _ => Rc::clone(mesh),
        };
        let way_s = self.way_s((*mesh_place, &mesh), part)?;
        let m = run.n_micro_batches as f64;
        let own_s = seconds(&price);
        let round_s = part.round_s + own_s + way_s;
        // As many micro-batches as a stage keeps are under way at once; the next ones wait for them.
        let rounds = run.n_micro_batches.div_ceil(n_in_flight) as f64;
        let after_s = if place.last { 0.0 } else { part.worst_s + own_s + way_s };
        let worst_s = after_s.max(m * own_s).max(rounds * round_s);
        let exposed = price.stage.exchange - price.stage.overlapped;
        let ended_s = part.ended_s.max(m * own_s + (exposed + price.rank.optimizer).seconds());
        let last = part.stages().last().filter(|_| place.first);
        let tie_s = last.map_or(Some(0.0), |last| {
            self.fleet.tie_s([(&*mesh, price), (&*last.mesh, last.price)])
        })?;
        // Ends that hold an embedding together update it once both are ready.
        let other = last.filter(|_| tie_s > 0.0).map_or(Nanos(0), |last| last.price.rank.optimizer);
        let update = price.rank.optimizer.max(other);
        let ended_s = match place.first {
            // Its last pass is the very last one, and ends of a pipeline may have more to add up.
            true => ended_s.max(worst_s + (exposed + update).seconds() + tie_s),
            false => ended_s,
        };
        if worst_s.max(ended_s) >= self.most_s() {
            return None;
        }
        let first = Chosen { place: *mesh_place, mesh, blocks, recompute, price };
        let chain = Some(Rc::new(Chain { first, rest: part.chain.clone() }));
        let left = part.left - blocks;
        let (used, n_stages) = (Rc::clone(used), part.n_stages + 1);
        let least_s = worst_s.max(ended_s);
        let longer = Part { chain, n_stages, left, used, round_s, worst_s, ended_s, least_s };
        Some(self.bounded(longer, at_run))
    }

    /// The part with what the blocks that are left add to the least time of any plan with it.
    fn bounded(&self, mut longer: Part, at_run: usize) -> Part {
        let Part { left, least_s, worst_s, .. } = longer;
        // Not worth its time where all that is sought is some plan.
        if left > 0 && !self.is_first() {
            let devices = self.devices_left(&longer);
            let spread_s =
                self.runs[at_run].least.seconds(worst_s, (self.prices.work(left), false), &devices);
            longer.least_s = least_s.max(spread_s);
        }
        longer
    }

    /// Judges a whole plan, keeps it where it is better, and returns its step where that is less than
    /// [`Self::most`].
    fn judge(&mut self, part: &Part, at_run: usize, observer: Observer<'_>) -> Option<Nanos> {
        let pipeline = u32::try_from(part.n_stages).ok()?;
        let Run { degrees, fleet: at_fleet, .. } = &self.runs[at_run];
        let at_fleet = *at_fleet;
        let run = Parallelism { pipeline, ..degrees.clone() };
        if run.n_micro_batches.saturating_mul(2 * u64::from(pipeline)) > MOST_CELLS {
            self.leave_out(part.least_s, StopReason::SizeLimit);
            return None;
        }
        let stages: Vec<Priced<'_>> =
            part.stages().map(|chosen| (&*chosen.mesh, chosen.blocks, chosen.price)).collect();
        self.n_judged += 1;
        let (step, ratios) = self.priced(&stages, (&run, at_fleet))?;
        if self.best.as_ref().is_some_and(|best| best.step <= step) {
            return Some(step);
        }
        let m = u32::try_from(run.n_micro_batches).ok()?;
        let mut next = 0;
        let stage = |(chosen, edge_ratio): (&Chosen, u32)| {
            let start = next;
            next += chosen.blocks;
            Stage {
                blocks: start..next,
                recompute: chosen.recompute,
                mesh: Some(StageMesh { edge_ratio, ..(*chosen.mesh).clone() }),
                ..Stage::default()
            }
        };
        let ratios = ratios.into_iter().chain(std::iter::repeat(1));
        let stages = part.stages().zip(ratios).map(stage).collect();
        let plan = Plan {
            parallelism: run,
            partition: Partition { stages },
            placement: Default::default(),
            schedule: Schedule { grid: grid(pipeline, m), ..Schedule::default() },
        };
        let judged = Judged { plan, step, offload: self.fleets[at_fleet].base.offload };
        observer(&judged, self.bound.min(judged.step));
        self.options.control.lower_value(judged.step);
        self.best = Some(judged);
        Some(step)
    }

    /// The step of a whole plan where it is less than [`Self::most`], and by edge, elements over those that
    /// are sent; none where all are.
    fn priced(
        &mut self,
        stages: &[Priced<'_>],
        (run, at_fleet): (&Parallelism, usize),
    ) -> Option<(Nanos, Vec<u32>)> {
        let fleet = &self.fleets[at_fleet];
        let step = judged(&fleet.together(stages, run)?, run.pipeline, self.most)?;
        if self.fleet.edge_ratio <= 1 {
            return Some((step, Vec::new()));
        }
        // No choice of what its edges leave out is faster than that; which is best is not gone through.
        self.leave_out(step.seconds(), StopReason::Finished);
        edges::priced(fleet, (stages, run), self.most)
    }

    /// Whether any plan will do: few shapes are tried.
    fn is_first(&self) -> bool {
        self.tried.len() < self.shapes.len()
    }

    fn root(&self, at_run: usize) -> Part {
        let mut root = Part {
            chain: None,
            n_stages: 0,
            left: self.n_blocks,
            used: Rc::new(vec![0; self.fleet.groups.len()]),
            round_s: 0.0,
            worst_s: 0.0,
            ended_s: 0.0,
            least_s: 0.0,
        };
        let devices = self.devices_left(&root);
        let all = (self.prices.work(self.n_blocks), true);
        root.least_s = self.runs[at_run].least.seconds(0.0, all, &devices);
        root
    }

    /// Plans whose stages take at most so many times the least.
    fn beams(&mut self, roots: &[f64], (target, width): (f64, usize), observer: Observer<'_>) {
        for (run, least_s) in roots.iter().enumerate() {
            let target = target * least_s;
            if self.options.control.stop().is_none() && target < self.best_s() {
                let part = self.root(run);
                self.beam(Open { part, run }, (target, width), observer);
            }
        }
    }

    /// Plans of one micro-batch whose stages take at most so long.
    fn beam(&mut self, root: Open, (target, width): (f64, usize), observer: Observer<'_>) {
        let mut level = vec![root.part];
        while !level.is_empty() && self.options.control.stop().is_none() {
            let mut next: Vec<Part> = Vec::new();
            for part in &level {
                next.extend(self.grown(part, root.run, Some(target)));
            }
            let best_s = self.most_s();
            next.retain(|part| part.least_s < best_s);
            let is_first = self.is_first();
            next.sort_by(|a, b| {
                let by_left = a.left.cmp(&b.left);
                let by_time = a.least_s.total_cmp(&b.least_s);
                if is_first { by_left.then(by_time) } else { by_time.then(by_left) }
            });
            let (whole, mut open): (Vec<Part>, Vec<Part>) =
                next.into_iter().partition(|part| part.left == 0);
            for part in whole.iter().take(width) {
                if let Some(step) = self.judge(part, root.run, observer) {
                    self.starts.push((step, Outline::of(part, root.run)));
                    self.most = step;
                }
            }
            open.truncate(width);
            level = open;
        }
    }

    /// All plans that may be better, the most promising first; whether none was left out.
    fn deep(&mut self, nodes: u64, observer: Observer<'_>) -> bool {
        let mut open: BinaryHeap<Open> =
            (0..self.runs.len()).map(|run| Open { part: self.root(run), run }).collect();
        let end = self.n_nodes.saturating_add(nodes);
        self.most = self.best.as_ref().map_or(self.options.below, |best| best.step);
        while let Some(Open { part, run }) = open.pop() {
            if part.least_s >= self.most_s() {
                break;
            }
            if part.left == 0 {
                self.most = self.judge(&part, run, observer).unwrap_or(self.most);
                continue;
            }
            self.raise(part.least_s);
            if self.n_nodes >= end || self.options.control.stop().is_some() {
                return false;
            }
            let best_s = self.most_s();
            let grown = self.grown(&part, run, None).into_iter();
            let better = grown.filter(|part| part.least_s < best_s);
            open.extend(better.map(|part| Open { part, run }));
            if open.len() > MOST_OPEN {
                let mut all = open.into_sorted_vec();
                let worse = all.drain(..MOST_OPEN / 2).map(|entry| entry.part.least_s);
                self.leave_out(worse.fold(f64::INFINITY, f64::min), StopReason::MemoryBudget);
                open = all.into();
            }
        }
        self.raise(self.most_s());
        self.left_out.0 >= self.most_s()
    }

    /// Takes note of plans that are not looked at.
    fn leave_out(&mut self, least_s: f64, why: StopReason) {
        if least_s < self.left_out.0 {
            self.left_out = (least_s, why);
        }
    }

    /// Takes note of what no plan that is looked at is below.
    fn raise(&mut self, least_s: f64) {
        self.bound = self.bound.max(floor(least_s.min(self.left_out.0)));
        self.options.control.set_bound(self.bound);
    }

    pub(super) fn run(mut self, observer: Observer<'_>) -> Found {
        let n_devices: usize = self.fleet.groups.iter().map(|group| group.devices.len()).sum();
        for micro_batch in divisors(self.global_batch, n_devices as u64 * self.prices.most_samples)
        {
            let degrees = self.run_of(micro_batch);
            for fleet in 0..self.fleets.len() {
                let m = degrees.n_micro_batches;
                let least = Least::of(&self.units((micro_batch, m), fleet), (micro_batch, m));
                self.runs.push(Run { degrees: degrees.clone(), fleet, least });
            }
        }
        let roots: Vec<f64> = (0..self.runs.len()).map(|run| self.root(run).least_s).collect();
        let root_s = roots.iter().copied().fold(f64::INFINITY, f64::min);
        self.raise(root_s);
        if self.shapes.len() >= MOST_SHAPES {
            self.leave_out(root_s, StopReason::SizeLimit);
        }
        if self.shapes.len() > MOST_FIRST_TRIED {
            let all = std::mem::take(&mut self.tried);
            self.tried = first_tried(self.shapes, self.classes);
            let mut targets = TARGETS.into_iter();
            while let Some(target) = targets.next().filter(|_| self.best.is_none()) {
                self.beams(&roots, (target, 1), observer);
            }
            self.tried = all;
        }
        for target in TARGETS {
            self.beams(&roots, (target, self.options.width), observer);
        }
        // Small spaces are gone through at once.
        self.is_even = false;
        let mut is_whole = self.deep(self.options.nodes / 8, observer);
        if !is_whole {
            self.polish(observer);
            is_whole = self.deep(self.options.nodes, observer);
        }
        let best = self.best.as_ref().map(|best| best.step);
        let stop = match (self.options.control.stop(), is_whole) {
            (_, true) => StopReason::Finished,
            (Some(reason), false) => reason,
            (None, false) if floor(self.left_out.0) <= self.bound => self.left_out.1,
            (None, false) => StopReason::NodeBudget,
        };
        let bound = match best {
            Some(best) if is_whole => best,
            Some(best) => best.min(self.bound),
            None if is_whole => self.options.below,
            None => self.bound,
        };
        let Self { best, n_nodes, n_judged, .. } = self;
        Found { best, bound, stop, n_nodes, n_judged }
    }
}

/// The order of passes.
fn grid(pipeline: u32, n_micro_batches: u32) -> Option<Grid> {
    let degrees = Parallelism { pipeline, ..Parallelism::default() };
    Order::OneFOneB.grid(&degrees, n_micro_batches, |_| false).ok()
}

/// The step of a pipeline, where it fits and is below `most`.
pub(super) fn judged(costs: &PipelineCosts, pipeline: u32, most: Nanos) -> Option<Nanos> {
    let steady = Order::OneFOneB.steady(pipeline, 1);
    let report = fold::report(costs, steady, most, |m| grid(pipeline, m)).ok()??;
    (over_limit(&report).is_none() && report.step_time < most).then_some(report.step_time)
}

/// Whole nanoseconds of a bound.
fn floor(seconds: f64) -> Nanos {
    Nanos((seconds * 1e9).max(0.0) as u64)
}

/// Both passes of one micro-batch.
fn seconds(price: &StagePrice) -> f64 {
    (price.stage.forward + price.stage.backward + price.stage.recompute).seconds()
}
