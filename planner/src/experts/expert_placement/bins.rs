//! Devices as bins of copies, and how the fullest one gives load away.

use crate::run::Control;

/// What counts as less: a search must not turn in circles for what is lost by rounding.
const LESS: f64 = 1.0 - 1e-12;

/// Looks at devices between two looks at the clock.
const CLOCK: u64 = 64;

/// What is left of the work that a search may do, in exchanges that it looks at.
#[derive(Debug)]
pub(super) struct Effort<'c> {
    pub(super) left: u64,
    pub(super) control: &'c Control,
    n_looks: u64,
}

impl<'c> Effort<'c> {
    pub(super) fn new(left: u64, control: &'c Control) -> Self {
        Self { left, control, n_looks: 0 }
    }

    /// Books work; whether the search may go on.
    pub(super) fn spend(&mut self, n: usize) -> bool {
        self.left = self.left.saturating_sub(n as u64);
        self.n_looks += 1;
        if self.n_looks.is_multiple_of(CLOCK) && self.control.stop().is_some() {
            self.left = 0;
        }
        self.left > 0
    }
}

/// Experts on devices of as many slots each.
#[derive(Clone, Debug)]
pub(super) struct Bins<'s> {
    shares: &'s [f64],
    /// Copies of each expert.
    pub(super) counts: Vec<usize>,
    /// Load of a copy of each expert.
    each: Vec<f64>,
    /// By device the experts that it holds.
    pub(super) held: Vec<Vec<usize>>,
    loads: Vec<f64>,
}

/// Two devices, and which slots of the first change places with which of the second.
struct Exchange {
    with: usize,
    own: Vec<usize>,
    other: Vec<usize>,
    /// The greater load of the two thereafter.
    load: f64,
}

impl<'s> Bins<'s> {
    pub(super) fn new(shares: &'s [f64], experts: Vec<Vec<usize>>) -> Self {
        let mut counts = vec![0; shares.len()];
        experts.iter().flatten().for_each(|expert| counts[*expert] += 1);
        let (each, loads) = (vec![0.0; shares.len()], vec![0.0; experts.len()]);
        let mut bins = Self { shares, counts, each, held: experts, loads };
        bins.weigh();
        bins
    }

    /// Loads anew, after counts have changed.
    fn weigh(&mut self) {
        for (expert, each) in self.each.iter_mut().enumerate() {
            *each = self.shares[expert] / self.counts[expert].max(1) as f64;
        }
        for (load, experts) in self.loads.iter_mut().zip(&self.held) {
            *load = experts.iter().map(|expert| self.each[*expert]).sum();
        }
    }

    /// The fullest device, the first of several.
    pub(super) fn fullest(&self) -> usize {
        let devices = 0..self.loads.len();
        devices
            .reduce(
                |best, device| if self.loads[device] > self.loads[best] { device } else { best },
            )
            .unwrap_or_default()
    }

    /// The greatest load.
    pub(super) fn load(&self) -> f64 {
        self.loads.get(self.fullest()).copied().unwrap_or_default()
    }

    /// Gives load of the fullest device away as long as both devices stay below it.
    pub(super) fn descend(&mut self, least: f64, effort: &mut Effort<'_>) {
        while self.load() > least / LESS {
            let one = self.exchange(1, effort);
            let Some(found) = one.or_else(|| self.exchange(2, effort)) else { return };
            self.apply(&found);
        }
    }

    /// The best exchange of so many copies of the fullest device for as many of another.
    fn exchange(&self, n: usize, effort: &mut Effort<'_>) -> Option<Exchange> {
        let fullest = self.fullest();
        let choices = |device: usize| -> Vec<(f64, [usize; 2])> {
            let experts = &self.held[device];
            let weight = |slot: usize| self.each[experts[slot]];
            match n {
                1 => (0..experts.len()).map(|slot| (weight(slot), [slot; 2])).collect(),
                _ => (0..experts.len())
                    .flat_map(|a| (0..a).map(move |b| (a, b)))
                    .map(|(a, b)| (weight(a) + weight(b), [a, b]))
                    .collect(),
            }
        };
        let offers = choices(fullest);
        let load = self.loads[fullest];
        let mut best: Option<(f64, usize, [usize; 2], [usize; 2])> = None;
        for with in (0..self.held.len()).filter(|with| *with != fullest) {
            let others = choices(with);
            if !effort.spend(offers.len() * others.len()) {
                return None;
            }
            for (given, mine) in &offers {
                for (taken, theirs) in &others {
                    let moved = given - taken;
                    let after = (load - moved).max(self.loads[with] + moved);
                    if after < best.as_ref().map_or(load * LESS, |best| best.0) {
                        best = Some((after, with, *mine, *theirs));
                    }
                }
            }
        }
        let (load, with, mine, other) = best?;
        let slots = |pair: [usize; 2]| pair[..n].to_vec();
        Some(Exchange { with, own: slots(mine), other: slots(other), load })
    }

    fn apply(&mut self, found: &Exchange) {
        let fullest = self.fullest();
        for (slot, other) in found.own.iter().zip(&found.other) {
            self.swap((fullest, *slot), (found.with, *other));
        }
        debug_assert!(self.loads[fullest].max(self.loads[found.with]) <= found.load / LESS);
    }

    /// Two copies change places.
    pub(super) fn swap(&mut self, a: (usize, usize), b: (usize, usize)) {
        let (one, two) = (self.held[a.0][a.1], self.held[b.0][b.1]);
        self.held[a.0][a.1] = two;
        self.held[b.0][b.1] = one;
        for device in [a.0, b.0] {
            self.loads[device] = self.held[device].iter().map(|expert| self.each[*expert]).sum();
        }
    }

    /// An expert takes the place of a copy of another one, which has more.
    pub(super) fn replace(&mut self, (device, slot): (usize, usize), expert: usize) {
        let old = std::mem::replace(&mut self.held[device][slot], expert);
        self.counts[old] -= 1;
        self.counts[expert] += 1;
        self.weigh();
    }

    /// The load of a copy of an expert that has so many copies more.
    pub(super) fn each_of(&self, expert: usize, more: isize) -> f64 {
        self.shares[expert] / self.counts[expert].saturating_add_signed(more).max(1) as f64
    }

    /// The load of a device.
    pub(super) fn load_of(&self, device: usize) -> f64 {
        self.loads[device]
    }
}
