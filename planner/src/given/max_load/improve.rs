//! What gives a search its incumbents: chains, annealing, packings and dives.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::certificate::Reason;
use super::chain::{cut_chain, cut_greedily};
use super::column_generation::Question;
use super::dive::{Choice, Placement, pack};
use super::frame::Frame;
use super::local_search::{Annealing, Heat};
use super::pairs::part_pairs;
use super::search::{POLISH_MOVES, Search};

/// Moves of the first annealing, and of later ones.
const FIRST_MOVES: u64 = 200_000;
const MOVES_PER_CLASS: u64 = 5_000;
/// Where all placements are tried afterwards.
const FEW_MOVES_PER_CLASS: u64 = 300;
const MORE_MOVES: u64 = 400_000;
/// Packings before the first test.
const FIRST_PACKINGS: u64 = 4;
/// By how much weights are changed by lot.
const AMPLITUDES: [f64; 4] = [0.0, 0.003, 0.01, 0.03];
/// Part of the time left for parting pairs of devices anew.
const PAIRS_PART: f64 = 0.15;
/// Placements that far above the incumbent are not worth it.
const PAIRS_REACH: f64 = 1.01;
/// Ways to lay out the cells of a parting.
const N_SHIFTS: u64 = 7;
/// Limits that a packing tries.
const PACKING_STEPS: usize = 9;

