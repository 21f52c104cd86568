//! Samples of the replicas of a stage whose devices are of two classes: those with which its slowest replica
//! is done first with its blocks and ends, within the memory of each. Of equally fast ones the most even:
//! neighbours that share out alike send each replica's samples to one.

use std::collections::BTreeMap;
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
    /// By class and samples, what a replica takes for one micro-batch.
    known: BTreeMap<(usize, u64), Option<Replica>>,
}

impl Own<'_> {
    /// Of shares, how far they are from equal ones.
    fn unevenness(&self, of: [u64; 2]) -> u64 {
        (of[0] * self.n[1]).abs_diff(of[1] * self.n[0])
    }

    fn each(&self, class: usize, of: [u64; 2]) -> u64 {
        of[class].div_ceil(self.n[class])
    }
}

/// What a replica takes for one micro-batch.
#[derive(Clone, Copy)]
struct Replica {
    /// There, back, and what it computes again.
    passes: [Nanos; 3],
    fits: bool,
}

impl Replica {
    fn taken(&self) -> Nanos {
        self.passes.into_iter().fold(Nanos(0), |sum, pass| sum + pass)
    }

    fn is_slower(&self, other: &Self) -> bool {
        self.passes.iter().zip(&other.passes).all(|(pass, other)| pass >= other)
    }
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
        let mut best: Option<((Nanos, u64, u64), Fitted)> = None;
        for recompute in POLICIES {
            let stage = Stage { blocks: blocks.clone(), recompute, ..Stage::default() };
            let mut case = Own { key, run, stage, seat, n, known: BTreeMap::new() };
            let Some(shares) = self.shared_out(&mut case, first) else { continue };
            let shares = self.fastest(&mut case, shares);
            let of = shares.of_class;
            if let Some((price, samples)) = self.priced_shares(&case, of) {
                let rank = (passes(&price), case.unevenness(of), of[1]);
                if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                    let samples = Some(Rc::new(samples));
                    best = Some((rank, Fitted { recompute, price, samples }));
                }
            }
            // Nothing is gained by more recompute where memory binds nobody.
            if !shares.is_short {
                break;
            }
        }
        best.map(|(_, fitted)| fitted)
    }

    /// Moves samples, one after the other, to the class that does one more sooner.
    fn shared_out(&mut self, case: &mut Own<'_>, first: [u64; 2]) -> Option<Shares> {
        let mut shares = Shares { of_class: first, is_short: false };
        for _ in 0..=case.run.micro_batch {
            let of = shares.of_class;
            let most = [0, 1].map(|class| case.each(class, of));
            let one = self.replica(case, 0, most[0])?;
            let other = self.replica(case, 1, most[1])?;
            let now = [one.taken(), other.taken()];
            let is_over = [!one.fits, !other.fits];
            let from = match is_over {
                [true, true] => return None,
                [false, false] => usize::from(now[1] > now[0]),
                [_, second] => usize::from(second),
            };
            let to = 1 - from;
            let next = (of[to] + 1).div_ceil(case.n[to]);
            let later = match of[from] > case.n[from] && next <= self.most_samples {
                true => self.replica(case, to, next),
                false => None,
            };
            let is_faster = later.is_some_and(|later| later.taken() < now[from]);
            let fits = later.is_some_and(|later| later.fits);
            shares.is_short |= is_over[from] || is_faster && !fits;
            if !fits || !(is_over[from] || is_faster) {
                return (!is_over[from]).then_some(shares);
            }
            shares.of_class[from] -= 1;
            shares.of_class[to] += 1;
        }
        None
    }

    /// The fastest shares on both sides of some, of equally fast ones the most even, of these most on the
    /// first class. A class that is slower in each pass is no faster with more samples: there a side ends.
    fn fastest(&mut self, case: &mut Own<'_>, mut shares: Shares) -> Shares {
        let first = shares.of_class;
        let Some((taken, _)) = self.both(case, first, 0) else { return shares };
        let mut best = (taken, case.unevenness(first), first[1]);
        for (from, to) in [(1, 0), (0, 1)] {
            let mut of = first;
            while of[from] > case.n[from] {
                of[from] -= 1;
                of[to] += 1;
                let Some((taken, is_slower)) = self.both(case, of, to) else {
                    shares.is_short = true;
                    break;
                };
                let rank = (taken, case.unevenness(of), of[1]);
                if rank < best {
                    (best, shares.of_class) = (rank, of);
                }
                let is_past_even = of[to] * case.n[from] >= of[from] * case.n[to];
                if is_slower && (taken > best.0 || is_past_even) {
                    break;
                }
            }
        }
        shares
    }

    /// How long a stage with such shares takes for one micro-batch, and whether a class is the slower one in
    /// each pass; `None` where it does not fit.
    fn both(&mut self, case: &mut Own<'_>, of: [u64; 2], class: usize) -> Option<(Nanos, bool)> {
        let most = [class, 1 - class].map(|class| case.each(class, of));
        let replica = self.replica(case, class, most[0])?;
        let other = self.replica(case, 1 - class, most[1])?;
        let slower = replica.passes.into_iter().zip(other.passes).map(|(a, b)| a.max(b));
        let taken = slower.fold(Nanos(0), |sum, pass| sum + pass);
        (replica.fits && other.fits).then_some((taken, replica.is_slower(&other)))
    }

    /// What a replica of a class with so many samples takes; `None` where it has more than it may.
    fn replica(&mut self, case: &mut Own<'_>, class: usize, samples: u64) -> Option<Replica> {
        if let Some(known) = case.known.get(&(class, samples)) {
            return *known;
        }
        let found = self.found_replica(case, class, samples);
        case.known.insert((class, samples), found);
        found
    }

    fn found_replica(&mut self, case: &Own<'_>, class: usize, samples: u64) -> Option<Replica> {
        if samples > self.most_samples {
            return None;
        }
        let level = self.level(case, samples)?;
        let at = class.min(level.len().checked_sub(1)?);
        let price = Fleet::stage(level.get(at), &case.stage, case.seat);
        let passes = [price.stage.forward, price.stage.backward, price.stage.recompute];
        Some(Replica { passes, fits: fits(&price) })
    }

    /// A replica of each class with so many samples.
    fn level(&mut self, case: &Own<'_>, samples: u64) -> Option<&[super::Priced<'_>]> {
        let key = (case.key, case.run.pipeline > 1, samples);
        if !self.levels.contains_key(&key) {
            let found = self.found_level(case, samples);
            self.levels.insert(key, found);
        }
        self.levels.get(&key)?.as_deref()
    }
}

