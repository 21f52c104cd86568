//! The chain of ideals with the least sum of times: a step is a block of one accelerator, or one
//! class on a CPU core.

use ir::instance::LoadInstance;

use crate::given::ideals::classes::ClassGraph;
use crate::given::ideals::lattice::Lattice;
use crate::given::ideals::pieces::Pieces;

const NEVER: u64 = u64::MAX;

/// Marks a parent whose step ran on the CPU.
const ON_CPU: u32 = 1 << 31;

/// Pairs of ideals between two looks at the clock.
const PAIRS_PER_LOOK: u64 = 1 << 16;

/// Bytes that [`shortest`] takes.
pub(super) fn bytes(instance: &LoadInstance, graph: &ClassGraph, n_ideals: usize) -> usize {
    let n_states = instance.n_accelerators.min(graph.n_classes()) + 1;
    n_ideals.saturating_mul(n_states * 12 + Pieces::BYTES_PER_IDEAL)
}

/// Sum and device of each class of the shortest chain below `upper` nanoseconds.
pub(super) fn shortest(
    instance: &LoadInstance,
    graph: &ClassGraph,
    lattice: &Lattice,
    upper: u64,
    stop: &dyn Fn() -> bool,
) -> Option<(u64, Vec<u32>)> {
    let n_accelerators = instance.n_accelerators.min(graph.n_classes());
    let n_ideals = lattice.n_ideals();
    let pieces = Pieces::new(graph, lattice, stop)?;
    let least = least(graph, lattice);
    let mut table = Table {
        best: vec![NEVER; (n_accelerators + 1) * n_ideals],
        parent: vec![0; (n_accelerators + 1) * n_ideals],
        n_ideals,
        upper,
    };
    table.best[0] = 0;
    let memory = instance.accelerator_memory.get();
    let mut walk =
        Walk { lattice, pieces: &pieces, memory, seen: vec![u32::MAX; n_ideals], n_pairs: 0 };
    for from in 0..n_ideals - 1 {
        let left = least[n_ideals - 1] - least[from];
        let states = table.alive(from, n_accelerators, left);
        if states.is_empty() {
            continue;
        }
        walk.blocks(from, stop, &mut |to, load| {
            for &(used, value) in states.iter().filter(|(used, _)| *used < n_accelerators) {
                table.improve(used + 1, to, value + load, from as u32);
            }
        })?;
        let cores = if instance.n_cpus > 0 { lattice.larger(from) } else { &[] };
        for &next in cores {
            let cpu = pieces.sums[next as usize].cpu - pieces.sums[from].cpu;
            for &(used, value) in &states {
                table.improve(used, next as usize, value + cpu, from as u32 | ON_CPU);
            }
        }
    }
    table.plan(instance, lattice, graph.n_classes(), n_accelerators)
}

/// The search for blocks of one accelerator.
struct Walk<'a> {
    lattice: &'a Lattice,
    pieces: &'a Pieces<'a>,
    /// Bytes of an accelerator.
    memory: u64,
    /// By ideal: the lower end from which it was last reached.
    seen: Vec<u32>,
    n_pairs: u64,
}

impl Walk<'_> {
    /// Tells of the upper end and the load of each block above an ideal; `None` where it was stopped.
    fn blocks(
        &mut self,
        from: usize,
        stop: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(usize, u64),
    ) -> Option<()> {
        let mut crossing = Vec::new();
        self.pieces.crossing(from, &mut crossing);
        let low = self.pieces.sums[from];
        let mut open = vec![from as u32];
        while let Some(at) = open.pop() {
            let to = at as usize;
            self.n_pairs += 1;
            if self.n_pairs.is_multiple_of(PAIRS_PER_LOOK) && stop() {
                return None;
            }
            let high = self.pieces.sums[to];
            if high.bytes - low.bytes > self.memory || high.n_unsupported != low.n_unsupported {
                continue;
            }
            if to != from {
                let time = high.accelerator - low.accelerator;
                tell(to, time + self.pieces.border(from, to, &crossing));
            }
            for &next in self.lattice.larger(to) {
                if std::mem::replace(&mut self.seen[next as usize], from as u32) != from as u32 {
                    open.push(next);
                }
            }
        }
        Some(())
    }
}

/// Per ideal: nanoseconds of its classes, each where it is fastest.
fn least(graph: &ClassGraph, lattice: &Lattice) -> Vec<u64> {
    let fastest = |class: usize| graph.accelerator[class].unwrap_or(NEVER).min(graph.cpu[class]);
    let sum = |ideal| Lattice::classes(lattice.set(ideal)).map(fastest).sum();
    (0..lattice.n_ideals()).map(sum).collect()
}

struct Table {
    /// By `used * n_ideals + ideal`.
    best: Vec<u64>,
    parent: Vec<u32>,
    n_ideals: usize,
    upper: u64,
}

impl Table {
    /// (accelerators, value) from which a chain below `upper` may go on.
    fn alive(&self, ideal: usize, n_accelerators: usize, left: u64) -> Vec<(usize, u64)> {
        let mut alive: Vec<(usize, u64)> = Vec::new();
        for used in 0..=n_accelerators {
            let value = self.best[used * self.n_ideals + ideal];
            let is_better = alive.last().is_none_or(|(_, least)| value < *least);
            if value != NEVER && value.saturating_add(left) < self.upper && is_better {
                alive.push((used, value));
            }
        }
        alive
    }

    fn improve(&mut self, used: usize, ideal: usize, value: u64, parent: u32) {
        let slot = used * self.n_ideals + ideal;
        if value < self.best[slot].min(self.upper) {
            self.best[slot] = value;
            self.parent[slot] = parent;
            if ideal + 1 == self.n_ideals {
                self.upper = value;
            }
        }
    }

    fn plan(
        &self,
        instance: &LoadInstance,
        lattice: &Lattice,
        n_classes: usize,
        n_accelerators: usize,
    ) -> Option<(u64, Vec<u32>)> {
        let last = self.n_ideals - 1;
        let ends = (0..=n_accelerators).map(|used| (self.best[used * self.n_ideals + last], used));
        let (value, mut used) = ends.min().filter(|(value, _)| *value != NEVER)?;
        let mut devices = vec![instance.n_accelerators as u32; n_classes];
        let mut ideal = last;
        while ideal != 0 {
            let parent = self.parent[used * self.n_ideals + ideal];
            let lower = (parent & !ON_CPU) as usize;
            if parent & ON_CPU == 0 {
                used -= 1;
                let low = lattice.set(lower);
                for class in Lattice::classes(lattice.set(ideal)) {
                    if low[class / 64] & (1 << (class % 64)) == 0 {
                        devices[class] = used as u32;
                    }
                }
            }
            ideal = lower;
        }
        Some((value, devices))
    }
}
