//! The fastest choice of configurations within memory: a knapsack with many items alike.
//!
//! Every layer starts with its fastest choice; steps to leaner ones are taken in the order of
//! seconds per byte saved. Choices above the line between two others are left out, which may cost
//! the optimum: [`Steps::is_exact`] tells.

use super::stages::{Choice, Kind};

/// From one choice of a kind to the next leaner one.
#[derive(Clone, Copy)]
struct Step {
    kind: usize,
    /// The step before it, of the same kind.
    before: Option<usize>,
    /// Choice that it leads to, by position in the layer.
    position: u32,
    seconds: f64,
    bytes: f64,
}

/// All kinds for one tensor degree, one number of copies and one number of samples in flight.
pub(super) struct Steps {
    /// Per kind: seconds, bytes and position of the fastest choice; `None` without any.
    fastest: Vec<Option<(f64, f64, u32)>>,
    steps: Vec<Step>,
    /// Whether no choice was left out that could be of use.
    pub(super) is_exact: bool,
}

impl Steps {
    pub(super) fn new(kinds: &[Kind], degree_at: usize, data: u32, in_flight: u32) -> Self {
        let mut this = Self { fastest: Vec::new(), steps: Vec::new(), is_exact: true };
        for (kind, choices) in kinds.iter().enumerate() {
            let useful = useful(&choices.choices[degree_at], f64::from(data), f64::from(in_flight));
            this.fastest.push(useful.first().copied());
            this.add(kind, &useful);
        }
        // Within a kind rates grow, and a stable sort keeps equal ones in order.
        let mut order: Vec<usize> = (0..this.steps.len()).collect();
        let rate = |step: &Step| step.seconds / step.bytes;
        order.sort_by(|a, b| rate(&this.steps[*a]).total_cmp(&rate(&this.steps[*b])));
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let moved = |old: &usize| {
            let step = this.steps[*old];
            Step { before: step.before.map(|before| place[before]), ..step }
        };
        this.steps = order.iter().map(moved).collect();
        this
    }

    /// The lower hull of a kind's choices.
    fn add(&mut self, kind: usize, useful: &[(f64, f64, u32)]) {
        let (mut at, mut before) = (0, None);
        while at + 1 < useful.len() {
            let rate = |to: usize| (useful[to].0 - useful[at].0) / (useful[at].1 - useful[to].1);
            let mut next = at + 1;
            for to in at + 2..useful.len() {
                if rate(to) < rate(next) {
                    next = to;
                }
            }
            self.is_exact &= next == at + 1;
            self.steps.push(Step {
                kind,
                before,
                position: useful[next].2,
                seconds: useful[next].0 - useful[at].0,
                bytes: useful[at].1 - useful[next].1,
            });
            (before, at) = (Some(self.steps.len() - 1), next);
        }
    }
}

/// Choices that no other beats in seconds and bytes, the fastest first.
fn useful(choices: &[Choice], data: f64, in_flight: f64) -> Vec<(f64, f64, u32)> {
    let mut all: Vec<(f64, f64, u32)> = choices
        .iter()
        .map(|choice| {
            let seconds = choice.time + (data - 1.0) * choice.exchange;
            (seconds, choice.per_sample * in_flight + choice.fixed, choice.position)
        })
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut useful: Vec<(f64, f64, u32)> = Vec::with_capacity(all.len());
    for choice in all {
        if useful.last().is_none_or(|last| choice.1 < last.1) {
            useful.push(choice);
        }
    }
    useful
}

/// What is known of the least seconds of a stage within memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    /// No choice takes less.
    pub(super) low: f64,
    /// A choice takes this.
    pub(super) high: f64,
}

/// One knapsack: so many layers of each kind.
pub(super) struct Knapsack<'a> {
    steps: &'a Steps,
    counts: &'a [u32],
    /// Seconds of the fastest choices, and bytes that they are too many.
    start: Option<(f64, f64)>,
    /// How often each step is taken.
    taken: Vec<u32>,
    branches: u32,
}

impl<'a> Knapsack<'a> {
    pub(super) fn new(steps: &'a Steps, counts: &'a [u32], memory: f64) -> Self {
        let (mut seconds, mut bytes, mut can_run) = (0.0, 0.0, true);
        for (fastest, count) in steps.fastest.iter().zip(counts).filter(|(_, count)| **count > 0) {
            match fastest {
                Some(fastest) => {
                    seconds += f64::from(*count) * fastest.0;
                    bytes += f64::from(*count) * fastest.1;
                }
                None => can_run = false,
            }
        }
        let start = can_run.then_some((seconds, bytes - memory));
        Self { steps, counts, start, taken: Vec::new(), branches: 0 }
    }

