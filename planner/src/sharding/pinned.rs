//! Placements that a user has fixed, and which constraints no sharding meets together.

use std::collections::BTreeSet;

use super::answer::Refused;
use super::decoder::Step;
use super::graph::{Budget, Graph, Op};
use super::mesh::{Axis, Part};
use super::training::{Question, limited};
use crate::run::Control;

/// What axes do to tensors where ops produce them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Names of the tensors.
    pub tensors: BTreeSet<String>,
    /// Number of the axis; all axes where none is named.
    pub axis: Option<usize>,
    /// What it does.
    pub part: Part,
}

/// A constraint of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// Bytes of a device.
    Memory,
    /// A placement that is fixed, by its number.
    Pin(usize),
}

/// Constraints that no sharding meets together.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Without any one of them there is a sharding; none where there is none without all of them.
    pub members: Vec<Constraint>,
    /// Where memory is one of them, bytes of a device with which the others are met.
    pub enough_bytes: Option<f64>,
    /// False where a limit ended before a member was seen to be needed.
    pub is_minimal: bool,
}

/// Leaves ops the rules whose outputs are as pinned.
pub fn pin(graph: &mut Graph, pins: &[Pinned], n_axes: usize) {
    let names: Vec<String> = graph.tensors.iter().map(|tensor| tensor.name.clone()).collect();
    for op in &mut graph.ops {
        for pin in pins {
            for (place, tensor) in op.outputs.clone().into_iter().enumerate() {
                if pin.tensors.contains(&names[tensor]) {
                    keep(op, pin, (op.inputs.len() + place, n_axes));
                }
            }
        }
    }
}

fn keep(op: &mut Op, pin: &Pinned, (operand, n_axes): (usize, usize)) {
    let all: Vec<usize> = (0..op.rules.len()).collect();
    op.by_axis.resize(n_axes, all);
    for (axis, of) in op.by_axis.iter_mut().enumerate() {
        if pin.axis.is_none_or(|pinned| pinned == axis) {
            of.retain(|at| op.rules[*at].parts[operand] == pin.part);
        }
    }
}

/// A gap that any sharding has.
pub(super) const ANY: f64 = 0.999;
/// Doublings of memory at most.
const DOUBLINGS: usize = 12;
/// Part of memory that the least that is enough may be above what is not.
const NEAR: f64 = 0.01;

impl Question<'_> {
    /// Whether every row has a solution by itself, of tensors at rest.
    pub(super) fn may_fit(&self, step: &Step) -> bool {
        let mut least = vec![0.0; step.graph.tensors.len()];
        for op in &step.graph.ops {
            for (place, tensor) in op.outputs.iter().enumerate() {
                let dims = step.graph.tensors[*tensor].dims.iter().map(|size| *size as f64);
                let split = self.most_parts(op, op.inputs.len() + place);
                least[*tensor] = f64::from(op.times) * dims.product::<f64>() / split;
            }
        }
        let sum = |budget: &Budget| {
            budget.tensors.iter().map(|(tensor, each)| each * least[*tensor]).sum::<f64>()
        };
        self.budgets(step).iter().all(|budget| sum(budget) <= budget.most_bytes)
    }

    /// Parts that an operand of an op is split into at most.
    fn most_parts(&self, op: &Op, operand: usize) -> f64 {
        let of_axis = |(number, axis): (usize, &Axis)| {
            let may = op.by_axis.get(number);
            let mut rules = (op.rules.iter().enumerate())
                .filter(|(at, _)| may.is_none_or(|of| of.contains(at)));
            let splits = rules.any(|(_, rule)| matches!(rule.parts[operand], Part::Split(_)));
            if splits { axis.size as f64 } else { 1.0 }
        };
        self.mesh.axes.iter().enumerate().map(of_axis).product()
    }

    /// Whether any sharding meets memory and pins; none where a limit ends before that is known.
    #[must_use]
    pub fn has_any(&self, control: &Control) -> Option<bool> {
        let control = &limited(control, (ANY, None));
        let n_powers = self.run.n_sequences.trailing_zeros();
        let mut is_known = true;
        for accumulation in (0..=n_powers).rev().map(|power| 1 << power) {
            for recomputes in [true, false] {
                let step = self.step(accumulation, recomputes)?;
                if !self.may_fit(&step) {
                    continue;
                }
                match self.within(&step, control) {
                    Ok(_) => return Some(true),
                    Err((Refused::NotSolved, _)) => is_known = false,
                    Err(_) => {}
                }
            }
        }
        is_known.then_some(false)
    }

    /// Constraints of a step that no sharding meets together: each is left out where there is none without it either.
    #[must_use]
    pub fn conflict(&self, control: &Control) -> Conflict {
        let mut members: Vec<Constraint> = (0..self.pins.len()).map(Constraint::Pin).collect();
        members.extend(self.memory.most_bytes.is_finite().then_some(Constraint::Memory));
        let mut is_minimal = true;
        for member in members.clone() {
            let others: Vec<_> = members.iter().copied().filter(|of| *of != member).collect();
            match self.has_any_of(&others, self.memory.most_bytes, control) {
                Some(false) => members = others,
                Some(true) => {}
                None => is_minimal = false,
            }
        }
        let enough_bytes = self.enough(&members, control);
        Conflict { members, enough_bytes, is_minimal }
    }

    fn has_any_of(
        &self,
        members: &[Constraint],
        most_bytes: f64,
        control: &Control,
    ) -> Option<bool> {
        let is_pinned = |(at, _): &(usize, &Pinned)| members.contains(&Constraint::Pin(*at));
        let pins = self.pins.iter().enumerate().filter(is_pinned);
        let pins: Vec<Pinned> = pins.map(|(_, pin)| pin.clone()).collect();
        let mut memory = self.memory;
        let is_limited = members.contains(&Constraint::Memory);
        memory.most_bytes = if is_limited { most_bytes } else { f64::INFINITY };
        Question { pins: &pins, memory, ..*self }.has_any(control)
    }

    /// Bytes of a device with which the other members are met, near the least.
    fn enough(&self, members: &[Constraint], control: &Control) -> Option<f64> {
        if !members.contains(&Constraint::Memory) {
            return None;
        }
        let has_any = |bytes| self.has_any_of(members, bytes, control) == Some(true);
        let mut least = self.memory.most_bytes;
        let mut enough =
            (0..DOUBLINGS).map(|power| least * f64::from(2 << power)).find(|n| has_any(*n))?;
        least = least.max(enough / 2.0);
        while enough > least * (1.0 + NEAR) {
            let middle = f64::midpoint(least, enough);
            match has_any(middle) {
                true => enough = middle,
                false => least = middle,
            }
        }
        Some(enough)
    }
}
