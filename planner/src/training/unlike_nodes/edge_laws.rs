//! Edges that send a part: no plan is slower for it, none is below the bound, and what is left out is needed.

use cost_model::kernels::stack::megatron_core_2024;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::runs::judge::judge;
use cost_model::runs::unlike::{Fleet, groups_of};
use ir::plan::Plan;
use ir::profile::Profile;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::laws::Case;
use super::laws::enumerated::enumerated;
use super::*;

fn with_ratio(plan: &Plan, at: usize, edge_ratio: u32) -> Plan {
    let mut changed = plan.clone();
    changed.partition.stages[at].mesh.as_mut().unwrap().edge_ratio = edge_ratio;
    changed
}

#[test]
fn edges_leave_out_what_makes_the_step_shorter_and_no_more() {
    // Without placeholders of gradients more cases fit.
    let (stack, profile) = (megatron_core_2024(), Profile::default());
    let constants = Constants::nominal(&stack);
    let [mut n_shorter, mut n_edges, mut n_whole, mut n_proved] = [0; 4];
    for seed in 0..300 {
        let random = &mut SmallRng::seed_from_u64(seed);
        let rates = [1e9, 1e8, 1e7].map(|rate| rate * random.random_range(0.1..2.0));
        let Case { cluster, model, global_batch } = Case::between(random, rates);
        let edge_ratio = [2, 4, 8, 50, 1000][random.random_range(0..5)];
        let groups = groups_of(&cluster, |limit| limit);
        let system = System::of(&cluster, &profile).unwrap();
        let base = Pricing::unlimited(&model, &system, &stack, &constants);
        let fleet =
            Fleet { base, cluster: &cluster, profile: &profile, groups: &groups, edge_ratio: 1 };
        let options = Options { nodes: u64::MAX, edge_ratio, ..Options::default() };
        let found = solve(&fleet, global_batch, &options, &mut |_, _| {});
        let Some(best) = &found.best else { continue };
        let all = enumerated(&fleet, (global_batch, edge_ratio));
        let (least, in_part) = (*all.by_devices.values().min().unwrap(), all.in_part);
        assert!(best.step.0 <= least, "seed {seed}: slower than if all were sent");
        assert!(found.bound.0 <= least.min(in_part), "seed {seed}: the bound is none");
        n_proved += usize::from(found.is_optimum());
        let step = |plan: &Plan| {
            let costs = fleet.costs(plan).unwrap();
            judge(&costs, plan.schedule.grid.as_ref().unwrap()).unwrap().report.step_time
        };
        assert_eq!(step(&best.plan), best.step, "seed {seed}");
        n_shorter += usize::from(best.step.0 < least);
        let stages = &best.plan.partition.stages;
        let ratio = |at: usize| stages[at].mesh.as_ref().unwrap().edge_ratio;
        let whole = (0..stages.len()).fold(best.plan.clone(), |plan, at| with_ratio(&plan, at, 1));
        let costs = fleet.costs(&whole).unwrap().stages;
        let way_s = |at: usize| costs[at].next.link.time(costs[at].next.activation, 1).seconds();
        let edges = || 0..stages.len() - 1;
        let slowest_s = edges().map(way_s).fold(0.0, f64::max);
        assert_eq!(ratio(stages.len() - 1), 1);
        for at in edges() {
            assert!(ratio(at) <= edge_ratio);
            if ratio(at) == 1 {
                n_whole += usize::from(best.step.0 < least);
                continue;
            }
            n_edges += 1;
            assert!(f64::from(ratio(at)) <= f64::from(edge_ratio) * way_s(at) / slowest_s);
            assert!(step(&with_ratio(&best.plan, at, 1)) > best.step, "seed {seed}: in vain");
            // One in two sends more than all of them.
            if let Ok(costs) = fleet.costs(&with_ratio(&best.plan, at, ratio(at) - 1)) {
                let grid = best.plan.schedule.grid.as_ref().unwrap();
                let milder = judge(&costs, grid).unwrap().report.step_time;
                assert!(milder > best.step, "seed {seed}: more than needed");
            }
        }
    }
    let n = [n_shorter, n_edges, n_whole, n_proved];
    assert!(n_shorter > 25 && n_edges > 30 && n_whole > 2 && n_proved > 10, "{n:?}");
}
