//! Stages: sums over contiguous blocks, in constant time per question.

use std::ops::Range;

use ir::card::Recompute;

use super::kind::Kind;
use super::priced::{HeldBytes, Place, Priced};

/// Figures of one stage on one device, for one micro-batch where they say nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageFigures {
    /// Forward pass in seconds, head and gathering included.
    pub forward_s: f64,
    /// Whole backward pass in seconds, without computing again.
    pub backward_s: f64,
    /// Of the backward pass, the gradients of the weights, were they a pass of their own.
    pub weight_s: f64,
    /// Computing again in seconds.
    pub recompute_s: f64,
    /// Of forward and backward pass, seconds of tensor, context and expert collectives.
    pub collectives_s: f64,
    /// Of the backward pass, seconds in which such collectives use links inside hosts, and network
    /// cards.
    pub backward_links_s: [f64; 2],
    /// Parameters that all replicas hold alike, the ends included.
    pub dense: f64,
    /// Parameters of experts.
    pub experts: f64,
    /// Bytes that are kept from the forward to the backward pass.
    pub stash: f64,
    /// Bytes of the one block that is computed again at a time.
    pub again: f64,
    /// Bytes of all blocks that are computed again, beyond what they keep.
    pub again_all: f64,
    /// Bytes of logits and loss.
    pub logits: f64,
    /// Bytes of states, for the whole step.
    pub persistent: f64,
    /// Bytes of states that its host keeps of one device, for the whole step.
    pub on_host: f64,
    /// Bytes that it sends to the next stage, over all tensor ranks.
    pub sends: f64,
    /// Parameters whose original an earlier stage has: their gradients are added up with it.
    pub copies: f64,
}

impl StageFigures {
    /// All passes of one micro-batch in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.forward_s + self.backward_s + self.recompute_s
    }
}

/// Sums over the blocks before each position.
#[derive(Clone, Debug)]
pub struct Stages<'p, 'a> {
    /// The model under its degrees.
    pub priced: &'p Priced<'a>,
    /// By position, one more than blocks.
    sums: Vec<Kind>,
    /// By block, its kind.
    kinds: Vec<usize>,
    /// Weights that two blocks share: the later one, the earlier one, elements.
    ties: Vec<(u32, u32, f64)>,
}

impl<'p, 'a> Stages<'p, 'a> {
    /// Sums a model up.
    #[must_use]
    pub fn new(priced: &'p Priced<'a>) -> Self {
        let kinds: Vec<usize> = priced.pricing.model.kinds().collect();
        let mut sums = Vec::with_capacity(kinds.len() + 1);
        let mut sum = Kind::default();
        sums.push(sum);
        for kind in &kinds {
            if let Some(own) = priced.passes.kinds.get(*kind) {
                sum = combined(&sum, own, |a, b| a + b);
            }
            sums.push(sum);
        }
        let ties = (0..).zip(&kinds).flat_map(|(block, kind)| {
            let part = priced.pricing.model.groups.get(*kind).and_then(|own| own.part.as_ref());
            let tied = part.map_or(&[][..], |part| part.tied.as_slice());
            tied.iter().map(move |(earlier, elements)| (block, *earlier, *elements as f64))
        });
        let ties = ties.collect();
        Self { priced, sums, kinds, ties }
    }

    /// Elements of weights of which some blocks hold a copy, the original being elsewhere.
    fn copies(&self, blocks: &Range<u32>) -> f64 {
        let apart = |(later, earlier, _): &&(u32, u32, f64)| {
            blocks.contains(later) && !blocks.contains(earlier)
        };
        self.ties.iter().filter(apart).map(|(_, _, elements)| elements).sum()
    }

    /// Blocks of the model.
    #[must_use]
    pub fn n_blocks(&self) -> u32 {
        u32::try_from(self.kinds.len()).unwrap_or(u32::MAX)
    }

    /// Sums over some blocks.
    #[must_use]
    pub fn sum(&self, blocks: &Range<u32>) -> Kind {
        let last = self.sums.len() - 1;
        let (start, end) = (blocks.start as usize, (blocks.end as usize).min(last));
        combined(&self.sums[end], &self.sums[start.min(end)], |a, b| a - b)
    }

    /// The most bytes that one of some blocks needs while it is computed again.
    fn largest(&self, blocks: &Range<u32>) -> f64 {
        let of = |kind: &usize| self.priced.passes.kinds.get(*kind).map_or(0.0, |kind| kind.all);
        let end = (blocks.end as usize).min(self.kinds.len());
        let own = &self.kinds[(blocks.start as usize).min(end)..end];
        // Blocks of a kind stand together, so few of them need to be looked at.
        match (own.first(), own.last()) {
            (Some(first), Some(last)) if first == last => of(first),
            _ => own.iter().map(of).fold(0.0, f64::max),
        }
    }

