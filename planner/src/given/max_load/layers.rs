//! The device subsets of load at most T as paths through layers of states.
//!
//! Layer t stands before the t-th class of the order is decided. A state is what the open nets
//! know: none of the members so far is inside, all are, or some (then the net is paid for). Only
//! states through which some subset of load at most T passes are kept.

use std::collections::HashMap;

use super::model::Model;

/// No way on.
pub(super) const NONE: u32 = u32::MAX;
/// Nets that may be open at once: two bits each in a key.
const N_SLOTS: usize = 64;
/// States beyond which the layers are given up: about 100 MB.
const MAX_STATES: usize = 3_000_000;

/// Where a decision leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// State of the next layer, or [`NONE`].
    pub(super) to: u32,
    /// ns that it adds to the load.
    pub(super) add: f64,
}

/// A way into a state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// State of the layer before.
    pub(super) from: u32,
    /// Whether the class is inside.
    pub(super) inside: u32,
    /// ns that it adds to the load.
    pub(super) add: f64,
}

/// One class and the states before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    /// The class that is decided.
    pub(super) class: u32,
    /// Per state: outside, inside.
    pub(super) steps: Vec<[Step; 2]>,
    /// Least load of any completion, ns.
    pub(super) to_go: Vec<f64>,
    /// Ways into the states of the *next* layer, grouped by state.
    pub(super) entries: Vec<Entry>,
    /// Where each next state's ways begin; one more than states.
    pub(super) entry_start: Vec<u32>,
}

/// All subsets of load at most T.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    /// In the order of the classes.
    pub(super) layers: Vec<Layer>,
    /// T, ns.
    pub(super) limit: f64,
    /// States in all layers.
    pub(super) n_states: usize,
}

type Key = [u64; 2];

/// What the order says about a net.
struct Span {
    slot: usize,
    n_members: usize,
}

/// Moves the key of a state over one class.
struct Mover<'a> {
    model: &'a Model,
    spans: Vec<Span>,
    /// Members of each net that are decided already.
    n_seen: Vec<usize>,
}

impl Mover<'_> {
    /// The key after a decision, and the ns of the nets that it cuts.
    fn step(&self, mut key: Key, class: usize, inside: u64) -> (Key, f64) {
        let mut add = 0.0;
        for net in &self.model.nets_of[class] {
            let net = *net as usize;
            let span = &self.spans[net];
            let (word, shift) = (span.slot / 32, 2 * (span.slot % 32));
            let before = (key[word] >> shift) & 3;
            // 1: all outside; 2: all inside; 3: cut and paid for.
            let after = match (self.n_seen[net], before) {
                (0, _) => 1 + inside,
                (_, 3) => 3,
                (_, same) if same == 1 + inside => same,
                _ => {
                    add += self.model.nets[net].weight;
                    3
                }
            };
            key[word] &= !(3 << shift);
            if self.n_seen[net] + 1 < span.n_members {
                key[word] |= after << shift;
            }
        }
        (key, add)
    }
}

/// Gives each net a slot for as long as it is open; `None` if there are too few.
fn spans(model: &Model, order: &[u32]) -> Option<Vec<Span>> {
    let mut spans: Vec<Option<Span>> = model.nets.iter().map(|_| None).collect();
    let mut n_seen = vec![0; model.nets.len()];
    let mut free: Vec<usize> = (0..N_SLOTS).rev().collect();
    for class in order {
        for net in &model.nets_of[*class as usize] {
            let net = *net as usize;
            let n_members = model.nets[net].members.len();
            if n_seen[net] == 0 {
                spans[net] = Some(Span { slot: free.pop()?, n_members });
            }
            n_seen[net] += 1;
        }
        for net in &model.nets_of[*class as usize] {
            let net = *net as usize;
            if let Some(span) = spans[net].as_ref().filter(|span| n_seen[net] == span.n_members) {
                free.push(span.slot);
            }
        }
    }
    spans.into_iter().collect()
}

