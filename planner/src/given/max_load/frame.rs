//! The model at one limit: contracted, with its linear order, and the way there and back.

use super::certificate::Round;
use super::column_generation::Proof;
use super::contraction::{Contraction, contract};
use super::control::Control;
use super::model::Model;
use super::order::linear_order;
use super::pricing::Subset;

/// A model whose classes are groups of the classes of a finer one.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) model: Model,
    /// See [`linear_order`].
    pub(super) order: Vec<u32>,
    /// How the contraction came about.
    pub(super) rounds: Vec<Round>,
    /// Group of each class of the finer model.
    pub(super) group_of: Vec<u32>,
}

impl Frame {
    /// The finer model itself.
    pub(super) fn whole(model: Model) -> Self {
        let order = linear_order(&model);
        let group_of = (0..model.n_classes() as u32).collect();
        Self { model, order, rounds: Vec::new(), group_of }
    }

    /// The model at a limit; the rounds alone if they refute it; `None` if stopped.
    pub(super) fn at(&self, limit: f64, control: &Control) -> Option<Result<Self, Vec<Round>>> {
        match contract(&self.model, limit, control)? {
            Contraction::Infeasible(rounds) => Some(Err(rounds)),
            Contraction::Joined(rounds, _) if rounds.is_empty() => Some(Ok(self.clone())),
            Contraction::Joined(rounds, model) => {
                let mut group_of = vec![0; self.model.n_classes()];
                for (class, group) in self.model.class_of.iter().zip(&model.class_of) {
                    group_of[*class as usize] = *group;
                }
                let order = linear_order(&model);
                Some(Ok(Self { model, order, rounds, group_of }))
            }
        }
    }

    /// Device of each group, where all of its classes are on one device.
    pub(super) fn lower(&self, device_of: &[u32]) -> Option<Vec<u32>> {
        let mut lowered = vec![u32::MAX; self.model.n_classes()];
        for (group, device) in self.group_of.iter().zip(device_of) {
            let entry = &mut lowered[*group as usize];
            if *entry != u32::MAX && entry != device {
                return None;
            }
            *entry = *device;
        }
        Some(lowered)
    }

    /// Subsets of finer classes that hold whole groups, of load at most `limit` ns.
    pub(super) fn lower_subsets(&self, subsets: &[Vec<u32>], limit: f64) -> Vec<Subset> {
        let mut size = vec![0_usize; self.model.n_classes()];
        for group in &self.group_of {
            size[*group as usize] += 1;
        }
        let mut lowered = Vec::new();
        for subset in subsets {
            let mut counts = vec![0_usize; size.len()];
            for class in subset {
                counts[self.group_of[*class as usize] as usize] += 1;
            }
            if counts.iter().zip(&size).any(|(count, size)| *count != 0 && count != size) {
                continue;
            }
            let inside: Vec<bool> = counts.iter().map(|count| *count > 0).collect();
            let load = self.model.load(&inside);
            if load <= limit {
                let classes = (0..inside.len()).filter(|v| inside[*v]).map(|v| v as u32).collect();
                lowered.push(Subset { classes, load, worth: 0.0 });
            }
        }
        lowered
    }

    /// Prices of groups from those of finer classes.
    pub(super) fn lower_prices(&self, prices: &Proof) -> Proof {
        let mut price = vec![0.0; self.model.n_classes()];
        for (group, finer) in self.group_of.iter().zip(&prices.price) {
            price[*group as usize] += finer;
        }
        Proof { price, ..*prices }
    }

    /// Prices of finer classes from those of groups: each has an equal part.
    pub(super) fn lift_prices(&self, prices: &Proof) -> Proof {
        let mut size = vec![0.0; self.model.n_classes()];
        for group in &self.group_of {
            size[*group as usize] += 1.0;
        }
        let part = |group: &u32| prices.price[*group as usize] / size[*group as usize];
        Proof { price: self.group_of.iter().map(part).collect(), ..*prices }
    }

    /// The finer classes of subsets.
    pub(super) fn lift_subsets(&self, subsets: &[Subset]) -> Vec<Vec<u32>> {
        let lift = |subset: &Subset| {
            let holds =
                |class: &u32| subset.classes.binary_search(&self.group_of[*class as usize]).is_ok();
            (0..self.group_of.len() as u32).filter(holds).collect()
        };
        subsets.iter().map(lift).collect()
    }
}
