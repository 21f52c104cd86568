//! One block and the ends under given degrees.

use ir::card::{SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::layers::{EndMemory, LinkRates, Ranks};
use ir::measured::CollectiveOperation;
use ir::plan::Parallelism;
use ir::units::{Bytes, BytesPerSecond};

use super::LayerPricing;
use super::curve::{of_batch, of_size};
use super::states::share;

/// Bytes of an activation's, a gathered weight's and an exchanged gradient's element.
const ELEMENT: f64 = 2.0;
/// Of 16 bytes of states, those of one 16-bit copy.
const COPY: f64 = 2.0 / 16.0;
/// Of the 4 bytes of a single-precision parameter, those of one 16-bit copy.
const HALF: f64 = 0.5;
/// Bytes of states over bytes of single-precision parameters.
const STATES: f64 = 4.0;
/// All-reduces of a block and pass under tensor parallelism: after attention, after the
/// feed-forward part.
const ALL_REDUCES: f64 = 2.0;

/// An end of the model on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct End {
    /// Forward pass in seconds.
    pub forward_s: f64,
    /// Collectives of a pass in seconds.
    pub collectives_s: f64,
    /// Gathering its parameters in seconds.
    pub gather_s: f64,
    /// All-reduce of its gradients in seconds.
    pub exchange_s: f64,
    /// Bytes of states.
    pub states: f64,
    /// Bytes of states that nobody shares out.
    pub whole_states: f64,
    /// Bytes of each micro-batch in flight.
    pub activation: f64,
}

/// One block of one micro-batch on one device, and the ends.
#[derive(Clone, Debug)]
pub struct Priced<'a> {
    /// What prices it.
    pub pricing: LayerPricing<'a>,
    /// Degrees and batch sizes.
    pub degrees: Parallelism,
    /// Ranks that share states out.
    pub n_sharing: u32,
    /// Forward pass in seconds, collectives not counted.
    pub forward_s: f64,
    /// Collectives of a forward pass in seconds; of a backward pass as much.
    pub collectives_s: f64,
    /// Gathering the parameters of a block in seconds.
    pub gather_s: f64,
    /// All-reduce of a block's gradients in seconds.
    pub exchange_s: f64,
    /// Bytes of a block's states that nobody shares out.
    pub whole_states: f64,
    /// Bytes that a block keeps.
    pub activation: f64,
    /// Bytes that a block keeps that is computed again.
    pub input: f64,
    /// Bytes of a block's gathered parameters.
    pub gathered: f64,
    /// Both ends, the first one's and the last one's.
    pub ends: [End; 3],
    /// Bytes between pipeline ranks.
    pub message: f64,
    /// Rate between pipeline ranks; `None` with one.
    pub next: Option<BytesPerSecond>,
    /// How many times as long passes and collectives take beside each other.
    pub slow_down: f64,
}

impl<'a> Priced<'a> {
    /// Prices degrees.
    ///
    /// # Errors
    /// `profile-lacks` with what was not measured.
    pub fn new(pricing: &LayerPricing<'a>, degrees: &Parallelism) -> Result<Self, Diagnostic> {
        Measured::new(*pricing, degrees)?.priced()
    }
}

/// What of a profile given degrees use.
struct Measured<'a, 'd> {
    pricing: LayerPricing<'a>,
    degrees: &'d Parallelism,
    rates: &'a LinkRates,
    /// Bytes of a micro-batch between blocks, whole.
    payload: f64,
}

/// How the ends are split.
struct Ends {
    /// Ranks over which their weights are split.
    split: u32,
    /// Ranks that work on the same samples.
    ranks: u32,
    /// Ranks that hold the same weights.
    n_sharing: u32,
    /// Samples of these ranks over those of a micro-batch.
    scale: f64,
}

fn lacks(what: String) -> Diagnostic {
    Diagnostic::input("profile-lacks", format!("the profile has no {what}"))
        .hint("measure it, or plan with other degrees")
}

