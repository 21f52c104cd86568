//! A model that serves as one forward pipeline over devices of any kinds: what its stages take and hold, and
//! the judge of where they are.
//!
//! ```text
//! stage      its blocks, the embedding on the first, the head on the last
//! latency    stages, boundaries, and on a decoding step the way of the sampled tokens back
//! period     max(slowest stage, busiest channel, latency / batches in flight)
//! bytes      weights of blocks and ends, keys and values of every batch in flight, scratch
//! ```
//!
//! Where tokens per second are wanted, as many batches are in flight as shorten the period, have room for
//! their keys and values, and are no more than stages; else one. A batch enters when one has gone through,
//! so that no period is shorter than its share of the latency.

pub mod bound;
pub mod classes;
pub mod llama_cpp;
pub mod priced;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

/// What is wanted of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// Most tokens per second, with up to as many batches in flight as stages.
    #[default]
    Throughput,
    /// The least seconds of one batch, alone.
    Latency,
}

impl Goal {
    /// All.
    pub const ALL: [Self; 2] = [Self::Throughput, Self::Latency];

    /// Its name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
        }
    }

    /// The one with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|goal| goal.name() == name)
    }

    /// Batches that are in flight at most in a pipeline of so many stages.
    #[must_use]
    pub const fn most_in_flight(self, n_stages: usize) -> u64 {
        match self {
            Self::Throughput => n_stages as u64,
            Self::Latency => 1,
        }
    }
}

/// A stage: blocks on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Position of the device in the cluster.
    pub device: usize,
    /// Its blocks.
    pub blocks: Range<u32>,
}

/// Nanoseconds of a batch on a kind of device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    /// By block, those of all blocks before it; one entry more than blocks.
    pub before: Vec<u64>,
    /// Of the embedding.
    pub embedding: u64,
    /// Of the head.
    pub head: u64,
}

/// Bytes of what stages hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// By block, weights of all blocks before it; one entry more than blocks.
    pub weights: Vec<u64>,
    /// The same of keys and values of one batch.
    pub cache: Vec<u64>,
    /// Of the embedding, on the first stage.
    pub embedding: u64,
    /// Of the head, on the last stage.
    pub head: u64,
    /// Of a copy of the embedding, on the last stage where that is not the first.
    pub copy: u64,
    /// Of what a pass makes and a device has beside, not on the last stage and on it.
    pub scratch: [u64; 2],
}

/// Nanoseconds of what goes one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// A batch's activations.
    pub pass: u64,
    /// Its sampled tokens; 0 where they are not waited for.
    pub back: u64,
    /// Tier of links.
    pub tier: usize,
}

/// Ways between devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Those that differ.
    pub kinds: Vec<Way>,
    /// `from x devices + to`: position in `kinds`, past its end where there is no way.
    pub of: Vec<u16>,
    /// Tiers of links.
    pub n_tiers: usize,
    /// `device x tiers + tier`: the channel by which it sends.
    pub send: Vec<usize>,
    /// The same of what it receives.
    pub receive: Vec<usize>,
}

/// What pipelines cost on a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// By kind of device.
    pub speeds: Vec<Speed>,
    /// By device its kind.
    pub speed_of: Vec<usize>,
    /// By device the bytes that a plan may use; none = all that it takes.
    pub limits: Vec<Option<u64>>,
    /// What stages hold.
    pub held: Held,
    /// Ways between devices.
    pub ways: Ways,
}

/// What a stage takes and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageFigures {
    /// Nanoseconds of a batch.
    pub ns: u64,
    /// Nanoseconds of its way to the next stage; of the last one the way back.
    pub way_ns: u64,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of keys and values of all batches in flight.
    pub cache: u64,
    /// All bytes.
    pub peak: u64,
    /// What it may use.
    pub limit: Option<u64>,
}

/// What a pipeline takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// By stage.
    pub stages: Vec<StageFigures>,
    /// Nanoseconds from a batch's start to its end, the way back included.
    pub latency: u64,
    /// Nanoseconds between the ends of two batches.
    pub period: u64,
    /// Batches in flight.
    pub in_flight: u64,
}