impl Layers {
    /// Lays out all subsets of load at most `limit` ns that hold none of the `forbidden` classes;
    /// `None` if that takes too many states.
    pub(super) fn new(
        model: &Model,
        order: &[u32],
        limit: f64,
        forbidden: &[bool],
    ) -> Option<Self> {
        let mut mover =
            Mover { model, spans: spans(model, order)?, n_seen: vec![0; model.nets.len()] };
        let mut layers = Vec::with_capacity(order.len());
        let mut keys: Vec<Key> = vec![[0; 2]];
        let mut least: Vec<f64> = vec![0.0];
        let mut n_states = 0;
        for class in order {
            let index = *class as usize;
            let may_hold = !forbidden[index] && model.is_on_accelerators(index);
            let mut found: HashMap<Key, u32> = HashMap::with_capacity(2 * keys.len());
            let mut next_keys = Vec::new();
            let mut next_least: Vec<f64> = Vec::new();
            let mut steps = Vec::with_capacity(keys.len());
            for (key, load) in keys.iter().zip(&least) {
                let mut of_state = [Step { to: NONE, add: 0.0 }; 2];
                for (inside, step) in of_state.iter_mut().enumerate() {
                    if inside == 1 && !may_hold {
                        continue;
                    }
                    let (next, mut add) = mover.step(*key, index, inside as u64);
                    add += if inside == 1 { model.accelerator[index] } else { 0.0 };
                    if load + add > limit {
                        continue;
                    }
                    let to = *found.entry(next).or_insert_with(|| {
                        next_keys.push(next);
                        next_least.push(f64::INFINITY);
                        next_keys.len() as u32 - 1
                    });
                    next_least[to as usize] = next_least[to as usize].min(load + add);
                    *step = Step { to, add };
                }
                steps.push(of_state);
            }
            n_states += keys.len();
            if n_states + next_keys.len() > MAX_STATES {
                return None;
            }
            for net in &model.nets_of[index] {
                mover.n_seen[*net as usize] += 1;
            }
            layers.push(Layer { class: *class, steps, to_go: least, ..Layer::default() });
            (keys, least) = (next_keys, next_least);
        }
        let mut layers = Self { layers, limit, n_states };
        layers.prune();
        layers.link();
        Some(layers)
    }

    /// Drops states and steps that no subset of load at most T uses. `to_go` holds the least load
    /// from the start, and holds the least load to the end afterwards.
    fn prune(&mut self) {
        // The end is one state: all nets are closed.
        let mut next_to_go = vec![0.0];
        let mut next_number = vec![0_u32];
        self.n_states = 0;
        for layer in self.layers.iter_mut().rev() {
            let mut number = vec![NONE; layer.steps.len()];
            let mut to_go = Vec::new();
            let mut pruned = Vec::new();
            for (state, steps) in layer.steps.iter().enumerate() {
                let mut steps = *steps;
                let mut least = f64::INFINITY;
                for step in &mut steps {
                    let number = next_number.get(step.to as usize).copied().unwrap_or(NONE);
                    step.to = NONE;
                    if number != NONE {
                        let rest = step.add + next_to_go[number as usize];
                        if layer.to_go[state] + rest <= self.limit {
                            step.to = number;
                            least = least.min(rest);
                        }
                    }
                }
                if least.is_finite() {
                    number[state] = pruned.len() as u32;
                    pruned.push(steps);
                    to_go.push(least);
                }
            }
            self.n_states += pruned.len();
            layer.steps = pruned;
            layer.to_go = to_go;
            next_to_go.clone_from(&layer.to_go);
            next_number = number;
        }
    }

    /// Lists the ways into each state.
    fn link(&mut self) {
        let n_states: Vec<usize> =
            self.layers.iter().skip(1).map(|layer| layer.steps.len()).chain([1]).collect();
        for (layer, n_next) in self.layers.iter_mut().zip(n_states) {
            let mut start = vec![0_u32; n_next + 1];
            for step in layer.steps.iter().flatten().filter(|step| step.to != NONE) {
                start[step.to as usize + 1] += 1;
            }
            for state in 0..n_next {
                start[state + 1] += start[state];
            }
            let none = Entry { from: 0, inside: 0, add: 0.0 };
            let mut entries = vec![none; start[n_next] as usize];
            let mut fill = start.clone();
            for (from, steps) in layer.steps.iter().enumerate() {
                for (inside, step) in steps.iter().enumerate().filter(|(_, s)| s.to != NONE) {
                    let at = &mut fill[step.to as usize];
                    entries[*at as usize] =
                        Entry { from: from as u32, inside: inside as u32, add: step.add };
                    *at += 1;
                }
            }
            layer.entries = entries;
            layer.entry_start = start;
        }
    }
}
