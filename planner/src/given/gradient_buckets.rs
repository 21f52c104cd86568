//! Gradients in buckets: the step is as short as it can be.
//!
//! # Decides
//! Which gradients are exchanged together, whether by all-reduce or through servers, and, where ways that
//! send a part are allowed, which of them each bucket takes.
//!
//! # Idea
//! Buckets are neighbours in the order of readiness, and one is exchanged at a time. The earliest end of
//! the first `j` tensors' exchange is the least over the last cut `i` of `max(earliest end of the first i,
//! readiness of tensor j) + seconds of i..j by the fastest way`: an earlier end of what is before never
//! makes what follows later. Of the buckets that end no later than these, those send most as it is that
//! are found by keeping, for each `j`, ends that nothing beats which sends as much as it is; what idle
//! links have room for is then kept of the parts that layers send.
//!
//! # Paper
//! None; the problem is that of Shi, Chu and Li, "MG-WFBP: Efficient Data Communication for Distributed
//! Synchronous SGD Algorithms", INFOCOM 2019, and of Shi et al., "Layer-wise Adaptive Gradient
//! Sparsification for Distributed Deep Learning with Convergence Guarantees", ECAI 2020.
//!
//! # Guarantee
//! Optimal in the step; how much is sent as it is is not proved to be most where many ends are kept.
//!
//! # Complexity
//! Quadratic in the tensors, for each way of exchange.
//!
//! # Limits
//! One exchange at a time, in the order of readiness; a tensor is never cut.
//!
//! # Example
//! Tensors of 1, 1 and 4 bytes at 5, 6 and 20 s, start-up 2 s, 1 s a byte: the first two go whenever they
//! like, the last alone, from 20 to 26 s.

use cost_model::given::Goal;
use cost_model::given::gradients::{
    Buckets, Part, cost, elements, evaluate, least_kept, part_seconds, spans,
};
use cost_model::links::collective::gradient::AllReduceCost;
use ir::instance::{Exchange, GradientInstance, Instance, Lossy};

use crate::given::runner::{Effort, Method, Solution, method};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::StepTime],
    effort: Effort::Thorough,
    guarantee: Guarantee::Optimal,
    solve: |run, _| {
        let Instance::Gradients(instance) = run.instance() else { return Ok(()) };
        let stop = |n: usize| run.spend(n as u64);
        let all = instance.costs.iter().map_while(|cost| solve(instance, cost.exchange, &stop));
        let mut found: Vec<Buckets> = all.collect();
        let is_complete = found.len() == instance.costs.len();
        // Of ways that take as long, that which sends most as it is comes first: others are no better.
        found.sort_by_cached_key(|buckets| {
            let step = evaluate(instance, buckets).map_or(u64::MAX, |time| time.get());
            (step, std::cmp::Reverse(whole_bytes(instance, buckets)))
        });
        for buckets in found {
            run.offer(Solution::Buckets(buckets))?;
        }
        if is_complete {
            run.close(method::GROUPS);
        }
        Ok(())
    },
};

/// Bytes that are sent as they are.
fn whole_bytes(instance: &GradientInstance, buckets: &Buckets) -> u64 {
    let spans = spans(instance, buckets).unwrap_or_default();
    let whole = spans.iter().enumerate().filter(|entry| buckets.part(entry.0).is_none());
    whole.map(|entry| entry.1.sent_bytes).sum()
}

/// Most ends that are kept of one number of tensors.
const MOST_LABELS: usize = 32;
/// Most extensions of ends that are looked at, about.
const MOST_WORK: usize = 200_000_000;
/// What sums in another order may differ by, as a share.
const ROUNDING: f64 = 1e-12;

/// Buckets whose last exchange ends first, those exchanged one way that are sent as they are, and of
/// these such that send much as it is; `None` where there is no such way, or where `stop`, told of the
/// cuts that were looked at, ended the search.
#[must_use]
pub fn solve(
    instance: &GradientInstance,
    exchange: Exchange,
    stop: &dyn Fn(usize) -> bool,
) -> Option<Buckets> {
    let ways = Ways::of(instance, cost(instance, exchange)?);
    let line = earliest(instance, &ways, stop)?;
    let fastest = ways.buckets(exchange, &line.cuts);
    if fastest.parts.iter().all(Option::is_none) {
        return Some(Buckets { parts: Vec::new(), ..fastest });
    }
    let end_s = line.ends.last()?.max(instance.backward_s);
    // The step is the shortest already.
    let Some(cuts) = least_changed(instance, &ways, (&line.ends, end_s), stop) else {
        return Some(fastest);
    };
    let mut found = ways.buckets(exchange, &cuts);
    ways.fill(&mut found, end_s);
    let is_as_good = evaluate(instance, &found).ok()? <= evaluate(instance, &fastest).ok()?;
    Some(if is_as_good { found } else { fastest })
}

/// A bucket: from which tensor on, and by which lossy way.
type Cut = (usize, Option<usize>);

/// The earliest ends of the first tensors' exchanges, and the last bucket of each.
struct Earliest {
    ends: Vec<f64>,
    cuts: Vec<Cut>,
}