impl<'s> Prices<'s> {
    fn found_level(&self, case: &Own<'_>, samples: u64) -> Option<Vec<super::Priced<'s>>> {
        let (at, tensor, _, at_fleet) = case.key;
        let shapes: &'s [super::Shape] = self.shapes;
        let fleets: &'s [Fleet<'s>] = self.fleets;
        let systems = self.systems.0.get(at)?.as_ref()?;
        let devices = shapes.get(at)?.devices((self.fleet, self.classes), [0; 2], 0);
        let samples = vec![samples; case.n.iter().sum::<u64>() as usize];
        let micro_batch = samples.iter().sum();
        let mesh = StageMesh { devices, tensor, samples, edge_ratio: 1 };
        let run = Parallelism { micro_batch, ..case.run.clone() };
        fleets.get(at_fleet)?.replicas(systems, (&mesh, &run)).ok()
    }

    /// The price of a stage with so many samples of each class, and samples of each replica; `None` where it
    /// does not fit.
    fn priced_shares(
        &mut self,
        case: &Own<'_>,
        of_class: [u64; 2],
    ) -> Option<(StagePrice, Vec<u64>)> {
        let mut samples = Vec::new();
        for (all, n) in of_class.into_iter().zip(case.n) {
            let each = |replica: u64| all / n + u64::from(replica < all % n);
            samples.extend((0..n).map(each));
        }
        let (at, tensor, _, at_fleet) = case.key;
        let systems = self.systems.0.get(at)?.as_ref()?;
        let devices = self.shapes.get(at)?.devices((self.fleet, self.classes), [0; 2], 0);
        let mesh = StageMesh { devices, tensor, samples, edge_ratio: 1 };
        let replicas = self.fleets.get(at_fleet)?.replicas(systems, (&mesh, case.run)).ok()?;
        let price = Fleet::stage(&replicas, &case.stage, case.seat);
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
