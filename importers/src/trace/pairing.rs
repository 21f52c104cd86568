//! Which op of a traced pass is which op of a graph of the same pass, and what time each has.
//!
//! Products are aligned first, by their operations and in their order: no rewriting of a graph
//! changes these. Between two such anchors other ops are aligned by type and size. What then has no
//! partner lies in a segment between two anchors, such as a function that one side runs as several
//! kernels and the other as one, or a copy that only one of them makes: its time goes to the ops of
//! the graph that are left in the same segment, or else to the anchor beside it. A segment whose
//! products do not add up to the same operations on both sides is of another model, batch or length,
//! and keeps nothing but what is equal.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use ir::graph::Graph;
use ir::op::{Op, Work};

use super::align::align;

/// Operations that a nominal host does in the time of a byte. Only shares of one segment's time
/// hang on it.
const FLOPS_PER_BYTE: u64 = 10;

/// The greatest size, so that shares of any time of any number of ops stay within 128 bits.
const MOST: u64 = 1 << 40;

/// Share of a pass's operations by which all segments together may differ: one in a thousand, such
/// as the tiny products of rotary positions that an exporter folds.
const UNLIKE: u64 = 1_000;

/// Times that what is left is aligned again.
const ROUNDS: usize = 3;

/// How much smaller than what ran the ops of a segment may be, and still be what ran.
const SMALLER: u64 = 16;

/// An op that does work.
pub(super) struct Item<'g> {
    /// Its position in the graph.
    pub(super) op: usize,
    /// Operations of each of its products and the extent that it sums over.
    products: Vec<(u64, u64)>,
    /// Number of its type.
    what: u32,
    /// Elements of its first result.
    size: u64,
    /// Bytes, and operations in the time of a byte.
    weight: u64,
    /// Nanoseconds that it took, in a trace.
    pub(super) time: u64,
    module: Option<&'g str>,
}

/// Numbers of types.
#[derive(Default)]
pub(super) struct Types<'g>(HashMap<&'g str, u32>);

impl<'g> Item<'g> {
    /// An op of a graph; `None` for those that do no work.
    pub(super) fn of(
        (graph, at): (&'g Graph, usize),
        types: &mut Types<'g>,
        time: u64,
    ) -> Option<Self> {
        let op: &Op = &graph.ops[at];
        let Work::Kernel(kernel) = &op.work else { return None };
        let shape = op.outputs.first().map(|output| &graph.tensor(*output).shape);
        let size = shape.map_or(0, |shape| shape.iter().fold(1, |n: u64, e| n.saturating_mul(*e)));
        let flops = kernel.flops().get();
        let products = kernel.products.iter();
        let products = products.map(|own| (own.flops().map_or(u64::MAX, |n| n.get()), own.k));
        let next = types.0.len() as u32;
        let bytes = kernel.bytes_read.get().saturating_add(kernel.bytes_written.get());
        Some(Self {
            op: at,
            products: products.filter(|(flops, _)| *flops > 0).collect(),
            what: *types
                .0
                .entry(op.op_type.rsplit("::").next().unwrap_or_default())
                .or_insert(next),
            size,
            weight: bytes.saturating_add(flops / FLOPS_PER_BYTE).min(MOST),
            time,
            module: op.module.as_deref().filter(|path| !is_of_classes(path)),
        })
    }

    /// Operations of all of its products.
    pub(super) fn flops(&self) -> u64 {
        self.products.iter().fold(0, |sum, (flops, _)| sum.saturating_add(*flops))
    }
}

/// What of a traced pass the ops of a graph have.
#[derive(Default)]
pub(super) struct Landed {
    /// By op of the graph, nanoseconds.
    pub(super) times: Vec<Option<u64>>,
    /// Nanoseconds that went from an op to its partner.
    pub(super) by_op: u64,
    /// Nanoseconds that went to the ops of a segment.
    pub(super) by_segment: u64,
    /// Nanoseconds of a loss, which the graph does not have.
    pub(super) loss: u64,
    /// Products of the graph that have no duration.
    pub(super) lacking: usize,
}

/// Ops of a trace and of a graph that are the same work.
struct Match {
    trace: Range<usize>,
    graph: Range<usize>,
}

/// Ops between two matches.
struct Gap {
    trace: Range<usize>,
    graph: Range<usize>,
    /// Whether both sides do the same operations.
    is_alike: bool,
}

/// A traced pass and the same pass of a graph.
pub(super) struct Pair<'a, 'g> {
    trace: Vec<&'a Item<'g>>,
    graph: Vec<&'a Item<'g>>,
    /// Whether both name modules by the same paths.
    by_module: bool,
}

impl<'a, 'g> Pair<'a, 'g> {
    pub(super) fn of(trace: Vec<&'a Item<'g>>, graph: Vec<&'a Item<'g>>) -> Self {
        let by_module = name_modules_alike(&trace, &graph);
        Self { trace, graph, by_module }
    }

