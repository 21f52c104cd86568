//! The block before a block, found along the dataflow.
//!
//! Two neighbouring blocks match op by op. What the later one reads from the earlier one, the
//! earlier one reads from the block before it: from these ops on, makers are followed in both at
//! once, and what cannot be reached backwards (results that nobody reads) forwards.

use std::collections::{HashMap, HashSet};

use ir::id::OpId;

use super::line::Line;

/// The ops of the block before `block`, in the order of its ops, where `later` is the block behind
/// it; `None` if the dataflow leads to no equal block. `is_free` says which ops may be in it.
pub(super) fn before(
    line: &Line<'_>,
    block: &[OpId],
    later: &[OpId],
    is_free: impl Fn(OpId) -> bool,
) -> Option<Vec<OpId>> {
    let index: HashMap<OpId, usize> = block.iter().copied().zip(0..).collect();
    let later_ops: HashSet<OpId> = later.iter().copied().collect();
    let mut found = Found {
        line,
        block,
        ops: vec![None; block.len()],
        used: HashSet::new(),
        is_allowed: |op| is_free(op) && !index.contains_key(&op) && !later_ops.contains(&op),
    };
    let mut queue = Vec::new();
    for (op, other) in block.iter().zip(later) {
        let pairs = line.graph.op(*op).inputs.iter().zip(&line.graph.op(*other).inputs);
        for (read, read_later) in pairs {
            let from = line.maker(*read_later).and_then(|maker| index.get(&maker));
            if let Some(at) = from
                && found.take(*at, line.maker(*read)?)?
            {
                queue.push(*at);
            }
        }
    }
    while let Some(at) = queue.pop() {
        let earlier = found.ops[at]?;
        let pairs = line.graph.op(block[at]).inputs.iter();
        for (read, read_earlier) in pairs.zip(&line.graph.op(earlier).inputs) {
            let from = line.maker(*read).and_then(|maker| index.get(&maker));
            if let Some(at) = from
                && found.take(*at, line.maker(*read_earlier)?)?
            {
                queue.push(*at);
            }
        }
    }
    for at in 0..block.len() {
        if found.ops[at].is_none() {
            let op = found.forward(at, &index)?;
            found.take(at, op)?;
        }
    }
    found.ops.into_iter().collect()
}

/// Ops of the block before, as far as they are known.
struct Found<'l, 'g, F: Fn(OpId) -> bool> {
    line: &'l Line<'g>,
    block: &'l [OpId],
    ops: Vec<Option<OpId>>,
    used: HashSet<OpId>,
    is_allowed: F,
}

impl<F: Fn(OpId) -> bool> Found<'_, '_, F> {
    /// Takes an op for one of the block; whether it is new. `None` where it cannot be that.
    fn take(&mut self, at: usize, op: OpId) -> Option<bool> {
        if let Some(known) = self.ops[at] {
            return (known == op).then_some(false);
        }
        let alike = self.line.own[op.index()] == self.line.own[self.block[at].index()];
        if !alike || !(self.is_allowed)(op) || !self.used.insert(op) {
            return None;
        }
        self.ops[at] = Some(op);
        Some(true)
    }

    /// The op that reads, in the block before, what an op of the block reads in it.
    fn forward(&self, at: usize, index: &HashMap<OpId, usize>) -> Option<OpId> {
        let line = self.line;
        let node = line.graph.op(self.block[at]);
        let (slot, from) = node
            .inputs
            .iter()
            .enumerate()
            .find_map(|(slot, read)| Some((slot, (*read, *index.get(&line.maker(*read)?)?))))?;
        let (read, maker) = from;
        let output = line.graph.op(self.block[maker]).outputs.iter().position(|t| *t == read)?;
        let tensor = *line.graph.op(self.ops[maker]?).outputs.get(output)?;
        let fits = |op: &&OpId| {
            line.own[op.index()] == line.own[self.block[at].index()]
                && line.graph.op(**op).inputs.get(slot) == Some(&tensor)
                && !self.used.contains(op)
        };
        let readers = line.readers.of(tensor.index()).iter().filter(fits);
        readers.min_by_key(|op| line.position[op.index()]).copied()
    }
}