/// A rule that a pipeline breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A stage does not begin where the one before ends, or has no blocks.
    Blocks {
        /// The stage.
        stage: usize,
    },
    /// The last stage does not end with the last block, or there is none.
    Unfinished,
    /// Two stages are on one device.
    Twice {
        /// The device.
        device: usize,
    },
    /// A device does not reach the one that it sends to.
    Unreachable {
        /// Who sends.
        from: usize,
        /// To whom.
        to: usize,
    },
    /// A device holds more than it may.
    Memory {
        /// The stage.
        stage: usize,
        /// Bytes that it holds.
        bytes: u64,
        /// Bytes that it may hold.
        limit: u64,
    },
}

/// A difference of sums.
fn between(sums: &[u64], blocks: &Range<u32>) -> u64 {
    let at = |block: u32| sums.get(block as usize).copied().unwrap_or(u64::MAX >> 8);
    at(blocks.end).saturating_sub(at(blocks.start))
}

impl Ways {
    /// The way from one of so many devices to another.
    #[must_use]
    pub fn way(&self, n_devices: usize, from: usize, to: usize) -> Option<Way> {
        if from == to {
            return None;
        }
        let kind = self.of.get(from * n_devices + to)?;
        self.kinds.get(usize::from(*kind)).copied()
    }
}

