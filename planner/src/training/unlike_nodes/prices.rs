//! What stages of a shape cost: asked of the oracle once.

mod shared;

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use cost_model::runs::forms::model::priced::Priced;
use cost_model::runs::forms::system::System;
use cost_model::runs::oracle::Place;
use cost_model::runs::unlike::{Fleet, StagePrice};
use ir::card::Recompute;
use ir::plan::{Parallelism, Stage, StageMesh};

use super::shapes::{Classes, Shape};

/// What a stage may compute again, the first with which it fits.
const POLICIES: [Recompute; 3] = [Recompute::None, Recompute::Selective, Recompute::Full];

/// Links and devices of all shapes, which prices refer to.
pub(super) struct Systems(Vec<Option<BTreeMap<usize, System>>>);

impl Systems {
    pub(super) fn of((fleet, classes): (&Fleet<'_>, &Classes), shapes: &[Shape]) -> Self {
        let of = |shape: &Shape| {
            let devices = shape.devices((fleet, classes), [0; 2], 0);
            let samples = vec![1; devices.len()];
            let n = devices.len() as u64;
            fleet.systems(&StageMesh { devices, tensor: 1, samples, edge_ratio: 1 }, n).ok()
        };
        Self(shapes.iter().map(of).collect())
    }
}

/// A stage with its policy and price.
#[derive(Clone)]
pub(super) struct Fitted {
    pub(super) recompute: Recompute,
    pub(super) price: StagePrice,
    /// Samples of its replicas, where these hang on its blocks.
    pub(super) samples: Option<Rc<Vec<u64>>>,
}

/// A shape, its tensor degree, micro-batch, and which of the fleets prices it.
type Key = (usize, u32, u64, usize);

/// Samples of each replica, and one replica of each kind and share.
type Shared<'s> = (Vec<u64>, Vec<Priced<'s>>);

pub(super) struct Prices<'s> {
    /// The fleet, and where hosts may keep states the same with these there.
    fleets: &'s [Fleet<'s>],
    fleet: &'s Fleet<'s>,
    classes: &'s Classes,
    shapes: &'s [Shape],
    systems: &'s Systems,
    /// By class, tensor degree and samples: seconds of a block, and of the head, on one replica.
    units: BTreeMap<(usize, u32, u64), Option<[f64; 2]>>,
    /// By shape and whether it is one stage of several.
    replicas: BTreeMap<(Key, bool), Option<Shared<'s>>>,
    /// Of shapes of two classes, by samples, whether it is one stage of several: a replica of each class.
    levels: BTreeMap<(Key, bool, u64), Option<Vec<Priced<'s>>>>,
    fitted: BTreeMap<(Key, [u32; 2], u8, u64), Option<Fitted>>,
    /// How much work the first blocks are, by their number, in some unit.
    work: Vec<f64>,
    /// Most samples of a micro-batch on one replica.
    pub(super) most_samples: u64,
}

impl<'s> Prices<'s> {
    pub(super) fn new(
        (fleets, classes): (&'s [Fleet<'s>], &'s Classes),
        (shapes, systems): (&'s [Shape], &'s Systems),
        most_samples: u64,
    ) -> Self {
        let fleet = &fleets[0];
        let (units, replicas, levels, fitted) = Default::default();
        let n_blocks = fleet.base.model.n_blocks();
        let work = (0..=n_blocks).map(f64::from).collect();
        let mut prices = Self {
            fleets,
            fleet,
            classes,
            shapes,
            systems,
            units,
            replicas,
            levels,
            fitted,
            work,
            most_samples,
        };
        if !fleet.is_uniform() {
            prices.work = prices.measured();
        }
        prices
    }

    /// How much work the first so many blocks are, in some unit.
    pub(super) fn work(&self, n_blocks: u32) -> f64 {
        self.work.get(n_blocks as usize).copied().unwrap_or(0.0)
    }

    /// Work of unlike blocks: as long as each takes on a device.
    fn measured(&mut self) -> Vec<f64> {
        let devices = self.fleet.groups.first().map_or(&[][..], |group| &group.devices);
        let devices = devices.iter().take(1).copied().collect();
        let mesh = StageMesh { devices, tensor: 1, samples: vec![1], edge_ratio: 1 };
        let seconds = self.alone(&mesh, 1).map_or_else(Vec::new, |found| found.0);
        let mut sum = 0.0;
        let sums = seconds.into_iter().map(|block_s| {
            sum += block_s.max(1e-9);
            sum
        });
        std::iter::once(0.0).chain(sums).collect()
    }

