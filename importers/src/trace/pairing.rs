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
use super::counterparts::Parts;

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
    /// What it is made of, and what that is a counterpart to.
    parts: Parts,
    /// Extents of its first result.
    shape: &'g [u64],
    /// For how long it ran, in a trace.
    pub(super) time: Took,
    module: Option<&'g str>,
}

/// Time of an op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Took {
    /// Nanoseconds in which it ran.
    pub(super) own: u64,
    /// Nanoseconds before it in which nothing ran.
    pub(super) idle: u64,
}

impl Took {
    fn and(self, other: Self) -> Self {
        let own = self.own.saturating_add(other.own);
        Self { own, idle: self.idle.saturating_add(other.idle) }
    }
}

/// Numbers of types.
#[derive(Default)]
pub(super) struct Types<'g>(HashMap<&'g str, u32>);

impl<'g> Item<'g> {
    /// An op of a graph; `None` for those that do no work.
    pub(super) fn of(
        (graph, at): (&'g Graph, usize),
        types: &mut Types<'g>,
        time: Option<Took>,
    ) -> Option<Self> {
        let op: &Op = &graph.ops[at];
        let Work::Kernel(kernel) = &op.work else { return None };
        let shape = op.outputs.first().map(|output| &graph.tensor(*output).shape);
        let shape = shape.map(Vec::as_slice);
        let size = shape.map_or(0, |shape| shape.iter().fold(1, |n: u64, e| n.saturating_mul(*e)));
        let flops = kernel.flops().get();
        let products = kernel.products.iter();
        let products =
            products.map(|product| (product.flops().map_or(u64::MAX, |n| n.get()), product.k));
        let next = types.0.len() as u32;
        let name = op.op_type.rsplit("::").next().unwrap_or_default();
        let bytes = kernel.bytes_read.get().saturating_add(kernel.bytes_written.get());
        Some(Self {
            op: at,
            products: products.filter(|(flops, _)| *flops > 0).collect(),
            what: *types.0.entry(name).or_insert(next),
            size,
            weight: bytes.saturating_add(flops / FLOPS_PER_BYTE).min(MOST),
            parts: Parts::of(name, time.is_some()),
            shape: shape.unwrap_or_default(),
            time: time.unwrap_or_default(),
            module: op.module.as_deref().filter(|path| !is_of_classes(path)),
        })
    }

    /// Operations of all of its products.
    pub(super) fn flops(&self) -> u64 {
        self.products.iter().fold(0, |sum, (flops, _)| sum.saturating_add(*flops))
    }
}

/// A traced op without a counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// Its position in the traced graph.
    pub(super) op: usize,
    /// Nanoseconds.
    pub(super) time: u64,
    /// Elements of its result.
    size: u64,
}

/// What of a traced pass the ops of a graph have.
#[derive(Default)]
pub(super) struct Landed {
    /// By op of the graph.
    pub(super) times: Vec<Option<Took>>,
    /// Nanoseconds that went from an op to its partner.
    pub(super) by_op: u64,
    /// Nanoseconds that went to the ops of a segment.
    pub(super) by_segment: u64,
    /// Of a loss, which the graph does not have.
    pub(super) loss: Took,
    /// Traced ops in segments where the graph has no operator like them.
    pub(super) others: Vec<Other>,
    /// Traced products that have a place.
    placed: usize,
    /// Traced products that have none.
    pub(super) homeless: usize,
    /// Pairs of the same operators whose extents can be told apart.
    pub(super) told: usize,
    /// Those of them whose extents are others, as positions in both graphs.
    pub(super) reshaped: Vec<(usize, usize)>,
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
    /// Elements above which results of operators that the graph has none like keep their time.
    strict_above: u64,
}

/// Share of a pass's time, and of its ops, that operators without a counterpart may have.
const OTHERS: f64 = 0.01;
const OTHER_OPS: f64 = 0.1;

/// Masks, positions and angles, which exporters fold, have at most this part of the elements of the
/// greatest result, and with all others without a counterpart this share of a pass's time.
const FOLDED: u64 = 4;
const FOLDED_TIME: f64 = 0.1;

impl<'a, 'g> Pair<'a, 'g> {
    pub(super) fn of(trace: Vec<&'a Item<'g>>, graph: Vec<&'a Item<'g>>) -> Self {
        let by_module = name_modules_alike(&trace, &graph);
        Self { trace, graph, by_module, strict_above: u64::MAX }
    }

