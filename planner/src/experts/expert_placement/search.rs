//! The search for one layer.

use cost_model::experts::bound::{Bound, bound, counts};
use cost_model::experts::{Copies, Shape, greatest};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::Placed;
use super::super::eplb::{self, Part, pack, parts};
use super::bins::{Bins, Effort};
use super::exact;
use crate::run::Control;

/// Experts that give a copy up, or take one, for the fullest device: the lightest ones.
const TRIED: usize = 12;
/// Targets for the load of a copy, in loads that no placement is below.
const TARGETS: [f64; 8] = [1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0];
/// Exchanges that are looked at to tell which of them is best.
const SHORT: u64 = 1_000_000;
/// Copies that change places at random where nothing else helps.
const KICKS: usize = 3;
/// What two loads may differ by to be one.
const EVEN: f64 = 1e-9;

/// Places a layer; `lot` seeds what is drawn, `work` is how many exchanges it may look at, `nodes` are
/// those of the integer program.
pub(super) fn place(
    shares: &[f64],
    shape: &Shape,
    (lot, work, nodes): (u64, u64, u64),
    control: &Control,
) -> Placed {
    let n_devices = shape.host.len();
    let mut bound = bound(shares, shape);
    let mut copies = eplb::place(shares, shape);
    let mut load = greatest(shares, &copies, n_devices);
    // What is near enough to the bound.
    let enough = 1.0 + control.limits().gap.max(EVEN);
    let is_open = |load: f64, bound: f64| load > bound * enough && control.stop().is_none();
    if is_open(load, bound.load) {
        let mut effort = Effort::new(work, control);
        let seed = control.limits().seed ^ lot.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let found = searched(shares, shape, (bound.load * enough, seed), &mut effort);
        let better = greatest(shares, &found, n_devices);
        if better < load {
            (copies, load) = (found, better);
        }
    }
    if nodes > 0
        && is_open(load, bound.load)
        && let Some(exact) = exact::solve(shares, shape, (load, nodes), control)
    {
        if let Some(found) = exact.copies {
            let better = greatest(shares, &found, n_devices);
            if better < load {
                (copies, load) = (found, better);
            }
        }
        if exact.bound > bound.load {
            bound = Bound { load: exact.bound, method: exact::METHOD };
        }
    }
    // What differs by rounding is met.
    bound.load = bound.load.min(load);
    Placed { copies, load, bound }
}

/// The best placement of parts that a search by exchanges finds.
fn searched(
    shares: &[f64],
    shape: &Shape,
    (least, seed): (f64, u64),
    effort: &mut Effort<'_>,
) -> Copies {
    let mut parts = parts(shares, shape);
    let mut random = SmallRng::seed_from_u64(seed);
    let all = effort.left;
    let each = all / (2 * parts.len() as u64).max(1);
    let mut placed: Vec<Vec<Vec<usize>>> = Vec::new();
    for part in &parts {
        placed.push(of_part(shares, part, (shape.slots, least, each), &mut random, effort));
    }
    while parts.len() > 1 {
        // The host with the greatest load gives a group away.
        let of = |at: usize| part_load(shares, &parts[at], &placed[at]);
        let Some(worst) = (0..parts.len()).max_by(|a, b| of(*a).total_cmp(&of(*b))) else { break };
        let load = of(worst);
        if load <= least * (1.0 + EVEN) || effort.control.stop().is_some() {
            break;
        }
        let changed = swapped_groups(shares, shape, (&parts, worst)).into_iter().find_map(
            |(with, [heavy, other])| {
                let short = (shape.slots, least, each / 8);
                let one = of_part(shares, &heavy, short, &mut random, effort);
                let two = of_part(shares, &other, short, &mut random, effort);
                let after = part_load(shares, &heavy, &one).max(part_load(shares, &other, &two));
                (after < load * (1.0 - EVEN)).then_some((with, [(heavy, one), (other, two)]))
            },
        );
        let Some((with, [heavy, other])) = changed else { break };
        for (at, (part, experts)) in [(worst, heavy), (with, other)] {
            parts[at] = part;
            placed[at] = experts;
        }
    }
    let mut copies = vec![Vec::new(); shares.len()];
    for (part, by_device) in parts.iter().zip(&placed) {
        for (device, experts) in part.devices.iter().zip(by_device) {
            experts.iter().for_each(|expert| copies[part.experts[*expert]].push(*device));
        }
    }
    copies
}