fn earliest(
    instance: &GradientInstance,
    ways: &Ways<'_>,
    stop: &dyn Fn(usize) -> bool,
) -> Option<Earliest> {
    let n = instance.tensors.len();
    let (mut ends, mut cuts) = (vec![0.0_f64; n + 1], vec![(0, None); n + 1]);
    for to in 1..=n {
        let ready_s = ways.ready_s[to];
        let mut best = (f64::INFINITY, (0, None));
        for from in (0..to).rev() {
            let (took_s, way) = ways.fastest(from, to);
            let end = ends[from].max(ready_s) + took_s;
            if end < best.0 {
                best = (end, (from, way));
            }
            // Further back more bytes start no earlier.
            if ends[from] <= ready_s {
                break;
            }
        }
        (ends[to], cuts[to]) = best;
        if stop(to) {
            return None;
        }
    }
    Some(Earliest { ends, cuts: backwards(n, |to| cuts[to]) })
}

/// The buckets of all tensors, by the last bucket of each number of them.
fn backwards(n: usize, mut last: impl FnMut(usize) -> Cut) -> Vec<Cut> {
    let (mut cuts, mut to) = (Vec::new(), n);
    while to > 0 {
        let cut = last(to);
        cuts.push(cut);
        to = cut.0;
    }
    cuts.reverse();
    cuts
}

/// An end of the first tensors' exchanges that nothing beats which sends as many bytes as they are.
#[derive(Clone, Copy)]
struct Label {
    end_s: f64,
    whole: u64,
    cut: Cut,
    /// Which label of the tensors before the bucket it goes on from.
    before: usize,
}

/// Buckets that end by then, and that send much as it is.
fn least_changed(
    instance: &GradientInstance,
    ways: &Ways<'_>,
    (ends, end_s): (&[f64], f64),
    stop: &dyn Fn(usize) -> bool,
) -> Option<Vec<Cut>> {
    let n = instance.tensors.len();
    let latest = latest(ways, n, end_s * (1.0 + ROUNDING), stop)?;
    let most = (MOST_WORK / (n * n)).clamp(1, MOST_LABELS);
    let mut labels: Vec<Vec<Label>> =
        vec![vec![Label { end_s: 0.0, whole: 0, cut: (0, None), before: 0 }]];
    for (to, latest_s) in latest.into_iter().enumerate().skip(1) {
        let ready_s = ways.ready_s[to];
        let mut found: Vec<Label> = Vec::new();
        for from in (0..to).rev() {
            let (least_s, lossy) = ways.fastest(from, to);
            if ready_s.max(ends[from]) + least_s > latest_s {
                // Further back there are more bytes, and links are free no earlier than now.
                if ready_s + least_s > latest_s {
                    break;
                }
                continue;
            }
            let whole_s = ways.whole.seconds((ways.bytes[to] - ways.bytes[from]) as f64);
            for (before, label) in labels[from].iter().enumerate() {
                let mut extend = |took_s: f64, whole: u64, way: Option<usize>| {
                    let end_s = label.end_s.max(ready_s) + took_s;
                    if end_s <= latest_s {
                        let whole = label.whole + whole;
                        found.push(Label { end_s, whole, cut: (from, way), before });
                    }
                };
                extend(whole_s, ways.bytes[to] - ways.bytes[from], None);
                if lossy.is_some() {
                    extend(least_s, 0, lossy);
                }
            }
            if found.len() > 64 * MOST_LABELS {
                found = kept(found, most);
            }
        }
        labels.push(kept(found, most));
        if stop(to) {
            return None;
        }
    }
    let mut at = labels[n].len().checked_sub(1)?;
    Some(backwards(n, |to| {
        let label = labels[to][at];
        at = label.before;
        label.cut
    }))
}

/// The latest ends of the first tensors' exchanges from which all others end in time.
fn latest(ways: &Ways<'_>, n: usize, end_s: f64, stop: &dyn Fn(usize) -> bool) -> Option<Vec<f64>> {
    let mut latest = vec![f64::NEG_INFINITY; n + 1];
    latest[n] = end_s;
    for from in (0..n).rev() {
        let start = |(to, end_s): (usize, &f64)| {
            let start_s = end_s - ways.fastest(from, to).0;
            (start_s >= ways.ready_s[to]).then_some(start_s)
        };
        let starts = latest.iter().enumerate().skip(from + 1).filter_map(start);
        latest[from] = starts.fold(f64::NEG_INFINITY, f64::max);
        if stop(n - from) {
            return None;
        }
    }
    Some(latest)
}

/// Of ends those that nothing beats, at most so many, the first and the last of them in any case.
fn kept(mut labels: Vec<Label>, most: usize) -> Vec<Label> {
    labels.sort_by(|a, b| a.end_s.total_cmp(&b.end_s).then(b.whole.cmp(&a.whole)));
    let mut best: Option<u64> = None;
    labels.retain(|label| {
        let is_better = best.is_none_or(|whole| label.whole > whole);
        best = best.max(Some(label.whole));
        is_better
    });
    let n = labels.len();
    if n <= most {
        return labels;
    }
    if most == 1 {
        labels.truncate(1);
        return labels;
    }
    (0..most).map(|at| labels[at * (n - 1) / (most - 1)]).collect()
}

