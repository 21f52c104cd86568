//! Stages: sums over contiguous blocks, in constant time per question.

use std::ops::Range;

use ir::card::{ModelCard, Recompute};

use super::kind::Kind;
use super::part::run_by;
use super::priced::{HeldBytes, Priced, parts_of_sequence};
use crate::runs::oracle::{Place, StageFigures};

/// Sums over the groups of a model before each of them, in which blocks are alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sums {
    /// The first block of each group, and one past the last.
    starts: Vec<u32>,
    /// Sums over the groups before.
    before: Vec<Kind>,
    /// Weights that two blocks share: the later one, the earlier one, elements.
    ties: Vec<(u32, u32, f64)>,
}

impl Sums {
    pub(super) fn of(model: &ModelCard, kinds: &[Kind]) -> Self {
        let (mut starts, mut before) = (vec![0], vec![Kind::default()]);
        let (mut start, mut sum) = (0_u32, Kind::default());
        let mut ties = Vec::new();
        for (group, kind) in model.groups.iter().zip(kinds) {
            let tied = group.part.as_ref().map_or(&[][..], |part| part.tied.as_slice());
            let blocks = start..start.saturating_add(group.n_blocks);
            start = blocks.end;
            sum = combined(&sum, &times(group.n_blocks, kind), |a, b| a + b);
            starts.push(start);
            before.push(sum);
            for block in blocks.filter(|_| !tied.is_empty()) {
                ties.extend(tied.iter().map(|(earlier, n)| (block, *earlier, *n as f64)));
            }
        }
        Self { starts, before, ties }
    }

    /// The groups of the first and of the last of some blocks.
    fn groups(&self, blocks: &Range<u32>) -> [usize; 2] {
        let of = |block: u32| self.starts.partition_point(|start| *start <= block) - 1;
        [of(blocks.start), of(blocks.end - 1)]
    }
}

