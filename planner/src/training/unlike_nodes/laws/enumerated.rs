//! All plans of the space, each judged: no search, no bound.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cost_model::runs::judge::violation::Violation;
use cost_model::runs::judge::{judge, over_limit};
use cost_model::runs::oracle::Place;
use cost_model::runs::unlike::{Fleet, StagePrice, in_flight};
use ir::card::Recompute;
use ir::id::DeviceId;
use ir::plan::{Parallelism, Stage, StageMesh};

use crate::training::order::Order;
use crate::training::unlike_nodes::divisors;
use crate::training::unlike_nodes::shapes::Classes;

/// A stage but for its samples: blocks, place, and micro-batches that it keeps.
type Stated = (Range<u32>, Place, u64);

/// All plans that the judge takes whose stages are on any devices of a group, in their order, or on whole groups
/// of equal size of two classes at most, with any samples of replicas; which are of the stated ones.
struct Enumerated<'s> {
    fleet: &'s Fleet<'s>,
    classes: &'s Classes,
    run: Parallelism,
    n_blocks: u32,
    /// By number of devices.
    best: BTreeMap<usize, u64>,
    /// Of any samples.
    best_of_any: u64,
    /// What edges may send one in; 1 = all.
    edge_ratio: u32,
    best_in_part: u64,
    n: u64,
    known: BTreeMap<String, Option<StagePrice>>,
    stated: BTreeMap<String, Option<Vec<u64>>>,
}