impl<'a, 'd> Measured<'a, 'd> {
    fn new(pricing: LayerPricing<'a>, degrees: &'d Parallelism) -> Result<Self, Diagnostic> {
        let unknown = [
            ("context ranks", degrees.context),
            ("expert ranks", degrees.expert),
            ("chunks of a rank", degrees.virtual_stages),
        ];
        if let Some((what, n)) = unknown.into_iter().find(|(_, n)| *n > 1) {
            return Err(lacks(format!("{what}, of which there are {n}")));
        }
        let n_devices = [degrees.data, degrees.tensor, degrees.pipeline]
            .iter()
            .fold(1_u32, |product, n| product.saturating_mul((*n).max(1)));
        let rates = pricing.hosts(n_devices).and_then(|hosts| pricing.profile.links.get(&hosts));
        let rates = rates.ok_or_else(|| {
            let per_host = pricing.per_host;
            lacks(format!("links of {n_devices} devices on hosts of {per_host}"))
        })?;
        let hidden = pricing.model.groups.first().map_or(0, |group| group.card.hidden);
        let tokens = degrees.micro_batch as f64 * pricing.profile.sequence as f64;
        Ok(Self { pricing, degrees, rates, payload: ELEMENT * tokens * hidden as f64 })
    }

    fn tensor(&self) -> u32 {
        self.degrees.tensor.max(1)
    }

    fn is_ulysses(&self) -> bool {
        self.tensor() > 1 && self.degrees.sequence == SequenceParallel::Ulysses
    }

    /// Ranks over which weights are split.
    fn split(&self) -> u32 {
        if self.is_ulysses() { 1 } else { self.tensor() }
    }

    /// Ranks that hold the same weights.
    fn n_sharing(&self) -> u32 {
        let data = self.degrees.data.max(1);
        if self.is_ulysses() { data.saturating_mul(self.tensor()) } else { data }
    }

