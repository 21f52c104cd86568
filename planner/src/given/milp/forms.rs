//! What the programs of all objectives have in common: classes, places, and what a net costs.

use cost_model::given::Goal;
use ir::instance::LoadInstance;

use super::program::Program;
use super::{latencies, loads, pieces};
use crate::given::ideals::classes::{ClassGraph, Net};

/// An integer program whose solutions are splits.
pub(super) struct Form {
    /// The program.
    pub(super) program: Program,
    /// Column of each class on each place, where it can be there.
    pub(super) column: Vec<Vec<Option<u32>>>,
    /// What the places are.
    pub(super) places: Places,
    /// The column that is minimised.
    pub(super) value: u32,
    /// Nanoseconds of its unit.
    pub(super) unit_ns: f64,
    /// A split's value in the program is at most this much above its true one, in ns.
    pub(super) slack_ns: f64,
    /// Accelerators of the instance.
    pub(super) n_accelerators: usize,
}

/// Places of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// So many accelerators, then CPU cores.
    Devices(usize),
    /// Accelerator and core for each position of a pipeline, in turn.
    Positions,
}

/// Classes with equal devices, and the greatest value that is looked for.
pub(super) struct Ground<'a> {
    /// The instance.
    pub(super) instance: &'a LoadInstance,
    /// Its classes.
    pub(super) graph: ClassGraph,
    /// Nanoseconds of each class on an accelerator, where it can run there.
    pub(super) accelerator: Vec<Option<u64>>,
    /// Rank of each class: the greatest come first.
    pub(super) rank: Vec<usize>,
    /// No better split than of this value is of use, ns.
    pub(super) upper_ns: f64,
    /// None is below this value, ns.
    pub(super) lower_ns: f64,
}

impl<'a> Ground<'a> {
    pub(super) fn new(instance: &'a LoadInstance, goal: Goal) -> Self {
        let graph = match goal {
            Goal::ContiguousMaxLoad => ClassGraph::ordered(instance),
            _ => ClassGraph::free(instance),
        };
        let memory = instance.accelerator_memory.get();
        let accelerator = graph.accelerator.iter().zip(&graph.bytes);
        let accelerator: Vec<Option<u64>> = accelerator
            .map(|(time, bytes)| time.filter(|_| *bytes <= memory && instance.n_accelerators > 0))
            .collect();
        let mut order: Vec<usize> = (0..graph.n_classes()).collect();
        let work = |class: usize| (accelerator[class].unwrap_or(0), graph.cpu[class]);
        order.sort_by_key(|class| (std::cmp::Reverse(work(*class)), *class));
        let mut rank = vec![0; order.len()];
        for (at, class) in order.into_iter().enumerate() {
            rank[class] = at;
        }
        let transfers: u64 = instance.nodes.iter().map(|node| node.transfer.get()).sum();
        let crossings = transfers as f64 * (instance.n_accelerators as f64 + 1.0);
        let work = |class: usize| accelerator[class].unwrap_or(0).max(graph.cpu[class]) as f64;
        let upper_ns = crossings + (0..graph.n_classes()).map(work).sum::<f64>();
        Self { instance, graph, accelerator, rank, upper_ns, lower_ns: 0.0 }
    }

    /// Number of classes.
    #[must_use]
    pub(super) fn n_classes(&self) -> usize {
        self.graph.n_classes()
    }

    /// Accelerators that can be of use.
    #[must_use]
    pub(super) fn n_accelerators(&self) -> usize {
        self.instance.n_accelerators.min(self.n_classes())
    }

    /// CPU cores that can be of use.
    #[must_use]
    pub(super) fn n_cpus(&self) -> usize {
        self.instance.n_cpus.min(self.n_classes())
    }

    /// Whether no split can exist, by counting alone: a class that no device takes, or more bytes
    /// than all accelerators hold where there is no core.
    #[must_use]
    pub(super) fn is_hopeless(&self) -> bool {
        let has_core = self.instance.n_cpus > 0;
        let all: u128 = self.graph.bytes.iter().map(|bytes| u128::from(*bytes)).sum();
        let memory = u128::from(self.instance.accelerator_memory.get());
        !has_core
            && (self.accelerator.iter().any(Option::is_none)
                || all > memory * self.instance.n_accelerators as u128)
    }

    /// The program of a goal.
    #[must_use]
    pub(super) fn form(&self, goal: Goal) -> Form {
        match goal {
            Goal::ContiguousMaxLoad => pieces::form(self),
            Goal::Latency => latencies::form(self),
            _ => loads::form(self),
        }
    }

    /// Each class on one place.
    pub(super) fn assign(&self, program: &mut Program, column: &[Vec<Option<u32>>]) {
        for places in column {
            program.equal(1.0, places.iter().flatten().map(|column| (*column, 1.0)));
        }
    }