impl Enumerated<'_> {
    /// Devices of the next stage; by group, those that are used are its first ones.
    fn maps(&mut self, used: &[usize], stages: &[StageMesh]) {
        if !stages.is_empty() {
            self.cut(stages, 0, &[]);
        }
        if stages.len() >= self.n_blocks as usize {
            return;
        }
        let n = self.fleet.groups.len();
        for group in 0..n {
            let devices = &self.fleet.groups[group].devices[used[group]..];
            for n_devices in 1..=devices.len() {
                let mut used = used.to_vec();
                used[group] += n_devices;
                self.degrees(&used, stages, (devices[..n_devices].to_vec(), n_devices));
            }
        }
        for set in 1_usize..1 << n {
            let groups: Vec<usize> = (0..n).filter(|at| set >> at & 1 == 1).collect();
            if groups.len() < 2 || groups.iter().any(|group| used[*group] > 0) {
                continue;
            }
            let class = |group: &usize| {
                self.classes.groups.iter().position(|class| class.contains(group)).unwrap()
            };
            let classes: BTreeSet<usize> = groups.iter().map(class).collect();
            let size = self.fleet.groups[groups[0]].devices.len();
            let is_even =
                groups.iter().all(|group| self.fleet.groups[*group].devices.len() == size);
            if classes.len() > 2 || !is_even {
                continue;
            }
            let mut devices: Vec<(usize, usize, DeviceId)> = Vec::new();
            for group in &groups {
                let all = self.fleet.groups[*group].devices.iter();
                devices.extend(all.map(|device| (class(group), *group, *device)));
            }
            devices.sort_unstable();
            let devices: Vec<DeviceId> = devices.into_iter().map(|(_, _, device)| device).collect();
            let mut used = used.to_vec();
            groups.iter().for_each(|group| used[*group] = size);
            self.degrees(&used, stages, (devices, size));
        }
    }

    /// Tensor degrees and samples of the next stage.
    fn degrees(
        &mut self,
        used: &[usize],
        stages: &[StageMesh],
        (devices, size): (Vec<DeviceId>, usize),
    ) {
        for tensor in (1..=size as u32).filter(|t| (size as u32).is_multiple_of(*t)) {
            for samples in sums(self.run.micro_batch, devices.len() / tensor as usize) {
                let mesh = StageMesh { devices: devices.clone(), tensor, samples, edge_ratio: 1 };
                if self.fleet.systems(&mesh, self.run.micro_batch).is_ok() {
                    let stages: Vec<StageMesh> = stages.iter().cloned().chain([mesh]).collect();
                    self.maps(used, &stages);
                }
            }
        }
    }

    /// Blocks of the next stage.
    fn cut(&mut self, stages: &[StageMesh], next: u32, cuts: &[u32]) {
        if cuts.len() == stages.len() {
            if next == self.n_blocks {
                self.judged(stages, cuts);
            }
            return;
        }
        for n in 1..=self.n_blocks - next {
            let cuts: Vec<u32> = cuts.iter().copied().chain([n]).collect();
            self.cut(stages, next + n, &cuts);
        }
    }

    /// With the least recompute with which it fits.
    fn price(&mut self, mesh: &StageMesh, of: &Stated, run: &Parallelism) -> Option<StagePrice> {
        let key = format!("{mesh:?} {of:?} {}", run.pipeline.min(2));
        let (fleet, (blocks, place, n_in_flight)) = (self.fleet, of);
        *self.known.entry(key).or_insert_with(|| {
            let systems = fleet.systems(mesh, run.micro_batch).unwrap();
            let replicas = fleet.replicas(&systems, (mesh, run)).unwrap();
            let policies = [Recompute::None, Recompute::Selective, Recompute::Full];
            policies.into_iter().find_map(|recompute| {
                let stage = Stage { blocks: blocks.clone(), recompute, ..Stage::default() };
                let price = Fleet::stage(&replicas, &stage, (*place, *n_in_flight));
                let fits = price.rank.limit.is_none_or(|limit| price.peak <= limit.0);
                fits.then_some(price)
            })
        })
    }

    /// The samples that the space states: equal ones in a class, or first ones have one more; between classes
    /// those with which the stage is fastest, of these the most even, of these most on the first class.
    fn stated(&mut self, mesh: &StageMesh, of: &Stated, run: &Parallelism) -> Option<Vec<u64>> {
        let key = format!("{:?} {} {of:?} {}", mesh.devices, mesh.tensor, run.pipeline.min(2));
        if let Some(known) = self.stated.get(&key) {
            return known.clone();
        }
        let class = |replica: &[DeviceId]| {
            let group = self.fleet.group_of(replica[0]).unwrap();
            self.classes.groups.iter().position(|class| class.contains(&group)).unwrap()
        };
        let classes: Vec<usize> = mesh.devices.chunks(mesh.tensor as usize).map(class).collect();
        let n_first = classes.iter().filter(|class| **class == classes[0]).count();
        let mut best: Option<([u64; 3], Vec<u64>)> = None;
        for samples in sums(run.micro_batch, classes.len()) {
            let parts = [&samples[..n_first], &samples[n_first..]];
            let is_equal = |part: &[u64]| {
                part.is_sorted_by(|a, b| a >= b) && part[0] <= part[part.len() - 1] + 1
            };
            if parts.iter().any(|part| !part.is_empty() && !is_equal(part)) {
                continue;
            }
            let mesh = StageMesh { samples: samples.clone(), ..mesh.clone() };
            let Some(price) = self.price(&mesh, of, run) else { continue };
            let stage = price.stage;
            let taken = stage.forward.0 + stage.backward.0 + stage.recompute.0;
            let [first, rest] = parts.map(|part| part.iter().sum::<u64>());
            let (a, b) = (first * parts[1].len() as u64, rest * n_first as u64);
            let rank = [taken, a.abs_diff(b), rest];
            if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                best = Some((rank, samples));
            }
        }
        let best = best.map(|entry| entry.1);
        self.stated.insert(key, best.clone());
        best
    }

    fn judged(&mut self, meshes: &[StageMesh], cuts: &[u32]) {
        let pipeline = cuts.len() as u32;
        let run = Parallelism { pipeline, ..self.run.clone() };
        let mut stages = Vec::new();
        let (mut next, mut is_stated) = (0, true);
        for (at, (mesh, n)) in meshes.iter().zip(cuts).enumerate() {
            let blocks = if self.fleet.is_uniform() { 0..*n } else { next..next + n };
            next += n;
            let n_in_flight = in_flight(run.n_micro_batches, cuts.len() - at - 1);
            let of = (blocks, Place::of(at, cuts.len()), n_in_flight);
            let Some(price) = self.price(mesh, &of, &run) else { return };
            stages.push((mesh, *n, price));
            is_stated &= self.stated(mesh, &of, &run).as_ref() == Some(&mesh.samples);
        }
        let m = run.n_micro_batches as u32;
        let grid = Order::OneFOneB.grid(&run, m, |_| false).unwrap();
        let (fleet, edge_ratio) = (self.fleet, self.edge_ratio);
        let step = |stages: &[(&StageMesh, u32, StagePrice)]| {
            let costs = fleet.together(stages, &run).unwrap();
            let report = judge(&costs, &grid).unwrap().report;
            // What is said of a stage's peak is what the judge finds, or a little more.
            let over = over_limit(&report);
            assert!(matches!(over, None | Some(Violation::HostMemoryExceeded { .. })));
            over.map_or(report.step_time.0, |_| u64::MAX)
        };
        // Each edge sends all or a part.
        let n_edges = if edge_ratio > 1 { cuts.len() - 1 } else { 0 };
        let parts = (1..1_u32 << n_edges).map(|set| {
            let with = |(at, mesh): (usize, &StageMesh)| {
                let edge_ratio = if set >> at & 1 == 1 { edge_ratio } else { 1 };
                StageMesh { edge_ratio, ..mesh.clone() }
            };
            let meshes: Vec<StageMesh> = meshes.iter().enumerate().map(with).collect();
            let stages: Vec<_> = meshes
                .iter()
                .zip(&stages)
                .map(|(mesh, (_, n, price))| (mesh, *n, *price))
                .collect();
            step(&stages)
        });
        let in_part = parts.min().unwrap_or(u64::MAX);
        self.best_in_part = self.best_in_part.min(in_part);
        let step = step(&stages);
        if step == u64::MAX {
            return;
        }
        self.n += 1;
        self.best_of_any = step.min(self.best_of_any);
        if !is_stated {
            return;
        }
        let n_devices = meshes.iter().map(|mesh| mesh.devices.len()).sum();
        let best = self.best.entry(n_devices).or_insert(step);
        *best = step.min(*best);
    }
}

