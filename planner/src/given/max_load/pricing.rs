//! The device subset of greatest worth among those of load at most T.
//!
//! A shortest-path problem with one resource on [`Layers`]: first its Lagrangian relaxation, whose
//! completions bound what a label can still become, then label setting with one Pareto front of
//! (load, worth) per state.

use super::control::Control;
use super::layers::{Layers, NONE};

/// Labels beyond which a pricing is given up: 400 MB of parents.
const MAX_LABELS: usize = 60_000_000;
/// Secant steps; they end by themselves on the breakpoint.
const MAX_PASSES: usize = 14;
/// Multiples of the best multiplier whose completions bound labels.
const LAMBDA_FACTORS: [f64; 5] = [1.0, 0.85, 1.2, 0.5, 0.0];

/// Which labels of one state are joined: those whose loads lie in the same cell of so many ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Grid {
    /// The cell's least load with its greatest worth: the result bounds the maximum.
    Relaxing(f64),
    /// The label of the cell's greatest worth: the result is a subset, but not always the best.
    Thinning(f64),
}

impl Grid {
    const fn width(self) -> f64 {
        match self {
            Self::Relaxing(width) | Self::Thinning(width) => width,
        }
    }
}

/// A device's classes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subset {
    /// Increasing.
    pub(super) classes: Vec<u32>,
    /// Load of an accelerator that holds them, ns.
    pub(super) load: f64,
    /// Sum of their prices.
    pub(super) worth: f64,
}

/// What a pricing found.
#[derive(Clone, Debug)]
pub(super) struct Priced {
    /// The best subset met.
    pub(super) best: Subset,
    /// No subset of load at most T is worth more, up to rounding; not for thinned labels.
    pub(super) bound: f64,
}

/// Outcome of the relaxation.
#[derive(Clone, Debug)]
pub(super) struct Relaxed {
    /// The best subset of load at most T met.
    pub(super) best: Subset,
    /// No subset of load at most T is worth more.
    pub(super) bound: f64,
    /// Worth per ns at which `bound` is least.
    pub(super) lambda: f64,
}

/// Prices subsets on one set of layers; holds the memory that pricings share.
pub(super) struct Pricer {
    layers: Layers,
    /// Where each layer's states begin in a flat array; the last is the end.
    offset: Vec<usize>,
    completions: [Vec<f64>; LAMBDA_FACTORS.len()],
}

/// A way from the start to a state.
#[derive(Clone, Copy)]
struct Label {
    load: f64,
    worth: f64,
    /// Position of the label before, times two, plus whether the class is inside.
    parent: u32,
}

impl Pricer {
    /// Takes layers to price on.
    pub(super) fn new(layers: Layers) -> Self {
        let mut offset = Vec::with_capacity(layers.layers.len() + 1);
        let mut n = 0;
        for layer in &layers.layers {
            offset.push(n);
            n += layer.steps.len();
        }
        offset.push(n);
        Self { layers, offset, completions: Default::default() }
    }

    /// Fills the greatest worth - lambda x load of any completion, and returns the best subset.
    fn pass(&mut self, worth: &[f64], lambda: f64, slot: usize) -> (Subset, f64) {
        let completion = &mut self.completions[slot];
        completion.resize(self.layers.n_states + 1, 0.0);
        let end = self.layers.n_states;
        completion[end] = 0.0;
        for (at, layer) in self.layers.layers.iter().enumerate().rev() {
            let (here, next) = completion.split_at_mut(self.offset[at + 1]);
            let here = &mut here[self.offset[at]..];
            let gain = worth[layer.class as usize];
            for (value, [out, inside]) in here.iter_mut().zip(&layer.steps) {
                let mut best = f64::NEG_INFINITY;
                if out.to != NONE {
                    best = next[out.to as usize] - lambda * out.add;
                }
                if inside.to != NONE {
                    best = best.max(next[inside.to as usize] + gain - lambda * inside.add);
                }
                *value = best;
            }
        }
        (self.trace(worth, lambda, slot), self.completions[slot][0])
    }

