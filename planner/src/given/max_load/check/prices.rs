//! Whether prices refute a limit: all that the accelerators can be worth, `k` times the best subset,
//! and all that the CPU cores can be worth, are less than the worth of all groups.
//!
//! For a plan of loads at most T, sum of w = sum over accelerators of w(S) + w(CPU cores). With a
//! price c of an accelerator's memory M, w(CPU) <= w(CPU) + c (m(CPU) - D) / M, where D is what the
//! accelerators can't hold. The right-hand side is at most a fractional knapsack of l T.

use std::collections::HashMap;

use super::program::{NEVER, Program};
use super::{Checker, Flaw};

/// Cells of loads that are joined, as parts of the limit; the last joins nothing.
const CELLS: [Option<u64>; 4] = [Some(3_000), Some(30_000), Some(300_000), None];
/// Labels of one layer beyond which checking gives up: 500 MB.
const MAX_LABELS: usize = 15_000_000;
/// Bits by which worths are refined, so that worth per ns is a whole number.
const FINE: u32 = 24;
/// Greatest price: sums of as many as there are nodes stay far from overflow.
const MAX_PRICE: i64 = 1 << 56;

/// Checks the prices.
pub(super) fn refute(
    checker: &Checker<'_>,
    prices: &[(u32, i64)],
    byte_price: i64,
) -> Result<(), Flaw> {
    let mut worth: HashMap<usize, i128> = HashMap::new();
    for (node, price) in prices {
        let root = checker.find(*node)?;
        let is_new = worth.insert(root, i128::from(*price)).is_none();
        if !is_new || price.abs() > MAX_PRICE {
            return Err(Flaw::Malformed);
        }
    }
    if !(0..=MAX_PRICE).contains(&byte_price) {
        return Err(Flaw::Malformed);
    }
    let Some(need) = need(checker, &worth, i128::from(byte_price)) else { return Ok(()) };
    if are_bought_by_work(checker, &worth, need) {
        return Ok(());
    }
    let program = Program::new(checker)?;
    let search = Search::new(checker, &program, &worth, need)?;
    for cells in CELLS {
        let width = cells.map_or(1, |cells| (checker.limit / cells).max(1));
        if !search.reaches(width)? {
            return Ok(());
        }
    }
    Err(Flaw::Prices)
}

/// Whether time alone refutes: at the most that any group is worth per ns, all accelerators
/// together are worth less than what is needed.
fn are_bought_by_work(checker: &Checker<'_>, worth: &HashMap<usize, i128>, need: i128) -> bool {
    let mut dearest = 0_i128;
    for (root, group) in checker.groups.iter().filter(|(root, _)| checker.may_hold(**root)) {
        let worth = worth.get(root).copied().unwrap_or(0) << FINE;
        match i128::from(group.accelerator.unwrap_or(0)) {
            _ if worth <= 0 => {}
            0 => return false,
            // Rounded up: no group may be worth more.
            time => dearest = dearest.max((worth + time - 1) / time),
        }
    }
    let devices = checker.instance.n_accelerators as i128;
    let most =
        dearest.checked_mul(i128::from(checker.limit)).and_then(|each| each.checked_mul(devices));
    most.is_some_and(|most| most < need << FINE)
}

/// Worth that is left for the accelerators, at least; `None` if the CPU cores are overfull already.
fn need(checker: &Checker<'_>, worth: &HashMap<usize, i128>, byte_price: i128) -> Option<i128> {
    let memory = i128::from(checker.instance.accelerator_memory.get().max(1));
    let k = checker.instance.n_accelerators as i128;
    let mut budget = checker.instance.n_cpus as i128 * i128::from(checker.limit);
    let (mut need, mut bytes) = (0_i128, 0_i128);
    let mut items: Vec<(i128, i128)> = Vec::new();
    for (root, group) in &checker.groups {
        let (cpu, group_bytes) = (i128::from(group.cpu), i128::from(group.bytes));
        if !checker.may_hold(*root) {
            budget -= cpu;
            continue;
        }
        let worth = worth.get(root).copied().unwrap_or(0);
        need += worth;
        bytes += group_bytes;
        // Rounded up: the cores' worth must not be underestimated.
        let with_bytes = worth + (byte_price * group_bytes + memory - 1) / memory;
        if checker.has_core(group) && with_bytes > 0 {
            items.push((with_bytes, cpu));
        }
    }
    if budget < 0 {
        return None;
    }
    // What the accelerators can't hold may be negative: then the plan's bytes earn nothing.
    need += (byte_price * (bytes - k * memory)).div_euclid(memory);
    items.sort_by(|a, b| (b.0 * a.1).cmp(&(a.0 * b.1)).then(a.1.cmp(&b.1)));
    for (worth, time) in items {
        if time <= budget {
            need -= worth;
            budget -= time;
        } else {
            need -= (worth * budget + time - 1) / time;
            budget = 0;
        }
    }
    Some(need)
}

/// A search for a subset that is worth too much.
struct Search<'a> {
    checker: &'a Checker<'a>,
    program: &'a Program,
    worth: Vec<i128>,
    /// `k` times a subset's worth must reach it.
    need: i128,
    /// (worth per ns, greatest worth - that x load of the rest by layer and state), refined.
    bounds: Vec<(i128, Vec<Vec<i128>>)>,
}

/// The worth of what can't be finished: far below any other, and from overflow.
const WORTHLESS: i128 = i128::MIN / 4;
/// States or labels between two looks at the clock.
const LOOK: usize = 1 << 15;

