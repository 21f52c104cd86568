//! What a stage of so many blocks may choose, and bounds over chains of stages.

use cost_model::runs::forms::run::equal_blocks;
use cost_model::runs::judge::costs::StageCosts;
use cost_model::runs::measured::priced::Priced;
use cost_model::runs::measured::stage::{Counts, idle_room};
use cost_model::runs::oracle::{Place, Prices, Seat, StageFigures, stage_costs};
use ir::card::ZeroStage;
use ir::units::Bytes;

use super::shapes::{n_sharing, plain_zero};
use crate::training::search_3d::space::{Pins, RecomputeRule, Split};

/// A stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Blocks.
    pub blocks: u32,
    /// Blocks that are computed again, the first ones.
    pub recomputed: u32,
    /// Blocks whose parameters are shared out, the last ones.
    pub fully_sharded: u32,
    /// What is shared out of the other blocks.
    pub zero: ZeroStage,
    /// Figures.
    pub figures: StageFigures,
    /// Nanoseconds.
    pub times: Times,
}

/// Times of a stage as the judge sees them, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Forward pass.
    pub forward: u64,
    /// Backward pass with what it computes again.
    pub backward: u64,
    /// From the end of its last cell to the end of its step, were it alone.
    pub end: u64,
}

impl Times {
    fn of((costs, optimizer_s): &(StageCosts, f64)) -> Self {
        let backward = (costs.backward + costs.recompute).0;
        let overlapped = costs.overlapped.min(costs.exchange).0;
        let rest = costs.exchange.0 - overlapped + costs.tied.0;
        let optimizer = (*optimizer_s * 1e9).floor() as u64;
        let end = overlapped.saturating_sub(backward) + rest + optimizer;
        Self { forward: costs.forward.0, backward, end }
    }

    /// One micro-batch.
    #[must_use]
    pub const fn pass(&self) -> u64 {
        self.forward + self.backward
    }

    fn is_no_worse(&self, other: &Self) -> bool {
        self.forward <= other.forward && self.backward <= other.backward && self.end <= other.end
    }
}

/// Choices of all stages of one shape, and bounds on what stages still open must take.
pub struct Table<'a> {
    /// Prices.
    pub priced: &'a Priced<'a>,
    /// Stages.
    pub p: usize,
    /// Blocks.
    pub n: usize,
    /// Micro-batches.
    pub m: u64,
    /// Nanoseconds of a transfer between two stages.
    pub transfer: u64,
    /// By stage and count of blocks: choices of which no one is beaten in every time.
    pub choices: Vec<Vec<Vec<Chosen>>>,
    /// By stage and open blocks: the least time by which the slowest open stage ends, from the start
    /// of the first open one to its last backward pass; one row more for the end.
    pub rest: Vec<Vec<u64>>,
    /// By stage and open blocks: the least time of one micro-batch through all open stages, with
    /// transfers into them.
    pub through: Vec<Vec<u64>>,
}

impl<'a> Table<'a> {
    /// All choices that fit.
    #[must_use]
    pub fn new(priced: &'a Priced<'a>, pins: &Pins) -> Self {
        Self::filled(priced, pins, &|stage, blocks| fitting(priced, pins, stage, blocks))
    }

    fn filled(priced: &'a Priced<'a>, pins: &Pins, of: &dyn Fn(u32, u32) -> Vec<Chosen>) -> Self {
        let p = priced.degrees.pipeline.max(1);
        let n = priced.pricing.n_blocks();
        let equal = (pins.split == Some(Split::Equal)).then(|| equal_blocks(n, p));
        let wanted = |stage: u32, blocks: u32| match &equal {
            Some(equal) => equal.get(stage as usize) == Some(&blocks),
            None => blocks >= 1 && blocks <= n + 1 - p && (p > 1 || blocks == n),
        };
        let choices = (0..p).map(|stage| {
            let mut by_blocks = vec![Vec::new(); n as usize + 1];
            for blocks in (0..=n).filter(|blocks| wanted(stage, *blocks)) {
                let chosen = of(stage, blocks);
                // What is too large for a device stays so with one block more.
                if chosen.is_empty() {
                    break;
                }
                by_blocks[blocks as usize] = chosen;
            }
            by_blocks
        });
        let next = priced.boundary(0, 1, priced.message);
        let transfer = next.link.time(next.activation, 1).0;
        let mut table = Self {
            priced,
            p: p as usize,
            n: n as usize,
            m: priced.degrees.n_micro_batches,
            transfer: if p > 1 { transfer } else { 0 },
            choices: choices.collect(),
            rest: Vec::new(),
            through: Vec::new(),
        };
        table.bound();
        table
    }

    fn bound(&mut self) {
        let (p, n) = (self.p, self.n);
        let mut rest = vec![vec![u64::MAX; n + 1]; p + 1];
        let mut through = rest.clone();
        rest[p][0] = 0;
        through[p][0] = 0;
        for stage in (0..p).rev() {
            let into = if stage > 0 { 2 * self.transfer } else { 0 };
            for open in 1..=n {
                for blocks in 1..=open {
                    let (later, beyond) =
                        (rest[stage + 1][open - blocks], through[stage + 1][open - blocks]);
                    if later == u64::MAX {
                        continue;
                    }
                    for chosen in &self.choices[stage][blocks] {
                        let pass = chosen.times.pass();
                        let least =
                            into + self.m.saturating_mul(pass).max(pass.saturating_add(later));
                        rest[stage][open] = rest[stage][open].min(least);
                        let all = (into + pass).saturating_add(beyond);
                        through[stage][open] = through[stage][open].min(all);
                    }
                }
            }
        }
        self.rest = rest;
        self.through = through;
    }