    /// Figures of a stage.
    #[must_use]
    pub fn figures(&self, blocks: &Range<u32>, recompute: Recompute, place: Place) -> StageFigures {
        let priced = self.priced;
        let all = self.sum(blocks);
        let head = if place.last { priced.passes.head_s } else { 0.0 };
        let copies = self.copies(blocks);
        let dense = all.dense + copies + priced.end_parameters(place);
        let gather = priced.gather_s(dense, all.experts);
        let scatter = priced.scatter_s(dense, all.experts);
        let has_head = priced.holds_head(place);
        let held = |bytes: &HeldBytes| {
            let ends = [place.first, has_head, place.last].into_iter().zip(bytes.ends);
            let ends: f64 = ends.filter(|(has, _)| *has).map(|(_, bytes)| bytes).sum();
            ends + (all.held_dense + copies) * bytes.parameter[0]
                + all.held_experts * bytes.parameter[1]
                + all.lines_dense * bytes.line[0]
                + all.lines_experts * bytes.line[1]
        };
        let masks = if place.first { priced.mask_bytes } else { 0.0 };
        let again = self.again(blocks, recompute, &all);
        StageFigures {
            forward_s: priced.beside(all.forward_s + head / 3.0, gather),
            backward_s: priced.beside(all.backward_s + head * 2.0 / 3.0, gather + scatter),
            weight_s: all.weight_s + head / 3.0,
            recompute_s: again.seconds,
            collectives_s: all.collectives_s,
            backward_links_s: all.backward_links_s,
            dense,
            experts: all.experts,
            stash: again.stash + masks,
            again: again.bytes,
            again_all: again.all_bytes,
            logits: if place.last { priced.logit_bytes } else { 0.0 },
            persistent: held(&priced.on_device),
            on_host: held(&priced.on_host),
            sends: priced.message(blocks.end),
            copies,
        }
    }

    fn again(&self, blocks: &Range<u32>, recompute: Recompute, all: &Kind) -> Again {
        let n = blocks.end.saturating_sub(blocks.start);
        match recompute {
            Recompute::None => Again { stash: all.all, ..Again::default() },
            Recompute::Selective => Again {
                seconds: all.core_s,
                stash: all.without_core,
                bytes: (all.all - all.without_core) / f64::from(n.max(1)),
                all_bytes: all.all - all.without_core,
            },
            Recompute::Full => self.again_first(blocks, n, all),
            Recompute::Block { blocks: first } => self.again_first(blocks, first.min(n), all),
            Recompute::Uniform { blocks: group } => {
                let group = group.clamp(1, n.max(1));
                let n_groups = n.div_ceil(group);
                let kept = all.input / f64::from(n.max(1)) * f64::from(n_groups);
                Again {
                    seconds: all.again_s,
                    stash: kept,
                    bytes: f64::from(group) * self.largest(blocks),
                    all_bytes: all.all - kept,
                }
            }
        }
    }

    /// The first so many blocks are computed again.
    fn again_first(&self, blocks: &Range<u32>, n: u32, all: &Kind) -> Again {
        let first = blocks.start..blocks.start.saturating_add(n).min(blocks.end);
        let own = self.sum(&first);
        Again {
            seconds: own.again_s,
            stash: all.all - own.all + own.input,
            bytes: self.largest(&first),
            all_bytes: own.all - own.input,
        }
    }
}

/// What a policy of recompute makes of a stage.
#[derive(Default)]
struct Again {
    seconds: f64,
    stash: f64,
    bytes: f64,
    all_bytes: f64,
}

fn combined(a: &Kind, b: &Kind, with: impl Fn(f64, f64) -> f64) -> Kind {
    Kind {
        forward_s: with(a.forward_s, b.forward_s),
        backward_s: with(a.backward_s, b.backward_s),
        weight_s: with(a.weight_s, b.weight_s),
        again_s: with(a.again_s, b.again_s),
        core_s: with(a.core_s, b.core_s),
        collectives_s: with(a.collectives_s, b.collectives_s),
        backward_links_s: [0, 1]
            .map(|tier| with(a.backward_links_s[tier], b.backward_links_s[tier])),
        dense: with(a.dense, b.dense),
        experts: with(a.experts, b.experts),
        held_dense: with(a.held_dense, b.held_dense),
        held_experts: with(a.held_experts, b.held_experts),
        lines_dense: with(a.lines_dense, b.lines_dense),
        lines_experts: with(a.lines_experts, b.lines_experts),
        all: with(a.all, b.all),
        without_core: with(a.without_core, b.without_core),
        input: with(a.input, b.input),
    }
}