impl Priced<'_> {
    /// Elements of weights of which some blocks hold a copy, the original being elsewhere.
    fn copies(&self, blocks: &Range<u32>) -> f64 {
        let apart = |(later, earlier, _): &&(u32, u32, f64)| {
            blocks.contains(later) && !blocks.contains(earlier)
        };
        self.passes.sums.ties.iter().filter(apart).map(|(_, _, elements)| elements).sum()
    }

    /// Blocks of the model.
    #[must_use]
    pub fn n_blocks(&self) -> u32 {
        self.passes.sums.starts.last().copied().unwrap_or(0)
    }

    /// Whether figures of a stage depend on how many blocks it holds, and not on which.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.passes.kinds.len() == 1 && !self.pricing.model.is_of_parts()
    }

    /// Those of some blocks that the model has; `None` where it has none of them.
    fn within(&self, blocks: &Range<u32>) -> Option<Range<u32>> {
        let range = blocks.start..blocks.end.min(self.n_blocks());
        (!range.is_empty()).then_some(range)
    }

    /// Bytes that some parts need of one micro-batch's forward pass and earlier ones keep.
    fn kept_before(&self, blocks: &Range<u32>) -> f64 {
        let groups = &self.pricing.model.groups;
        let chosen = groups.get(blocks.start as usize..(blocks.end as usize).min(groups.len()));
        let parts = chosen.into_iter().flatten().filter_map(|group| group.part.as_deref());
        let parts = parts.map(|part| run_by(self.pricing.stack, part).0);
        let sources = parts.flat_map(|part| &part.kept_before);
        let elsewhere = sources.filter(|(earlier, _)| *earlier < blocks.start);
        let bytes: u64 = elsewhere.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        bytes as f64 * self.degrees.micro_batch as f64
    }

    /// Sums over some blocks.
    #[must_use]
    pub fn sum(&self, blocks: &Range<u32>) -> Kind {
        let Some(blocks) = self.within(blocks) else { return Kind::default() };
        let (sums, kinds) = (&self.passes.sums, &self.passes.kinds);
        let [first, last] = sums.groups(&blocks);
        if first == last {
            return times(blocks.end - blocks.start, &kinds[first]);
        }
        let head = times(sums.starts[first + 1] - blocks.start, &kinds[first]);
        let tail = times(blocks.end - sums.starts[last], &kinds[last]);
        let whole = combined(&sums.before[last], &sums.before[first + 1], |a, b| a - b);
        combined(&combined(&head, &whole, |a, b| a + b), &tail, |a, b| a + b)
    }

    /// The most bytes that one of some blocks needs while it is computed again.
    fn largest(&self, blocks: &Range<u32>) -> f64 {
        let Some(blocks) = self.within(blocks) else { return 0.0 };
        let [first, last] = self.passes.sums.groups(&blocks);
        self.passes.kinds[first..=last].iter().map(|kind| kind.all).fold(0.0, f64::max)
    }

    /// Bytes of buffers for what a stage receives in a step, less as many activations as there are
    /// pipeline ranks (about what 1F1B has in flight), where a stack has them all from the start.
    fn posted(&self, blocks: &Range<u32>, place: Place) -> f64 {
        if !self.pricing.stack.posts_receives || self.degrees.pipeline <= 1 {
            return 0.0;
        }
        let n = self.degrees.n_micro_batches as f64;
        let waiting = (n - f64::from(self.degrees.pipeline)).max(0.0);
        let before = if place.first { 0.0 } else { waiting * self.message(blocks.start) };
        let behind = if place.last { 0.0 } else { n * self.message(blocks.end) };
        (before + behind) / parts_of_sequence(&self.degrees)
    }

    /// Bytes that a stage has from the start beside its states: posted buffers, the head's placeholder.
    fn from_start(&self, blocks: &Range<u32>, place: Place) -> f64 {
        self.posted(blocks, place) + if place.last { self.head_placeholder } else { 0.0 }
    }

    /// Bytes of states of some blocks, and of the ends that a stage has.
    fn states(&self, bytes: &HeldBytes, (all, copies): (&Kind, f64), place: Place) -> [f64; 2] {
        let ends = [place.first, self.holds_head(place), place.last].into_iter().zip(bytes.ends);
        let blocks = (all.held_dense + copies) * bytes.parameter[0]
            + all.held_experts * bytes.parameter[1]
            + all.lines_dense * bytes.line[0]
            + all.lines_experts * bytes.line[1]
            + all.frozen[0] * bytes.frozen[0]
            + all.frozen[1] * bytes.frozen[1];
        [blocks, ends.filter(|(has, _)| *has).map(|(_, bytes)| bytes).sum()]
    }

    /// Figures of a stage.
    #[must_use]
    pub fn figures(&self, blocks: &Range<u32>, recompute: Recompute, place: Place) -> StageFigures {
        let all = self.sum(blocks);
        let head = if place.last { self.passes.head_s } else { 0.0 };
        let copies = self.copies(blocks);
        let dense = all.dense + copies + self.end_parameters(place);
        let n_blocks = f64::from(blocks.end.saturating_sub(blocks.start));
        let gathered_s = self.gathered_s(&all, dense + self.frozen_ends(place), n_blocks);
        let pieces = [gathered_s, self.scatter_s(dense, all.experts, n_blocks)];
        let mut backward_links_s = all.backward_links_s;
        backward_links_s[usize::from(self.exchanges_leave_host())] += pieces[1];
        let sharing = self.sharing(n_blocks, place);
        let pieces = [0, 1].map(|pass| pieces[pass] + sharing.passes_s[pass]);
        let states = |bytes| self.states(bytes, (&all, copies), place);
        let [device, host] = [states(&self.on_device), states(&self.on_host)];
        let extra = self.recomputed(blocks, recompute, &all);
        let backward = all.backward_s + head * 2.0 / 3.0;
        let [logits, kept_logits] =
            if place.last { [self.logit_bytes, self.kept_logits] } else { [0.0; 2] };
        let in_flight = if all.held_experts > 0.0 { self.in_flight } else { 0.0 };
        // What is computed again keeps its inputs instead.
        let before = match recompute {
            Recompute::Full | Recompute::Uniform { .. } => 0.0,
            _ => self.kept_before(blocks),
        };
        let for_passes = extra.stash + before + self.mask_bytes + logits + in_flight;
        let late = self.late_gradients(&all, copies, place) - for_passes.max(0.0);
        let messages = self.messages_s();
        let forward = all.forward_s + head / 3.0;
        let waits = self.waits_beside([forward, backward], (&all, &extra), pieces);
        let backward_s = backward + waits[1] + messages / 2.0;
        let split = self.split(&all, [backward_s, all.weight_s + head / 3.0], place, n_blocks);
        StageFigures {
            forward_s: forward + waits[0] + messages / 2.0,
            backward_s,
            weight_s: split.weight_s,
            split_s: split.more_s,
            sharing_s: sharing.step_s + self.updates_s(all.update_s),
            recompute_s: extra.seconds,
            collectives_s: all.collectives_s,
            axes_s: all.axes_s,
            waited_s: waits[0] + waits[1],
            backward_links_s,
            dense,
            experts: all.experts,
            copies,
            states: device[0],
            end_states: device[1] + self.from_start(blocks, place) + late.max(0.0),
            on_host: host[0] + host[1],
            activation: extra.stash + before,
            split_bytes: split.bytes,
            freed_by_input: split.freed,
            end_activation: kept_logits + if place.first { self.mask_bytes } else { 0.0 },
            temporary: logits - kept_logits + in_flight,
            // Logits are gone before the first block is computed again.
            recompute: (extra.bytes - logits).max(0.0),
            recompute_all: extra.all_bytes,
            sends: self.message(blocks.end),
            ending: None,
        }
    }

    /// What gathers and scatters add to both passes; what is computed again hides them too.
    fn waits_beside(
        &self,
        [forward, backward]: [f64; 2],
        (all, extra): (&Kind, &Recomputed),
        [gather, scatter]: [f64; 2],
    ) -> [f64; 2] {
        let again = (backward + extra.seconds, all.cards_s[1] + extra.cards_s);
        let there = (forward, all.cards_s[0]);
        [self.waits(there, gather), self.waits(again, gather + scatter)]
    }

    fn recomputed(&self, blocks: &Range<u32>, recompute: Recompute, all: &Kind) -> Recomputed {
        let n = blocks.end.saturating_sub(blocks.start);
        match recompute {
            Recompute::None => Recomputed { stash: all.all, ..Recomputed::default() },
            Recompute::Selective => Recomputed {
                seconds: all.core_s,
                stash: all.without_core,
                bytes: (all.all - all.without_core) / self.keeping(blocks),
                all_bytes: all.all - all.without_core,
                ..Recomputed::default()
            },
            Recompute::PerOp => Recomputed {
                seconds: all.per_op_s,
                stash: all.per_op,
                bytes: (all.all - all.per_op) / self.keeping(blocks),
                all_bytes: all.all - all.per_op,
                ..Recomputed::default()
            },
            Recompute::Full => self.first_recomputed(blocks, n, all),
            Recompute::Block { blocks: first } => self.first_recomputed(blocks, first.min(n), all),
            Recompute::Uniform { blocks: group } => {
                let group = group.clamp(1, n.max(1));
                let n_groups = n.div_ceil(group);
                let inputs = all.input / f64::from(n.max(1)) * f64::from(n_groups);
                Recomputed {
                    seconds: all.recompute_s + self.again_s(n),
                    cards_s: all.cards_s[0],
                    stash: inputs,
                    bytes: f64::from(group) * self.largest(blocks),
                    all_bytes: all.all - inputs,
                }
            }
        }
    }

    /// Of some blocks, those that keep anything: no gradient goes through the first frozen ones; at least 1.
    fn keeping(&self, blocks: &Range<u32>) -> f64 {
        let tuning = &self.pricing.model.tuning;
        let first = if tuning.skips(0) { tuning.frozen_blocks } else { 0 };
        f64::from(blocks.end.saturating_sub(blocks.start.max(first)).max(1))
    }

    /// The first so many blocks are computed again.
    fn first_recomputed(&self, blocks: &Range<u32>, n: u32, all: &Kind) -> Recomputed {
        let first = blocks.start..blocks.start.saturating_add(n).min(blocks.end);
        let sum = self.sum(&first);
        Recomputed {
            seconds: sum.recompute_s + self.again_s(n),
            cards_s: sum.cards_s[0],
            stash: all.all - sum.all + sum.input,
            bytes: self.largest(&first),
            all_bytes: sum.all - sum.input,
        }
    }
}