    /// Seconds of one block, or of as much work, on one replica of a class, where that is least, and of
    /// the head.
    pub(super) fn unit(&mut self, class: usize, tensor: u32, samples: u64) -> Option<[f64; 2]> {
        let key = (class, tensor, samples);
        if let Some(known) = self.units.get(&key) {
            return *known;
        }
        let group = self.classes.groups.get(class)?.first()?;
        let devices = self.fleet.groups.get(*group)?.devices.get(..tensor as usize)?.to_vec();
        let mesh = StageMesh { devices, tensor, samples: vec![samples], edge_ratio: 1 };
        let found = self.priced_unit(&mesh, samples);
        self.units.insert(key, found);
        found
    }

    fn priced_unit(&self, mesh: &StageMesh, samples: u64) -> Option<[f64; 2]> {
        let (blocks, head) = self.alone(mesh, samples)?;
        let work = self.work.windows(2).map(|pair| pair[1] - pair[0]);
        let shares = blocks.iter().zip(work).map(|(seconds, work)| seconds / work);
        Some([shares.fold(f64::INFINITY, f64::min), head])
    }

    /// Seconds in which one device of a class updates all parameters of a block, or of as much work, at
    /// least.
    pub(super) fn update_s(&self, class: usize, fleet: usize) -> f64 {
        let found = || {
            let group = self.fleet.groups.get(*self.classes.groups.get(class)?.first()?)?;
            let devices = group.devices.get(..1)?.to_vec();
            let mesh = StageMesh { devices, tensor: 1, samples: vec![1], edge_ratio: 1 };
            let run = Parallelism { pipeline: 1, ..Parallelism::default() };
            let fleet = self.fleets.get(fleet)?;
            let systems = fleet.systems(&mesh, 1).ok()?;
            let replicas = fleet.replicas(&systems, (&mesh, &run)).ok()?;
            let seconds = |blocks: Range<u32>| {
                let stage = Stage { blocks, ..Stage::default() };
                let place = Place { first: false, last: false };
                Fleet::stage(&replicas, &stage, (place, 1)).rank.optimizer.seconds()
            };
            // What a step takes once is in each figure: the rest is the blocks'.
            let once = seconds(0..0);
            let n = u32::try_from(self.work.len().checked_sub(1)?).ok()?;
            let each = (0..n).map(|at| {
                (seconds(at..at + 1) - once).max(0.0) / (self.work(at + 1) - self.work(at))
            });
            Some(each.fold(f64::INFINITY, f64::min)).filter(|value| value.is_finite())
        };
        found().unwrap_or(0.0)
    }

    /// Seconds of each block on one replica, no more than what stages of them take, and of the head.
    fn alone(&self, mesh: &StageMesh, samples: u64) -> Option<(Vec<f64>, f64)> {
        let systems = self.fleet.systems(mesh, samples).ok()?;
        let run = Parallelism { pipeline: 1, micro_batch: samples, ..Parallelism::default() };
        let replicas = self.fleet.replicas(&systems, (mesh, &run)).ok()?;
        let priced = replicas.first()?;
        let seconds = |blocks: Range<u32>, last: bool| {
            let place = Place { first: false, last };
            priced.figures(&blocks, Recompute::None, place).seconds()
        };
        let n = self.fleet.base.model.n_blocks();
        let head = |blocks: Range<u32>| seconds(blocks.clone(), true) - seconds(blocks, false);
        if self.fleet.is_uniform() {
            // Equal blocks cost as many times as much, beside what a stage costs once: the ends are
            // least.
            let ends = [1, n];
            let block = ends.map(|x| seconds(0..x, false) / f64::from(x));
            let block = block.into_iter().fold(f64::INFINITY, f64::min);
            let head = ends.into_iter().map(|x| head(0..x)).fold(f64::INFINITY, f64::min);
            return Some((vec![block; n as usize], head.max(0.0)));
        }
        // What a stage costs once is in each block's figure: the most of it is taken away.
        let each: Vec<f64> = (0..n).map(|at| seconds(at..at + 1, false)).collect();
        let pairs = (1..n).map(|at| {
            let [a, b] = [at - 1, at].map(|index| each[index as usize]);
            a + b - seconds(at - 1..at + 1, false)
        });
        let all = each.iter().sum::<f64>() - seconds(0..n, false);
        let all = all / f64::from(n.saturating_sub(1).max(1));
        let once = pairs.chain([all]).fold(0.0, f64::max);
        let blocks = each.iter().map(|block_s| (block_s - once).max(0.0)).collect();
        Some((blocks, head(n.saturating_sub(1)..n).max(0.0)))
    }

