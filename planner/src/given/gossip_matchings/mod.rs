//! Who averages with whom in each round: all nodes are joined after a window of rounds, and the slowest
//! pair of all rounds is as fast as can be.
//!
//! # Decides
//! The pairs of each round.
//!
//! # Idea
//! Links up to some time hold a matching of all nodes, and those of them that are in some matching join
//! all nodes: the least such time is a bound. At it, and at longer times where that fails, each round
//! takes links between parts that are not joined yet, one after the other, along with the matching that
//! is nearest; then links between parts that are left are forced into drawn rounds. Of few links all
//! sequences of matchings are tried.
//!
//! # Paper
//! Tang et al., "Communication-Efficient Decentralized Learning with Sparsification and Adaptive Peer
//! Selection", arXiv:2002.09692 (the problem); Edmonds, "Paths, Trees, and Flowers", Canad. J. Math. 17,
//! 1965 (matchings).
//!
//! # Guarantee
//! Optimal where the bound is reached, or all sequences were tried; a bound always.
//!
//! # Complexity
//! Rounds x nodes x links for each time that is looked at.
//!
//! # Limits
//! With two rounds the pairs are a round trip through all nodes, which is hard to find: beyond some
//! twelve nodes there may be a gap.
//!
//! # Example
//! Four nodes, two rounds: 0-1 and 2-3, then 1-2 and 3-0, where these four links are the fastest.

mod exact;
mod matching;

use cost_model::given::Goal;
use cost_model::given::averaging::{pair_time, rate};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::{AveragingInstance, Instance, Peers};
use ir::units::Nanos;
use petgraph::unionfind::UnionFind;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::given::runner::{Effort, Method, Run, Solution, method};
use crate::run::algorithm::Guarantee;
use exact::Known;
use matching::Links;

/// Links that are forced into rounds at a time, for each node, before it is given up.
const FORCED: usize = 8;
/// How many windows are tried for one that would do, before a long one that does.
const LONGER: usize = 4;

/// Rounds that [`chance`] draws.
pub const DRAWN: usize = 1000;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::SlowestRound],
    effort: Effort::Thorough,
    guarantee: Guarantee::Bound,
    solve: |run, _| {
        let Instance::Averaging(instance) = run.instance() else { return Ok(()) };
        let Peers::Pairs { rounds, .. } = &instance.peers else { return Ok(()) };
        Search::new(instance, *rounds, run).solve()
    },
};

/// The rate of the slowest pair of a random round, on average; `None` where links are missing.
#[must_use]
pub fn chance(instance: &AveragingInstance) -> Option<f64> {
    let mut draw = SmallRng::seed_from_u64(0);
    let mut order: Vec<usize> = (0..instance.nodes.len()).collect();
    let mut sum = 0.0;
    for _ in 0..DRAWN {
        order.shuffle(&mut draw);
        let mut rates = order.chunks_exact(2).map(|pair| rate(instance, pair[0], pair[1]));
        sum += rates.try_fold(f64::INFINITY, |least, rate| Some(least.min(rate?)))?;
    }
    Some(sum / DRAWN as f64)
}

/// Rounds, each by the partner of every node.
type Rounds = Vec<Vec<u32>>;

/// What pairs of nodes take.
struct Pairs {
    n_nodes: usize,
    /// By pair of nodes.
    of: Vec<Option<Nanos>>,
    /// All of them that differ, in increasing order.
    times: Vec<Nanos>,
}

impl Pairs {
    fn new(instance: &AveragingInstance) -> Self {
        let n = instance.nodes.len();
        let of: Vec<Option<Nanos>> =
            (0..n * n).map(|at| pair_time(instance, at / n, at % n)).collect();
        let mut times: Vec<Nanos> = of.iter().copied().flatten().collect();
        times.sort_unstable();
        times.dedup();
        Self { n_nodes: n, of, times }
    }

    /// The links of the shortest times up to one.
    fn links(&self, at: usize) -> Links {
        let (n, most) = (self.n_nodes, self.times.get(at).copied());
        Links::new(n, &|a, b| self.of[a * n + b].is_some_and(|time| Some(time) <= most))
    }

    /// Position of the time of the fastest round, whatever it joins.
    fn fastest(&self) -> usize {
        let has_none = |at: &usize| {
            let links = self.links(*at);
            links.perfect(&links.pairs()).is_err()
        };
        (0..self.times.len()).collect::<Vec<_>>().partition_point(has_none)
    }
}

