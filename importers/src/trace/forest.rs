//! Calls as trees: which of them are the ops of the step, and in which part of it they are.
//!
//! Composite operators contain the calls that they make. The op is the outermost call that the
//! table of operators knows as one kernel; what is inside belongs to it.

use std::collections::HashMap;

use ir::diagnostic::Diagnostic;
use ir::op::Phase;

use super::calls::{Call, Scope};
use crate::aten::{self, Effect, Rule};

/// Deepest nesting of calls.
const MAX_DEPTH: usize = 512;

/// Calls in the order in which they began.
pub(super) struct Forest {
    /// The calls.
    pub(super) calls: Vec<Call>,
    /// By call, those that it makes.
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
    /// By call, the call around it.
    parents: Vec<Option<usize>>,
    /// By call, whether kernels run inside or as it.
    works: Vec<bool>,
    /// The same without those that only fill or copy.
    computes: Vec<bool>,
    /// Calls that name a call around them which the trace does not hold.
    n_orphans: u64,
}

/// An op of the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    /// Its call.
    pub(super) call: usize,
    /// Its row in the table; `None` for an operator that is not known.
    pub(super) rule: Option<Rule>,
    /// Whether it only renames what it is given.
    pub(super) is_view: bool,
}

/// What a call is by itself.
#[derive(Clone, Copy)]
enum Class {
    /// Makes or names memory, asks for a number: no op.
    Nothing,
    /// Names memory anew, or copies where it must.
    View(Rule),
    /// One kernel.
    Kernel(Rule),
    /// A message between ranks.
    Collective,
    /// An operator that is not known.
    Unknown,
    /// An annotation, or a node of the autograd graph.
    Around,
}

/// Operators that only make memory, or change what a tensor names of it.
const MEMORY: [&str; 17] = [
    "empty",
    "empty_like",
    "empty_strided",
    "empty_permuted",
    "new_empty",
    "new_empty_strided",
    "resize_",
    "resize_as_",
    "as_strided_",
    "set_",
    "resolve_conj",
    "resolve_neg",
    "result_type",
    "unsqueeze_",
    "squeeze_",
    "record_stream",
    "_has_compatible_shallow_copy_type",
];

/// Operators that prepare memory for another, inside of it.
const HELPERS: [&str; 13] = [
    "copy_",
    "fill_",
    "zero_",
    "zeros",
    "ones",
    "full",
    "zeros_like",
    "ones_like",
    "full_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "scalar_tensor",
];

impl Forest {
    /// Puts calls into each other.
    ///
    /// # Errors
    /// `duplicate-id`, `parent-cycle`, `nesting-limit`.
    pub(super) fn grow(mut calls: Vec<Call>) -> Result<Self, Diagnostic> {
        calls.sort_by_key(|call| call.id);
        let mut by_id = HashMap::with_capacity(calls.len());
        for (at, call) in calls.iter().enumerate() {
            if by_id.insert(call.id, at).is_some() {
                let what = format!("two nodes have the id {}", call.id);
                return Err(Diagnostic::input("duplicate-id", what).fact("node", call.id));
            }
        }
        let is_inside = |call: &&Call| call.parent != call.id;
        let parents: Vec<Option<usize>> = calls
            .iter()
            .map(|call| {
                Some(call).filter(is_inside).and_then(|call| by_id.get(&call.parent).copied())
            })
            .collect();
        let n_roots = parents.iter().filter(|parent| parent.is_none()).count();
        let n_orphans = n_roots - calls.iter().filter(|call| !is_inside(call)).count();
        let mut children = vec![Vec::new(); calls.len()];
        let mut roots = Vec::new();
        for (at, parent) in parents.iter().enumerate() {
            match parent {
                Some(parent) => children[*parent].push(at),
                None => roots.push(at),
            }
        }
        let n = calls.len();
        let mut this = Self {
            calls,
            children,
            roots,
            parents,
            works: vec![false; n],
            computes: vec![false; n],
            n_orphans: n_orphans as u64,
        };
        let order = this.order()?;
        for at in order.into_iter().rev() {
            this.weigh(at);
        }
        Ok(this)
    }

