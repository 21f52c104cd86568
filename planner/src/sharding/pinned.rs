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
    /// Numbers of pins without which all other constraints are met: each set is enough.
    pub fixes: Vec<Vec<usize>>,
    /// Where memory is one of them, bytes of a device with which all pins are met.
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
const DOUBLINGS: usize = 24;
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
        // All have the same tensors.
        self.budgets(step).first().is_none_or(|budget| sum(budget) <= budget.most_bytes)
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
            for recomputes in self.recomputes().rev() {
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
        let enough_bytes = match members.contains(&Constraint::Memory) {
            true => self.enough(control),
            false => None,
        };
        let fixes = self.fixes(&members, control);
        Conflict { members, fixes, enough_bytes, is_minimal }
    }

    /// All constraints but some pins.
    fn others(&self, left_out: &[usize]) -> Vec<Constraint> {
        let pins = (0..self.pins.len()).filter(|pin| !left_out.contains(pin));
        pins.map(Constraint::Pin).chain([Constraint::Memory]).collect()
    }

    /// Each pin of a conflict without which all else is met; where there is none, several pins together.
    fn fixes(&self, members: &[Constraint], control: &Control) -> Vec<Vec<usize>> {
        let most_bytes = self.memory.most_bytes;
        let is_enough = |left_out: &[usize]| {
            self.has_any_of(&self.others(left_out), most_bytes, control) == Some(true)
        };
        let pin = |member: &Constraint| match member {
            Constraint::Pin(at) => Some(*at),
            Constraint::Memory => None,
        };
        let of_members: Vec<usize> = members.iter().filter_map(pin).collect();
        let alone: Vec<_> =
            of_members.iter().map(|at| vec![*at]).filter(|at| is_enough(at)).collect();
        if !alone.is_empty() {
            return alone;
        }
        // Other conflicts are left.
        let rest = (0..self.pins.len()).filter(|at| !of_members.contains(at));
        let mut left_out: Vec<usize> = of_members.iter().copied().chain(rest).collect();
        if left_out.is_empty() || !is_enough(&left_out) {
            return Vec::new();
        }
        for at in left_out.clone().into_iter().rev() {
            let fewer: Vec<usize> = left_out.iter().copied().filter(|of| *of != at).collect();
            if is_enough(&fewer) {
                left_out = fewer;
            }
        }
        vec![left_out]
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

    /// Bytes of a device with which all pins are met, near the least.
    fn enough(&self, control: &Control) -> Option<f64> {
        let members = self.others(&[]);
        let has_any = |bytes| self.has_any_of(&members, bytes, control) == Some(true);
        let mut least = self.memory.most_bytes;
        let mut enough =
            (0..DOUBLINGS).map(|power| least * f64::from(2_u32 << power)).find(|n| has_any(*n))?;
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