/// All ways to share out so many samples over so many replicas.
fn sums(all: u64, n: usize) -> Vec<Vec<u64>> {
    if n == 1 {
        return vec![vec![all]];
    }
    let with = |first: u64| {
        let rest = sums(all - first, n - 1).into_iter();
        rest.map(move |rest| [vec![first], rest].concat())
    };
    (1..(all + 1).saturating_sub(n as u64 - 1)).flat_map(with).collect()
}

/// Nanoseconds of the best plans.
pub(in crate::training::unlike_nodes) struct Best {
    /// Of the space, by number of devices.
    pub(in crate::training::unlike_nodes) by_devices: BTreeMap<usize, u64>,
    /// With any samples of replicas.
    pub(in crate::training::unlike_nodes) of_any: u64,
    /// With any samples, where some edges send one in so many elements.
    pub(in crate::training::unlike_nodes) in_part: u64,
    /// Plans.
    pub(in crate::training::unlike_nodes) n: u64,
}

/// Judges all plans.
pub(in crate::training::unlike_nodes) fn enumerated(
    fleet: &Fleet<'_>,
    (global_batch, edge_ratio): (u64, u32),
) -> Best {
    let classes = Classes::of(fleet);
    let mut found = Best { by_devices: BTreeMap::new(), of_any: u64::MAX, in_part: u64::MAX, n: 0 };
    for micro_batch in divisors(global_batch, u64::MAX) {
        let n_micro_batches = global_batch / micro_batch;
        let run =
            Parallelism { pipeline: 2, n_micro_batches, micro_batch, ..Parallelism::default() };
        let mut all = Enumerated {
            fleet,
            classes: &classes,
            run,
            n_blocks: fleet.base.model.n_blocks(),
            best: BTreeMap::new(),
            best_of_any: u64::MAX,
            edge_ratio,
            best_in_part: u64::MAX,
            n: 0,
            known: BTreeMap::new(),
            stated: BTreeMap::new(),
        };
        all.maps(&vec![0; fleet.groups.len()], &[]);
        found.n += all.n;
        found.of_any = found.of_any.min(all.best_of_any);
        found.in_part = found.in_part.min(all.best_in_part);
        found.add(all.best);
    }
    found
}

impl Best {
    pub(super) fn add(&mut self, others: BTreeMap<usize, u64>) {
        for (n_devices, step) in others {
            let best = self.by_devices.entry(n_devices).or_insert(step);
            *best = step.min(*best);
        }
    }
}
