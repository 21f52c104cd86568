//! The dynamic program over a lattice of ideals: a plan is a chain of ideals from the empty one to
//! the full one, and each step is the piece of one device.

use ir::instance::LoadInstance;

use super::classes::ClassGraph;
use super::lattice::Lattice;
use super::pieces::Pieces;

/// Value of a state that no chain reaches.
const NEVER: u64 = u64::MAX;

/// Marks a parent whose piece runs on a CPU core; ideals are fewer than 2^31.
const ON_CPU: u32 = 1 << 31;

/// Slack of the work window, above the rounding of its sums in `f64`.
const SLACK: f64 = 1.0 + 1e-9;

/// Pairs of ideals between two looks at the clock.
pub(crate) const PAIRS_PER_LOOK: u64 = 1 << 16;

/// How the program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The best chain below the incumbent: its value in nanoseconds, and device by class.
    Better(u64, Vec<u32>),
    /// No chain is below the incumbent.
    NoneBetter,
    /// Stopped before the end.
    Stopped,
}

/// The program while it runs.
struct Program<'a> {
    lattice: &'a Lattice,
    graph: &'a ClassGraph,
    n_accelerators: usize,
    n_cpus: usize,
    memory: u64,
    pieces: Pieces<'a>,
    /// Greatest accelerator time per CPU time of a class that can run on both.
    ratio: f64,
    /// By `state * n_ideals + ideal`, where `state` counts used accelerators and CPU cores.
    best: Vec<u64>,
    parent: Vec<u32>,
    upper: u64,
}

/// The best chain of pieces with a value below `upper` nanoseconds.
///
/// `stop` is asked now and then whether to give up.
#[must_use]
pub fn solve(
    instance: &LoadInstance,
    graph: &ClassGraph,
    lattice: &Lattice,
    upper: u64,
    stop: &dyn Fn() -> bool,
) -> Verdict {
    // Pieces are no more than classes: further devices stay empty.
    let n_classes = graph.n_classes();
    let Some(pieces) = Pieces::new(graph, lattice, stop) else { return Verdict::Stopped };
    let mut program = Program {
        lattice,
        graph,
        n_accelerators: instance.n_accelerators.min(n_classes),
        n_cpus: instance.n_cpus.min(n_classes),
        memory: instance.accelerator_memory.get(),
        pieces,
        ratio: 0.0,
        best: Vec::new(),
        parent: Vec::new(),
        upper,
    };
    program.ratio = program.ratio();
    let n_states = (program.n_accelerators + 1) * (program.n_cpus + 1);
    program.best = vec![NEVER; n_states * lattice.n_ideals()];
    program.parent = vec![0; n_states * lattice.n_ideals()];
    program.best[0] = 0;
    if !program.run(stop) {
        return Verdict::Stopped;
    }
    program.verdict(instance.n_accelerators)
}

/// Bytes that [`solve`] takes on a lattice.
#[must_use]
pub fn bytes(instance: &LoadInstance, graph: &ClassGraph, n_ideals: usize) -> usize {
    let n_classes = graph.n_classes();
    let devices = |n: usize| n.min(n_classes) + 1;
    let n_states = devices(instance.n_accelerators).saturating_mul(devices(instance.n_cpus));
    n_ideals.saturating_mul(n_states.saturating_mul(12).saturating_add(Pieces::BYTES_PER_IDEAL))
}

