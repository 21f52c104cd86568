//! Stages: sums over contiguous blocks, in constant time per question.

use std::ops::Range;

use ir::card::{ModelCard, Recompute};

use super::kind::Kind;
use super::priced::{HeldBytes, Priced};
use crate::runs::oracle::{Place, StageFigures};

/// Sums over the blocks before each position.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sums {
    /// By position, one more than blocks.
    sums: Vec<Kind>,
    /// By block, its kind.
    kinds: Vec<usize>,
    /// Weights that two blocks share: the later one, the earlier one, elements.
    ties: Vec<(u32, u32, f64)>,
}

impl Sums {
    fn of(model: &ModelCard, by_kind: &[Kind]) -> Self {
        let kinds: Vec<usize> = model.kinds().collect();
        let mut sums = Vec::with_capacity(kinds.len() + 1);
        let mut sum = Kind::default();
        sums.push(sum);
        for kind in &kinds {
            if let Some(own) = by_kind.get(*kind) {
                sum = combined(&sum, own, |a, b| a + b);
            }
            sums.push(sum);
        }
        let ties = (0..).zip(&kinds).flat_map(|(block, kind)| {
            let part = model.groups.get(*kind).and_then(|own| own.part.as_ref());
            let tied = part.map_or(&[][..], |part| part.tied.as_slice());
            tied.iter().map(move |(earlier, elements)| (block, *earlier, *elements as f64))
        });
        let ties = ties.collect();
        Self { sums, kinds, ties }
    }
}

impl Priced<'_> {
    fn sums(&self) -> &Sums {
        self.passes.sums.get_or_init(|| Sums::of(self.pricing.model, &self.passes.kinds))
    }

    /// Elements of weights of which some blocks hold a copy, the original being elsewhere.
    fn copies(&self, blocks: &Range<u32>) -> f64 {
        let apart = |(later, earlier, _): &&(u32, u32, f64)| {
            blocks.contains(later) && !blocks.contains(earlier)
        };
        self.sums().ties.iter().filter(apart).map(|(_, _, elements)| elements).sum()
    }

    /// Blocks of the model.
    #[must_use]
    pub fn n_blocks(&self) -> u32 {
        u32::try_from(self.sums().kinds.len()).unwrap_or(u32::MAX)
    }

    /// Sums over some blocks.
    #[must_use]
    pub fn sum(&self, blocks: &Range<u32>) -> Kind {
        let sums = &self.sums().sums;
        let (start, end) = (blocks.start as usize, (blocks.end as usize).min(sums.len() - 1));
        combined(&sums[end], &sums[start.min(end)], |a, b| a - b)
    }

    /// The most bytes that one of some blocks needs while it is computed again.
    fn largest(&self, blocks: &Range<u32>) -> f64 {
        let of = |kind: &usize| self.passes.kinds.get(*kind).map_or(0.0, |kind| kind.all);
        let kinds = &self.sums().kinds;
        let end = (blocks.end as usize).min(kinds.len());
        let own = &kinds[(blocks.start as usize).min(end)..end];
        // Blocks of a kind stand together, so few of them need to be looked at.
        match (own.first(), own.last()) {
            (Some(first), Some(last)) if first == last => of(first),
            _ => own.iter().map(of).fold(0.0, f64::max),
        }
    }

    /// Figures of a stage.
    #[must_use]
    pub fn figures(&self, blocks: &Range<u32>, recompute: Recompute, place: Place) -> StageFigures {
        let all = self.sum(blocks);
        let head = if place.last { self.passes.head_s } else { 0.0 };
        let copies = self.copies(blocks);
        let dense = all.dense + copies + self.end_parameters(place);
        let gather = self.gather_s(dense, all.experts);
        let scatter = self.scatter_s(dense, all.experts);
        let has_head = self.holds_head(place);
        let of_ends = |held: &HeldBytes| -> f64 {
            let ends = [place.first, has_head, place.last].into_iter().zip(held.ends);
            ends.filter(|(has, _)| *has).map(|(_, bytes)| bytes).sum()
        };
        let of_blocks = |held: &HeldBytes| {
            (all.held_dense + copies) * held.parameter[0]
                + all.held_experts * held.parameter[1]
                + all.lines_dense * held.line[0]
                + all.lines_experts * held.line[1]
        };
        let again = self.again(blocks, recompute, &all);
        StageFigures {
            forward_s: self.beside(all.forward_s + head / 3.0, gather),
            backward_s: self.beside(all.backward_s + head * 2.0 / 3.0, gather + scatter),
            weight_s: all.weight_s + head / 3.0,
            recompute_s: again.seconds,
            collectives_s: all.collectives_s,
            backward_links_s: all.backward_links_s,
            dense,
            experts: all.experts,
            copies,
            states: of_blocks(&self.on_device),
            end_states: of_ends(&self.on_device),
            on_host: of_ends(&self.on_host) + of_blocks(&self.on_host),
            activation: again.stash,
            end_activation: if place.first { self.mask_bytes } else { 0.0 },
            temporary: if place.last { self.logit_bytes } else { 0.0 },
            again: again.bytes,
            again_all: again.all_bytes,
            sends: self.message(blocks.end),
            ending: None,
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
