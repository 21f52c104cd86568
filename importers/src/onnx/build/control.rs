//! `If`, `Loop`, `Scan` as one op each: the work of their subgraphs.
//!
//! An `If` costs its dearer branch (more floating-point operations, then more bytes, then the
//! first one), or the one that a constant condition selects. A `Loop` costs its body times the
//! constant trip count, a `Scan` its body times the scanned extent; without a count the body
//! counts once, as a guess.

use std::collections::{HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Origin, Work};
use ir::units::Bytes;

use crate::onnx::build::effort::{Appraiser, Effort};
use crate::onnx::build::live::{Live, live};
use crate::onnx::infer::ValueId;
use crate::onnx::infer::control::{Trips, call_of, chosen_branch, is_known, trips};
use crate::onnx::infer::program::{Block, Step};

/// The work of a subgraph run once.
struct Body {
    kernel: Kernel,
    /// Values from outside the subgraph, and its own constants.
    reads: Vec<ValueId>,
    is_endless: bool,
    is_bounded: bool,
    is_outgrown: bool,
}

impl Appraiser<'_> {
    /// The work of a node with subgraphs; `None` if it is no operator of control.
    pub(crate) fn control(&self, step: &Step<'_>) -> Result<Option<Effort>, Diagnostic> {
        if !is_known(step) {
            return Ok(None);
        }
        let (body, count) = match step.node.op_type.as_str() {
            "If" => (self.branch(step)?, Trips::Known(1)),
            "Loop" | "Scan" | "SequenceMap" => {
                let facts = self.shapes.facts(self.is_scaled(step));
                let Some(block) = step.body("body") else { return Ok(None) };
                (self.body(block)?, trips(step, facts)?)
            }
            _ => return Ok(None),
        };
        let mut kernel = body.kernel.clone();
        let mut is_endless = body.is_endless;
        match count {
            Trips::Known(count) => {
                let all = kernel.repeated(count);
                kernel = all.ok_or_else(|| call_of(step, &self.shapes.now.facts).overflow())?;
            }
            Trips::Unknown => {
                kernel.origin = Origin::Guessed;
                is_endless = true;
            }
        }
        let mut reads = self.own_reads(step)?;
        let direct: HashSet<ValueId> = reads.iter().copied().collect();
        reads.extend(body.reads.into_iter().filter(|id| !direct.contains(id)));
        let Body { mut is_bounded, is_outgrown, .. } = body;
        is_bounded |= reads.iter().any(|id| self.shapes.now.facts[*id].at_most);
        if is_bounded {
            kernel.origin = kernel.origin.max(Origin::Bounded);
        }
        Ok(Some(Effort { work: Work::Kernel(kernel), reads, is_endless, is_bounded, is_outgrown }))
    }

    fn branch(&self, step: &Step<'_>) -> Result<Body, Diagnostic> {
        let missing = || call_of(step, &self.shapes.now.facts).invalid("a branch is missing");
        if let Some(block) = chosen_branch(step, &self.shapes.now.facts) {
            return self.body(block);
        }
        let first = self.body(step.body("then_branch").ok_or_else(missing)?)?;
        let second = self.body(step.body("else_branch").ok_or_else(missing)?)?;
        let cost =
            |body: &Body| (body.kernel.flops(), body.kernel.bytes_read + body.kernel.bytes_written);
        Ok(if cost(&second) > cost(&first) { second } else { first })
    }

    /// The work of a block run once.
    fn body(&self, block: &Block<'_>) -> Result<Body, Diagnostic> {
        let live = live(self, block)?;
        let mut inside: HashSet<ValueId> = block.inputs.iter().map(|(id, _)| *id).collect();
        inside.extend(block.steps.iter().flat_map(|step| step.outputs.iter().flatten()));
        let mut kernel = Kernel { temporary: self.peak(block, &live), ..Kernel::default() };
        let mut reads = Vec::new();
        let mut seen = HashSet::new();
        let (mut is_endless, mut is_bounded, mut is_outgrown) = (false, false, false);
        for Live { effort, .. } in &live {
            is_endless |= effort.is_endless;
            is_bounded |= effort.is_bounded;
            is_outgrown |= effort.is_outgrown;
            for id in &effort.reads {
                let is_outer = !inside.contains(id) || self.shapes.now.facts[*id].is_constant();
                if is_outer && seen.insert(*id) {
                    reads.push(*id);
                }
            }
            if let Work::Kernel(work) = &effort.work {
                kernel.absorb(work);
            }
        }
        // A result that is an outer value handed through is read as well.
        for id in &block.outputs {
            if !inside.contains(id) && seen.insert(*id) {
                reads.push(*id);
            }
        }
        Ok(Body { kernel, reads, is_endless, is_bounded, is_outgrown })
    }

    /// Most bytes of the block's own values held at once, run in file order.
    fn peak(&self, block: &Block<'_>, live: &[Live<'_, '_>]) -> Bytes {
        let mut last_use = HashMap::new();
        for (position, Live { step, effort }) in live.iter().enumerate() {
            for id in effort.reads.iter().chain(step.outputs.iter().flatten()) {
                last_use.insert(*id, position);
            }
        }
        for id in &block.outputs {
            last_use.insert(*id, live.len());
        }
        let mut current = Bytes::ZERO;
        let mut peak = Bytes::ZERO;
        let mut freed_after = vec![Bytes::ZERO; live.len() + 1];
        for (position, Live { step, effort }) in live.iter().enumerate() {
            let Work::Kernel(work) = &effort.work else { continue };
            for id in step.outputs.iter().flatten() {
                let bytes = self.bytes(*id);
                current += bytes;
                let end = last_use.get(id).copied().unwrap_or(position);
                freed_after[end] += bytes;
            }
            peak = peak.max(current + work.temporary);
            current = current - freed_after[position];
        }
        peak
    }

    /// Size of a value as of now.
    pub(crate) fn bytes(&self, id: ValueId) -> Bytes {
        let bytes = self.shapes.now.facts[id].bytes();
        if self.shapes.is_scaled(id) { Bytes(self.shapes.scale(bytes.get())) } else { bytes }
    }
}
