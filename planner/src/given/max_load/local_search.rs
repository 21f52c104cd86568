//! Annealing over placements: single classes, neighbours, swaps and runs of a linear order.
//!
//! A move changes the loads of the two devices between which classes move, and of no other: a net
//! costs a device where it holds some, but not all of its members.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::control::Control;
use super::model::Model;

/// Last temperature, as a part of the greatest load.
const LAST_HEAT: f64 = 2e-5;
/// Exponents of the norm of the loads at the beginning and at the end.
const NORM: [f64; 2] = [12.0, 80.0];
/// Moves between two looks at the clock.
const BATCH: u64 = 2_000;
/// Longest run of the linear order that moves at once.
const LONGEST_RUN: usize = 24;

/// How far an annealing may leave its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heat {
    /// Far.
    Full,
    /// Only small repairs.
    Low,
}

impl Heat {
    /// First temperature, as a part of the greatest load.
    const fn first(self) -> f64 {
        match self {
            Self::Full => 0.01,
            Self::Low => 5e-4,
        }
    }
}

/// A placement with all that a move needs.
struct State<'a> {
    model: &'a Model,
    device_of: Vec<u32>,
    loads: Vec<f64>,
    bytes: Vec<u64>,
    /// Members of each net on each device.
    n_on: Vec<u32>,
}

impl<'a> State<'a> {
    fn new(model: &'a Model, device_of: &[u32]) -> Self {
        let n_devices = model.n_accelerators + model.n_cpus;
        let mut n_on = vec![0; model.nets.len() * n_devices];
        for (net, entry) in model.nets.iter().enumerate() {
            for class in &entry.members {
                n_on[net * n_devices + device_of[*class as usize] as usize] += 1;
            }
        }
        let mut bytes = model.bytes_on(device_of);
        bytes.resize(n_devices, 0);
        let loads = model.loads(device_of);
        Self { model, device_of: device_of.to_vec(), loads, bytes, n_on }
    }

    fn can_move(&self, class: usize, to: usize) -> bool {
        to >= self.model.n_accelerators
            || (self.model.is_on_accelerators(class)
                && self.bytes[to] + self.model.bytes[class] <= self.model.limit_bytes)
    }

    fn relocate(&mut self, class: usize, to: usize) {
        let model = self.model;
        let (k, n_devices) = (model.n_accelerators, self.loads.len());
        let from = self.device_of[class] as usize;
        if from == to {
            return;
        }
        for net in &model.nets_of[class] {
            let entry = &model.nets[*net as usize];
            let size = entry.members.len() as u32;
            let row = *net as usize * n_devices;
            let left = self.n_on[row + from] - 1;
            self.n_on[row + from] = left;
            let came = self.n_on[row + to] + 1;
            self.n_on[row + to] = came;
            if from < k {
                // It was cut unless all members were here; it is cut if some are left.
                self.loads[from] += entry.weight
                    * (f64::from(u8::from(left > 0)) - f64::from(u8::from(left + 1 < size)));
            }
            if to < k {
                self.loads[to] += entry.weight
                    * (f64::from(u8::from(came < size)) - f64::from(u8::from(came > 1)));
            }
        }
        for (device, sign) in [(from, -1.0), (to, 1.0)] {
            let time = if device < k { model.accelerator[class] } else { model.cpu[class] };
            self.loads[device] += sign * time;
        }
        if from < k {
            self.bytes[from] -= model.bytes[class];
        }
        if to < k {
            self.bytes[to] += model.bytes[class];
        }
        self.device_of[class] = to as u32;
    }

    fn value(&self) -> f64 {
        self.loads.iter().copied().fold(0.0, f64::max)
    }
}

/// One annealing.
pub(super) struct Annealing<'a> {
    state: State<'a>,
    order: &'a [u32],
    position: Vec<usize>,
    rng: SmallRng,
    /// Undo list of the move that is tried.
    moved: Vec<(u32, u32)>,
}

impl<'a> Annealing<'a> {
    /// Starts at a placement that keeps memory.
    pub(super) fn new(model: &'a Model, order: &'a [u32], start: &[u32], seed: u64) -> Self {
        let mut position = vec![0; order.len()];
        for (at, class) in order.iter().enumerate() {
            position[*class as usize] = at;
        }
        let state = State::new(model, start);
        Self { state, order, position, rng: SmallRng::seed_from_u64(seed), moved: Vec::new() }
    }

