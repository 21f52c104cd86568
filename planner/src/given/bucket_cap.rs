//! Buckets of one size, as launchers take them: the best such size.
//!
//! # Decides
//! Which gradients are exchanged together, and whether by all-reduce or through servers.
//!
//! # Idea
//! In the order of readiness a bucket takes gradients until it holds the cap, as PyTorch's and Megatron's
//! do. Caps between two neighbouring sizes at which a bucket would close make the same buckets, so the
//! next cap to look at is the least bucket, less than whole ones aside, and a byte.
//!
//! # Paper
//! None; Li et al., "PyTorch Distributed", PVLDB 13(12), 2020, section 3.2.3 (buckets).
//!
//! # Guarantee
//! None: other buckets may be better. Of all caps it is the best one where the search comes to its end.
//!
//! # Complexity
//! Linear in the tensors for each cap, of which there are at most as many as runs of tensors.
//!
//! # Limits
//! The smaller first bucket of PyTorch is left out, which `bucket_cap_mb` switches off.
//!
//! # Example
//! Tensors of 1, 1 and 4 bytes: caps of 1, 2, 3 to 5 and 6 bytes are those that differ.

use cost_model::given::Goal;
use cost_model::given::gradients::{Buckets, evaluate};
use ir::instance::{Exchange, GradientInstance, Instance};
use ir::units::Nanos;

use crate::given::runner::{Effort, Method, Solution};
use crate::run::algorithm::{Guarantee, OptionRow};

/// The cap.
const BYTES: OptionRow = OptionRow {
    name: "bytes",
    unit: "bytes that a bucket holds at least; 0 = the best",
    default: "0",
    summary: "1 exchanges each tensor alone (wait-free), a huge number all at the end",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[BYTES];

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::StepTime],
    effort: Effort::Quick,
    guarantee: Guarantee::Heuristic,
    solve: |run, options| {
        let Instance::Gradients(instance) = run.instance() else { return Ok(()) };
        let cap = options.count(&BYTES)?;
        for cost in &instance.costs {
            let cap = match cap {
                0 => best(instance, cost.exchange, &|| run.spend(instance.tensors.len() as u64)),
                cap => cap,
            };
            run.offer(Solution::Buckets(capped(instance, cost.exchange, cap)))?;
        }
        Ok(())
    },
};

/// When a bucket closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// Once it holds its size: PyTorch's DDP, and Megatron-Core's (`--ddp-bucket-size`).
    OnceFull,
    /// Before a tensor that would make it hold more: DeepSpeed's (`reduce_bucket_size`).
    BeforeMore,
}

/// Buckets that close when they hold `cap` bytes.
#[must_use]
pub fn capped(instance: &GradientInstance, exchange: Exchange, cap: u64) -> Buckets {
    cut(instance, exchange, (cap, Closes::OnceFull))
}

/// Buckets of a size, in bytes.
#[must_use]
pub fn cut(
    instance: &GradientInstance,
    exchange: Exchange,
    (cap, closes): (u64, Closes),
) -> Buckets {
    let (mut lengths, mut n, mut bytes) = (Vec::new(), 0, 0_u64);
    for tensor in &instance.tensors {
        if closes == Closes::BeforeMore && n > 0 && bytes.saturating_add(tensor.bytes) > cap {
            lengths.push(n);
            (n, bytes) = (0, 0);
        }
        n += 1;
        bytes = bytes.saturating_add(tensor.bytes);
        if closes == Closes::OnceFull && bytes >= cap {
            lengths.push(n);
            (n, bytes) = (0, 0);
        }
    }
    if n > 0 {
        lengths.push(n);
    }
    Buckets::whole(exchange, lengths)
}

/// The least cap whose step is shortest, of those looked at before `stop`.
#[must_use]
pub fn best(instance: &GradientInstance, exchange: Exchange, stop: &dyn Fn() -> bool) -> u64 {
    sizes(instance, exchange, Closes::OnceFull, stop).0
}

/// Most tensors that are put into buckets to find a size, about.
const MOST_WORK: usize = 200_000_000;
/// Sizes up to all that are looked at where there are too many to look at each.
const SPREAD: u32 = 512;

/// The sizes whose step is shortest, of those looked at before `stop`, and in about a second: all from the first
/// to the last make the same buckets. Where there are more, as above some 5,000 tensors, they are spread over
/// all sizes, and closest about the best of these.
#[must_use]
pub fn sizes(
    instance: &GradientInstance,
    exchange: Exchange,
    closes: Closes,
    stop: &dyn Fn() -> bool,
) -> (u64, u64) {
    let most = MOST_WORK / instance.tensors.len().max(1) / 2;
    let mut found = (Nanos::MAX, (1, 1));
    let mut look = |cap: u64| {
        let buckets = cut(instance, exchange, (cap, closes));
        let value = evaluate(instance, &buckets).ok()?;
        let next = next(instance, &buckets, (cap, closes));
        found = found.min((value, (cap, next.map_or(u64::MAX, |next| next - 1))));
        Some((value, next.filter(|_| !stop())?))
    };
    // As many as there is time for, from one on: whether these are all.
    let walk = |from: u64, look: &mut dyn FnMut(u64) -> Option<(Nanos, u64)>| {
        let mut cap = from;
        (0..most).any(|_| match look(cap) {
            Some((_, next)) => {
                cap = next;
                false
            }
            None => true,
        })
    };
    if !walk(1, &mut look) {
        let all: u64 = instance.tensors.iter().map(|tensor| tensor.bytes).sum();
        let spread = |at: u32| (all as f64).powf(f64::from(at) / f64::from(SPREAD)) as u64;
        let step = |at: u32| look(spread(at)).map_or(Nanos::MAX, |looked| looked.0);
        let best = (0..SPREAD).map(step).zip(0_u32..).min().map_or(0, |pair| pair.1);
        look(all);
        walk(spread(best.saturating_sub(1)).max(1), &mut look);
    }
    found.1
}

/// The least cap that makes other buckets than this one; `None` where all is in one.
fn next(
    instance: &GradientInstance,
    buckets: &Buckets,
    (cap, closes): (u64, Closes),
) -> Option<u64> {
    if buckets.lengths.len() <= 1 {
        return None;
    }
    let mut left = instance.tensors.iter();
    let sizes: Vec<(u64, u64)> = buckets
        .lengths
        .iter()
        .map(|n| {
            let bytes = left.by_ref().take(*n).map(|tensor| tensor.bytes).sum();
            (bytes, left.clone().next().map_or(0, |next| next.bytes))
        })
        .collect();
    match closes {
        // The last one may be less than whole.
        Closes::OnceFull => sizes
            .into_iter()
            .map(|pair| pair.0)
            .filter(|bytes| *bytes >= cap)
            .min()
            .map(|bytes| bytes + 1),
        Closes::BeforeMore => sizes
            .into_iter()
            .filter(|pair| pair.1 > 0)
            .map(|pair| pair.0.saturating_add(pair.1))
            .min(),
    }
}