    /// Samples of each replica of a shape, so that the slowest is as fast as it can be.
    fn shares(&mut self, shape: &Shape, tensor: u32, micro_batch: u64) -> Option<Vec<u64>> {
        let of_class = |(class, n): &(usize, usize)| {
            let devices = (n * self.classes.devices[*class]).min(shape.n_devices);
            (*class, devices / tensor as usize)
        };
        let kinds: Vec<(usize, usize)> = shape.counts.iter().map(of_class).collect();
        let n: usize = kinds.iter().map(|(_, n)| n).sum();
        if (n as u64) > micro_batch || micro_batch.div_ceil(n as u64) > self.most_samples {
            return None;
        }
        // Who is done first takes the next one. By class: samples of each replica, and replicas that have
        // one more already.
        let mut shared: Vec<(u64, usize)> = vec![(1, 0); kinds.len()];
        for _ in n as u64..micro_batch {
            let mut first: Option<(f64, usize)> = None;
            for (at, (class, _)) in kinds.iter().enumerate() {
                if shared[at].0 < self.most_samples {
                    let [block, _] = self.unit(*class, tensor, shared[at].0 + 1)?;
                    if first.is_none_or(|(least, _)| block < least) {
                        first = Some((block, at));
                    }
                }
            }
            let (_, at) = first?;
            let (each, more) = &mut shared[at];
            *more += 1;
            if *more == kinds[at].1 {
                (*each, *more) = (*each + 1, 0);
            }
        }
        let all = shared.iter().zip(&kinds).flat_map(|((each, more), (_, n))| {
            (0..*n).map(move |replica| each + u64::from(replica < *more))
        });
        Some(all.collect())
    }

    fn replicas(&mut self, key: Key, run: &Parallelism) -> bool {
        let full_key = (key, run.pipeline > 1);
        if let Some(known) = self.replicas.get(&full_key) {
            return known.is_some();
        }
        let found = self.found(key, run);
        let is_some = found.is_some();
        self.replicas.insert(full_key, found);
        is_some
    }

    fn found(&mut self, key: Key, run: &Parallelism) -> Option<Shared<'s>> {
        let (at, tensor, _, at_fleet) = key;
        let shapes: &'s [Shape] = self.shapes;
        let shape = shapes.get(at)?;
        let systems = self.systems.0.get(at)?.as_ref()?;
        let samples = self.shares(shape, tensor, run.micro_batch)?;
        let devices = shape.devices((self.fleet, self.classes), [0; 2], 0);
        let mesh = StageMesh { devices, tensor, samples, edge_ratio: 1 };
        let priced = self.fleets[at_fleet].replicas(systems, (&mesh, run)).ok()?;
        Some((mesh.samples, priced))
    }

    /// Samples of the replicas of a stage.
    pub(super) fn samples(&mut self, key: Key, run: &Parallelism) -> Option<Vec<u64>> {
        let is_known = self.replicas(key, run);
        let shared = self.replicas.get(&(key, run.pipeline > 1)).filter(|_| is_known)?.as_ref();
        shared.map(|(samples, _)| samples.clone())
    }

    /// A stage of some blocks with the first policy under which it fits; `None` where none does.
    pub(super) fn fitted(
        &mut self,
        (key, run): (Key, &Parallelism),
        blocks: Range<u32>,
        (place, n_in_flight): (Place, u64),
    ) -> Option<Fitted> {
        let blocks = if self.fleet.is_uniform() { 0..blocks.end - blocks.start } else { blocks };
        let code =
            u8::from(place.first) + 2 * u8::from(place.last) + 4 * u8::from(run.pipeline > 1);
        let full_key = (key, [blocks.start, blocks.end], code, n_in_flight);
        if let Some(known) = self.fitted.get(&full_key) {
            return known.clone();
        }
        let is_mixed = self.shapes.get(key.0).is_some_and(|shape| shape.counts.len() > 1);
        let found = match self.replicas(key, run) {
            true if is_mixed => self.mixed((key, run), &blocks, (place, n_in_flight)),
            true => self
                .replicas
                .get(&(key, run.pipeline > 1))
                .and_then(|shared| shared.as_ref())
                .and_then(|(_, replicas)| {
                    POLICIES.iter().find_map(|policy| {
                        let stage = Stage {
                            blocks: blocks.clone(),
                            recompute: *policy,
                            ..Stage::default()
                        };
                        let price = Fleet::stage(replicas.iter(), &stage, (place, n_in_flight));
                        let limit = price.rank.limit.map_or(u64::MAX, |limit| limit.0);
                        let fitted = Fitted { recompute: *policy, price, samples: None };
                        (price.peak <= limit).then_some(fitted)
                    })
                }),
            false => None,
        };
        self.fitted.insert(full_key, found.clone());
        found
    }
}
