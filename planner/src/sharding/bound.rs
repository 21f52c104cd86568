//! A bound from duals, whoever found them.
//!
//! With a dual for each placement at both ends of a use, a strategy costs its own and the duals of its placements, and
//! a flow what is left of its resharding (weak duality of the program of [`relaxation`](super::relaxation), of columns
//! between 0 and 1). What several uses share is left after the sum of what they take, where that is more
//! than nothing. For any duals no choice costs less than the sum over ops of the least strategy, and of all that is
//! less than nothing of flows; none with a certain strategy less than that with it in place of the least one of its op.

use super::ascent::Duals;
use super::net::{Group, Net};
use super::relaxation::Program;

/// What no choice costs less than, by duals.
pub(super) struct Bound {
    /// Microseconds of any choice.
    pub least: f64,
    /// By op and strategy how much more a choice with it costs.
    pub more: Vec<Vec<f64>>,
}

impl Bound {
    /// Wrong duals give a low bound, never a false one.
    pub(super) fn of(net: &Net, duals: &Duals) -> Self {
        let mut least = 0.0;
        let mut costs = net.costs.clone();
        for group in &net.groups {
            least += left(net, group, duals);
            for at in &group.uses {
                for (side, dual) in net.ends(*at).into_iter().zip(&duals.uses[*at]) {
                    let costs = costs[side.op].iter_mut().zip(&side.places);
                    costs.for_each(|(cost, place)| *cost += dual[*place as usize]);
                }
            }
        }
        for (parts, dual) in net.budgets.iter().zip(&duals.budgets) {
            let dual = dual.max(0.0);
            least -= dual;
            for (costs, parts) in costs.iter_mut().zip(parts) {
                costs.iter_mut().zip(parts).for_each(|(cost, part)| *cost += dual * part);
            }
        }
        for costs in &mut costs {
            let of_op = costs.iter().copied().reduce(f64::min).unwrap_or(0.0);
            least += of_op;
            costs.iter_mut().for_each(|cost| *cost -= of_op);
        }
        let is_sound = !least.is_nan() && costs.iter().flatten().all(|cost| *cost >= 0.0);
        if is_sound { Self { least, more: costs } } else { Self::none(net) }
    }

    /// Of duals that say nothing: costs are not negative.
    fn none(net: &Net) -> Self {
        Self { least: 0.0, more: net.costs.iter().map(|of| vec![0.0; of.len()]).collect() }
    }
}

/// By use and pair of placements how much more a choice costs that reshards so; infinite where there is no way.
pub(super) fn slack(net: &Net, duals: &Duals, bound: &Bound) -> Vec<Vec<f64>> {
    let mut all = Vec::new();
    for group in &net.groups {
        let takes = |at: usize, q: usize, p: usize| {
            let [from, to] = &duals.uses[at];
            from[q] + to[p]
        };
        let mut left = group.costs.clone();
        for at in group.uses.iter().filter(|_| group.uses.len() > 1) {
            for (pair, left) in left.iter_mut().enumerate() {
                *left -= takes(*at, pair / group.n[1], pair % group.n[1]).max(0.0);
            }
        }
        for at in &group.uses {
            let ends = net.ends(*at);
            let [from, to] = [0, 1].map(|end| {
                let mut least = vec![f64::INFINITY; group.n[end]];
                for (place, more) in ends[end].places.iter().zip(&bound.more[ends[end].op]) {
                    let least = &mut least[*place as usize];
                    *least = least.min(*more);
                }
                least
            });
            let is_loop = ends[0].op == ends[1].op;
            let of_pair = |(pair, left): (usize, &f64)| {
                let (q, p) = (pair / group.n[1], pair % group.n[1]);
                let taken = takes(*at, q, p);
                let own = if group.uses.len() > 1 { (-taken).max(0.0) } else { -taken };
                let ends = if is_loop { from[q].max(to[p]) } else { from[q] + to[p] };
                left.max(if group.uses.len() > 1 { 0.0 } else { *left }) + own + ends
            };
            all.push(left.iter().enumerate().map(of_pair).collect());
        }
    }
    all
}

/// All that is less than nothing of what is left of the resharding of a group.
fn left(net: &Net, group: &Group, duals: &Duals) -> f64 {
    let mut all = 0.0;
    for (pair, cost) in group.costs.iter().enumerate().filter(|(_, cost)| cost.is_finite()) {
        let (q, p) = (pair / group.n[1], pair % group.n[1]);
        let uses = group.uses.iter().filter(|at| net.uses[**at].wants[p]);
        let takes = uses.map(|at| duals.uses[*at][0][q] + duals.uses[*at][1][p]);
        let takes: f64 = match group.uses.len() {
            1 => takes.sum(),
            _ => takes.map(|sum| sum.max(0.0)).sum(),
        };
        all += (cost - takes).min(0.0);
    }
    all
}

/// What no point of a program costs less than, by duals of its rows, of which those of rows that may be greater are not
/// negative: y b + the sum of negative reduced costs.
pub(super) fn of(program: &Program, duals: &[f64]) -> f64 {
    let mut reduced = program.costs.clone();
    let mut bound = 0.0;
    for (row, dual) in program.rows.iter().zip(duals) {
        let dual = if row.is_least { dual.max(0.0) } else { *dual };
        if !dual.is_finite() {
            return 0.0;
        }
        bound += dual * row.value;
        for (column, factor) in &row.terms {
            reduced[*column] -= dual * factor;
        }
    }
    bound + reduced.iter().map(|cost| cost.min(0.0)).sum::<f64>()
}