    /// Lays the times of the trace on the graph; what follows the last match is a loss where
    /// `ends_in_loss` says that the trace has one and the graph not.
    pub(super) fn land(&self, ends_in_loss: bool) -> Landed {
        let mut landed = self.lay(ends_in_loss, ROUNDS);
        let lacks = |(item, time): &(&&Item<'_>, &Option<u64>)| time.is_none() && item.flops() > 0;
        landed.lacking = self.graph.iter().zip(&landed.times).filter(lacks).count();
        landed
    }

    /// In rounds: what a round leaves, such as branches that one side runs in another order, is
    /// aligned again by itself.
    fn lay(&self, ends_in_loss: bool, rounds: usize) -> Landed {
        let mut landed = Landed { times: vec![None; self.graph.len()], ..Landed::default() };
        let matches = self.products();
        let mut gaps = self.between(&matches);
        self.compare(&mut gaps, !matches.is_empty());
        for own in &matches {
            self.take(own, &mut landed);
        }
        let is_last = matches.is_empty() || rounds == 0;
        let (now, later): (Vec<Gap>, Vec<Gap>) =
            gaps.into_iter().partition(|gap| gap.is_alike || is_last);
        let mut rest: Vec<Gap> = Vec::new();
        for gap in now {
            let pairs = self.equal(&gap);
            let ones: Vec<Match> =
                pairs.iter().map(|(t, g)| Match { trace: *t..t + 1, graph: *g..g + 1 }).collect();
            ones.iter().for_each(|own| self.take(own, &mut landed));
            rest.extend(split(&gap, &ones));
        }
        // Where nothing multiplies, what is equal has to bear witness.
        let total = sum(&self.trace, |item| item.time);
        let is_known = !matches.is_empty() || landed.by_op.saturating_mul(2) >= total;
        for gap in rest.into_iter().filter(|gap| gap.is_alike && is_known) {
            let ran = &self.trace[gap.trace.clone()];
            let is_end = gap.trace.end == self.trace.len() && sum(ran, Item::flops) == 0;
            if ends_in_loss && is_end {
                landed.loss = sum(ran, |item| item.time);
            } else {
                self.share(&gap, &mut landed);
            }
        }
        if !later.is_empty() {
            self.again(&later, rounds - 1, &mut landed);
        }
        landed
    }

    /// Aligns what is left.
    fn again(&self, gaps: &[Gap], rounds: usize, landed: &mut Landed) {
        let graph: Vec<usize> = gaps.iter().flat_map(|gap| gap.graph.clone()).collect();
        let ran = gaps.iter().flat_map(|gap| &self.trace[gap.trace.clone()]).copied().collect();
        let held = graph.iter().map(|at| self.graph[*at]).collect();
        let rest = Self { trace: ran, graph: held, ..*self }.lay(false, rounds);
        for (at, time) in graph.into_iter().zip(rest.times) {
            landed.times[at] = time;
        }
        landed.add(rest.by_op, rest.by_segment);
    }

    /// Products in order. One op of either side may do what several of the other do.
    fn products(&self) -> Vec<Match> {
        let symbols = |items: &[&Item<'_>]| -> Vec<(usize, (u64, u64))> {
            let each = items.iter().enumerate();
            each.flat_map(|(at, item)| item.products.iter().map(move |own| (at, *own))).collect()
        };
        let (trace, graph) = (symbols(&self.trace), symbols(&self.graph));
        let pairs = align((trace.len(), graph.len()), |t, g| {
            trace[t].1 == graph[g].1 && self.is_same_module(trace[t].0, graph[g].0)
        });
        let mut matches: Vec<Match> = Vec::new();
        for (t, g) in pairs.into_iter().map(|(t, g)| (trace[t].0, graph[g].0)) {
            match matches.last_mut() {
                Some(last) if t < last.trace.end || g < last.graph.end => {
                    (last.trace.end, last.graph.end) = (t + 1, g + 1);
                }
                _ => matches.push(Match { trace: t..t + 1, graph: g..g + 1 }),
            }
        }
        matches.retain(|own| {
            let [t, g] = self.flops(&own.trace, &own.graph);
            t.abs_diff(g) <= t / UNLIKE
        });
        matches
    }

    fn flops(&self, trace: &Range<usize>, graph: &Range<usize>) -> [u64; 2] {
        [&self.trace[trace.clone()], &self.graph[graph.clone()]].map(|own| sum(own, Item::flops))
    }

    fn between(&self, matches: &[Match]) -> Vec<Gap> {
        let whole = Gap { trace: 0..self.trace.len(), graph: 0..self.graph.len(), is_alike: true };
        split(&whole, matches).collect()
    }

    /// Finds the gaps whose two sides do the same operations: those that differ least, as long as
    /// all of them together differ by next to nothing.
    fn compare(&self, gaps: &mut [Gap], is_anchored: bool) {
        let whole = self.flops(&(0..self.trace.len()), &(0..self.graph.len()));
        let mut left = whole[0].max(whole[1]) / UNLIKE;
        let unlike = |gap: &Gap| {
            let [t, g] = self.flops(&gap.trace, &gap.graph);
            t.abs_diff(g)
        };
        let mut order: Vec<(u64, usize)> =
            gaps.iter().enumerate().map(|(at, gap)| (unlike(gap), at)).collect();
        order.sort_unstable();
        for (unlike, at) in order {
            gaps[at].is_alike = unlike <= left && (is_anchored || whole == [0, 0]);
            left = left.saturating_sub(unlike);
        }
    }

    /// Ops without products that are equal, in order.
    fn equal(&self, gap: &Gap) -> Vec<(usize, usize)> {
        let plain = |items: &[&Item<'_>], range: &Range<usize>| -> Vec<usize> {
            range.clone().filter(|at| items[*at].products.is_empty()).collect()
        };
        let (trace, graph) = (plain(&self.trace, &gap.trace), plain(&self.graph, &gap.graph));
        let pairs = align((trace.len(), graph.len()), |t, g| {
            let (a, b) = (self.trace[trace[t]], self.graph[graph[g]]);
            a.what == b.what && a.size == b.size && self.is_same_module(trace[t], graph[g])
        });
        pairs.into_iter().map(|(t, g)| (trace[t], graph[g])).collect()
    }

    /// Whether the modules of two ops may be the same: one path ends with the other, or one is
    /// unknown.
    fn is_same_module(&self, trace: usize, graph: usize) -> bool {
        match (self.trace[trace].module, self.graph[graph].module) {
            (Some(a), Some(b)) if self.by_module => ends(a, b) || ends(b, a),
            _ => true,
        }
    }

    /// The time of a match.
    fn take(&self, own: &Match, landed: &mut Landed) {
        let ran = &self.trace[own.trace.clone()];
        if own.graph.len() > 1 {
            landed.spread(&self.graph[own.graph.clone()], own.graph.start, sum(ran, |t| t.time));
            return;
        }
        let is_between = |item: &&&Item<'_>| ran.len() > 1 && item.products.is_empty();
        let between = ran.iter().filter(is_between).fold(0u64, |sum, t| sum.saturating_add(t.time));
        let all = sum(ran, |item| item.time);
        landed.times[own.graph.start] = Some(all);
        landed.add(all - between, between);
    }

    /// The time of what has no partner.
    fn share(&self, gap: &Gap, landed: &mut Landed) {
        let (ran, held) = (&self.trace[gap.trace.clone()], &self.graph[gap.graph.clone()]);
        let [size, room] = [ran, held].map(|own| sum(own, |item| item.weight));
        if room > 0 && size / SMALLER <= room {
            landed.spread(held, gap.graph.start, sum(ran, |item| item.time));
            return;
        }
        landed.times[gap.graph.clone()].fill(Some(0));
        let before = gap.graph.start.checked_sub(1);
        let after = Some(gap.graph.end).filter(|at| *at < self.graph.len());
        for at in gap.trace.clone() {
            let is_own = |to: &usize| {
                self.by_module && self.trace[at].module.is_some() && self.is_same_module(at, *to)
            };
            let own = after.filter(is_own).or(before.filter(is_own));
            if let Some(to) = own.or(after).or(before) {
                let time = landed.times[to].get_or_insert(0);
                *time = time.saturating_add(self.trace[at].time);
                landed.add(0, self.trace[at].time);
            }
        }
    }
}

impl Landed {
    fn add(&mut self, by_op: u64, by_segment: u64) {
        self.by_op = self.by_op.saturating_add(by_op);
        self.by_segment = self.by_segment.saturating_add(by_segment);
    }