impl Search<'_> {
    pub(super) fn seeds(&mut self) {
        let frame = self.frame.clone();
        let model = &frame.model;
        if let Some(start) = &self.options.start {
            let mut device_of = vec![0; model.n_classes()];
            for (class, device) in model.class_of.iter().zip(start) {
                device_of[*class as usize] = *device;
            }
            self.offer(&frame, &device_of);
        }
        let is_exhausted = model.n_classes() <= self.options.exhausted;
        let per_class = if is_exhausted { FEW_MOVES_PER_CLASS } else { MOVES_PER_CLASS };
        let moves = per_class * model.n_classes() as u64;
        let by_id: Vec<u32> = (0..model.n_classes() as u32).collect();
        for order in [&frame.order, &by_id] {
            let chain = cut_chain(model, order).or_else(|| cut_greedily(model, order));
            if let Some(device_of) = chain {
                self.anneal(&frame, &device_of, FIRST_MOVES.min(moves), Heat::Full, 0);
            }
        }
        if model.n_cpus > 0 {
            let on_cpu = vec![model.n_accelerators as u32; model.n_classes()];
            if self.value.is_infinite() {
                self.anneal(&frame, &on_cpu, FIRST_MOVES.min(moves), Heat::Full, 0);
            }
        }
    }

    pub(super) fn anneal(
        &mut self,
        frame: &Frame,
        start: &[u32],
        moves: u64,
        heat: Heat,
        seed: u64,
    ) -> f64 {
        self.annealed(frame, start, moves, heat, seed).0
    }

    /// The best placement near a start, with its greatest load.
    fn annealed(
        &mut self,
        frame: &Frame,
        start: &[u32],
        moves: u64,
        heat: Heat,
        seed: u64,
    ) -> (f64, Placement) {
        let value = self.offer(frame, start);
        let fits = frame.model.bytes_on(start).iter().all(|b| *b <= frame.model.limit_bytes);
        if !fits || !frame.model.loads(start).iter().all(|load| load.is_finite()) {
            return (value, start.to_vec());
        }
        let seed = self.options.seed.wrapping_mul(1_000_003).wrapping_add(seed);
        let mut annealing = Annealing::new(&frame.model, &frame.order, start, seed);
        let (device_of, _) = annealing.run(moves, heat, self.control);
        (self.offer(frame, &device_of).min(value), device_of)
    }

    /// The incumbent in a frame.
    fn incumbent(&self, frame: &Frame) -> Option<Placement> {
        let best = self.best.as_ref()?;
        let mut device_of = vec![0; self.frame.model.n_classes()];
        for (class, device) in self.frame.model.class_of.iter().zip(best) {
            device_of[*class as usize] = *device;
        }
        frame.lower(&device_of)
    }

    /// Packings with the first lots.
    pub(super) fn first_packings(&mut self) {
        for lot in 0..FIRST_PACKINGS {
            self.packings(lot, 0.03);
        }
    }

    /// Packings at limits between bound and incumbent: the least limit at which the rest fits the
    /// CPU cores, by bisection.
    fn packings(&mut self, lot: u64, part_of_time: f64) {
        let control = self.control.phase(part_of_time * self.control.seconds_left());
        let frame = self.frame.clone();
        let seed = self.options.seed.wrapping_add(lot);
        let amplitude = AMPLITUDES[(lot % AMPLITUDES.len() as u64) as usize];
        let weights = perturbed(&frame.model.accelerator, amplitude, seed);
        let (mut low, mut high) = (self.bound, self.value);
        let mut best: Option<(f64, Placement)> = None;
        for _ in 0..PACKING_STEPS {
            let limit = (0.5 * (low + high)).floor();
            if self.is_done() || control.is_over() || limit <= low {
                break;
            }
            let question = Question::whole(&frame.model, &frame.order, limit);
            let device_of = pack(&question, Vec::new(), &weights, &control);
            if control.is_over() {
                break;
            }
            let (value, device_of) =
                self.annealed(&frame, &device_of, POLISH_MOVES, Heat::Low, lot);
            if value <= limit {
                high = value
            } else {
                low = limit
            }
            if best.as_ref().is_none_or(|(least, _)| value < *least) {
                best = Some((value, device_of));
            }
        }
        let near = best.filter(|(value, _)| *value <= self.value * PAIRS_REACH);
        if let Some((_, device_of)) = near.filter(|_| lot >= FIRST_PACKINGS) {
            self.part_anew(&frame, &device_of, lot);
        }
    }

    /// Parts pairs of devices of a placement anew.
    fn part_anew(&mut self, frame: &Frame, start: &[u32], lot: u64) {
        let control = self.control.phase(PAIRS_PART * self.control.seconds_left());
        let shift = (lot % N_SHIFTS) as f64 / N_SHIFTS as f64;
        let device_of = part_pairs(&frame.model, &frame.order, start, shift, &control);
        self.offer(frame, &device_of);
    }

    /// Tries to find a better placement.
    pub(super) fn improve(&mut self, turn: u64) {
        if self.frame.model.n_classes() > super::search::MAX_CLASSES {
            let frame = self.frame.clone();
            if let Some(start) = self.incumbent(&frame) {
                self.anneal(&frame, &start, MORE_MOVES, Heat::Low, turn);
            }
            return;
        }
        let frame = match self.frame.at(self.value - 1.0, self.control) {
            Some(Ok(frame)) => frame,
            Some(Err(rounds)) => {
                let frame = self.frame.clone();
                return self.refuted(self.value - 1.0, rounds, &frame, Reason::NoDevice);
            }
            None => return,
        };
        let part = [0.15, 0.5, 0.85, 0.3][(turn / 3 % 4) as usize];
        let limit = (self.fits + part * (self.value - self.fits)).floor();
        if turn == 0
            && let Some(start) = self.incumbent(&frame)
        {
            self.part_anew(&frame, &start, 0);
        }
        match turn % 3 {
            0 => {
                self.packings(turn / 3 + FIRST_PACKINGS, 0.05);
            }
            1 => {
                let start = self.incumbent(&frame);
                if let Some(start) = start {
                    let heat = if turn.is_multiple_of(2) { Heat::Full } else { Heat::Low };
                    self.anneal(&frame, &start, MORE_MOVES, heat, turn);
                }
            }
            _ => {
                let choices = [Choice::Largest, Choice::Nearest(0.75), Choice::Nearest(0.5)];
                let before = self.fits;
                self.test(limit, choices[(turn / 3 % 3) as usize]);
                self.fits = self.fits.min(before);
            }
        }
    }
}

/// Weights with up to `amplitude` more, by lot.
fn perturbed(weights: &[f64], amplitude: f64, seed: u64) -> Vec<f64> {
    let mut rng = SmallRng::seed_from_u64(seed);
    weights.iter().map(|weight| weight * (1.0 + amplitude * rng.random::<f64>())).collect()
}