    /// Lays the times of the trace on the graph; what follows the last match is a loss where
    /// `ends_in_loss` says that the trace has one and the graph not.
    pub(super) fn land(&mut self, ends_in_loss: bool) -> Landed {
        let mut landed = self.lay(ends_in_loss, ROUNDS);
        self.strict_above = self.limit(&landed);
        if self.strict_above < u64::MAX {
            landed = self.lay(ends_in_loss, ROUNDS);
        } else {
            landed.others.clear();
        }
        let products = self.trace.iter().filter(|item| item.flops() > 0).count();
        landed.homeless = products - landed.placed;
        let lacks = |(item, time): &(&&Item<'_>, &Option<Took>)| time.is_none() && item.flops() > 0;
        landed.lacking = self.graph.iter().zip(&landed.times).filter(lacks).count();
        landed
    }

    /// Above how many elements operators without a counterpart are too many to be what exporters fold
    /// and add; the greatest number where they are not.
    fn limit(&self, landed: &Landed) -> u64 {
        let plain = self.trace.iter().filter(|item| item.products.is_empty());
        let limit = plain.map(|item| item.size).max().unwrap_or(0) / FOLDED;
        let total = sum(&self.trace, |item| item.time.own).saturating_sub(landed.loss.own) as f64;
        let of = |least: u64| {
            let others = landed.others.iter().filter(|other| other.size > least || least == 0);
            others.fold((0u64, 0u64), |(time, n), other| (time.saturating_add(other.time), n + 1))
        };
        let ((all, _), (great, n)) = (of(0), of(limit));
        match () {
            () if all as f64 > total * FOLDED_TIME => 0,
            () if great as f64 > total * OTHERS => limit,
            () if n as f64 > self.trace.len() as f64 * OTHER_OPS => limit,
            () => u64::MAX,
        }
    }

    /// In rounds: what a round leaves, such as branches that one side runs in another order, is
    /// aligned again by itself.
    fn lay(&self, ends_in_loss: bool, rounds: usize) -> Landed {
        let mut landed = Landed { times: vec![None; self.graph.len()], ..Landed::default() };
        let matches = self.products();
        let mut gaps = self.between(&matches);
        self.compare(&mut gaps, !matches.is_empty());
        for matched in &matches {
            self.take(matched, &mut landed);
        }
        let is_last = matches.is_empty() || rounds == 0;
        let (now, later): (Vec<Gap>, Vec<Gap>) =
            gaps.into_iter().partition(|gap| gap.is_alike || is_last);
        let mut rest: Vec<(Gap, usize)> = Vec::new();
        let mut offers: Vec<Offer> = Vec::new();
        for gap in now {
            let pairs = self.equal(&gap);
            let ones: Vec<Match> =
                pairs.iter().map(|(t, g)| Match { trace: *t..t + 1, graph: *g..g + 1 }).collect();
            ones.iter().for_each(|matched| self.take(matched, &mut landed));
            rest.extend(split(&gap, &ones).map(|between| (between, offers.len())));
            offers.push(self.offer(&gap.graph));
        }
        // Where nothing multiplies, what is equal has to bear witness.
        let total = sum(&self.trace, |item| item.time.own);
        let is_known = !matches.is_empty() || landed.by_op.saturating_mul(2) >= total;
        for (gap, at) in rest.into_iter().filter(|(gap, _)| gap.is_alike && is_known) {
            let ran = &self.trace[gap.trace.clone()];
            let is_end = gap.trace.end == self.trace.len() && sum(ran, Item::flops) == 0;
            if ends_in_loss && is_end {
                landed.loss = took(ran);
            } else {
                self.share(&gap, &offers[at], &mut landed);
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
        let items = graph.iter().map(|at| self.graph[*at]).collect();
        let rest = Self { trace: ran, graph: items, ..*self }.lay(false, rounds);
        for (at, time) in graph.into_iter().zip(rest.times) {
            landed.times[at] = time;
        }
        landed.add(rest.by_op, rest.by_segment);
        landed.placed += rest.placed;
        landed.told += rest.told;
        landed.others.extend(rest.others);
        landed.reshaped.extend(rest.reshaped);
    }

    /// Products in order. One op of either side may do what several of the other do.
    fn products(&self) -> Vec<Match> {
        let symbols = |items: &[&Item<'_>]| -> Vec<(usize, (u64, u64))> {
            let each = items.iter().enumerate();
            each.flat_map(|(at, item)| item.products.iter().map(move |product| (at, *product)))
                .collect()
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
        matches.retain(|matched| {
            let [t, g] = self.flops(&matched.trace, &matched.graph);
            t.abs_diff(g) <= t / UNLIKE
        });
        matches
    }

    fn flops(&self, trace: &Range<usize>, graph: &Range<usize>) -> [u64; 2] {
        [&self.trace[trace.clone()], &self.graph[graph.clone()]]
            .map(|items| sum(items, Item::flops))
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
    fn take(&self, matched: &Match, landed: &mut Landed) {
        let ran = &self.trace[matched.trace.clone()];
        landed.placed += ran.iter().filter(|item| item.flops() > 0).count();
        if matched.graph.len() > 1 {
            landed.spread(&self.graph[matched.graph.clone()], matched.graph.start, took(ran));
            return;
        }
        if let ([item], partner) = (ran, self.graph[matched.graph.start])
            && item.what == partner.what
            && let Some(is_other) = has_other_extents(item.shape, partner.shape)
        {
            landed.told += 1;
            landed.reshaped.extend(is_other.then_some((item.op, partner.op)));
        }
        let is_between = |item: &&&Item<'_>| ran.len() > 1 && item.products.is_empty();
        let between = ran.iter().filter(is_between);
        let between = between.fold(0u64, |sum, item| sum.saturating_add(item.time.own));
        let all = took(ran);
        landed.times[matched.graph.start] = Some(all);
        landed.add(all.own.saturating_sub(between), between);
    }

    /// The time of what has no partner.
    fn share(&self, gap: &Gap, offer: &Offer, landed: &mut Landed) {
        let graph = &self.graph[gap.graph.clone()];
        let (ran, other) = self.apart(gap, offer);
        if ran.is_empty() && !other.is_empty() {
            landed.others.extend(other);
            return;
        }
        landed.others.extend(other);
        let items: Vec<&Item<'_>> = ran.iter().map(|at| self.trace[*at]).collect();
        landed.placed += items.iter().filter(|item| item.flops() > 0).count();
        let [size, room] = [&items[..], graph].map(|items| sum(items, |item| item.weight));
        if room > 0 && size / SMALLER <= room {
            landed.spread(graph, gap.graph.start, took(&items));
            return;
        }
        landed.times[gap.graph.clone()].fill(Some(Took::default()));
        let before = gap.graph.start.checked_sub(1);
        let after = Some(gap.graph.end).filter(|at| *at < self.graph.len());
        for at in ran {
            let is_own = |to: &usize| {
                self.by_module && self.trace[at].module.is_some() && self.is_same_module(at, *to)
            };
            let preferred = after.filter(is_own).or(before.filter(is_own));
            // A dropout of the graph is drawing, scaling and masking in the trace.
            let needs = self.trace[at].parts.needs;
            let is_part = |to: &usize| {
                let Item { products, parts, .. } = self.graph[*to];
                needs != 0 && products.is_empty() && needs & !parts.offers == 0
            };
            let preferred = preferred.or(before.filter(is_part));
            if let Some(to) = preferred.or(after).or(before) {
                let time = landed.times[to].get_or_insert_default();
                *time = time.and(self.trace[at].time);
                landed.add(0, self.trace[at].time.own);
            }
        }
    }

    /// What the ops of a segment of the graph are counterparts to.
    fn offer(&self, segment: &Range<usize>) -> Offer {
        let items = &self.graph[segment.clone()];
        let parts = items.iter().fold(0, |parts, item| parts | item.parts.offers);
        // A product holds the bias that another runs beside it.
        let beside = self.graph.iter().take(segment.end + 1).skip(segment.start.saturating_sub(1));
        let parts = beside.fold(parts, |parts, item| parts | item.parts.folds);
        Offer { whats: items.iter().map(|item| item.what).collect(), parts }
    }

    /// Positions of the traced ops of a gap that may land there, and those that the segment around it
    /// has no operator like.
    fn apart(&self, gap: &Gap, offer: &Offer) -> (Vec<usize>, Vec<Other>) {
        let range = gap.trace.start.saturating_sub(1)..gap.trace.end + 1;
        let near = self.trace.iter().take(range.end).skip(range.start);
        // A dropout of the trace leaves its scale to what is beside it.
        let near = near.filter(|item| item.products.is_empty());
        let parts = near.fold(offer.parts, |parts, item| parts | item.parts.folds);
        let is_other = |item: &Item<'_>| {
            item.products.is_empty()
                && item.parts.needs & !parts != 0
                && !offer.whats.contains(&item.what)
        };
        let is_first = self.strict_above == u64::MAX;
        let keeps = |item: &Item<'_>| item.size > self.strict_above || self.strict_above == 0;
        let (mut ran, mut others) = (Vec::new(), Vec::new());
        for at in gap.trace.clone() {
            let item = self.trace[at];
            let is_other = is_other(item);
            if is_other && (is_first || keeps(item)) {
                others.push(Other { op: item.op, time: item.time.own, size: item.size });
            }
            if is_first || !is_other || !keeps(item) {
                ran.push(at);
            }
        }
        (ran, others)
    }
}

/// What a segment of a graph is a counterpart to.
struct Offer {
    /// Types of its ops.
    whats: HashSet<u32>,
    /// Parts of those and of their neighbours.
    parts: u32,
}

impl Landed {
    fn add(&mut self, by_op: u64, by_segment: u64) {
        self.by_op = self.by_op.saturating_add(by_op);
        self.by_segment = self.by_segment.saturating_add(by_segment);
    }

    /// Shares time among ops from `start` on, by their sizes.
    fn spread(&mut self, items: &[&Item<'_>], start: usize, time: Took) {
        let whole: u128 = items.iter().map(|item| u128::from(item.weight)).sum::<u128>().max(1);
        let (mut weight, mut given) = (0u128, Took::default());
        for (at, item) in items.iter().enumerate() {
            weight += u128::from(item.weight);
            // At most `time`, as no part is more than the whole.
            let until = |time: u64| (u128::from(time) * weight / whole) as u64;
            let until = Took { own: until(time.own), idle: until(time.idle) };
            let share = Took { own: until.own - given.own, idle: until.idle - given.idle };
            self.times[start + at] = Some(share);
            given = until;
        }
        self.add(0, given.own);
    }
}

/// Whether a result of as many elements has other extents, and neither is the other with neighbouring
/// extents multiplied; `None` where that can not be told.
fn has_other_extents(a: &[u64], b: &[u64]) -> Option<bool> {
    let ends = |shape: &[u64]| -> Vec<u64> {
        let real = shape.iter().filter(|extent| **extent != 1);
        real.scan(1u64, |whole, extent| {
            *whole = whole.saturating_mul(*extent);
            Some(*whole)
        })
        .collect()
    };
    let (a, b) = (ends(a), ends(b));
    if a.len() < 2 || b.len() < 2 || a.last() != b.last() {
        return None;
    }
    let is_within = |a: &[u64], b: &[u64]| a.iter().all(|end| b.contains(end));
    Some(!is_within(&a, &b) && !is_within(&b, &a))
}

fn took(items: &[&Item<'_>]) -> Took {
    items.iter().fold(Took::default(), |sum, item| sum.and(item.time))
}

fn sum<'g>(items: &[&Item<'g>], of: impl Fn(&Item<'g>) -> u64) -> u64 {
    items.iter().fold(0, |sum, item| sum.saturating_add(of(item)))
}

/// What of a gap lies between matches inside of it.
fn split<'a>(gap: &'a Gap, matches: &'a [Match]) -> impl Iterator<Item = Gap> + 'a {
    let end = Match { trace: gap.trace.end..gap.trace.end, graph: gap.graph.end..gap.graph.end };
    let (mut trace, mut graph) = (gap.trace.start, gap.graph.start);
    let ends = matches.iter().map(|matched| (matched.trace.clone(), matched.graph.clone()));
    ends.chain([(end.trace, end.graph)]).filter_map(move |(t, g)| {
        let between = Gap { trace: trace..t.start, graph: graph..g.start, is_alike: gap.is_alike };
        (trace, graph) = (t.end, g.end);
        (!between.trace.is_empty() || !between.graph.is_empty()).then_some(between)
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