    /// Bytes of the classes of a place.
    pub(super) fn hold(&self, program: &mut Program, place: usize, column: &[Vec<Option<u32>>]) {
        let memory = self.instance.accelerator_memory.get();
        let all: u128 = self.graph.bytes.iter().map(|bytes| u128::from(*bytes)).sum();
        if all <= u128::from(memory) || memory == 0 {
            return;
        }
        let bytes = column.iter().zip(&self.graph.bytes);
        let entries = bytes
            .filter_map(|(places, bytes)| Some((places[place]?, *bytes as f64 / memory as f64)));
        program.at_most(1.0, entries);
    }

    /// Of equal devices, the one with the least rank on it comes first.
    pub(super) fn order_devices(
        &self,
        program: &mut Program,
        first: usize,
        n_devices: usize,
        column: &[Vec<Option<u32>>],
    ) {
        let mut by_rank: Vec<usize> = vec![0; self.n_classes()];
        for (class, rank) in self.rank.iter().enumerate() {
            by_rank[*rank] = class;
        }
        for device in 1..n_devices {
            for (at, class) in by_rank.iter().enumerate() {
                let Some(entry) = column[*class][first + device] else { continue };
                let before = by_rank[..at].iter().filter_map(|c| column[*c][first + device - 1]);
                let mut entries: Vec<(u32, f64)> = before.map(|c| (c, -1.0)).collect();
                entries.push((entry, 1.0));
                program.at_most(0.0, entries);
            }
        }
    }

    /// Columns of the classes on places `first..first + n_devices`: the class of rank r is on one
    /// of the first r + 1 of them, if they are ordered.
    pub(super) fn rank_allows(&self, class: usize, device: usize) -> bool {
        device <= self.rank[class]
    }

    /// What the nets cost an accelerator, as entries of its load.
    pub(super) fn cut(
        &self,
        program: &mut Program,
        place: usize,
        column: &[Vec<Option<u32>>],
        unit_ns: f64,
    ) -> Vec<(u32, f64)> {
        let mut entries = Vec::new();
        for net in &self.graph.nets {
            let weight = net.weight as f64 / unit_ns;
            cut_net(program, net, place, column, weight, &mut entries);
        }
        entries
    }
}

fn cut_net(
    program: &mut Program,
    net: &Net,
    place: usize,
    column: &[Vec<Option<u32>>],
    weight: f64,
    entries: &mut Vec<(u32, f64)>,
) {
    let members: Vec<Option<u32>> =
        net.members.iter().map(|class| column[*class as usize][place]).collect();
    let there: Vec<u32> = members.iter().flatten().copied().collect();
    if there.is_empty() {
        return;
    }
    let some = match there[..] {
        [only] => only,
        _ => {
            let some = program.share();
            for member in &there {
                program.at_least(0.0, [(some, 1.0), (*member, -1.0)]);
            }
            some
        }
    };
    entries.push((some, weight));
    // All members, where all can be there.
    if there.len() == members.len() {
        let all = program.share();
        for member in &there {
            program.at_most(0.0, [(all, 1.0), (*member, -1.0)]);
        }
        entries.push((all, -weight));
    }
}

impl Form {
    /// The split of a solution: device by class.
    #[must_use]
    pub(super) fn decode(&self, values: &[f64]) -> Vec<u32> {
        let places = self.column.iter().map(|places| {
            let value = |place: usize| places[place].map_or(-1.0, |c| values[c as usize]);
            let best = (0..places.len()).max_by(|a, b| value(*a).total_cmp(&value(*b)));
            best.unwrap_or(0)
        });
        let places: Vec<usize> = places.collect();
        match self.places {
            Places::Devices(n_used) => {
                let shift =
                    |place: usize| if place < n_used { 0 } else { self.n_accelerators - n_used };
                places.iter().map(|place| (place + shift(*place)) as u32).collect()
            }
            Places::Positions => self.number(&places),
        }
    }

    /// Whether a place is an accelerator.
    #[must_use]
    pub(super) fn is_accelerator(&self, place: usize) -> bool {
        match self.places {
            Places::Devices(n_used) => place < n_used,
            Places::Positions => place.is_multiple_of(2),
        }
    }

    /// Devices of used positions: accelerators and cores, each in order.
    fn number(&self, places: &[usize]) -> Vec<u32> {
        let mut used = places.to_vec();
        used.sort_unstable();
        used.dedup();
        let mut next = [0, self.n_accelerators as u32];
        let mut device_of = std::collections::BTreeMap::new();
        for place in used {
            let next = &mut next[place % 2];
            device_of.insert(place, *next);
            *next += 1;
        }
        places.iter().map(|place| device_of[place]).collect()
    }

    /// Values of the columns for a place of each class: whole ones only.
    #[must_use]
    pub(super) fn encode(&self, places: &[usize]) -> Option<Vec<f64>> {
        let mut values: Vec<f64> = self.program.columns.iter().map(|c| c.lower).collect();
        for (columns, place) in self.column.iter().zip(places) {
            values[(*columns.get(*place)?)? as usize] = 1.0;
        }
        Some(values)
    }
}
