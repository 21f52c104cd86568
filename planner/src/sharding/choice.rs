//! A choice of strategies from duals: op after op the best, by what is chosen at the other ends of its uses, and by
//! duals where nothing is chosen yet; then improved op by op.

use super::ascent::Duals;
use super::net::{Net, part};

/// A choice within limits, at duals of budgets that grow until there is one; infinite where none is found.
pub(super) fn within(net: &Net, duals: &Duals) -> (f64, Vec<usize>) {
    let mut duals = duals.clone();
    let mut found = rounded(net, &duals);
    for _ in 0..DOUBLINGS {
        if found.0.is_finite() || net.budgets.is_empty() {
            break;
        }
        let least = FIRST * net.cost(&found.1);
        for (parts, dual) in net.budgets.iter().zip(&mut duals.budgets) {
            if part(parts, &found.1) > 1.0 {
                *dual = (2.0 * *dual).max(least);
            }
        }
        found = rounded(net, &duals);
    }
    found
}

/// Times that duals of budgets are doubled at most.
const DOUBLINGS: usize = 16;
/// The first dual of a budget that is exceeded, as a part of the cost.
pub(super) const FIRST: f64 = 1e-3;

/// The better of the choices that ops forwards and backwards give, and its cost; infinite where it breaks a limit.
pub(super) fn rounded(net: &Net, duals: &Duals) -> (f64, Vec<usize>) {
    let (n, mut costs) = (net.costs.len(), Vec::new());
    let orders: [Vec<usize>; 2] = [(0..n).collect(), (0..n).rev().collect()];
    let mut best = (f64::INFINITY, vec![0; n]);
    for order in orders {
        let mut chosen: Vec<Option<usize>> = vec![None; n];
        for op in &order {
            chosen[*op] = cheapest(net, duals, &chosen, (*op, &mut costs));
        }
        // An op whose neighbours are what they were has the same choice.
        let mut is_open = vec![true; n];
        for _ in 0..ROUNDS {
            for op in &order {
                if !std::mem::take(&mut is_open[*op]) {
                    continue;
                }
                let before = chosen[*op].take();
                chosen[*op] = cheapest(net, duals, &chosen, (*op, &mut costs));
                if chosen[*op] != before {
                    net.beside(*op).for_each(|other| is_open[other] = true);
                }
            }
            if !is_open.contains(&true) {
                break;
            }
        }
        let chosen: Vec<usize> = chosen.into_iter().map(|at| at.unwrap_or(0)).collect();
        let cost = if net.is_within(&chosen) { net.cost(&chosen) } else { f64::INFINITY };
        if cost < best.0 {
            best = (cost, chosen);
        }
    }
    best
}

/// Rounds of improvement at most.
const ROUNDS: usize = 4;

/// The cheapest strategy of an op beside what is chosen.
fn cheapest(
    net: &Net,
    duals: &Duals,
    chosen: &[Option<usize>],
    (op, costs): (usize, &mut Vec<f64>),
) -> Option<usize> {
    costs.clone_from(&net.costs[op]);
    for (parts, dual) in net.budgets.iter().zip(&duals.budgets) {
        costs.iter_mut().zip(&parts[op]).for_each(|(cost, part)| *cost += dual * part);
    }
    for (at, is_to) in &net.sides[op] {
        let end = usize::from(*is_to);
        let group = &net.groups[net.uses[*at].group];
        let ends = net.ends(*at);
        let price = |q: usize, p: usize| group.costs[q * group.n[1] + p];
        let place = |end: usize| chosen[ends[end].op].map(|at| ends[end].places[at] as usize);
        let here = ends[end].places.iter().map(|place| *place as usize);
        let costs = costs.iter_mut().zip(here);
        if ends[0].op == ends[1].op {
            for ((cost, _), (q, p)) in costs.zip(ends[0].places.iter().zip(&ends[1].places)) {
                *cost += 0.5 * price(*q as usize, *p as usize);
            }
            continue;
        }
        let Some(other) = place(1 - end) else {
            let dual = &duals.uses[*at][end];
            costs.for_each(|(cost, here)| *cost += dual[here]);
            continue;
        };
        // What other uses have resharded already, in the order of uses where the producer is not chosen.
        let is_bought = |place: usize| {
            let mut others = group.uses.iter();
            others.any(|of| {
                let to = &net.uses[*of].to;
                let is_before = if *is_to { of != at } else { of < at };
                is_before && chosen[to.op].is_some_and(|at| to.places[at] as usize == place)
            })
        };
        if *is_to {
            costs.filter(|of| !is_bought(of.1)).for_each(|(cost, p)| *cost += price(other, p));
        } else if !is_bought(other) {
            costs.for_each(|(cost, q)| *cost += price(q, other));
        }
    }
    (0..costs.len()).min_by(|one, other| costs[*one].total_cmp(&costs[*other]))
}