/// What exchanging neighbours takes, by each way.
struct Ways<'a> {
    instance: &'a GradientInstance,
    whole: AllReduceCost,
    /// Of the first tensors: bytes, elements, when all are there.
    bytes: Vec<u64>,
    elements: Vec<u64>,
    ready_s: Vec<f64>,
    /// By lossy way: of the first tensors, elements that are sent if each is cut down alone, and the last
    /// one that is too small, counted from 1.
    alone: Vec<Vec<u64>>,
    small: Vec<Vec<usize>>,
}

impl<'a> Ways<'a> {
    fn of(instance: &'a GradientInstance, whole: AllReduceCost) -> Self {
        let tensors = &instance.tensors;
        let sums = |of: &dyn Fn(u64) -> u64| -> Vec<u64> {
            let running = tensors.iter().scan(0, |sum: &mut u64, tensor| {
                *sum += of(tensor.bytes);
                Some(*sum)
            });
            std::iter::once(0).chain(running).collect()
        };
        let mut ready_s = vec![0.0_f64];
        for tensor in tensors {
            ready_s.push(ready_s[ready_s.len() - 1].max(tensor.ready_s));
        }
        let lossy = instance.lossy.iter();
        let alone = lossy
            .map(|cost| sums(&|bytes| least_kept(cost.density, elements(instance, bytes))))
            .collect();
        let small = |cost: &ir::instance::LossyCost| {
            let mut small = vec![0];
            for (at, tensor) in (1..).zip(tensors) {
                let before = small[at - 1];
                small.push(if tensor.bytes < cost.threshold_bytes { at } else { before });
            }
            small
        };
        Self {
            instance,
            whole,
            bytes: sums(&|bytes| bytes),
            elements: sums(&|bytes| elements(instance, bytes)),
            ready_s,
            alone,
            small: instance.lossy.iter().map(small).collect(),
        }
    }

    /// Elements that a lossy way sends at least.
    fn fewest(&self, way: usize, from: usize, to: usize) -> u64 {
        let cost = &self.instance.lossy[way];
        let all = self.elements[to] - self.elements[from];
        match cost.by {
            Lossy::TopK | Lossy::GlobalTopK => least_kept(cost.density, all),
            Lossy::LayerWise => self.alone[way][to] - self.alone[way][from],
            Lossy::TwoWay => all,
        }
    }

    /// Seconds by the fastest way, and which that is: as it is, where nothing is faster.
    fn fastest(&self, from: usize, to: usize) -> (f64, Option<usize>) {
        let bytes = self.bytes[to] - self.bytes[from];
        let mut best = (self.whole.seconds(bytes as f64), None);
        for (way, cost) in self.instance.lossy.iter().enumerate() {
            if self.small[way][to] <= from {
                let took_s = part_seconds(cost, bytes, self.fewest(way, from, to));
                if took_s < best.0 {
                    best = (took_s, Some(way));
                }
            }
        }
        best
    }

    fn buckets(&self, exchange: Exchange, cuts: &[Cut]) -> Buckets {
        let to = cuts.iter().skip(1).map(|cut| cut.0).chain([self.instance.tensors.len()]);
        let bucket = |((from, way), to): (&Cut, usize)| {
            let part = way.map(|way| Part {
                by: self.instance.lossy[way].by,
                kept: self.fewest(way, *from, to),
            });
            (to - from, part)
        };
        let (lengths, parts) = cuts.iter().zip(to).map(bucket).unzip();
        Buckets { exchange, lengths, parts }
    }

    /// Sends as many elements of what layers cut down alone as end in time.
    fn fill(&self, buckets: &mut Buckets, end_s: f64) {
        let Ok(spans) = spans(self.instance, buckets) else { return };
        let took_s: Vec<f64> = spans.iter().map(|span| span.end_s - span.start_s).collect();
        let mut latest = vec![end_s; spans.len()];
        for at in (1..spans.len()).rev() {
            latest[at - 1] = latest[at] - took_s[at];
        }
        let (mut free_s, mut to) = (0.0_f64, 0);
        for (at, span) in spans.iter().enumerate() {
            let from = to;
            to += buckets.lengths[at];
            free_s = free_s.max(span.ready_s) + took_s[at];
            let Some(Some(part)) = buckets.parts.get_mut(at) else { continue };
            let cost = self.instance.lossy.iter().find(|cost| cost.by == part.by);
            let Some(cost) = cost.filter(|cost| cost.by == Lossy::LayerWise) else { continue };
            let idle_s = (latest[at] - free_s).max(0.0);
            let each_s = cost.sent_element_bytes as f64 * cost.per_sent_byte_s;
            let more = if each_s > 0.0 { idle_s / each_s } else { f64::INFINITY };
            let all = self.elements[to] - self.elements[from];
            let n_kept = part.kept.saturating_add(more as u64).min(all);
            free_s += (n_kept - part.kept) as f64 * each_s;
            part.kept = n_kept;
        }
    }
}
