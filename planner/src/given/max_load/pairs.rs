//! Two devices at a time: all their classes are parted anew, nearly as well as can be.
//!
//! A dynamic program along the linear order. A state is what the open nets know: members on the one
//! device, on the other, or on both. Of labels whose first loads lie in one cell, the one with the
//! least second load is kept, so that a result is a true split, but not always the best.

use std::collections::HashMap;

use super::control::Control;
use super::model::Model;

/// Cells of the first load, as a part of the limit.
const CELLS: f64 = 3_000.0;
/// Exponent of the norm of the loads that a parting lessens.
const NORM: i32 = 60;
/// By how much a parting must lessen it, relatively.
const LEAST_GAIN: f64 = 1e-9;
/// States of one layer beyond which a pair is left as it is.
const MAX_STATES: usize = 400;

/// Members of a net so far: 1 = some on the first device, 2 = some on the second.
type Known = Vec<u8>;

#[derive(Clone, Copy)]
struct Label {
    loads: [f64; 2],
    /// On the first device, if that is an accelerator, and on the second.
    bytes: [u64; 2],
    /// Position among the labels of the layer before, times two, plus the device of the class.
    parent: u32,
}

const NO_LABEL: Label = Label { loads: [f64::INFINITY; 2], bytes: [0; 2], parent: 0 };

/// A net with classes on the pair.
struct PairNet {
    weight: f64,
    /// Classes of the pair that it holds.
    n_inside: usize,
    /// Whether it holds others.
    has_others: bool,
}

