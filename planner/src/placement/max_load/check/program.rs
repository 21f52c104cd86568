//! Subsets of groups of load at most the limit, decided group by group.

use std::collections::HashMap;

use super::{Checker, Flaw};

/// States of all layers beyond which checking gives up.
const MAX_STATES: usize = 3_000_000;

/// What is known of the members of an open net.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Known {
    AllOutside,
    AllInside,
    Cut,
}

/// A decision: the next state, and the ns that it costs.
pub(super) type Step = Option<(usize, u64)>;

/// One group.
pub(super) struct Layer {
    pub(super) root: usize,
    /// Per state: outside, inside.
    pub(super) steps: Vec<[Step; 2]>,
    /// Least ns of the rest, where it can be finished within the limit.
    pub(super) rest: Vec<Option<u64>>,
}

/// All layers.
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
}

impl Program {
    /// Lays out all subsets that `allows(group, is inside)` allows.
    pub(super) fn new(
        checker: &Checker<'_>,
        allows: impl Fn(usize, bool) -> bool,
    ) -> Result<Self, Flaw> {
        let sequence = checker.sequence()?;
        let last_of_net = last_positions(checker, &sequence);
        let mut layers = Vec::with_capacity(sequence.len());
        let mut open: Vec<usize> = Vec::new();
        let mut states: Vec<(Vec<Known>, u64)> = vec![(Vec::new(), 0)];
        let mut n_states = 0;
        for (at, root) in sequence.iter().enumerate() {
            let touching: Vec<usize> =
                (0..checker.nets.len()).filter(|net| checker.nets[*net].0.contains(root)).collect();
            let next_open: Vec<usize> = open
                .iter()
                .chain(touching.iter().filter(|net| !open.contains(net)))
                .filter(|net| last_of_net[**net] > at)
                .copied()
                .collect();
            let mut number: HashMap<Vec<Known>, usize> = HashMap::new();
            let mut next: Vec<(Vec<Known>, u64)> = Vec::new();
            let mut steps = Vec::with_capacity(states.len());
            for (known, load) in &states {
                let mut of_state = [None, None];
                for (is_inside, step) in [false, true].into_iter().zip(&mut of_state) {
                    if !allows(*root, is_inside) || (is_inside && !checker.may_hold(*root)) {
                        continue;
                    }
                    let work = checker.groups[root].accelerator.filter(|_| is_inside);
                    let mut add = work.unwrap_or(0);
                    let (after, cut) = decide(checker, &open, known, &touching, is_inside);
                    add += cut;
                    if load + add > checker.limit {
                        continue;
                    }
                    let key: Vec<Known> = next_open.iter().map(|net| after[net]).collect();
                    let to = *number.entry(key.clone()).or_insert_with(|| {
                        next.push((key, u64::MAX));
                        next.len() - 1
                    });
                    next[to].1 = next[to].1.min(load + add);
                    *step = Some((to, add));
                }
                steps.push(of_state);
            }
            n_states += states.len();
            if n_states + next.len() > MAX_STATES {
                return Err(Flaw::TooLarge);
            }
            layers.push(Layer { root: *root, steps, rest: Vec::new() });
            (open, states) = (next_open, next);
        }
        let mut program = Self { layers };
        program.finish(states.len());
        Ok(program)
    }

    /// Works out the least rests from the end.
    fn finish(&mut self, n_last: usize) {
        let mut rest: Vec<Option<u64>> = vec![Some(0); n_last];
        for layer in self.layers.iter_mut().rev() {
            let least = |steps: &[Step; 2]| {
                let ways = steps.iter().flatten();
                ways.filter_map(|(to, add)| rest[*to].map(|rest| rest + add)).min()
            };
            layer.rest = layer.steps.iter().map(least).collect();
            rest.clone_from(&layer.rest);
        }
    }

    /// Least load of a subset, if any is at most the limit.
    pub(super) fn least(&self) -> Option<u64> {
        self.layers.first().map_or(Some(0), |layer| layer.rest.first().copied().flatten())
    }
}

/// What is known of all nets after a decision, and the ns of those that it cuts.
fn decide(
    checker: &Checker<'_>,
    open: &[usize],
    known: &[Known],
    touching: &[usize],
    is_inside: bool,
) -> (HashMap<usize, Known>, u64) {
    let mut after: HashMap<usize, Known> =
        open.iter().copied().zip(known.iter().copied()).collect();
    let now = if is_inside { Known::AllInside } else { Known::AllOutside };
    let mut cut = 0;
    for net in touching {
        let entry = after.entry(*net).or_insert(now);
        if *entry != now && *entry != Known::Cut {
            cut += checker.nets[*net].1;
            *entry = Known::Cut;
        }
    }
    (after, cut)
}

/// Where the last member of each net stands.
fn last_positions(checker: &Checker<'_>, sequence: &[usize]) -> Vec<usize> {
    let position: HashMap<usize, usize> =
        sequence.iter().enumerate().map(|(at, root)| (*root, at)).collect();
    let last = |members: &std::collections::BTreeSet<usize>| {
        members.iter().map(|root| position[root]).max().unwrap_or(0)
    };
    checker.nets.iter().map(|(members, _)| last(members)).collect()
}