#[derive(Clone, Copy)]
struct Label {
    load: u64,
    worth: i128,
}

impl<'a> Search<'a> {
    fn new(
        checker: &'a Checker<'a>,
        program: &'a Program,
        worth: &HashMap<usize, i128>,
        need: i128,
    ) -> Result<Self, Flaw> {
        let of = |root: usize| worth.get(&root).copied().unwrap_or(0);
        let worth = program.layers.iter().map(|layer| of(layer.root)).collect();
        let mut search = Self { checker, program, worth, need, bounds: Vec::new() };
        // The bound is convex in the multiplier: thirds of an interval close in on its least.
        let total: i128 = search.worth.iter().map(|worth| (*worth).max(0)).sum();
        let (mut low, mut high) = (0, 4 * (total << FINE) / i128::from(checker.limit.max(1)) + 1);
        while high - low > 2 + (low >> 10) {
            let third = (high - low) / 3;
            let (left, right) = (low + third, high - third);
            if search.whole(left)? <= search.whole(right)? { high = right } else { low = left }
        }
        for lambda in [low, low * 9 / 10, low * 11 / 10, low / 2, 0] {
            let mut rest: Vec<Vec<i128>> = Vec::with_capacity(program.layers.len());
            for at in (0..program.layers.len()).rev() {
                checker.go_on()?;
                rest.push(search.layer_rest(at, lambda, rest.last()));
            }
            rest.reverse();
            search.bounds.push((lambda, rest));
        }
        Ok(search)
    }

    /// Greatest worth - lambda x load of the rest, by state of a layer, given those of the next.
    fn layer_rest(&self, at: usize, lambda: i128, next: Option<&Vec<i128>>) -> Vec<i128> {
        let gains = [0, self.worth[at] << FINE];
        let mut here = Vec::with_capacity(self.program.layers[at].steps.len());
        for steps in &self.program.layers[at].steps {
            let mut best = WORTHLESS;
            for (step, gain) in steps.iter().zip(gains) {
                let Some((to, add)) = step.way() else { continue };
                let after = next.map_or(0, |next| next[to]);
                if after > WORTHLESS {
                    best = best.max(after + gain - lambda * i128::from(add));
                }
            }
            here.push(best);
        }
        here
    }

    fn whole(&self, lambda: i128) -> Result<i128, Flaw> {
        let mut rest: Option<Vec<i128>> = None;
        for at in (0..self.program.layers.len()).rev() {
            self.checker.go_on()?;
            rest = Some(self.layer_rest(at, lambda, rest.as_ref()));
        }
        let start = rest.map_or(0, |states| states[0]).max(0);
        Ok(start + lambda * i128::from(self.checker.limit))
    }

    /// Whether some subset could be worth `need / k`, with loads joined in cells of this width.
    fn reaches(&self, width: u64) -> Result<bool, Flaw> {
        let mut labels = vec![vec![Label { load: 0, worth: 0 }]];
        for (at, layer) in self.program.layers.iter().enumerate() {
            let n_next = self.program.layers.get(at + 1).map_or(1, |next| next.steps.len());
            let mut next: Vec<Vec<Label>> = vec![Vec::new(); n_next];
            let gains = [0, self.worth[at]];
            let (mut n_labels, mut n_looked) = (0, 0);
            for (labels, steps) in labels.iter().zip(&layer.steps) {
                n_looked += labels.len() + 1;
                if n_looked > LOOK {
                    n_looked = 0;
                    self.checker.go_on()?;
                }
                for (step, gain) in steps.iter().zip(gains) {
                    let Some((to, add)) = step.way() else { continue };
                    for label in labels {
                        let label = Label { load: label.load + add, worth: label.worth + gain };
                        if self.is_open(at + 1, to, label) {
                            next[to].push(label);
                            n_labels += 1;
                        }
                    }
                }
                if n_labels > MAX_LABELS {
                    return Err(Flaw::TooLarge);
                }
            }
            for labels in &mut next {
                thin(labels, width);
            }
            labels = next;
        }
        Ok(labels.iter().any(|labels| !labels.is_empty()))
    }

    /// Whether a label can still become a subset of load at most the limit that is worth enough.
    fn is_open(&self, layer: usize, state: usize, label: Label) -> bool {
        let k = self.checker.instance.n_accelerators as i128;
        let limit = self.checker.limit;
        let rest = self.program.layers.get(layer).map_or(0, |layer| layer.rest[state]);
        if rest == NEVER || label.load + rest > limit {
            return false;
        }
        self.bounds.iter().all(|(lambda, bound)| {
            let after = bound.get(layer).map_or(0, |states| states[state]);
            let slack = i128::from(limit - label.load);
            after > WORTHLESS
                && k * ((label.worth << FINE) + after + lambda * slack) >= self.need << FINE
        })
    }
}

/// Leaves one label per cell of loads, with the cell's least load and greatest worth, and only
/// labels that are worth more than all lighter ones.
fn thin(labels: &mut Vec<Label>, width: u64) {
    labels.sort_unstable_by_key(|label| (label.load, -label.worth));
    let mut thinned: Vec<Label> = Vec::with_capacity(labels.len());
    for label in labels.iter() {
        match thinned.last_mut() {
            Some(last) if label.worth <= last.worth => {}
            Some(last) if last.load / width == label.load / width => last.worth = label.worth,
            _ => thinned.push(*label),
        }
    }
    *labels = thinned;
}
