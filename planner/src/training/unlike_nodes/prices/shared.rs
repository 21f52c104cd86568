//! Samples of the replicas of a stage whose devices are of two classes: those with which its slowest replica
//! is done first with its blocks and ends, within the memory of each.

use std::ops::Range;
use std::rc::Rc;

use cost_model::runs::oracle::Place;
use cost_model::runs::unlike::{Fleet, StagePrice};
use ir::plan::{Parallelism, Stage, StageMesh};
use ir::units::Nanos;

use super::{Fitted, Key, POLICIES, Prices};

/// A stage that samples are shared out for.
struct Own<'a> {
    key: Key,
    run: &'a Parallelism,
    stage: Stage,
    seat: (Place, u64),
    /// By class, its replicas.
    n: [u64; 2],
}

/// How samples are shared out.
struct Shares {
    /// By class, samples of all of its replicas.
    of_class: [u64; 2],
    /// Whether one of them has fewer than it could do in the time, for its memory.
    is_short: bool,
}

impl Prices<'_> {
    /// The fastest policy and samples of a stage on two classes of devices; `None` where none fits.
    pub(super) fn mixed(
        &mut self,
        (key, run): (Key, &Parallelism),
        blocks: &Range<u32>,
        seat: (Place, u64),
    ) -> Option<Fitted> {
        let first = self.samples(key, run)?;
        let shape = self.shapes.get(key.0)?;
        let n = |at: usize| {
            let (class, n) = shape.counts[at];
            (n * self.classes.devices[class]) as u64 / u64::from(key.1)
        };
        let n = [n(0), n(1)];
        let one = first.iter().take(n[0] as usize).sum::<u64>();
        let first = [one, run.micro_batch.checked_sub(one)?];
        let mut best: Option<(Nanos, Fitted)> = None;
        for recompute in POLICIES {
            let stage = Stage { blocks: blocks.clone(), recompute, ..Stage::default() };
            let own = Own { key, run, stage, seat, n };
            let Some(shares) = self.shared_out(&own, first) else { continue };
            if let Some((price, samples)) = self.priced_shares(&own, shares.of_class) {
                let taken = passes(&price);
                if best.as_ref().is_none_or(|(least, _)| taken < *least) {
                    let samples = Some(Rc::new(samples));
                    best = Some((taken, Fitted { recompute, price, samples }));
                }
            }
            // Nothing is gained by more recompute where memory binds nobody.
            if !shares.is_short {
                break;
            }
        }
        best.map(|(_, own)| own)
    }

    /// Moves samples, one after the other, to the class that does one more sooner.
    fn shared_out(&mut self, own: &Own<'_>, first: [u64; 2]) -> Option<Shares> {
        let mut shares = Shares { of_class: first, is_short: false };
        for _ in 0..=own.run.micro_batch {
            let of = shares.of_class;
            let most = [0, 1].map(|at| of[at].div_ceil(own.n[at]));
            let now = [self.replica(own, 0, most[0])?, self.replica(own, 1, most[1])?];
            let is_over = now.map(|(_, fits)| !fits);
            let from = match is_over {
                [true, true] => return None,
                [false, false] => usize::from(now[1].0 > now[0].0),
                [_, second] => usize::from(second),
            };
            let to = 1 - from;
            let next = (of[to] + 1).div_ceil(own.n[to]);
            let later = match of[from] > own.n[from] && next <= self.most_samples {
                true => self.replica(own, to, next),
                false => None,
            };
            let is_faster = later.is_some_and(|(taken, _)| taken < now[from].0);
            let fits = later.is_some_and(|(_, fits)| fits);
            shares.is_short |= is_over[from] || is_faster && !fits;
            if !fits || !(is_over[from] || is_faster) {
                return (!is_over[from]).then_some(shares);
            }
            shares.of_class[from] -= 1;
            shares.of_class[to] += 1;
        }
        None
    }

    /// How long a replica of a class with so many samples takes for one micro-batch, and whether it fits.
    fn replica(&mut self, own: &Own<'_>, class: usize, samples: u64) -> Option<(Nanos, bool)> {
        let level = self.level(own, samples)?;
        let at = class.min(level.len().checked_sub(1)?);
        let price = Fleet::stage(level.get(at), &own.stage, own.seat);
        Some((passes(&price), fits(&price)))
    }

    /// A replica of each class with so many samples.
    fn level(&mut self, own: &Own<'_>, samples: u64) -> Option<&[super::Priced<'_>]> {
        let key = (own.key, own.run.pipeline > 1, samples);
        if !self.levels.contains_key(&key) {
            let found = self.found_level(own, samples);
            self.levels.insert(key, found);
        }
        self.levels.get(&key)?.as_deref()
    }
}

impl<'s> Prices<'s> {
    fn found_level(&self, own: &Own<'_>, samples: u64) -> Option<Vec<super::Priced<'s>>> {
        let (at, tensor, _, kept) = own.key;
        let shapes: &'s [super::Shape] = self.shapes;
        let fleets: &'s [Fleet<'s>] = self.fleets;
        let systems = self.systems.0.get(at)?.as_ref()?;
        let devices = shapes.get(at)?.devices((self.fleet, self.classes), [0; 2], 0);
        let samples = vec![samples; own.n.iter().sum::<u64>() as usize];
        let micro_batch = samples.iter().sum();
        let mesh = StageMesh { devices, tensor, samples, edge_ratio: 1 };
        let run = Parallelism { micro_batch, ..own.run.clone() };
        fleets.get(kept)?.replicas(systems, (&mesh, &run)).ok()
    }

    /// The price of a stage with so many samples of each class, and samples of each replica; `None` where it
    /// does not fit.
    fn priced_shares(
        &mut self,
        own: &Own<'_>,
        of_class: [u64; 2],
    ) -> Option<(StagePrice, Vec<u64>)> {
        let mut samples = Vec::new();
        for (all, n) in of_class.into_iter().zip(own.n) {
            let each = |replica: u64| all / n + u64::from(replica < all % n);
            samples.extend((0..n).map(each));
        }
        let (at, tensor, _, kept) = own.key;
        let systems = self.systems.0.get(at)?.as_ref()?;
        let devices = self.shapes.get(at)?.devices((self.fleet, self.classes), [0; 2], 0);
        let mesh = StageMesh { devices, tensor, samples, edge_ratio: 1 };
        let replicas = self.fleets.get(kept)?.replicas(systems, (&mesh, own.run)).ok()?;
        let price = Fleet::stage(&replicas, &own.stage, own.seat);
        fits(&price).then_some((price, mesh.samples))
    }
}

/// Both passes of one micro-batch.
fn passes(price: &StagePrice) -> Nanos {
    price.stage.forward + price.stage.backward + price.stage.recompute
}

fn fits(price: &StagePrice) -> bool {
    price.rank.limit.is_none_or(|limit| price.peak <= limit.0)
}
