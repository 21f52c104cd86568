//! A linear order of the classes along which few nets are open at once.
//!
//! A net is open between its first and its last member. What a prefix of the order says about an
//! open net is one of three things (none, all, some of its members are inside), and nets with the
//! same members in the prefix say the same: the order is chosen for few such combinations.

use std::collections::BTreeSet;

use super::model::Model;

/// Classes from which orders are grown.
const N_STARTS: usize = 40;
/// Classes beyond which they stay in the order of their ids.
const MAX_CLASSES: usize = 5_000;

/// The best order found.
#[must_use]
pub(super) fn linear_order(model: &Model) -> Vec<u32> {
    let n = model.n_classes();
    if n > MAX_CLASSES {
        return (0..n as u32).collect();
    }
    let step = n.div_ceil(N_STARTS).max(1);
    let mut best: Option<(f64, Vec<u32>)> = None;
    for start in (0..n).step_by(step) {
        let order = grow(model, start);
        let states = estimate(model, &order);
        if best.as_ref().is_none_or(|(least, _)| states < *least) {
            best = Some((states, order));
        }
    }
    best.map_or_else(Vec::new, |(_, order)| order)
}

/// Adds the neighbour that leaves the fewest nets open; ties: most nets closed or continued, then
/// the least id.
fn grow(model: &Model, start: usize) -> Vec<u32> {
    let n = model.n_classes();
    let mut left: Vec<usize> = model.nets.iter().map(|net| net.members.len()).collect();
    let mut is_in = vec![false; n];
    let mut frontier: BTreeSet<usize> = BTreeSet::new();
    let mut order = Vec::with_capacity(n);
    let mut unseen = 0;
    let mut next = Some(start);
    while let Some(class) = next {
        is_in[class] = true;
        frontier.remove(&class);
        order.push(class as u32);
        for net in &model.nets_of[class] {
            left[*net as usize] -= 1;
            let members = model.nets[*net as usize].members.iter().map(|member| *member as usize);
            frontier.extend(members.filter(|member| !is_in[*member]));
        }
        let growth = |class: usize| {
            let mut opened = 0_i64;
            let mut linked = 0_i64;
            for net in &model.nets_of[class] {
                let size = model.nets[*net as usize].members.len();
                match left[*net as usize] {
                    1 => opened -= 1,
                    some if some == size => opened += 1,
                    _ => linked += 1,
                }
            }
            (opened, -linked, class)
        };
        next = frontier.iter().copied().min_by_key(|class| growth(*class));
        if next.is_none() {
            while unseen < n && is_in[unseen] {
                unseen += 1;
            }
            next = (unseen < n).then_some(unseen);
        }
    }
    order
}

/// Combinations of what open nets say, summed over the prefixes of the order.
fn estimate(model: &Model, order: &[u32]) -> f64 {
    let mut of_net: Vec<Option<Vec<usize>>> = vec![None; model.nets.len()];
    let mut sum = 0.0;
    for (at, class) in order.iter().enumerate() {
        for net in &model.nets_of[*class as usize] {
            of_net[*net as usize].get_or_insert_default().push(at);
        }
        let mut seen: BTreeSet<&[usize]> = BTreeSet::new();
        let mut states = 1.0_f64;
        for (net, members) in of_net.iter().enumerate() {
            let Some(members) = members else { continue };
            if members.len() < model.nets[net].members.len() && seen.insert(members) {
                states *= if members.len() == 1 { 2.0 } else { 3.0 };
            }
        }
        sum += states;
    }
    sum
}