    /// Calls, each before those that it makes.
    fn order(&self) -> Result<Vec<usize>, Diagnostic> {
        let mut order = Vec::with_capacity(self.calls.len());
        let mut level = self.roots.clone();
        for _ in 0..MAX_DEPTH {
            order.extend_from_slice(&level);
            level = level.iter().flat_map(|at| self.children[*at].iter().copied()).collect();
        }
        if let Some(at) = level.first() {
            let call = &self.calls[*at];
            let what = format!("calls nest deeper than {MAX_DEPTH}, as node {} does", call.id);
            return Err(Diagnostic::input("nesting-limit", what).fact("node", call.id));
        }
        if order.len() == self.calls.len() {
            return Ok(order);
        }
        // Going up from a call that no root reaches ends in the cycle.
        let mut is_reached = vec![false; self.calls.len()];
        order.iter().for_each(|at| is_reached[*at] = true);
        let start = is_reached.iter().position(|is_reached| !is_reached).unwrap_or(0);
        let up = |at: usize| self.parents[at].unwrap_or(at);
        let inside = (0..self.calls.len()).fold(start, |at, _| up(at));
        let mut cycle = vec![self.calls[inside].id.to_string()];
        let mut at = up(inside);
        while at != inside && cycle.len() < 8 {
            cycle.push(self.calls[at].id.to_string());
            at = up(at);
        }
        let what = format!("the parents of nodes {} form a cycle", cycle.join(", "));
        Err(Diagnostic::input("parent-cycle", what).fact("nodes", cycle))
    }

    /// Finds whether kernels run inside a call whose own calls are done.
    fn weigh(&mut self, at: usize) {
        let name = self.calls[at].short_name();
        let is_helper = HELPERS.contains(&name);
        let inside = |of: &[bool]| self.children[at].iter().any(|child| of[*child]);
        let (mut works, mut computes) = (inside(&self.works), inside(&self.computes));
        match self.class(at) {
            Class::Kernel(_) | Class::Collective => {
                works = true;
                computes |= !is_helper;
            }
            // Copies that stand for themselves, and not for what is around them.
            Class::View(_) if name == "_to_copy" => (works, computes) = (true, true),
            Class::Unknown if self.has_tensors(at) => (works, computes) = (true, true),
            Class::Nothing | Class::View(_) | Class::Unknown | Class::Around => {}
        }
        (self.works[at], self.computes[at]) = (works, computes);
    }

    fn has_tensors(&self, at: usize) -> bool {
        let call = &self.calls[at];
        !call.inputs.is_empty() || !call.outputs.is_empty()
    }

    fn class(&self, at: usize) -> Class {
        let call = &self.calls[at];
        if is_collective(&call.name) {
            return Class::Collective;
        }
        if call.scope != Scope::Operator || is_around(&call.name) {
            return Class::Around;
        }
        if MEMORY.contains(&call.short_name()) {
            return Class::Nothing;
        }
        match aten::find(&call.name) {
            None => Class::Unknown,
            Some(rule) => match rule.effect {
                Effect::Nothing => Class::Nothing,
                Effect::View | Effect::Views | Effect::ViewOrCopy => Class::View(rule),
                _ => Class::Kernel(rule),
            },
        }
    }