    /// Bounds by relaxation: the last step is taken in part below, and rounded up above.
    pub(super) fn bounds(&mut self) -> Bounds {
        self.taken = vec![0; self.steps.steps.len()];
        let Some((seconds, excess)) = self.start else {
            return Bounds { low: f64::INFINITY, high: f64::INFINITY };
        };
        let (low, high) = self.walk(0, seconds, excess);
        Bounds { low, high }
    }

    /// Seconds of a choice within `budget` seconds; `Some(None)` if there is none, `None` past
    /// `n_branches`.
    pub(super) fn within(&mut self, budget: f64, n_branches: u32) -> Option<Option<f64>> {
        self.taken = vec![0; self.steps.steps.len()];
        self.branches = n_branches;
        let Some((seconds, excess)) = self.start else { return Some(None) };
        self.descend(0, seconds, excess, budget)
    }

    /// Positions of the choices of each kind after [`Self::within`] found some: (kind, position,
    /// number of layers).
    pub(super) fn choices(&self) -> Vec<(usize, u32, u32)> {
        let mut left: Vec<Vec<(u32, u32)>> = self
            .steps
            .fastest
            .iter()
            .zip(self.counts)
            .map(|(fastest, count)| fastest.iter().map(|f| (f.2, *count)).collect())
            .collect();
        for (step, taken) in self.steps.steps.iter().zip(&self.taken) {
            // Steps of a kind come in order, so the last entry is the one to take from.
            if let Some(last) = left[step.kind].last_mut() {
                last.1 -= taken;
                left[step.kind].push((step.position, *taken));
            }
        }
        let each = left.into_iter().enumerate();
        each.flat_map(|(kind, list)| list.into_iter().map(move |(p, n)| (kind, p, n))).collect()
    }

    /// How often a step can be taken.
    fn most(&self, at: usize, decided: usize) -> u32 {
        let step = &self.steps.steps[at];
        match step.before {
            Some(before) if before < decided => self.taken[before],
            _ => self.counts[step.kind],
        }
    }

    /// Bounds of the seconds that cover `excess` with the steps from `at` on.
    fn walk(&self, at: usize, mut seconds: f64, mut excess: f64) -> (f64, f64) {
        if excess <= 0.0 {
            return (seconds, seconds);
        }
        for number in at..self.steps.steps.len() {
            let most = f64::from(self.most(number, at));
            let step = &self.steps.steps[number];
            if most * step.bytes >= excess {
                let share = excess / step.bytes;
                return (seconds + share * step.seconds, seconds + share.ceil() * step.seconds);
            }
            seconds += most * step.seconds;
            excess -= most * step.bytes;
        }
        (f64::INFINITY, f64::INFINITY)
    }

    fn descend(
        &mut self,
        at: usize,
        seconds: f64,
        excess: f64,
        budget: f64,
    ) -> Option<Option<f64>> {
        self.branches = self.branches.checked_sub(1)?;
        let (low, high) = self.walk(at, seconds, excess);
        if low > budget || low == f64::INFINITY {
            return Some(None);
        }
        if high <= budget {
            self.fill(at, excess);
            return Some(Some(high));
        }
        // `low <= budget < high`: there is a step left to decide.
        let most = self.most(at, at);
        let step = self.steps.steps[at];
        let needed = (excess / step.bytes).ceil().min(f64::from(most)) as u32;
        for taken in (0..=needed).rev() {
            self.taken[at] = taken;
            let (more, less) = (f64::from(taken) * step.seconds, f64::from(taken) * step.bytes);
            let found = self.descend(at + 1, seconds + more, excess - less, budget)?;
            if found.is_some() {
                return Some(found);
            }
        }
        self.taken[at] = 0;
        Some(None)
    }

    /// Takes the steps that [`Self::walk`] takes.
    fn fill(&mut self, at: usize, mut excess: f64) {
        for number in at..self.steps.steps.len() {
            let bytes = self.steps.steps[number].bytes;
            let needed = (excess.max(0.0) / bytes).ceil().min(f64::from(u32::MAX)) as u32;
            let taken = needed.min(self.most(number, number));
            self.taken[number] = taken;
            excess -= f64::from(taken) * bytes;
        }
    }
}