    /// Shares time among ops from `start` on, by their sizes.
    fn spread(&mut self, items: &[&Item<'_>], start: usize, time: u64) {
        let whole: u128 = items.iter().map(|item| u128::from(item.weight)).sum::<u128>().max(1);
        let (mut weight, mut given) = (0u128, 0u64);
        for (at, item) in items.iter().enumerate() {
            weight += u128::from(item.weight);
            // At most `time`, as no part is more than the whole.
            let until = (u128::from(time) * weight / whole) as u64;
            self.times[start + at] = Some(until - given);
            given = until;
        }
        self.add(0, given);
    }
}

fn sum<'g>(items: &[&Item<'g>], of: impl Fn(&Item<'g>) -> u64) -> u64 {
    items.iter().fold(0, |sum, item| sum.saturating_add(of(item)))
}

/// What of a gap lies between matches inside of it.
fn split<'a>(gap: &'a Gap, matches: &'a [Match]) -> impl Iterator<Item = Gap> + 'a {
    let end = Match { trace: gap.trace.end..gap.trace.end, graph: gap.graph.end..gap.graph.end };
    let (mut trace, mut graph) = (gap.trace.start, gap.graph.start);
    let ends = matches.iter().map(|own| (own.trace.clone(), own.graph.clone()));
    ends.chain([(end.trace, end.graph)]).filter_map(move |(t, g)| {
        let own = Gap { trace: trace..t.start, graph: graph..g.start, is_alike: gap.is_alike };
        (trace, graph) = (t.end, g.end);
        (!own.trace.is_empty() || !own.graph.is_empty()).then_some(own)
    })
}

/// Whether a path names classes, as a profile with `with_modules` does: `GPT2Block_1.Linear_3`.
fn is_of_classes(path: &str) -> bool {
    let last = path.rsplit('.').next().and_then(|last| last.rsplit_once('_'));
    last.is_some_and(|(class, n)| {
        class.starts_with(|c: char| c.is_ascii_uppercase()) && n.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether a path is another one with more modules around it.
fn ends(long: &str, short: &str) -> bool {
    long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A path, and those without modules around it.
fn endings(path: &str) -> impl Iterator<Item = &str> {
    [0usize].into_iter().chain(path.match_indices('.').map(|(at, _)| at + 1)).map(|at| &path[at..])
}

/// Paths of modules.
fn modules<'g>(items: &[&Item<'g>]) -> HashSet<&'g str> {
    items.iter().filter_map(|item| item.module).collect()
}

/// Whether most of the modules of the first are among those of the second, roots left aside.
fn name_modules_alike(a: &[&Item<'_>], b: &[&Item<'_>]) -> bool {
    let (a, b) = (modules(a), modules(b));
    let ends: HashSet<&str> = b.iter().copied().flat_map(endings).collect();
    let known =
        a.iter().filter(|path| ends.contains(*path) || endings(path).any(|end| b.contains(end)));
    !a.is_empty() && known.count() * 2 >= a.len()
}

#[cfg(test)]
mod tests;
