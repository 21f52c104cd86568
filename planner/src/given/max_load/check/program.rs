//! Subsets of groups of load at most the limit, decided group by group.

use std::collections::HashMap;

use super::{Checker, Flaw};

/// States of all layers beyond which checking gives up: with their bounds, 800 MB.
const MAX_STATES: usize = 6_000_000;
/// Nets that may be open at once: two bits each in a key.
const MAX_OPEN: usize = 64;
/// States between two looks at the clock.
const LOOK: usize = 1 << 14;

/// No way on.
const NONE: u32 = u32::MAX;
/// The rest can't be finished within the limit.
pub(super) const NEVER: u64 = u64::MAX;

/// What is known of the members of an open net, in two bits; nothing is known of one that is not
/// open.
const OUTSIDE: u128 = 1;
const CUT: u128 = 3;

/// A decision.
#[derive(Clone, Copy)]
pub(super) struct Step {
    to: u32,
    add: u64,
}

impl Step {
    /// The next state and the ns that it costs, where there is a way.
    pub(super) fn way(self) -> Option<(usize, u64)> {
        (self.to != NONE).then_some((self.to as usize, self.add))
    }
}

/// One group.
pub(super) struct Layer {
    pub(super) root: usize,
    /// Per state: outside, inside.
    pub(super) steps: Vec<[Step; 2]>,
    /// Least ns of the rest, or [`NEVER`].
    pub(super) rest: Vec<u64>,
}

/// All layers.
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
}

/// A net that a group is in.
struct Touched {
    shift: usize,
    weight: u64,
    is_first: bool,
    is_last: bool,
}

impl Program {
    /// Lays out all subsets.
    pub(super) fn new(checker: &Checker<'_>) -> Result<Self, Flaw> {
        let sequence = checker.sequence()?;
        let touched = touched(checker, &sequence)?;
        let mut layers = Vec::with_capacity(sequence.len());
        let mut states: Vec<(u128, u64)> = vec![(0, 0)];
        let mut n_states = 0;
        for (root, nets) in sequence.iter().zip(&touched) {
            let mut number: HashMap<u128, u32> = HashMap::with_capacity(2 * states.len());
            let mut next: Vec<(u128, u64)> = Vec::new();
            let mut steps = Vec::with_capacity(states.len());
            let work = checker.groups[root].accelerator.filter(|_| checker.may_hold(*root));
            for (at, (known, load)) in states.iter().enumerate() {
                if at % LOOK == 0 {
                    checker.go_on()?;
                }
                let mut step = |work: Option<u64>, inside: u128| {
                    let nowhere = Step { to: NONE, add: 0 };
                    let Some(work) = work else { return nowhere };
                    let (key, cut) = decide(*known, nets, inside);
                    let add = work + cut;
                    if load + add > checker.limit {
                        return nowhere;
                    }
                    let to = *number.entry(key).or_insert_with(|| {
                        next.push((key, u64::MAX));
                        next.len() as u32 - 1
                    });
                    let least = &mut next[to as usize].1;
                    *least = (*least).min(load + add);
                    Step { to, add }
                };
                steps.push([step(Some(0), 0), step(work, 1)]);
            }
            n_states += states.len();
            if n_states + next.len() > MAX_STATES {
                return Err(Flaw::TooLarge);
            }
            layers.push(Layer { root: *root, steps, rest: Vec::new() });
            states = next;
        }
        let mut program = Self { layers };
        program.finish(states.len());
        Ok(program)
    }

    /// Works out the least rests from the end.
    fn finish(&mut self, n_last: usize) {
        let mut rest: Vec<u64> = vec![0; n_last];
        for layer in self.layers.iter_mut().rev() {
            let least = |steps: &[Step; 2]| {
                let ways = steps.iter().filter_map(|step| step.way());
                ways.map(|(to, add)| rest[to].saturating_add(add)).min().unwrap_or(NEVER)
            };
            layer.rest = layer.steps.iter().map(least).collect();
            rest.clone_from(&layer.rest);
        }
    }
}

/// What is known of all nets after a decision, and the ns of those that it cuts.
fn decide(mut known: u128, nets: &[Touched], inside: u128) -> (u128, u64) {
    let now = OUTSIDE + inside;
    let mut cut = 0;
    for net in nets {
        let before = (known >> net.shift) & CUT;
        let mut after = before;
        if net.is_first {
            after = now;
        } else if before != now && before != CUT {
            cut += net.weight;
            after = CUT;
        }
        known &= !(CUT << net.shift);
        if !net.is_last {
            known |= after << net.shift;
        }
    }
    (known, cut)
}

/// The nets of each group of the sequence, with the bits that they use while they are open.
fn touched(checker: &Checker<'_>, sequence: &[usize]) -> Result<Vec<Vec<Touched>>, Flaw> {
    let position: HashMap<usize, usize> =
        sequence.iter().enumerate().map(|(at, root)| (*root, at)).collect();
    let mut of_position: Vec<Vec<usize>> = vec![Vec::new(); sequence.len()];
    for (net, (members, _)) in checker.nets.iter().enumerate() {
        for root in members {
            of_position[position[root]].push(net);
        }
    }
    let mut free: Vec<usize> = (0..MAX_OPEN).rev().map(|slot| 2 * slot).collect();
    let mut n_seen = vec![0; checker.nets.len()];
    let mut shift = vec![0; checker.nets.len()];
    let mut touched = Vec::with_capacity(sequence.len());
    for nets in &of_position {
        let mut here = Vec::with_capacity(nets.len());
        for &net in nets {
            let (members, weight) = &checker.nets[net];
            let is_first = n_seen[net] == 0;
            if is_first {
                shift[net] = free.pop().ok_or(Flaw::TooLarge)?;
            }
            n_seen[net] += 1;
            let is_last = n_seen[net] == members.len();
            here.push(Touched { shift: shift[net], weight: *weight, is_first, is_last });
        }
        free.extend(here.iter().filter(|net| net.is_last).map(|net| net.shift));
        touched.push(here);
    }
    Ok(touched)
}