impl Costs {
    /// Blocks of the model.
    #[must_use]
    pub fn n_blocks(&self) -> u32 {
        u32::try_from(self.held.weights.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Devices.
    #[must_use]
    pub fn n_devices(&self) -> usize {
        self.limits.len()
    }

    /// The way from a device to another.
    #[must_use]
    pub fn way(&self, from: usize, to: usize) -> Option<Way> {
        self.ways.way(self.n_devices(), from, to)
    }

    /// Nanoseconds of a stage on a device; whether it is the first and the last one.
    #[must_use]
    pub fn stage_ns(&self, device: usize, blocks: &Range<u32>, [first, last]: [bool; 2]) -> u64 {
        let Some(speed) = self.speed_of.get(device).and_then(|index| self.speeds.get(*index))
        else {
            return u64::MAX >> 8;
        };
        let ends = [(first, speed.embedding), (last, speed.head)];
        let ends = ends.into_iter().filter(|end| end.0).map(|end| end.1);
        ends.fold(between(&speed.before, blocks), u64::saturating_add)
    }

    /// Bytes of weights of a stage, and of keys and values of one batch.
    #[must_use]
    pub fn weights_and_cache(&self, blocks: &Range<u32>, [first, last]: [bool; 2]) -> [u64; 2] {
        let sizes = &self.held;
        let ends = [(first, sizes.embedding), (last, sizes.head), (last && !first, sizes.copy)];
        let ends = ends.into_iter().filter(|end| end.0).map(|end| end.1);
        let weights = ends.fold(between(&sizes.weights, blocks), u64::saturating_add);
        [weights, between(&sizes.cache, blocks)]
    }

    /// All bytes of a stage.
    #[must_use]
    pub fn stage_bytes(&self, blocks: &Range<u32>, ends: [bool; 2], in_flight: u64) -> u64 {
        let [weights, cache] = self.weights_and_cache(blocks, ends);
        let scratch = self.held.scratch[usize::from(ends[1])];
        weights.saturating_add(cache.saturating_mul(in_flight)).saturating_add(scratch)
    }

    /// Judges a pipeline, with the fewest batches in flight that make its period the least.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn judge(&self, pieces: &[Piece], goal: Goal) -> Result<Judged, Violation> {
        self.check(pieces)?;
        let n = pieces.len();
        let ends = |at: usize| [at == 0, at + 1 == n];
        let room = pieces.iter().enumerate().map(|(at, piece)| self.room(piece, ends(at)));
        let room = room.fold(goal.most_in_flight(n), u64::min).max(1);
        let mut judged = Judged::default();
        let mut channels: BTreeMap<usize, u64> = BTreeMap::new();
        for (at, piece) in pieces.iter().enumerate() {
            let mut stage = StageFigures {
                ns: self.stage_ns(piece.device, &piece.blocks, ends(at)),
                limit: self.limits.get(piece.device).copied().flatten(),
                ..StageFigures::default()
            };
            let bytes = self.stage_bytes(&piece.blocks, ends(at), 1);
            if let Some(limit) = stage.limit.filter(|limit| bytes > *limit) {
                return Err(Violation::Memory { stage: at, bytes, limit });
            }
            if let (Some(next), true) = (pieces.get((at + 1) % n), n > 1) {
                let (from, to) = (piece.device, next.device);
                let way = self.way(from, to).ok_or(Violation::Unreachable { from, to });
                stage.way_ns = match (ends(at)[1], self.returns()) {
                    (true, false) => 0,
                    (is_back, _) => way.map(|way| if is_back { way.back } else { way.pass })?,
                };
                if let (Some(way), true) = (self.way(from, to), stage.way_ns > 0) {
                    for channel in self.channels(from, to, way.tier) {
                        let load = channels.entry(channel).or_default();
                        *load = load.saturating_add(stage.way_ns);
                    }
                }
            }
            judged.latency = judged.latency.saturating_add(stage.ns).saturating_add(stage.way_ns);
            judged.stages.push(stage);
        }
        let stages = judged.stages.iter().map(|stage| stage.ns);
        let busiest = stages.chain(channels.into_values()).fold(0, u64::max);
        judged.in_flight = judged.latency.div_ceil(busiest.max(1)).clamp(1, room);
        judged.period = busiest.max(judged.latency.div_ceil(judged.in_flight));
        for (at, (stage, piece)) in judged.stages.iter_mut().zip(pieces).enumerate() {
            let [weights, cache] = self.weights_and_cache(&piece.blocks, ends(at));
            (stage.weights, stage.cache) = (weights, cache.saturating_mul(judged.in_flight));
            stage.peak = self.stage_bytes(&piece.blocks, ends(at), judged.in_flight);
        }
        Ok(judged)
    }

    /// Batches whose keys and values a stage has room for.
    fn room(&self, piece: &Piece, ends: [bool; 2]) -> u64 {
        let Some(limit) = self.limits.get(piece.device).copied().flatten() else { return u64::MAX };
        let [_, cache] = self.weights_and_cache(&piece.blocks, ends);
        let left = limit.saturating_sub(self.stage_bytes(&piece.blocks, ends, 0));
        left.checked_div(cache).unwrap_or(u64::MAX)
    }

    /// Batches in flight that pipelines of so many stages can have, the most first, where their period is
    /// to be at most so many nanoseconds and none has a latency below `latency`.
    pub fn in_flight(
        &self,
        goal: Goal,
        n_stages: usize,
        (period, latency): (u64, u64),
    ) -> impl Iterator<Item = u64> + use<> {
        let most = goal.most_in_flight(n_stages);
        let whole = self.stage_bytes(&(0..self.n_blocks()), [true; 2], most);
        let whole = whole.saturating_add(self.held.copy);
        let has_room = self.limits.iter().flatten().all(|limit| whole <= *limit);
        let least = if has_room { most } else { latency.div_ceil(period.max(1)).max(1) };
        (least.min(most + 1)..=most).rev()
    }

    /// Whether the first stage waits for what the last one sends back.
    #[must_use]
    pub fn returns(&self) -> bool {
        self.ways.kinds.iter().any(|way| way.back > 0)
    }

    fn channels(&self, from: usize, to: usize, tier: usize) -> Vec<usize> {
        let ways = &self.ways;
        let at = |list: &[usize], device: usize| list.get(device * ways.n_tiers + tier).copied();
        let mut both: Vec<usize> =
            [at(&ways.send, from), at(&ways.receive, to)].into_iter().flatten().collect();
        both.dedup();
        both
    }

    /// Blocks and devices, each once.
    fn check(&self, pieces: &[Piece]) -> Result<(), Violation> {
        let mut next = 0;
        for (stage, piece) in pieces.iter().enumerate() {
            if piece.blocks.start != next || piece.blocks.end <= next {
                return Err(Violation::Blocks { stage });
            }
            next = piece.blocks.end;
            if pieces.iter().take(stage).any(|other| other.device == piece.device) {
                return Err(Violation::Twice { device: piece.device });
            }
        }
        if next != self.n_blocks() || pieces.is_empty() {
            return Err(Violation::Unfinished);
        }
        Ok(())
    }
}