    /// The subset along the best completions from the start.
    fn trace(&self, worth: &[f64], lambda: f64, slot: usize) -> Subset {
        let completion = &self.completions[slot];
        let mut subset = Subset { classes: Vec::new(), load: 0.0, worth: 0.0 };
        let mut state = 0_usize;
        for (at, layer) in self.layers.layers.iter().enumerate() {
            let next = &completion[self.offset[at + 1]..];
            let [out, inside] = layer.steps[state];
            let gain = worth[layer.class as usize];
            let value = |to: u32, rest: f64| {
                if to == NONE { f64::NEG_INFINITY } else { next[to as usize] + rest }
            };
            let stays = value(out.to, -lambda * out.add);
            let takes = value(inside.to, gain - lambda * inside.add);
            let step = if takes > stays { inside } else { out };
            if takes > stays {
                subset.classes.push(layer.class);
                subset.worth += gain;
            }
            subset.load += step.add;
            state = step.to as usize;
        }
        subset.classes.sort_unstable();
        subset
    }

    /// The Lagrangian relaxation of the limit: secant steps on its multiplier.
    pub(super) fn relaxed(&mut self, worth: &[f64]) -> Relaxed {
        let limit = self.layers.limit;
        let mut best = Subset { classes: Vec::new(), load: 0.0, worth: 0.0 };
        let (mut over, value) = self.pass(worth, 0.0, 0);
        if over.load <= limit {
            return Relaxed { best: over, bound: value.max(0.0), lambda: 0.0 };
        }
        let mut under = best.clone();
        let (mut bound, mut least_lambda) = (value, 0.0);
        for _ in 0..MAX_PASSES {
            let lambda = (over.worth - under.worth) / (over.load - under.load);
            if !(lambda > 0.0 && lambda.is_finite()) {
                break;
            }
            let (subset, value) = self.pass(worth, lambda, 0);
            if value + lambda * limit < bound {
                bound = value + lambda * limit;
                least_lambda = lambda;
            }
            let on_line = under.worth - lambda * under.load;
            let is_new = value > on_line + 1e-12 * (1.0 + on_line.abs());
            if subset.load <= limit {
                if subset.worth > best.worth {
                    best = subset.clone();
                }
                under = subset;
            } else {
                over = subset;
            }
            if !is_new {
                break;
            }
        }
        Relaxed { bound: bound.max(best.worth), best, lambda: least_lambda }
    }

    /// The exact maximum, if it is above `floor`; else a bound of at most `floor` (or of what the
    /// relaxation met). `None` if stopped or too large.
    pub(super) fn exact(
        &mut self,
        worth: &[f64],
        floor: f64,
        grid: Grid,
        control: &Control,
    ) -> Option<Priced> {
        let relaxed = self.relaxed(worth);
        let limit = self.layers.limit;
        if relaxed.bound <= floor.max(relaxed.best.worth) {
            return Some(Priced { best: relaxed.best, bound: relaxed.bound });
        }
        let lambdas = LAMBDA_FACTORS.map(|factor| factor * relaxed.lambda);
        let mut best = relaxed.best;
        for (slot, lambda) in lambdas.iter().enumerate() {
            let (subset, _) = self.pass(worth, *lambda, slot);
            if subset.load <= limit && subset.worth > best.worth {
                best = subset;
            }
        }
        let search = Search { pricer: self, worth, lambdas, floor: floor.max(best.worth), grid };
        let found = search.run(control)?;
        let bound = found.as_ref().map_or(floor.max(best.worth), |(_, bound)| *bound);
        let subset = found.map(|(subset, _)| subset).filter(|subset| subset.load <= limit);
        let best = subset.filter(|subset| subset.worth > best.worth).unwrap_or(best);
        Some(Priced { best, bound })
    }
}

/// One label setting.
struct Search<'a> {
    pricer: &'a Pricer,
    worth: &'a [f64],
    lambdas: [f64; LAMBDA_FACTORS.len()],
    floor: f64,
    grid: Grid,
}