/// Parts pairs anew until none gets better, or stopped: device of each class.
pub(super) fn part_pairs(
    model: &Model,
    order: &[u32],
    start: &[u32],
    shift: f64,
    control: &Control,
) -> Vec<u32> {
    let mut device_of = start.to_vec();
    let n_devices = model.n_accelerators + model.n_cpus;
    let mut is_settled = vec![false; n_devices * n_devices];
    loop {
        let loads = model.loads(&device_of);
        let mut pairs: Vec<(usize, usize)> = (0..model.n_accelerators)
            .flat_map(|one| (one + 1..n_devices).map(move |two| (one, two)))
            .filter(|(one, two)| !is_settled[one * n_devices + two])
            .collect();
        // The fullest device first, with the emptiest.
        let key = |(one, two): &(usize, usize)| {
            (loads[*one].max(loads[*two]), -loads[*one].min(loads[*two]))
        };
        pairs.sort_by(|a, b| {
            let (a, b) = (key(a), key(b));
            b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        let Some(&(one, two)) = pairs.first() else { return device_of };
        is_settled[one * n_devices + two] = true;
        let limit = loads.iter().copied().fold(0.0, f64::max);
        let parting = Parting::new(model, order, &device_of, [one, two], limit, shift);
        let Some(better) = parting.run([loads[one], loads[two]], control) else {
            if control.is_over() {
                return device_of;
            }
            continue;
        };
        device_of = better;
        for other in 0..n_devices {
            for device in [one, two] {
                is_settled[device.min(other) * n_devices + device.max(other)] = false;
            }
        }
        is_settled[one * n_devices + two] = true;
    }
}

/// Nets with the members that are still to come.
type Open = Vec<(u32, usize)>;
/// A state with its labels, by position.
type State = (Known, Vec<(u32, Label)>);

/// One pair.
struct Parting<'a> {
    model: &'a Model,
    device_of: &'a [u32],
    pair: [usize; 2],
    /// Classes of the pair, in order.
    classes: Vec<u32>,
    nets: HashMap<u32, PairNet>,
    limit: f64,
    shift: f64,
}

impl<'a> Parting<'a> {
    fn new(
        model: &'a Model,
        order: &[u32],
        device_of: &'a [u32],
        pair: [usize; 2],
        limit: f64,
        shift: f64,
    ) -> Self {
        let is_inside = |class: u32| pair.contains(&(device_of[class as usize] as usize));
        let classes: Vec<u32> = order.iter().copied().filter(|class| is_inside(*class)).collect();
        let mut nets = HashMap::new();
        for net in classes.iter().flat_map(|class| &model.nets_of[*class as usize]) {
            let entry = &model.nets[*net as usize];
            let n_inside = entry.members.iter().filter(|member| is_inside(**member)).count();
            let has_others = n_inside < entry.members.len();
            nets.insert(*net, PairNet { weight: entry.weight, n_inside, has_others });
        }
        Self { model, device_of, pair, classes, nets, limit, shift }
    }

    /// Device of each class after a better parting than one with these loads.
    fn run(&self, loads: [f64; 2], control: &Control) -> Option<Vec<u32>> {
        let mut parents: Vec<Vec<u32>> = Vec::with_capacity(self.classes.len());
        let mut open: Open = Vec::new();
        let first = Label { loads: [0.0; 2], bytes: [0; 2], parent: 0 };
        let mut states: Vec<State> = vec![(Vec::new(), vec![(0, first)])];
        for class in &self.classes {
            let (next_open, next) = self.advance(*class, &open, &states);
            let mut layer = Vec::new();
            let mut sorted: Vec<(Known, Vec<Label>)> = next.into_iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            states = sorted
                .into_iter()
                .map(|(known, cells)| {
                    let labels = cells.into_iter().filter(|label| label.loads[1].is_finite());
                    let numbered = labels.map(|label| {
                        layer.push(label.parent);
                        (layer.len() as u32 - 1, label)
                    });
                    (known, numbered.collect())
                })
                .collect();
            if states.len() > MAX_STATES
                || layer.is_empty()
                || !control.spend(4 * layer.len() as u64)
            {
                return None;
            }
            parents.push(layer);
            open = next_open;
        }
        let energy = |loads: [f64; 2]| -> f64 {
            loads.iter().map(|load| (load / self.limit).powi(NORM)).sum()
        };
        let ends = states.iter().flat_map(|(_, labels)| labels);
        let best = ends.min_by(|a, b| energy(a.1.loads).total_cmp(&energy(b.1.loads)))?;
        (energy(best.1.loads) < energy(loads) * (1.0 - LEAST_GAIN))
            .then(|| self.placement(&parents, best.0))
    }

    /// The next class on either device: what is open then, and the labels of each state by cell.
    fn advance(
        &self,
        class: u32,
        open: &[(u32, usize)],
        states: &[State],
    ) -> (Open, HashMap<Known, Vec<Label>>) {
        let model = self.model;
        let k = model.n_accelerators;
        let nets = &model.nets_of[class as usize];
        // Nets with the members that are still to come.
        let mut all: Open = open.to_vec();
        all.extend(
            nets.iter()
                .filter(|net| open.iter().all(|(other, _)| other != *net))
                .map(|net| (*net, self.nets[net].n_inside)),
        );
        let is_own: Vec<bool> = all.iter().map(|(net, _)| nets.contains(net)).collect();
        for (entry, is_own) in all.iter_mut().zip(&is_own) {
            entry.1 -= usize::from(*is_own);
        }
        let mut next: HashMap<Known, Vec<Label>> = HashMap::new();
        for (known, labels) in states {
            for side in 0..2 {
                let device = self.pair[side];
                let is_accelerator = device < k;
                if is_accelerator && !model.is_on_accelerators(class as usize) {
                    continue;
                }
                let time = if is_accelerator { &model.accelerator } else { &model.cpu };
                let mut add = [0.0; 2];
                add[side] = time[class as usize];
                let mut after: Known = Vec::with_capacity(all.len());
                for (at, (net, left)) in all.iter().enumerate() {
                    let before = known.get(at).copied().unwrap_or(0);
                    let now = if is_own[at] { before | 1 << side } else { before };
                    self.pay(*net, before, now, &mut add);
                    if *left > 0 {
                        after.push(now);
                    }
                }
                let cells = next.entry(after).or_insert_with(|| vec![NO_LABEL; CELLS as usize + 2]);
                for (number, label) in labels {
                    self.keep(cells, label, *number, side, add, class);
                }
            }
        }
        all.retain(|(_, left)| *left > 0);
        (all, next)
    }

    /// What a net costs more once members are where `now` says.
    fn pay(&self, net: u32, before: u8, now: u8, add: &mut [f64; 2]) {
        let net = &self.nets[&net];
        let is_cut = |known: u8| net.has_others || known == 3;
        for (side, (add, device)) in add.iter_mut().zip(self.pair).enumerate() {
            let pays = |known: u8| known & 1 << side != 0 && is_cut(known);
            if device < self.model.n_accelerators && pays(now) && !pays(before) {
                *add += net.weight;
            }
        }
    }

    fn keep(
        &self,
        cells: &mut [Label],
        label: &Label,
        number: u32,
        side: usize,
        add: [f64; 2],
        class: u32,
    ) {
        let loads = [label.loads[0] + add[0], label.loads[1] + add[1]];
        let mut bytes = label.bytes;
        if self.pair[side] < self.model.n_accelerators {
            bytes[side] += self.model.bytes[class as usize];
        }
        if loads.iter().any(|load| *load > self.limit) || bytes[side] > self.model.limit_bytes {
            return;
        }
        // At most `CELLS + 1`, for loads of at most the limit and shifts below 1.
        let cell = (loads[0] / self.limit * CELLS + self.shift) as usize;
        let new = Label { loads, bytes, parent: 2 * number + side as u32 };
        let Some(entry) = cells.get_mut(cell) else { return };
        let key = |label: &Label| (label.loads[1], label.loads[0]);
        let (old, new_key) = (key(entry), key(&new));
        if new_key.0 < old.0 || (new_key.0 == old.0 && new_key.1 < old.1) {
            *entry = new;
        }
    }

    fn placement(&self, parents: &[Vec<u32>], mut at: u32) -> Vec<u32> {
        let mut device_of = self.device_of.to_vec();
        for (class, layer) in self.classes.iter().zip(parents).rev() {
            let parent = layer[at as usize];
            device_of[*class as usize] = self.pair[parent as usize & 1] as u32;
            at = parent / 2;
        }
        device_of
    }
}