/// What the fastest round takes, whatever it joins; `None` where there is none.
#[must_use]
pub fn fastest_round(instance: &AveragingInstance) -> Option<Nanos> {
    let pairs = Pairs::new(instance);
    pairs.times.get(pairs.fastest()).copied()
}

struct Search<'s> {
    instance: &'s AveragingInstance,
    rounds: usize,
    run: &'s Run<'s>,
    pairs: Pairs,
    draw: SmallRng,
}

impl<'s> Search<'s> {
    fn new(instance: &'s AveragingInstance, rounds: usize, run: &'s Run<'s>) -> Self {
        let draw = SmallRng::seed_from_u64(run.seed());
        Self { instance, rounds, run, pairs: Pairs::new(instance), draw }
    }

    fn solve(mut self) -> Result<(), Diagnostic> {
        let last = self.pairs.times.len().saturating_sub(1);
        let is_joined =
            |at: usize| joinable(&self.pairs.links(at)).is_ok_and(|parts| parts.len() == 1);
        if !is_joined(last) {
            return Err(self.never());
        }
        if self.is_no_tree() {
            return Err(self.too_short(last, Blame::Infeasible));
        }
        let first = (0..last)
            .collect::<Vec<_>>()
            .partition_point(|at| !self.run.is_over() && !is_joined(*at));
        if self.run.is_over() {
            return Ok(());
        }
        self.run.prove(self.pairs.times[first], method::MATCHINGS);
        let found = self.near(first, last)?;
        self.all(first, found)?;
        match self.run.best() {
            None if !self.run.is_over() => Err(self.too_short(last, Blame::NotFound)),
            _ => Ok(()),
        }
    }

    /// Rounds of the shortest times at which some are found, at most so many looks apart; the position
    /// of the time.
    fn near(&mut self, first: usize, last: usize) -> Result<usize, Diagnostic> {
        let (mut failed, mut step) = (None, 1);
        let mut found = loop {
            let at = failed.map_or(first, |before: usize| (before + step).min(last));
            if self.offer(at)? {
                break at;
            }
            if at == last || self.run.is_over() {
                return Ok(last + 1);
            }
            step *= if failed.is_some() { 2 } else { 1 };
            failed = Some(at);
        };
        while let Some(below) = failed.filter(|below| found - below > 1 && !self.run.is_over()) {
            let middle = below + (found - below) / 2;
            if self.offer(middle)? { found = middle } else { failed = Some(middle) }
        }
        Ok(found)
    }

    /// Offers rounds of the links of the shortest times; whether any were found.
    fn offer(&mut self, at: usize) -> Result<bool, Diagnostic> {
        let links = self.pairs.links(at);
        let run = self.run;
        let found = drawn(&links, self.rounds, &mut self.draw, &|n| run.spend(n));
        let one_by_one =
            || one_by_one(&links, self.rounds).filter(|rounds| rounds.len() == self.rounds);
        match found.or_else(one_by_one) {
            None => Ok(false),
            Some(mut found) => {
                self.quicken(&links, &mut found);
                self.told(&links, &found).map(|()| true)
            }
        }
    }

    /// Takes fastest rounds for those that join nothing which the others don't.
    fn quicken(&mut self, links: &Links, rounds: &mut Rounds) {
        let fast = self.pairs.links(self.pairs.fastest());
        let mut order = fast.pairs();
        for at in 0..rounds.len() {
            order.shuffle(&mut self.draw);
            let Ok(mate) = fast.perfect(&order) else { return };
            let before = std::mem::replace(&mut rounds[at], mate);
            if self.run.spend(order.len() as u64) || parts(&union(links, rounds)).len() > 1 {
                rounds[at] = before;
            }
        }
    }

    fn told(&self, links: &Links, found: &Rounds) -> Result<(), Diagnostic> {
        let rounds = found.iter().map(|mate| links.matching(mate)).collect();
        self.run.offer(Solution::Rounds(rounds)).map(|_| ())
    }

