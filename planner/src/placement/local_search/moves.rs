//! The neighbourhood: one random change at a time.

use ir::id::OpId;
use rand::Rng;
use rand::rngs::SmallRng;

use super::state::{Cause, KEY_STEP, Link, State, Undo};
use crate::placement::clusters::{Hierarchy, Units};
use crate::placement::dispatch::Network;

/// What moves are drawn from.
pub(crate) struct Neighbourhood<'a> {
    pub(crate) network: &'a Network<'a>,
    pub(crate) units: &'a Units<'a>,
    pub(crate) hierarchy: &'a Hierarchy,
    /// Coarsest and finest level of clusters that are moved.
    pub(crate) levels: std::ops::Range<usize>,
}

/// Part of all moves that change the order of ops only, in percent.
const ORDER_MOVES: u32 = 30;
/// Part of the moves of clusters that swap two, in percent.
const SWAPS: u32 = 15;
/// Part of the moves that begin on the critical path, in percent.
const CRITICAL: u32 = 60;
/// Part of the moves of clusters that take what lies around it along, in percent.
const BLOCKS: u32 = 25;
/// Units in a block, at most, as a part of all, and as a number.
const MOST_OF_ALL: usize = 6;
const MOST_IN_BLOCK: usize = 256;

impl Neighbourhood<'_> {
    /// Changes the state in some way, or in none where the dice fall badly.
    pub(crate) fn change(
        &self,
        state: &mut State,
        path: &[Link],
        random: &mut SmallRng,
        undo: &mut Vec<Undo>,
    ) {
        let link = match path.is_empty() || random.random_range(0..100) >= CRITICAL {
            true => None,
            false => Some(path[random.random_range(0..path.len())]),
        };
        if self.network.n_devices < 2 || random.random_range(0..100) < ORDER_MOVES {
            self.reorder(state, link, random, undo);
        } else {
            self.displace(state, link, random, undo);
        }
    }

    fn any_op(&self, random: &mut SmallRng) -> OpId {
        let actions = &self.network.problem.actions;
        actions[random.random_range(0..actions.len())]
    }

    /// An op goes before, or after, another one of its device.
    fn reorder(
        &self,
        state: &mut State,
        link: Option<Link>,
        random: &mut SmallRng,
        undo: &mut Vec<Undo>,
    ) {
        let op = link.map_or_else(|| self.any_op(random), |link| link.op);
        let (op, other) = match link.map(|link| link.cause) {
            // What it waited for goes later, or it goes earlier.
            Some(Cause::Busy(before)) => (op, before),
            Some(Cause::Brought(producer) | Cause::Local(producer)) => {
                (producer, self.any_op(random))
            }
            _ => (op, self.any_op(random)),
        };
        let key = state.key[other.index()];
        let nudge = random.random_range(1..KEY_STEP / 2);
        match random.random_range(0..3u32) {
            0 => state.set_key(op, key.saturating_sub(nudge), undo),
            1 => state.set_key(other, state.key[op.index()].saturating_add(nudge), undo),
            _ => {
                let op_key = state.key[op.index()];
                state.set_key(op, key, undo);
                state.set_key(other, op_key, undo);
            }
        }
    }

    /// A cluster goes to another device, alone, with what is around it, or in exchange.
    fn displace(
        &self,
        state: &mut State,
        link: Option<Link>,
        random: &mut SmallRng,
        undo: &mut Vec<Undo>,
    ) {
        let op = link.map_or_else(|| self.any_op(random), |link| link.op);
        let level = random.random_range(self.levels.clone());
        let unit = self.units.of[op.index()];
        let from = state.home[unit as usize];
        let to = self.destination(state, op, link, from, random);
        if to == from {
            return;
        }
        let dice = random.random_range(0..100);
        let cluster = self.cluster(level, unit);
        if dice < SWAPS {
            let other = self.units.of[self.any_op(random).index()];
            let there = state.home[other as usize];
            if there == from {
                return;
            }
            self.put_all(state, self.cluster(level, other), from, undo);
            self.put_all(state, cluster, there, undo);
        } else if dice < SWAPS + BLOCKS {
            let most = (self.units.n() / MOST_OF_ALL).clamp(2, MOST_IN_BLOCK);
            let size = random.random_range(1..=most);
            for unit in self.block(state, unit, size, random) {
                self.put_all(state, &[unit], to, undo);
            }
        } else {
            self.put_all(state, cluster, to, undo);
        }
    }

    fn cluster(&self, level: usize, unit: u32) -> &[u32] {
        let cluster = self.hierarchy.of[level][unit as usize];
        &self.hierarchy.levels[level][cluster as usize]
    }

    fn put_all(&self, state: &mut State, units: &[u32], to: u16, undo: &mut Vec<Undo>) {
        for &unit in units {
            let place = ir::id::DeviceId::new(usize::from(to));
            if self.units.placeable[unit as usize].contains(place) {
                state.put(self.units, unit, to, undo);
            }
        }
    }

    /// Where a neighbour of the op is, or anywhere.
    fn destination(
        &self,
        state: &State,
        op: OpId,
        link: Option<Link>,
        from: u16,
        random: &mut SmallRng,
    ) -> u16 {
        if let Some(Cause::Brought(producer)) = link.map(|link| link.cause)
            && random.random_range(0..2) == 0
        {
            return state.device[producer.index()];
        }
        if random.random_range(0..3) > 0
            && let Some(neighbour) = self.neighbour(op, random)
            && state.device[neighbour.index()] != from
        {
            return state.device[neighbour.index()];
        }
        random.random_range(0..self.network.n_devices) as u16
    }

    /// An op that writes what this one reads, or the other way round.
    fn neighbour(&self, op: OpId, random: &mut SmallRng) -> Option<OpId> {
        let problem = self.network.problem;
        let (inputs, outputs) = (problem.inputs(op), problem.outputs(op));
        let n = inputs.len() + outputs.len();
        if n == 0 {
            return None;
        }
        let at = random.random_range(0..n);
        match inputs.get(at) {
            Some(tensor) => problem.producer(*tensor),
            None => {
                let consumers = problem.consumers(outputs[at - inputs.len()]);
                let n = consumers.len();
                (n > 0).then(|| consumers[random.random_range(0..n)])
            }
        }
    }

    /// Units around one, on its device, breadth first through the data, in one direction or both.
    fn block(&self, state: &State, unit: u32, size: usize, random: &mut SmallRng) -> Vec<u32> {
        let problem = self.network.problem;
        let home = state.home[unit as usize];
        let direction = random.random_range(0..3u32);
        let mut block = vec![unit];
        let mut at = 0;
        while at < block.len() && block.len() < size {
            for &op in &self.units.members[block[at] as usize] {
                let producers = problem.inputs(op).iter().filter_map(|t| problem.producer(*t));
                let producers = producers.filter(|_| direction != 0);
                let consumers = problem.outputs(op).iter().flat_map(|t| problem.consumers(*t));
                let consumers = consumers.copied().filter(|_| direction != 1);
                for other in producers.chain(consumers) {
                    let other = self.units.of[other.index()];
                    if block.len() < size
                        && state.home[other as usize] == home
                        && !block.contains(&other)
                    {
                        block.push(other);
                    }
                }
            }
            at += 1;
        }
        block
    }
}
