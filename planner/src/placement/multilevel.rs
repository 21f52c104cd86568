//! Multilevel placement: coarsen, place the clusters, refine while going back.
//!
//! # Decides
//! Placement, op orders and transfer orders.
//!
//! # Idea
//! Ops and groups whose tensors cost most to move are merged level by level. The coarsest clusters,
//! in the order of their ops, are cut into pieces as even as can be; then clusters of ever finer
//! levels are moved and swapped by local search, each change judged by a dispatch of all ops.
//!
//! # Paper
//! Karypis and Kumar, "A fast and high quality multilevel scheme for partitioning irregular
//! graphs", SIAM J. Sci. Comput. 20(1), 1998, with the step time in place of the cut.
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! A number of dispatches, each O((ops + edges) log ops), in proportion to the clusters of all
//! levels.
//!
//! # Limits
//! Coarse clusters may wait for each other in circles, as colocation groups do: only ops have an
//! order.
//!
//! # Example
//! `meshwright place model.onnx --algorithm multilevel`

use ir::diagnostic::Diagnostic;
use ir::id::OpId;

use crate::draft::{Draft, Orders};
use crate::placement::clusters::{Hierarchy, Units};
use crate::placement::contiguous::{Best, Line, orders};
use crate::placement::dispatch::Network;
use crate::placement::local_search::{Neighbourhood, Search};
use crate::placement::stopped_early;
use crate::run::Run;
use crate::run::algorithm::{Decide, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

struct Multilevel;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(Multilevel)))
}

/// Changes per cluster and level, and the most effort (changes x ops and edges) of a level.
const CHANGES_PER_CLUSTER: u64 = 30;
const MOST_EFFORT: u64 = 20_000_000;
/// Mean growth accepted at the start of a level, as a part of the step time.
const HEAT: f64 = 0.01;

impl Decide for Multilevel {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let network = Network::new(problem);
        let units = Units::new(problem);
        let hierarchy = Hierarchy::new(&network, &units);
        let coarsest = hierarchy.levels.len() - 1;
        let mut best = Best::new(&network);
        for order in orders(problem) {
            let items = in_order(&units, &hierarchy, coarsest, &order);
            let line = Line::new(&network, &units, items);
            if let Some(no_plan) = best.try_cuts(&line, &units, &order, &mut || stopped_early(run))
            {
                return Err(no_plan);
            }
        }
        run.note("levels", hierarchy.levels.len());
        run.note("clusters", hierarchy.levels[coarsest].len());
        let start = best.found.map(|(state, _)| state);
        let levels = coarsest..coarsest + 1;
        let hood =
            Neighbourhood { network: &network, units: &units, hierarchy: &hierarchy, levels };
        let Some(mut search) = Search::new(hood, start, run.seed()) else {
            let message = "the clusters can't be placed in any order";
            return Err(NoPlan::not_found(Reason::NoDevice, "no-cut", message));
        };
        for level in (0..=coarsest).rev() {
            refine(run, &mut search, level, hierarchy.levels[level].len());
        }
        let (placement, schedule) = search.best_plan();
        Ok(draft.placed(placement).scheduled(Orders::Full(schedule)))
    }
}

fn refine(run: &Run, search: &mut Search, level: usize, n_clusters: usize) {
    search.hood.levels = level..level + 1;
    search.restart();
    let effort = search.hood.network.n_steps().max(1);
    let n_changes = (CHANGES_PER_CLUSTER * n_clusters as u64).min(MOST_EFFORT / effort);
    for change in 0..n_changes {
        if run.spend(1).is_err() {
            return;
        }
        let left = 1.0 - change as f64 / n_changes as f64;
        search.step(HEAT * left * left);
    }
}

/// Clusters by the mean position of their ops.
fn in_order<'a>(
    units: &Units,
    hierarchy: &'a Hierarchy,
    level: usize,
    order: &[OpId],
) -> Vec<&'a [u32]> {
    let mut sum = vec![(0u128, 0u128); hierarchy.levels[level].len()];
    for (op, position) in order.iter().zip(0u128..) {
        let unit = units.of[op.index()];
        let (positions, count) = &mut sum[hierarchy.of[level][unit as usize] as usize];
        *positions += position;
        *count += 1;
    }
    let mut clusters: Vec<usize> = (0..sum.len()).collect();
    clusters.sort_by_key(|cluster| {
        let (positions, count) = sum[*cluster];
        (positions * 1024 / count.max(1), *cluster)
    });
    clusters.into_iter().map(|cluster| hierarchy.levels[level][cluster].as_slice()).collect()
}