    fn priced(&self) -> Result<Priced<'a>, Diagnostic> {
        let profile = self.pricing.profile;
        let tensor = f64::from(self.tensor());
        let micro_batch = self.degrees.micro_batch as f64;
        let by_split = |table: &std::collections::BTreeMap<u32, Bytes>, what: &str| {
            let known = table.get(&self.tensor());
            known
                .map(|bytes| bytes.as_f64())
                .ok_or_else(|| lacks(format!("{what} of a degree of {}", self.tensor())))
        };
        let copy = HALF * profile.block_weights.as_f64() / f64::from(self.split());
        let input_split = match profile.split {
            SequenceParallel::Off if !self.is_ulysses() => 1.0,
            _ => tensor,
        };
        let has_stages = self.degrees.pipeline > 1;
        let next = match has_stages {
            false => None,
            true => Some(*self.rates.next.get(&self.degrees.pipeline).ok_or_else(|| {
                lacks(format!("rate between {} pipeline ranks", self.degrees.pipeline))
            })?),
        };
        let all_reduce = self.all_reduce_s(copy, self.split(), self.n_sharing())?;
        let end = |memory: &EndMemory, part: f64, n_ends: f64| self.end(memory, part, n_ends);
        Ok(Priced {
            pricing: self.pricing,
            degrees: self.degrees.clone(),
            n_sharing: self.n_sharing(),
            forward_s: of_batch(&profile.block, micro_batch / tensor),
            collectives_s: self.collectives_s()?,
            gather_s: all_reduce / 2.0,
            exchange_s: all_reduce,
            whole_states: STATES * profile.block_weights.as_f64() / f64::from(self.split()),
            activation: micro_batch * by_split(&profile.block_activation, "activations")?,
            input: micro_batch * profile.block_input.as_f64() / input_split,
            gathered: copy,
            ends: [
                end(&profile.both_ends, 1.0, 2.0)?,
                end(&profile.first_end, 0.5, 1.0)?,
                end(&profile.last_end, 0.5, 1.0)?,
            ],
            message: self.payload / input_split,
            next,
            slow_down: profile.slow_down,
        })
    }

    /// How the vocabulary is split.
    fn ends(&self) -> Result<Ends, Diagnostic> {
        let tensor = self.tensor();
        let Some(n_ranks) = self.degrees.vocabulary else {
            return Ok(Ends {
                split: self.split(),
                ranks: tensor,
                n_sharing: self.n_sharing(),
                scale: 1.0,
            });
        };
        let width = self.degrees.data.max(1).saturating_mul(tensor);
        if n_ranks == 0 || !width.is_multiple_of(n_ranks) {
            return Err(lacks(format!("vocabulary that {n_ranks} of {width} ranks split")));
        }
        let scale = f64::from(n_ranks) / f64::from(tensor);
        Ok(Ends { split: n_ranks, ranks: n_ranks, n_sharing: width / n_ranks, scale })
    }

    fn end(&self, memory: &EndMemory, part: f64, n_ends: f64) -> Result<End, Diagnostic> {
        let ends = self.ends()?;
        let lacking = || lacks(format!("ends of a degree of {}", ends.ranks));
        let states = memory.states.get(&ends.split).ok_or_else(lacking)?.as_f64();
        let activation = memory.activation.get(&ends.ranks).ok_or_else(lacking)?.as_f64();
        let degrees = self.degrees;
        // The profiler counts samples of the group that splits the vocabulary.
        let samples = degrees.micro_batch as f64 * ends.scale;
        let exchange_s = self.all_reduce_s(COPY * states, ends.split, ends.n_sharing)?;
        let offload = self.pricing.offload;
        let share = share(degrees.zero, ends.n_sharing, degrees.n_micro_batches, offload);
        let batch = degrees.micro_batch as f64 / f64::from(self.tensor());
        let half = |ranks: u32, bytes: f64| match ranks {
            1 => Ok(0.0),
            _ => Ok(self.sized(CollectiveOperation::AllReduce, ranks, bytes)? / 2.0),
        };
        // Where blocks are split otherwise, activations change hands between them and the ends.
        let moved = match ends.scale == 1.0 {
            true => 0.0,
            false => half(self.tensor().max(ends.ranks), self.payload * ends.scale.max(1.0))?,
        };
        Ok(End {
            forward_s: part * of_batch(&self.pricing.profile.ends, batch),
            // Half an all-reduce each way: scattered after the embedding, gathered before the head.
            collectives_s: n_ends * (half(ends.split, self.payload * ends.scale)? + moved),
            gather_s: match degrees.zero {
                ZeroStage::Parameters => exchange_s / 2.0,
                _ => 0.0,
            },
            exchange_s,
            states: states * share,
            whole_states: states,
            activation: samples * activation,
        })
    }

    /// Seconds of the collectives of one block in a forward pass.
    fn collectives_s(&self) -> Result<f64, Diagnostic> {
        let tensor = self.tensor();
        if tensor == 1 {
            return Ok(0.0);
        }
        if !self.is_ulysses() {
            let one = self.sized(CollectiveOperation::AllReduce, tensor, self.payload)?;
            return Ok(ALL_REDUCES * one);
        }
        let card = self.pricing.model.groups.first().map(|group| &group.card);
        let heads = card.map_or(1, |card| card.n_heads.max(1)) as f64;
        let kv_heads = card.map_or(1, |card| card.n_kv_heads.max(1)) as f64;
        let payload = self.payload / f64::from(tensor);
        let all_to_all = |bytes| self.sized(CollectiveOperation::AllToAll, tensor, bytes);
        // Queries and the output are whole; keys and values have fewer heads.
        Ok(2.0 * all_to_all(payload)? + 2.0 * all_to_all(payload * kv_heads / heads)?)
    }

    /// Seconds of a collective of tensor ranks, which are neighbours: where several hosts were not
    /// measured, a group that fits into one of them takes what it takes there.
    fn sized(&self, kind: CollectiveOperation, ranks: u32, bytes: f64) -> Result<f64, Diagnostic> {
        let of = |rates: &'a LinkRates| rates.sized.get(&(kind, ranks));
        let inside = || {
            let one = self.pricing.profile.links.iter().find(|(hosts, rates)| {
                hosts.n_hosts == 1 && hosts.per_host >= ranks && of(rates).is_some()
            });
            one.filter(|_| ranks <= self.pricing.per_host).and_then(|(_, rates)| of(rates))
        };
        let points = of(self.rates).or_else(inside);
        let points = points.ok_or_else(|| lacks(format!("{kind:?} of {ranks} ranks by size")))?;
        Ok(of_size(points, bytes))
    }

    /// Seconds of an all-reduce over the `n` ranks that hold the same of weights that `split` ranks
    /// split: `2 (n - 1) / n` of the bytes at the bus bandwidth.
    fn all_reduce_s(&self, bytes: f64, split: u32, n: u32) -> Result<f64, Diagnostic> {
        if n == 1 {
            return Ok(0.0);
        }
        // Ranks that split weights come first, so that those that share them are apart.
        let place = if split > 1 { Ranks::Apart } else { Ranks::Neighbours };
        let other = if place == Ranks::Apart { Ranks::Neighbours } else { Ranks::Apart };
        let rate = [place, other].iter().find_map(|place| self.rates.all_reduce.get(&(n, *place)));
        let rate = rate.ok_or_else(|| lacks(format!("all-reduce of {n} ranks")))?;
        let n = f64::from(n);
        Ok(2.0 * (n - 1.0) / n * bytes / rate.get())
    }
}