    /// Tries all rounds of times below those that were found, as far as these are few.
    fn all(&mut self, first: usize, found: usize) -> Result<(), Diagnostic> {
        let mut left = exact::MOST_LOOKS;
        for at in first..found {
            if self.run.is_over() {
                return Ok(());
            }
            let links = self.pairs.links(at);
            match exact::joined(&links, self.rounds, &mut left, &|n| self.run.spend(n)) {
                Known::Joins(rounds) => {
                    self.told(&links, &rounds)?;
                    self.run.close(method::ROUNDS);
                    return Ok(());
                }
                Known::None => match self.pairs.times.get(at + 1) {
                    Some(next) => self.run.prove(*next, method::ROUNDS),
                    None => return Err(self.too_short(at, Blame::Infeasible)),
                },
                Known::Unknown => return Ok(()),
            }
        }
        Ok(())
    }

    /// Why no number of rounds joins all nodes.
    fn never(&self) -> Diagnostic {
        let names = |nodes: &[usize]| -> Vec<String> {
            nodes.iter().filter_map(|at| self.instance.nodes.get(*at).cloned()).collect()
        };
        let refused = |code, message: &str| Diagnostic::error(Blame::Infeasible, code, message);
        match joinable(&self.pairs.links(self.pairs.times.len().saturating_sub(1))) {
            Err(alone) => {
                let message = "no round gives every node a partner";
                refused("no-matching", message)
                    .fact("left_over", names(&alone))
                    .hint("add links of these nodes, or leave one of them out")
            }
            Ok(parts) => {
                let message =
                    "no rounds join all nodes: links between parts are in no matching of all";
                let parts: Vec<String> = parts.iter().map(|part| names(part).join(" ")).collect();
                refused("not-joined", message)
                    .fact("parts", parts)
                    .hint("add links between these parts, or average each of them apart")
            }
        }
    }

    /// Whether all rounds have fewer pairs than a tree has.
    fn is_no_tree(&self) -> bool {
        let n = self.instance.nodes.len();
        self.rounds.saturating_mul(n / 2) < n - 1
    }

    /// Why so many rounds do not, and how many do.
    fn too_short(&mut self, last: usize, blame: Blame) -> Diagnostic {
        let links = self.pairs.links(last);
        let long = one_by_one(&links, self.rounds).map(|rounds| rounds.len());
        let mut longer = self.rounds + 1..=self.rounds + LONGER;
        let (draw, run) = (&mut self.draw, self.run);
        let some = |n_rounds: &usize| {
            long.is_some_and(|long| *n_rounds >= long)
                || drawn(&links, *n_rounds, draw, &|n| run.spend(n)).is_some()
        };
        let enough = longer.find(some).or(long);
        let message = match blame {
            Blame::Infeasible => format!("no {} rounds join all nodes", self.rounds),
            _ => format!("no {} rounds were found that join all nodes", self.rounds),
        };
        let error = Diagnostic::error(blame, "window-too-short", message);
        match enough {
            Some(enough) => {
                error.fact("enough", enough).hint(format!("state \"rounds\": {enough}"))
            }
            None => error.hint("state more rounds"),
        }
    }
}

/// Parts of the nodes that links in some perfect matching join.
///
/// # Errors
/// Nodes without a partner, where there is no perfect matching.
fn joinable(links: &Links) -> Result<Vec<Vec<usize>>, Vec<usize>> {
    let mate = links.perfect(&links.pairs()).map_err(|mate| {
        (0..links.n_nodes).filter(|node| mate[*node] == matching::ALONE).collect::<Vec<_>>()
    })?;
    let mut joined = UnionFind::<usize>::new(links.n_nodes);
    let fixed = vec![false; mate.len()];
    let join = |joined: &mut UnionFind<usize>, mate: &[u32]| {
        for [a, b] in links.matching(mate) {
            joined.union(a as usize, b as usize);
        }
    };
    join(&mut joined, &mate);
    for pair in links.pairs() {
        if !joined.equiv(pair[0] as usize, pair[1] as usize)
            && let Some(mate) = links.with(&mate, &fixed, pair)
        {
            join(&mut joined, &mate);
        }
    }
    Ok(parts(&joined))
}

fn parts(joined: &UnionFind<usize>) -> Vec<Vec<usize>> {
    let mut parts: std::collections::BTreeMap<usize, Vec<usize>> =
        std::collections::BTreeMap::new();
    for (at, label) in joined.clone().into_labeling().into_iter().enumerate() {
        parts.entry(label).or_default().push(at);
    }
    parts.into_values().collect()
}