/// What a policy of recompute makes of a stage.
#[derive(Default)]
struct Recomputed {
    seconds: f64,
    /// Of them, seconds in which collectives use network cards.
    cards_s: f64,
    stash: f64,
    bytes: f64,
    all_bytes: f64,
}

fn times(n: u32, kind: &Kind) -> Kind {
    combined(kind, kind, |value, _| f64::from(n) * value)
}

fn combined(a: &Kind, b: &Kind, with: impl Fn(f64, f64) -> f64) -> Kind {
    Kind {
        forward_s: with(a.forward_s, b.forward_s),
        backward_s: with(a.backward_s, b.backward_s),
        weight_s: with(a.weight_s, b.weight_s),
        recompute_s: with(a.recompute_s, b.recompute_s),
        core_s: with(a.core_s, b.core_s),
        per_op_s: with(a.per_op_s, b.per_op_s),
        split_bytes: with(a.split_bytes, b.split_bytes),
        collectives_s: with(a.collectives_s, b.collectives_s),
        axes_s: [0, 1].map(|axis| with(a.axes_s[axis], b.axes_s[axis])),
        backward_links_s: [0, 1]
            .map(|tier| with(a.backward_links_s[tier], b.backward_links_s[tier])),
        cards_s: [0, 1].map(|pass| with(a.cards_s[pass], b.cards_s[pass])),
        dense: with(a.dense, b.dense),
        experts: with(a.experts, b.experts),
        held_dense: with(a.held_dense, b.held_dense),
        held_experts: with(a.held_experts, b.held_experts),
        lines_dense: with(a.lines_dense, b.lines_dense),
        lines_experts: with(a.lines_experts, b.lines_experts),
        frozen: [0, 1].map(|part| with(a.frozen[part], b.frozen[part])),
        update_s: with(a.update_s, b.update_s),
        all: with(a.all, b.all),
        without_core: with(a.without_core, b.without_core),
        per_op: with(a.per_op, b.per_op),
        input: with(a.input, b.input),
    }
}