/// Shares of a part's experts.
fn own_shares(shares: &[f64], part: &Part) -> Vec<f64> {
    part.experts.iter().map(|expert| shares[*expert]).collect()
}

fn part_load(shares: &[f64], part: &Part, placed: &[Vec<usize>]) -> f64 {
    Bins::new(&own_shares(shares, part), placed.to_vec()).load()
}

/// Exchanges of a group of one host for one of another, the lighter hosts first.
fn swapped_groups(
    shares: &[f64],
    shape: &Shape,
    (parts, worst): (&[Part], usize),
) -> Vec<(usize, [Part; 2])> {
    let group = |expert: &usize| shape.group(*expert, shares.len());
    let groups = |part: &Part| {
        let mut all: Vec<usize> = part.experts.iter().map(group).collect();
        all.dedup();
        all
    };
    let sum = |part: &Part| -> f64 { own_shares(shares, part).iter().sum() };
    let mut found = Vec::new();
    for (with, other) in parts.iter().enumerate().filter(|(with, _)| *with != worst) {
        for one in groups(&parts[worst]) {
            for two in groups(other) {
                let exchanged = |part: &Part, out: usize, from: &Part, new: usize| {
                    let stays = part.experts.iter().filter(|expert| group(expert) != out);
                    let comes = from.experts.iter().filter(|expert| group(expert) == new);
                    let mut experts: Vec<usize> = stays.chain(comes).copied().collect();
                    experts.sort_unstable();
                    Part { experts, devices: part.devices.clone() }
                };
                let ours = exchanged(&parts[worst], one, other, two);
                let theirs = exchanged(other, two, &parts[worst], one);
                if sum(&ours).max(sum(&theirs)) < sum(&parts[worst]).max(sum(other)) + EVEN {
                    found.push((sum(&ours).max(sum(&theirs)), with, [ours, theirs]));
                }
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|(_, with, pair)| (with, pair)).collect()
}

/// By device of a part what it holds.
fn of_part(
    shares: &[f64],
    part: &Part,
    (slots, least, work): (usize, f64, u64),
    random: &mut SmallRng,
    effort: &mut Effort<'_>,
) -> Vec<Vec<usize>> {
    let part_shares = own_shares(shares, part);
    let control = effort.control;
    let work = work.min(effort.left);
    let mut best: Option<Bins<'_>> = None;
    for start in started(&part_shares, (part.devices.len(), slots), least, control) {
        let effort = &mut Effort::new(work / 2, control);
        let found = polished(start, least, random, effort);
        if best.as_ref().is_none_or(|best| found.load() < best.load()) {
            best = Some(found);
        }
        if best.as_ref().is_some_and(|best| best.load() <= least * (1.0 + EVEN)) {
            break;
        }
    }
    effort.spend(work as usize);
    best.map_or_else(Vec::new, |best| best.held)
}

/// The same with other numbers of copies and in other places, as long as there is work.
fn polished<'s>(
    mut best: Bins<'s>,
    least: f64,
    random: &mut SmallRng,
    effort: &mut Effort<'_>,
) -> Bins<'s> {
    best.descend(least, effort);
    // One device holds all of its part, in whatever numbers.
    let is_free = best.held.len() > 1;
    while is_free && best.load() > least * (1.0 + EVEN) && effort.spend(1) {
        if let Some(better) = recounted(&best, least, effort) {
            best = better;
            continue;
        }
        let mut kicked = best.clone();
        kick(&mut kicked, random);
        kicked.descend(least, effort);
        if kicked.load() < best.load() * (1.0 - EVEN) {
            best = kicked;
        }
    }
    best
}

/// Two numbers of copies to begin with: the greatest copy as light as can be; and the best of some
/// where all copies are below a target and what is left over goes to the lightest expert.
fn started<'s>(
    shares: &'s [f64],
    (n_devices, slots): (usize, usize),
    least: f64,
    control: &Control,
) -> Vec<Bins<'s>> {
    let n_slots = n_devices * slots;
    let of = |counts: &[usize]| Bins::new(shares, pack(shares, counts, (n_devices, slots)));
    let mean = shares.iter().sum::<f64>() / n_devices as f64;
    let targets =
        TARGETS.iter().filter_map(|factor| within(shares, least.max(mean) * factor, n_slots));
    let others = targets.map(|counts| {
        let mut bins = of(&counts);
        bins.descend(least, &mut Effort::new(SHORT, control));
        bins
    });
    let best = others.reduce(|best, bins| if bins.load() < best.load() { bins } else { best });
    [of(&counts(shares, n_slots))].into_iter().chain(best).collect()
}