/// What rounds join.
fn union(links: &Links, rounds: &[Vec<u32>]) -> UnionFind<usize> {
    let mut joined = UnionFind::new(links.n_nodes);
    for [a, b] in rounds.iter().flat_map(|mate| links.matching(mate)) {
        joined.union(a as usize, b as usize);
    }
    joined
}

/// Rounds that join all nodes; `None` where none are found.
fn drawn(
    links: &Links,
    n_rounds: usize,
    draw: &mut SmallRng,
    stop: &dyn Fn(u64) -> bool,
) -> Option<Rounds> {
    let mut order = links.pairs();
    let mut rounds = built(links, n_rounds, (&mut order, draw), stop)?;
    let mut joined = union(links, &rounds);
    let mut n_parts = parts(&joined).len();
    let fixed = vec![false; links.of.len()];
    for _ in 0..FORCED * links.n_nodes {
        let is_between = |pair: &&[u32; 2]| !joined.equiv(pair[0] as usize, pair[1] as usize);
        if n_parts == 1 {
            return Some(rounds);
        }
        let between: Vec<&[u32; 2]> = order.iter().filter(is_between).collect();
        if between.is_empty() || stop(order.len() as u64) {
            return None;
        }
        let pair = *between[draw.random_range(0..between.len())];
        let at = draw.random_range(0..rounds.len());
        let Some(mate) = links.with(&rounds[at], &fixed, pair) else { continue };
        let before = std::mem::replace(&mut rounds[at], mate);
        let now = union(links, &rounds);
        let n_now = parts(&now).len();
        if n_now <= n_parts {
            (joined, n_parts) = (now, n_now);
        } else {
            rounds[at] = before;
        }
    }
    (n_parts == 1).then_some(rounds)
}

/// So many rounds at least that join all nodes: a matching, and for each part that is left one near to it
/// that joins it; `None` where no number does.
fn one_by_one(links: &Links, least: usize) -> Option<Rounds> {
    let order = links.pairs();
    let first = links.perfect(&order).ok()?;
    let fixed = vec![false; first.len()];
    let mut rounds = vec![first.clone()];
    let mut joined = union(links, &rounds);
    for pair in order {
        if !joined.equiv(pair[0] as usize, pair[1] as usize)
            && let Some(mate) = links.with(&first, &fixed, pair)
        {
            for [a, b] in links.matching(&mate) {
                joined.union(a as usize, b as usize);
            }
            rounds.push(mate);
        }
    }
    if parts(&union(links, &rounds[1..])).len() == 1 {
        rounds.remove(0);
    }
    rounds.resize(rounds.len().max(least), first);
    (parts(&joined).len() == 1).then_some(rounds)
}

/// Round after round, links between parts first, then those that were in no round yet.
fn built(
    links: &Links,
    n_rounds: usize,
    (order, draw): (&mut [[u32; 2]], &mut SmallRng),
    stop: &dyn Fn(u64) -> bool,
) -> Option<Rounds> {
    let n = links.of.len();
    let (mut rounds, mut joined) = (Rounds::new(), UnionFind::<usize>::new(links.n_nodes));
    let mut is_taken = vec![false; n * n];
    let mut whole: Option<Vec<u32>> = None;
    for _ in 0..n_rounds {
        order.shuffle(draw);
        let mut mate = match whole {
            Some(mate) => mate,
            None => links.perfect(order).ok()?,
        };
        let (mut fixed, mut n_held) = (vec![false; n], 0);
        for is_fresh in [false, true] {
            for pair in order.iter() {
                let [a, b] = pair.map(|node| node as usize);
                let is_wanted = match is_fresh {
                    true => !is_taken[a * n + b],
                    false => !joined.equiv(a, b),
                };
                if n_held + 2 > n || !is_wanted || fixed[a] || fixed[b] {
                    continue;
                }
                if stop(1) {
                    return None;
                }
                if let Some(changed) = links.with(&mate, &fixed, *pair) {
                    mate = changed;
                    (fixed[a], fixed[b]) = (true, true);
                    n_held += 2;
                    joined.union(a, b);
                }
            }
        }
        for [a, b] in links.matching(&mate) {
            joined.union(a as usize, b as usize);
            is_taken[a as usize * n + b as usize] = true;
        }
        whole = Some(mate.clone());
        rounds.push(mate);
    }
    Some(rounds)
}