    /// The ops, in the order in which they began.
    pub(super) fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        let mut stack: Vec<usize> = self.roots.clone();
        while let Some(at) = stack.pop() {
            let inside = |of: &[bool]| self.children[at].iter().any(|child| of[*child]);
            let unit = |rule, is_view| Some(Unit { call: at, rule, is_view });
            let found = match self.class(at) {
                Class::Nothing => continue,
                Class::View(_) if inside(&self.computes) => None,
                Class::View(rule) if self.is_alias(at) && !inside(&self.works) => {
                    unit(Some(rule), true)
                }
                Class::View(rule) | Class::Kernel(rule) => unit(Some(rule), false),
                Class::Collective => unit(None, false),
                Class::Unknown if inside(&self.computes) => None,
                Class::Unknown if self.has_tensors(at) && !self.is_foreign(at) => unit(None, false),
                Class::Unknown | Class::Around => None,
            };
            match found {
                Some(unit) => units.push(unit),
                None => stack.extend_from_slice(&self.children[at]),
            }
        }
        units.sort_unstable_by_key(|unit| unit.call);
        units
    }

    /// Whether what a call gives back lies in the memory of what it is given, as far as is known.
    fn is_alias(&self, at: usize) -> bool {
        let Call { inputs, outputs, .. } = &self.calls[at];
        let mut known = outputs.iter().filter(|output| output.storage != 0);
        known.all(|output| inputs.iter().any(|input| input.storage == output.storage))
    }

    /// Whether a call is of no operator, but of a part of PyTorch around operators.
    fn is_foreign(&self, at: usize) -> bool {
        let call = &self.calls[at];
        call.signature.is_none() && !self.children[at].is_empty() && self.works_inside(at)
    }

    /// Whether kernels run inside a call, or as it.
    pub(super) fn works(&self, at: usize) -> bool {
        self.works[at]
    }

    fn works_inside(&self, at: usize) -> bool {
        self.children[at].iter().any(|child| self.works[*child])
    }

    /// A call and all inside it, in the order in which they began.
    pub(super) fn inside(&self, at: usize) -> Vec<usize> {
        let mut all = vec![at];
        let mut next = 0;
        while let Some(call) = all.get(next) {
            all.extend_from_slice(&self.children[*call]);
            next += 1;
        }
        all.sort_unstable();
        all
    }

    /// By call, the innermost operator or node of the autograd graph that has ops inside of it: its
    /// own, or one around it.
    pub(super) fn homes(&self, units: &[Unit]) -> Vec<Option<usize>> {
        let mut has_unit = vec![false; self.calls.len()];
        for unit in units.iter().filter(|unit| !unit.is_view) {
            let mut around = self.parents[unit.call];
            while let Some(at) = around.filter(|at| !has_unit[*at]) {
                has_unit[at] = true;
                around = self.parents[at];
            }
        }
        let is_home = |at: &usize| has_unit[*at] && self.calls[*at].scope != Scope::Annotation;
        let mut homes = vec![None; self.calls.len()];
        let mut stack: Vec<(usize, Option<usize>)> =
            self.roots.iter().map(|root| (*root, None)).collect();
        while let Some((at, around)) = stack.pop() {
            homes[at] = Some(at).filter(is_home).or(around);
            stack.extend(self.children[at].iter().map(|child| (*child, homes[at])));
        }
        homes
    }

    /// A warning of calls whose parent the trace does not hold.
    pub(super) fn orphans(&self) -> Option<Diagnostic> {
        let n = self.n_orphans;
        let what = format!(
            "{n} nodes name a parent that the trace does not hold: they count as calls of their own"
        );
        (n > 0).then(|| {
            Diagnostic::warning("absent-nodes", what)
                .fact("nodes", n)
                .hint("stop the observer before the trace is read, to record it whole")
        })
    }

    /// The call that makes it.
    pub(super) fn parent(&self, call: usize) -> Option<usize> {
        self.parents[call]
    }

    /// Whether a call is made, at any depth, by another.
    pub(super) fn is_inside(&self, call: usize, around: usize) -> bool {
        std::iter::successors(self.parents[call], |at| self.parents[*at]).any(|at| at == around)
    }

    /// By call, the part of the step. Gradients are [`Phase::BackwardInput`].
    pub(super) fn phases(&self) -> Vec<Phase> {
        let mut phases = vec![Phase::Forward; self.calls.len()];
        let mut stack: Vec<(usize, Phase)> =
            self.roots.iter().map(|root| (*root, Phase::Forward)).collect();
        while let Some((at, around)) = stack.pop() {
            let phase = phase_of(&self.calls[at]).unwrap_or(around);
            phases[at] = phase;
            stack.extend(self.children[at].iter().map(|child| (*child, phase)));
        }
        phases
    }

    /// By call, the path of the module that was annotated around it, or around its forward call.
    pub(super) fn modules(&self) -> Vec<Option<String>> {
        let mut modules: Vec<Option<String>> = vec![None; self.calls.len()];
        let mut by_sequence: HashMap<(u64, u64), usize> = HashMap::new();
        let mut stack = self.roots.clone();
        stack.reverse();
        // Depth first in order: forward calls are seen before their backward nodes.
        while let Some(at) = stack.pop() {
            let call = &self.calls[at];
            let around = self.parents[at].and_then(|parent| modules[parent].clone());
            let forward = call.sequence.filter(|_| call.scope == Scope::Backward);
            modules[at] = match forward {
                Some(sequence) => {
                    let owner = by_sequence.get(&(call.forward_thread, sequence));
                    owner.and_then(|owner| modules[*owner].clone()).or(around)
                }
                None => module_name(call, around.as_deref()).or(around),
            };
            if let (Some(sequence), Scope::Operator) = (call.sequence, call.scope) {
                by_sequence.insert((call.thread, sequence), at);
            }
            stack.extend(self.children[at].iter().rev());
        }
        modules
    }
}