impl Search<'_> {
    /// The best subset above the floor with its bound.
    fn run(&self, control: &Control) -> Option<Option<(Subset, f64)>> {
        let layers = &self.pricer.layers.layers;
        let mut parents: Vec<Vec<u32>> = Vec::with_capacity(layers.len());
        let mut labels = vec![Label { load: 0.0, worth: 0.0, parent: 0 }];
        let mut start: Vec<u32> = vec![0, 1];
        let mut n_labels = 0;
        for at in 0..layers.len() {
            (labels, start) = self.advance(at, &labels, &start);
            n_labels += labels.len();
            if !control.spend(labels.len() as u64) || n_labels > MAX_LABELS {
                return None;
            }
            parents.push(labels.iter().map(|label| label.parent).collect());
        }
        let last = labels.last().filter(|label| label.worth > self.floor);
        Some(last.map(|last| (self.trace(&parents, labels.len() - 1), last.worth)))
    }

    /// The labels of the next layer's states.
    fn advance(&self, at: usize, labels: &[Label], start: &[u32]) -> (Vec<Label>, Vec<u32>) {
        let layers = &self.pricer.layers.layers;
        let layer = &layers[at];
        let limit = self.pricer.layers.limit;
        let gain = [0.0, self.worth[layer.class as usize]];
        let n_next = layer.entry_start.len() - 1;
        let mut next: Vec<Label> = Vec::with_capacity(2 * labels.len());
        let mut next_start = Vec::with_capacity(n_next + 1);
        next_start.push(0);
        let mut heads: Vec<(u32, u32, f64, f64, u32)> = Vec::new();
        for state in 0..n_next {
            let flat = self.pricer.offset[at + 1] + state;
            let to_go = layers.get(at + 1).map_or(0.0, |next| next.to_go[state]);
            let mut intercept = [0.0; LAMBDA_FACTORS.len()];
            for (slot, lambda) in self.lambdas.iter().enumerate() {
                intercept[slot] = self.pricer.completions[slot][flat] + lambda * limit - self.floor;
            }
            heads.clear();
            let ways = layer.entry_start[state] as usize..layer.entry_start[state + 1] as usize;
            for entry in &layer.entries[ways] {
                let from = entry.from as usize;
                if start[from] < start[from + 1] {
                    let gain = gain[entry.inside as usize];
                    heads.push((start[from], start[from + 1], entry.add, gain, entry.inside));
                }
            }
            let first = next.len();
            while let Some(way) = least_head(&heads, labels) {
                let head = &mut heads[way];
                let label = &labels[head.0 as usize];
                let (load, worth) = (label.load + head.2, label.worth + head.3);
                let parent = 2 * head.0 + head.4;
                head.0 += 1;
                if head.0 == head.1 {
                    heads.swap_remove(way);
                }
                let is_over = load + to_go > limit;
                let is_poor = (0..self.lambdas.len())
                    .any(|slot| worth + intercept[slot] - self.lambdas[slot] * load <= 0.0);
                if is_over || is_poor {
                    continue;
                }
                self.keep(&mut next, first, Label { load, worth, parent });
            }
            next_start.push(next.len() as u32);
        }
        (next, next_start)
    }

    /// Adds a label of at least the loads before it, unless one of them is worth as much.
    fn keep(&self, next: &mut Vec<Label>, first: usize, label: Label) {
        if next.len() > first {
            let end = next.len() - 1;
            let last = &mut next[end];
            if label.worth <= last.worth {
                return;
            }
            let width = self.grid.width();
            let cell = |load: f64| (load / width) as u64;
            if label.load <= last.load || (width > 0.0 && cell(label.load) == cell(last.load)) {
                *last = match self.grid {
                    Grid::Relaxing(_) => Label { load: last.load, ..label },
                    Grid::Thinning(_) => label,
                };
                return;
            }
        }
        next.push(label);
    }

    /// The subset of a label of the end.
    fn trace(&self, parents: &[Vec<u32>], mut label: usize) -> Subset {
        let layers = &self.pricer.layers.layers;
        let mut inside = Vec::new();
        for (layer, parents) in layers.iter().zip(parents).rev() {
            let parent = parents[label];
            if parent & 1 == 1 {
                inside.push(layer.class);
            }
            label = parent as usize / 2;
        }
        inside.sort_unstable();
        let mut subset = Subset { classes: inside, load: 0.0, worth: 0.0 };
        let mut state = 0;
        for layer in layers {
            let takes = subset.classes.binary_search(&layer.class).is_ok();
            let step = layer.steps[state][usize::from(takes)];
            if step.to == NONE {
                // A grid may join labels whose true load is too large.
                subset.load = f64::INFINITY;
                break;
            }
            subset.load += step.add;
            subset.worth += if takes { self.worth[layer.class as usize] } else { 0.0 };
            state = step.to as usize;
        }
        subset
    }
}

/// The way whose next label has the least load; ties: the first.
fn least_head(heads: &[(u32, u32, f64, f64, u32)], labels: &[Label]) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for (way, head) in heads.iter().enumerate() {
        let load = labels[head.0 as usize].load + head.2;
        if best.is_none_or(|(least, _)| load < least) {
            best = Some((load, way));
        }
    }
    best.map(|(_, way)| way)
}
