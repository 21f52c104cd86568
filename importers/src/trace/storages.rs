//! What memory holds while the calls of a trace are followed: which op wrote it last, and which
//! tensors come from outside the step.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ir::id::{OpId, TensorId};
use ir::op::Phase;
use ir::tensor::DType;

use super::calls::{Call, Operand};
use super::forest::Forest;

/// Memory that the step reads and never made.
#[derive(Clone, Debug)]
pub(super) struct External {
    /// The widest tensor on it.
    pub(super) widest: Operand,
    /// Elements that the optimizer updates and the forward pass reads; 0 for anything but
    /// parameters.
    pub(super) parameters: u64,
    /// Whether an operator reads it as its weight, bias or running statistic.
    pub(super) is_weight: bool,
    /// Whether it is what an operator works on.
    pub(super) is_input: bool,
    /// Whether the forward pass touches it.
    is_forward: bool,
    /// Pieces that the optimizer writes: offset and elements.
    updated: BTreeSet<(u64, u64)>,
}

/// Names of arguments that hold what a model has learnt.
const WEIGHTS: [&str; 6] = ["weight", "bias", "running_mean", "running_var", "w_ih", "w_hh"];

/// Names of arguments that hold what goes through a model.
const INPUTS: [&str; 4] = ["input", "indices", "target", "mask"];

/// All memory that comes from outside, by its identity.
pub(super) fn externals(forest: &Forest, phases: &[Phase]) -> BTreeMap<u64, External> {
    let mut made = HashSet::new();
    let mut found: BTreeMap<u64, External> = BTreeMap::new();
    for (call, phase) in forest.calls.iter().zip(phases) {
        for operand in call.inputs.iter().filter(|operand| is_real(operand)) {
            if made.contains(&operand.storage) {
                continue;
            }
            let external = found.entry(operand.storage).or_insert_with(|| External {
                widest: operand.clone(),
                parameters: 0,
                is_weight: false,
                is_input: false,
                is_forward: false,
                updated: BTreeSet::new(),
            });
            if operand.elements > external.widest.elements {
                external.widest = operand.clone();
            }
            let name = call.argument(operand.position);
            external.is_weight |= WEIGHTS.contains(&name);
            external.is_input |= INPUTS.contains(&name);
            external.is_forward |= *phase == Phase::Forward;
            let is_update = *phase == Phase::Optimizer && call.writes(operand.position);
            if is_update && is_floating(operand.dtype) {
                external.updated.insert((operand.offset, operand.elements));
            }
        }
        made.extend(created(call).map(|operand| operand.storage));
    }
    for external in found.values_mut().filter(|external| external.is_forward) {
        external.parameters = union(&external.updated);
    }
    found
}

/// Elements that pieces cover together.
fn union(pieces: &BTreeSet<(u64, u64)>) -> u64 {
    let (mut covered, mut end) = (0u64, 0u64);
    for (offset, elements) in pieces {
        let stop = offset.saturating_add(*elements);
        covered = covered.saturating_add(stop.saturating_sub(end.max(*offset)));
        end = end.max(stop);
    }
    covered
}

pub(super) fn is_floating(dtype: DType) -> bool {
    dtype.is_wide_float() || matches!(dtype, DType::F8 | DType::F4)
}

/// Whether a tensor has memory of its own kind; numbers that were wrapped come with the call.
pub(super) fn is_real(operand: &Operand) -> bool {
    operand.storage != 0 && operand.elements > 0
}

/// Results in memory that a call was not given.
pub(super) fn created(call: &Call) -> impl Iterator<Item = &Operand> {
    let is_given = |storage| call.inputs.iter().any(|input| input.storage == storage);
    call.outputs.iter().filter(move |output| output.storage != 0 && !is_given(output.storage))
}

/// What a piece of memory holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// What an op wrote beside its results; it becomes a tensor when it is read.
    Beside(OpId),
}

/// A piece of memory.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// What it holds.
    pub(super) content: Content,
    /// The widest tensor that was seen on it since it was made.
    pub(super) widest: Operand,
    /// How often it was written.
    version: u64,
}

/// A tensor on memory: identity, memory, first element, elements.
type Name = (u64, u64, u64, u64);

/// All memory at one time.
#[derive(Default)]
pub(super) struct Storages {
    by_id: HashMap<u64, Storage>,
    /// Tensors that views made, and the version of the memory that they were made on.
    views: HashMap<Name, (TensorId, u64)>,
    n_writes: u64,
}

impl Storages {
    /// A piece of memory, if it is known.
    pub(super) fn get(&self, storage: u64) -> Option<&Storage> {
        self.by_id.get(&storage)
    }

    /// Notes what memory holds from now on.
    pub(super) fn write(&mut self, operand: &Operand, content: Content) {
        self.n_writes += 1;
        let version = self.n_writes;
        let widest = match self.by_id.remove(&operand.storage) {
            Some(known) if known.widest.bytes() > operand.bytes() => known.widest,
            _ => operand.clone(),
        };
        self.by_id.insert(operand.storage, Storage { content, widest, version });
    }

    /// Notes that memory was made anew under an old identity, perhaps.
    pub(super) fn make(&mut self, operand: &Operand, content: Content) {
        self.by_id.remove(&operand.storage);
        self.write(operand, content);
    }

    /// Notes which tensor holds what was written beside others; what views name stays.
    pub(super) fn settle(&mut self, storage: u64, tensor: TensorId) {
        if let Some(known) = self.by_id.get_mut(&storage) {
            known.content = Content::Tensor(tensor);
        }
    }

    /// Notes the tensor of a view.
    pub(super) fn name(&mut self, operand: &Operand, tensor: TensorId) {
        if let Some(storage) = self.by_id.get(&operand.storage) {
            self.views.insert(name(operand), (tensor, storage.version));
        }
    }

    /// The tensor of a view, unless its memory was written since.
    pub(super) fn named(&self, operand: &Operand) -> Option<TensorId> {
        let version = self.by_id.get(&operand.storage)?.version;
        let (tensor, of) = self.views.get(&name(operand))?;
        (*of == version).then_some(*tensor)
    }
}

fn name(operand: &Operand) -> Name {
    (operand.tensor, operand.storage, operand.offset, operand.elements)
}