    /// A step that no plan of the shape falls below; `u64::MAX` where none fits.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.rest[0][self.n]
    }

    /// Micro-batches that a stage keeps.
    #[must_use]
    pub fn in_flight(&self, stage: usize) -> u64 {
        self.m.min((self.p - stage) as u64)
    }
}

/// A bound on the step of a shape whatever its memory.
#[must_use]
pub fn without_memory(priced: &Priced<'_>, pins: &Pins) -> u64 {
    let free = |stage: u32, blocks: u32| {
        let p = priced.degrees.pipeline.max(1);
        let fully_sharded = if pins.zero == Some(ZeroStage::Parameters) { blocks } else { 0 };
        let recomputed = if pins.recompute == RecomputeRule::Full { blocks } else { 0 };
        vec![Candidate::new(priced, pins, p, stage).chosen(blocks, recomputed, fully_sharded)]
    };
    Table::filled(priced, pins, &free).least()
}

/// What makes choices of one stage.
pub(super) struct Candidate<'a> {
    priced: &'a Priced<'a>,
    seat: Seat,
    zero: ZeroStage,
    /// Micro-batches that it keeps.
    in_flight: u64,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(priced: &'a Priced<'a>, pins: &Pins, p: u32, stage: u32) -> Self {
        Self {
            priced,
            seat: Seat { stage: stage as usize, n_stages: p as usize, rank: stage, next: stage },
            zero: plain_zero(pins, &priced.degrees),
            in_flight: priced.degrees.n_micro_batches.min(u64::from(p - stage)),
        }
    }

    /// A choice; blocks whose ZeRO stage is pinned to 3 are all gathered.
    pub(super) fn chosen(&self, blocks: u32, recomputed: u32, fully_sharded: u32) -> Chosen {
        let mut counts = Counts {
            recomputed,
            fully_sharded_recomputed: (recomputed + fully_sharded).saturating_sub(blocks),
            ..Counts::default()
        };
        counts.by_zero[self.zero as usize] = blocks - fully_sharded;
        counts.by_zero[ZeroStage::Parameters as usize] += fully_sharded;
        let place = Place::of(self.seat.stage, self.seat.n_stages);
        let figures = self.priced.figures(&counts, place);
        let times = Times::of(&stage_costs(self.priced, &figures, self.seat, false));
        Chosen { blocks, recomputed, fully_sharded, zero: self.zero, figures, times }
    }

    /// Bytes of a choice, as the judge counts them.
    pub(super) fn bytes(&self, chosen: &Chosen) -> u64 {
        let (costs, _) = stage_costs(self.priced, &chosen.figures, self.seat, false);
        let stash = costs.stash.0.saturating_mul(self.in_flight);
        let room = idle_room(&chosen.figures).round() as u64;
        let temporary = costs.backward_temporary.max(costs.forward_temporary);
        (costs.persistent + temporary).0.saturating_add(stash).saturating_add(room)
    }
}

/// Counts of recomputed blocks of which one is the fewest that fits: memory falls with each but for
/// the steps where the first block is computed again and where the first one is gathered too.
fn starts(blocks: u32, fully_sharded: u32) -> [u32; 3] {
    [0, 1, (blocks - fully_sharded) + 1]
}

/// The fewest recomputed blocks that fit; `None` where none does.
fn fewest(
    candidate: &Candidate<'_>,
    recompute: RecomputeRule,
    blocks: u32,
    fully_sharded: u32,
    limit: Option<Bytes>,
) -> Option<Chosen> {
    let of = |count: u32| candidate.chosen(blocks, count, fully_sharded);
    let fits = |chosen: &Chosen| limit.is_none_or(|limit| candidate.bytes(chosen) <= limit.0);
    let fitting = |count: u32| Some(of(count)).filter(fits);
    match recompute {
        RecomputeRule::None | RecomputeRule::Selective | RecomputeRule::PerOp => return fitting(0),
        RecomputeRule::Full => return fitting(blocks),
        RecomputeRule::Fitted | RecomputeRule::Alike => {}
    }
    let starts = starts(blocks, fully_sharded);
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(blocks, |next| next.saturating_sub(1)).min(blocks);
        if *start > end {
            continue;
        }
        if let Some(first) = fitting(*start) {
            return Some(first);
        }
        if fitting(end).is_none() {
            continue;
        }
        // In between, each further one needs less.
        let (mut low, mut high) = (*start, end);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fitting(middle).is_some() { high = middle } else { low = middle }
        }
        return fitting(high);
    }
    None
}

/// Choices of a stage that fit, those left out that another one beats in every time.
fn fitting(priced: &Priced<'_>, pins: &Pins, stage: u32, blocks: u32) -> Vec<Chosen> {
    let candidate = Candidate::new(priced, pins, priced.degrees.pipeline.max(1), stage);
    let counts = match pins.zero {
        Some(ZeroStage::Parameters) => blocks..=blocks,
        Some(_) => 0..=0,
        None if n_sharing(&priced.degrees) == 1 => 0..=0,
        None => 0..=blocks,
    };
    let mut front: Vec<Chosen> = Vec::new();
    for fully_sharded in counts {
        let limit = priced.pricing.limit;
        let Some(chosen) = fewest(&candidate, pins.recompute, blocks, fully_sharded, limit) else {
            continue;
        };
        if front.iter().any(|other| other.times.is_no_worse(&chosen.times)) {
            continue;
        }
        front.retain(|other| !chosen.times.is_no_worse(&other.times));
        front.push(chosen);
    }
    front.sort_by_key(|chosen| (chosen.times.pass(), chosen.times.end, chosen.fully_sharded));
    front
}