/// The part of the step that a call begins, if it begins one.
fn phase_of(call: &Call) -> Option<Phase> {
    let name = &*call.name;
    if name.starts_with("Optimizer.") {
        return Some(Phase::Optimizer);
    }
    if name.starts_with("autograd::engine::") || call.scope == Scope::Backward {
        return Some(Phase::BackwardInput);
    }
    let is_backward = call.scope == Scope::Annotation
        && name.trim_matches(['#', ' ']).eq_ignore_ascii_case("backward");
    is_backward.then_some(Phase::BackwardInput)
}

/// The module that an annotation names: the dotted path of its own, or PyTorch's
/// `nn.Module: Linear_3`, which stands for itself below the one around it.
fn module_name(call: &Call, around: Option<&str>) -> Option<String> {
    if let Some(class) = call.name.strip_prefix("nn.Module: ") {
        return Some(around.map_or_else(|| class.to_owned(), |path| format!("{path}.{class}")));
    }
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let is_path = call.scope == Scope::Annotation
        && call.name.contains('.')
        && !["Optimizer.", "DistributedDataParallel.", "FullyShardedDataParallel."]
            .iter()
            .any(|other| call.name.starts_with(other))
        && call.name.split('.').all(is_part);
    is_path.then(|| call.name.to_string())
}

/// Whether a call is a message between ranks.
pub(super) fn is_collective(name: &str) -> bool {
    (name.starts_with("c10d::") || name.starts_with("_c10d_functional::"))
        && !name.ends_with("wait_tensor")
        || name == "record_param_comms"
}

/// The message that a backend notes, such as `nccl:all_reduce`; `None` for other names.
pub(super) fn of_backend(name: &str) -> Option<&str> {
    let (backend, message) = name.split_once(':')?;
    ["gloo", "nccl", "mpi", "ucc"].contains(&backend).then_some(message)
}

/// Whether a name is no operator's: annotations, and what autograd and the reducer of gradients put
/// around operators.
pub(super) fn is_around(name: &str) -> bool {
    let has_space = name.contains("::") || name == "record_param_comms";
    !has_space
        || ["autograd::", "torch::autograd::", "torch::distributed::", "torch.distributed."]
            .iter()
            .any(|space| name.starts_with(space))
}