impl Program<'_> {
    fn ratio(&self) -> f64 {
        let times = self.graph.accelerator.iter().zip(&self.graph.cpu);
        times.fold(0.0, |ratio: f64, (accelerator, cpu)| match accelerator {
            Some(accelerator) if *accelerator > 0 => ratio.max(*accelerator as f64 / *cpu as f64),
            _ => ratio,
        })
    }

    /// Whether it ran to the end.
    fn run(&mut self, stop: &dyn Fn() -> bool) -> bool {
        let n_ideals = self.lattice.n_ideals();
        let mut seen = vec![u32::MAX; n_ideals];
        let mut open: Vec<u32> = Vec::new();
        let (mut alive, mut crossing) = (Vec::new(), Vec::new());
        let mut n_pairs = 0u64;
        for ideal in 0..n_ideals - 1 {
            self.alive(ideal, &mut alive);
            if alive.is_empty() {
                continue;
            }
            self.pieces.crossing(ideal, &mut crossing);
            open.clear();
            open.push(ideal as u32);
            while let Some(at) = open.pop() {
                n_pairs += 1;
                if n_pairs.is_multiple_of(PAIRS_PER_LOOK) && stop() {
                    return false;
                }
                if at as usize != ideal && !self.pair(ideal, at as usize, &alive, &crossing) {
                    continue;
                }
                for &next in self.lattice.larger(at as usize) {
                    if std::mem::replace(&mut seen[next as usize], ideal as u32) != ideal as u32 {
                        open.push(next);
                    }
                }
            }
        }
        true
    }

    /// States of an ideal from which a chain below `upper` may go on: (accelerators, cores, value).
    fn alive(&self, ideal: usize, alive: &mut Vec<(usize, usize, u64)>) {
        alive.clear();
        let n_ideals = self.lattice.n_ideals();
        let (all, done) = (self.pieces.sums[n_ideals - 1], self.pieces.sums[ideal]);
        let left = (all.accelerator - done.accelerator) as f64;
        let upper = self.upper as f64;
        for used in 0..=self.n_accelerators {
            for cores in 0..=self.n_cpus {
                let value = self.best[(used * (self.n_cpus + 1) + cores) * n_ideals + ideal];
                let accelerators_left = (self.n_accelerators - used) as f64 * upper;
                let cores_left = match self.n_cpus - cores {
                    0 => 0.0,
                    left => left as f64 * upper * self.ratio,
                };
                let is_dominated =
                    || alive.iter().any(|(u, c, v)| *u <= used && *c <= cores && *v <= value);
                if value < self.upper
                    && (left == 0.0 || left < (accelerators_left + cores_left) * SLACK)
                    && !is_dominated()
                {
                    alive.push((used, cores, value));
                }
            }
        }
    }

    /// Offers the piece between two ideals to all devices; `false` if no larger piece with the same
    /// lower end can be of use.
    fn pair(
        &mut self,
        from: usize,
        to: usize,
        alive: &[(usize, usize, u64)],
        crossing: &[u32],
    ) -> bool {
        let (low, high) = (self.pieces.sums[from], self.pieces.sums[to]);
        let time = high.accelerator - low.accelerator;
        let on_cpu = high.cpu - low.cpu;
        let fits = high.bytes - low.bytes <= self.memory
            && high.n_unsupported == low.n_unsupported
            && time < self.upper;
        let n_ideals = self.lattice.n_ideals();
        let is_last = to + 1 == n_ideals;
        let mut load = None;
        for &(used, cores, value) in alive {
            if fits && used < self.n_accelerators {
                let slot = ((used + 1) * (self.n_cpus + 1) + cores) * n_ideals + to;
                let limit = self.best[slot].min(self.upper);
                if value.max(time) < limit {
                    let load =
                        *load.get_or_insert_with(|| time + self.pieces.border(from, to, crossing));
                    self.improve(slot, value.max(load), limit, from as u32, is_last);
                }
            }
            if cores < self.n_cpus && on_cpu < self.upper {
                let slot = (used * (self.n_cpus + 1) + cores + 1) * n_ideals + to;
                let limit = self.best[slot].min(self.upper);
                self.improve(slot, value.max(on_cpu), limit, from as u32 | ON_CPU, is_last);
            }
        }
        fits || on_cpu < self.upper && self.n_cpus > 0
    }

    fn improve(&mut self, slot: usize, value: u64, limit: u64, parent: u32, is_last: bool) {
        if value < limit {
            self.best[slot] = value;
            self.parent[slot] = parent;
            if is_last {
                self.upper = value;
            }
        }
    }

    fn verdict(&self, n_accelerators: usize) -> Verdict {
        let n_ideals = self.lattice.n_ideals();
        let n_cores = self.n_cpus + 1;
        let last = (0..self.best.len() / n_ideals)
            .map(|state| (self.best[state * n_ideals + n_ideals - 1], state))
            .min();
        let Some((value, mut state)) = last.filter(|(value, _)| *value != NEVER) else {
            return Verdict::NoneBetter;
        };
        let mut devices = vec![0u32; self.graph.n_classes()];
        let mut ideal = n_ideals - 1;
        while ideal != 0 {
            let parent = self.parent[state * n_ideals + ideal];
            let lower = (parent & !ON_CPU) as usize;
            let (used, cores) = (state / n_cores, state % n_cores);
            let device = if parent & ON_CPU != 0 {
                state -= 1;
                n_accelerators + cores - 1
            } else {
                state -= n_cores;
                used - 1
            };
            let low = self.lattice.set(lower);
            for class in Lattice::classes(self.lattice.set(ideal)) {
                if low[class / 64] & (1 << (class % 64)) == 0 {
                    devices[class] = device as u32;
                }
            }
            ideal = lower;
        }
        Verdict::Better(value, devices)
    }
}