    /// The best placement met in `n_moves` moves, with its greatest load.
    pub(super) fn run(&mut self, n_moves: u64, first: Heat, control: &Control) -> (Vec<u32>, f64) {
        let mut best = (self.state.device_of.clone(), self.state.value());
        if self.state.model.n_classes() == 0 || self.state.loads.len() < 2 {
            return best;
        }
        let n_batches = n_moves.div_ceil(BATCH);
        for batch in 0..n_batches {
            let progress = batch as f64 / n_batches as f64;
            let heat = best.1 * first.first() * (LAST_HEAT / first.first()).powf(progress);
            let norm = NORM[0] * (NORM[1] / NORM[0]).powf(progress);
            self.batch(heat, norm, &mut best);
            if !control.spend(4 * BATCH) {
                break;
            }
        }
        best
    }

    fn batch(&mut self, heat: f64, norm: f64, best: &mut (Vec<u32>, f64)) {
        let unit = best.1.max(1.0);
        let mut energy = self.energy(norm, unit);
        for _ in 0..BATCH {
            self.moved.clear();
            if self.propose() && !self.moved.is_empty() {
                let next = self.energy(norm, unit);
                let is_taken = next <= energy
                    || self.rng.random::<f64>() < ((energy - next) * unit / heat).exp();
                if is_taken {
                    energy = next;
                    let value = self.state.value();
                    if value < best.1 {
                        *best = (self.state.device_of.clone(), value);
                    }
                    continue;
                }
            }
            while let Some((class, from)) = self.moved.pop() {
                self.state.relocate(class as usize, from as usize);
            }
        }
    }

    /// A norm of the loads, in multiples of `unit`.
    fn energy(&self, norm: f64, unit: f64) -> f64 {
        let sum: f64 = self.state.loads.iter().map(|load| (load / unit).powf(norm)).sum();
        sum.powf(1.0 / norm)
    }

    /// Moves classes; false if one of them can't.
    fn propose(&mut self) -> bool {
        let n = self.order.len();
        let n_devices = self.state.loads.len();
        let class = self.rng.random_range(0..n);
        match self.rng.random_range(0..8) {
            0 => {
                let to = self.rng.random_range(0..n_devices);
                self.put(class, to)
            }
            1..=3 => match self.neighbour(class) {
                Some(other) => {
                    let to = self.state.device_of[other] as usize;
                    self.put(class, to)
                }
                None => false,
            },
            4 => {
                let other = self.rng.random_range(0..n);
                let (here, there) = (self.state.device_of[class], self.state.device_of[other]);
                here != there && self.put(class, there as usize) && self.put(other, here as usize)
            }
            5 => match self.neighbour(class) {
                Some(other) => {
                    let to = self.rng.random_range(0..n_devices);
                    self.put(class, to) && self.put(other, to)
                }
                None => false,
            },
            _ => self.run_of_order(class),
        }
    }

    /// Moves a run of classes that are on one device.
    fn run_of_order(&mut self, class: usize) -> bool {
        let length = self.rng.random_range(2..=LONGEST_RUN);
        let start = self.position[class];
        let end = (start + length).min(self.order.len());
        let before = start.checked_sub(1).map(|at| self.order[at]);
        let after = self.order.get(end).copied();
        let to = match (self.rng.random_range(0..4), before, after) {
            (0, Some(class), _) | (1, _, Some(class)) => {
                self.state.device_of[class as usize] as usize
            }
            _ => self.rng.random_range(0..self.state.loads.len()),
        };
        let from = self.state.device_of[class];
        for at in start..end {
            let class = self.order[at] as usize;
            if self.state.device_of[class] == from && !self.put(class, to) {
                return false;
            }
        }
        true
    }

    fn put(&mut self, class: usize, to: usize) -> bool {
        let from = self.state.device_of[class];
        if from as usize == to {
            return true;
        }
        if !self.state.can_move(class, to) {
            return false;
        }
        self.moved.push((class as u32, from));
        self.state.relocate(class, to);
        true
    }

    /// Another class of one of the nets.
    fn neighbour(&mut self, class: usize) -> Option<usize> {
        let model = self.state.model;
        let nets = &model.nets_of[class];
        if nets.is_empty() {
            return None;
        }
        let net = nets[self.rng.random_range(0..nets.len())];
        let members = &model.nets[net as usize].members;
        let other = members[self.rng.random_range(0..members.len())] as usize;
        (other != class).then_some(other)
    }
}
