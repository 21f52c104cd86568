//! Annealing: classes change devices, alone or with neighbours on the same device.

use cost_model::given::latency::Blocks;
use ir::instance::LoadInstance;
use ir::units::Nanos;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Effort;
use crate::given::ideals::classes::ClassGraph;

/// Most classes that move at once.
const MOST_TOGETHER: usize = 24;

/// Temperature at the start and at the end, as shares of the start's value.
const HOT: f64 = 0.02;
const COLD: f64 = 0.000_02;

/// Starts that are annealed; the moves are shared among them.
const MOST_STARTS: usize = 3;

/// Moves between two looks at the clock.
const MOVES_PER_LOOK: u64 = 64;

/// The best plan from any of the starts (sorted, the best first).
pub(super) fn anneal(
    instance: &LoadInstance,
    graph: &ClassGraph,
    blocks: &Blocks,
    starts: &[(Nanos, Vec<u32>)],
    effort: &Effort,
    stop: &dyn Fn() -> bool,
) -> Option<(Nanos, Vec<u32>)> {
    let mut best = starts.first()?.clone();
    let n_starts = starts.len().min(MOST_STARTS);
    for (number, start) in starts.iter().take(n_starts).enumerate() {
        let seed = effort.seed.wrapping_add(number as u64);
        let mut walk = Walk::new(instance, graph, blocks, start, seed);
        walk.run(effort.n_moves / n_starts as u64, stop);
        best = best.min((Nanos(walk.best), walk.best_plan));
    }
    Some(best)
}

struct Walk<'a> {
    instance: &'a LoadInstance,
    graph: &'a ClassGraph,
    blocks: &'a Blocks<'a>,
    neighbours: Vec<Vec<u32>>,
    random: SmallRng,
    plan: Vec<u32>,
    /// Device of each node.
    devices: Vec<u32>,
    nodes: Vec<Vec<u32>>,
    bytes: Vec<u64>,
    value: u64,
    best: u64,
    best_plan: Vec<u32>,
}

impl<'a> Walk<'a> {
    fn new(
        instance: &'a LoadInstance,
        graph: &'a ClassGraph,
        blocks: &'a Blocks<'a>,
        (value, plan): &(Nanos, Vec<u32>),
        seed: u64,
    ) -> Self {
        let mut neighbours = vec![Vec::new(); graph.n_classes()];
        for &(from, to) in &instance.edges {
            let pair = (graph.class_of[from as usize], graph.class_of[to as usize]);
            if pair.0 != pair.1 {
                neighbours[pair.0 as usize].push(pair.1);
                neighbours[pair.1 as usize].push(pair.0);
            }
        }
        for list in &mut neighbours {
            list.sort_unstable();
            list.dedup();
        }
        let mut nodes = vec![Vec::new(); graph.n_classes()];
        for (node, class) in (0..).zip(&graph.class_of) {
            nodes[*class as usize].push(node);
        }
        let mut bytes = vec![0; instance.n_accelerators + 1];
        for (class, device) in plan.iter().enumerate() {
            bytes[*device as usize] += graph.bytes[class];
        }
        Self {
            instance,
            graph,
            blocks,
            neighbours,
            random: SmallRng::seed_from_u64(seed),
            devices: graph.class_of.iter().map(|class| plan[*class as usize]).collect(),
            plan: plan.clone(),
            nodes,
            bytes,
            value: value.get(),
            best: value.get(),
            best_plan: plan.clone(),
        }
    }

    fn run(&mut self, n_moves: u64, stop: &dyn Fn() -> bool) {
        let start = self.value as f64;
        for number in 0..n_moves {
            if number.is_multiple_of(MOVES_PER_LOOK) && stop() {
                return;
            }
            let share = number as f64 / n_moves as f64;
            let temperature = start * HOT * (COLD / HOT).powf(share);
            self.step(temperature);
        }
    }

    fn step(&mut self, temperature: f64) {
        let Some((moved, from, to)) = self.proposal() else { return };
        self.place(&moved, to);
        let memory = self.instance.accelerator_memory.get();
        let fits = to as usize == self.instance.n_accelerators || self.bytes[to as usize] <= memory;
        let next = if fits { self.blocks.evaluate(&self.devices) } else { None };
        let accepted = next.filter(|next| {
            let worse = next.get() as f64 - self.value as f64;
            worse <= 0.0 || self.random.random::<f64>() < (-worse / temperature).exp()
        });
        match accepted {
            Some(next) => {
                self.value = next.get();
                if self.value < self.best {
                    self.best = self.value;
                    self.best_plan.clone_from(&self.plan);
                }
            }
            None => self.place(&moved, from),
        }
    }

    /// Classes of one device, and another device for them.
    fn proposal(&mut self) -> Option<(Vec<u32>, u32, u32)> {
        let cpu = self.instance.n_accelerators as u32;
        let first = self.random.random_range(0..self.plan.len() as u32);
        let from = self.plan[first as usize];
        let to = match self.random.random_range(0..10) {
            0 => cpu,
            1 => self.random.random_range(0..=cpu),
            _ => {
                let near = &self.neighbours[first as usize];
                let at = self.random.random_range(0..near.len().max(1));
                self.plan[*near.get(at)? as usize]
            }
        };
        if to == from || to == cpu && self.instance.n_cpus == 0 {
            return None;
        }
        let most = 1usize << self.random.random_range(0..=MOST_TOGETHER.ilog2());
        let n_moved = self.random.random_range(1..=most.min(MOST_TOGETHER));
        let mut moved = vec![first];
        let mut at = 0;
        while let (Some(&class), true) = (moved.get(at), moved.len() < n_moved) {
            at += 1;
            for &near in &self.neighbours[class as usize] {
                if self.plan[near as usize] == from
                    && moved.len() < n_moved
                    && !moved.contains(&near)
                {
                    moved.push(near);
                }
            }
        }
        let can_run = |class: &u32| self.graph.accelerator[*class as usize].is_some();
        (to == cpu || moved.iter().all(can_run)).then_some((moved, from, to))
    }

    fn place(&mut self, classes: &[u32], device: u32) {
        for &class in classes {
            let class = class as usize;
            let before = std::mem::replace(&mut self.plan[class], device);
            self.bytes[before as usize] -= self.graph.bytes[class];
            self.bytes[device as usize] += self.graph.bytes[class];
            for &node in &self.nodes[class] {
                self.devices[node as usize] = device;
            }
        }
    }
}