/// As few copies as have no more than a target each, in so many slots.
fn within(shares: &[f64], target: f64, n_slots: usize) -> Option<Vec<usize>> {
    let needed = |share: &f64| ((share / target).ceil() as usize).max(1);
    let mut counts: Vec<usize> = shares.iter().map(needed).collect();
    let left = n_slots.checked_sub(counts.iter().sum())?;
    let lightest = (0..shares.len()).min_by(|a, b| shares[*a].total_cmp(&shares[*b]))?;
    counts[lightest] += left;
    Some(counts)
}

/// The same with one more copy of an expert of the fullest device, or one less on it, if that is better.
fn recounted<'s>(bins: &Bins<'s>, least: f64, effort: &mut Effort<'_>) -> Option<Bins<'s>> {
    let fullest = bins.fullest();
    let mut more = replaced(bins, fullest);
    more.extend(taken(bins, fullest));
    for (place, expert) in more {
        let mut other = bins.clone();
        other.replace(place, expert);
        other.descend(least, effort);
        if other.load() < bins.load() * (1.0 - EVEN) {
            return Some(other);
        }
        if effort.left == 0 {
            return None;
        }
    }
    None
}

/// Slots of experts that have several copies, of each the one on its least loaded device, for a further
/// copy of an expert of the fullest device: first the experts whose copies grow least.
fn replaced(bins: &Bins<'_>, fullest: usize) -> Vec<((usize, usize), usize)> {
    let mut donors: Vec<usize> =
        (0..bins.counts.len()).filter(|expert| bins.counts[*expert] > 1).collect();
    donors.sort_by(|a, b| bins.each_of(*a, -1).total_cmp(&bins.each_of(*b, -1)));
    donors.truncate(TRIED);
    let place = |donor: usize| {
        let slots = bins.held.iter().enumerate().flat_map(move |(device, experts)| {
            let copies = experts.iter().enumerate().filter(move |(_, expert)| **expert == donor);
            copies.map(move |(at, _)| (device, at))
        });
        slots.min_by(|a, b| bins.load_of(a.0).total_cmp(&bins.load_of(b.0)))
    };
    let places: Vec<_> = donors.iter().filter_map(|donor| Some((*donor, place(*donor)?))).collect();
    let mut experts = bins.held[fullest].clone();
    experts.sort_unstable();
    experts.dedup();
    let each = |expert: usize| {
        let others = places.iter().filter(move |(donor, _)| *donor != expert);
        others.map(move |(_, place)| (*place, expert))
    };
    experts.into_iter().flat_map(each).collect()
}

/// Slots of the fullest device whose experts have further copies, for a copy of an expert that is light.
fn taken(bins: &Bins<'_>, fullest: usize) -> Vec<((usize, usize), usize)> {
    let mut light: Vec<usize> = (0..bins.counts.len()).collect();
    light.sort_by(|a, b| bins.each_of(*a, 1).total_cmp(&bins.each_of(*b, 1)));
    light.truncate(TRIED);
    let slots =
        bins.held[fullest].iter().enumerate().filter(|(_, expert)| bins.counts[**expert] > 1);
    let each = |(at, expert): (usize, &usize)| {
        let expert = *expert;
        light.iter().filter(move |new| **new != expert).map(move |new| ((fullest, at), *new))
    };
    slots.flat_map(each).collect()
}

/// Copies of the fullest device and of others change places.
fn kick(bins: &mut Bins<'_>, random: &mut SmallRng) {
    let n_devices = bins.held.len();
    for turn in 0..KICKS {
        let one = if turn == 0 { bins.fullest() } else { random.random_range(0..n_devices) };
        let two = random.random_range(0..n_devices);
        let slots = bins.held[one].len();
        if one != two && slots > 0 {
            bins.swap((one, random.random_range(0..slots)), (two, random.random_range(0..slots)));
        }
    }
}
