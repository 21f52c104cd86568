use std::sync::Arc;

use cost_model::ops::judge::verify::verify;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::placement::list_schedule::tests::random_sketch;
use crate::run::{Outcome, Request, solve};

fn solved(problem: &Arc<Problem>, recipe: &str, seed: u64) -> Result<Outcome, NoPlan> {
    let mut request = Request::new(crate::registry::recipe(recipe).unwrap());
    request.limits.deterministic = true;
    request.limits.seed = seed;
    request.limits.nodes = Some(2_000);
    solve(Arc::clone(problem), &request, &mut |_| {})
}

#[test]
fn never_worse_than_its_start_and_the_same_every_time() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut n_better = 0;
    for seed in 0..400 {
        let Some(problem) = random_sketch(&mut rng).try_problem() else { continue };
        let problem = Arc::new(problem);
        let Ok(start) = solved(&problem, "m-etf", seed) else { continue };
        let better = solved(&problem, "m-etf,local-search", seed).unwrap();
        assert_eq!(verify(&problem, &better.plan), vec![]);
        assert!(better.timeline.step_time <= start.timeline.step_time);
        n_better += u32::from(better.timeline.step_time < start.timeline.step_time);
        let again = solved(&problem, "m-etf,local-search", seed).unwrap();
        assert_eq!(again.plan, better.plan);
    }
    assert!(n_better > 20, "{n_better} plans got better");
}

#[test]
fn changes_can_be_taken_back() {
    let mut rng = SmallRng::seed_from_u64(6);
    for _ in 0..200 {
        let Some(problem) = random_sketch(&mut rng).try_problem() else { continue };
        let network = Network::new(&problem);
        let units = Units::new(&problem);
        let hierarchy = Hierarchy::new(&network, &units);
        let levels = 0..hierarchy.levels.len();
        let hood =
            Neighbourhood { network: &network, units: &units, hierarchy: &hierarchy, levels };
        let first = |unit: usize| units.placeable[unit].iter().next().unwrap().index() as u16;
        let home = (0..units.n()).map(first).collect();
        let mut state = State::new(&units, home, &problem.topological_order());
        let before = state.clone();
        let mut undo = Vec::new();
        for _ in 0..50 {
            hood.change(&mut state, &[], &mut rng, &mut undo);
        }
        for (unit, home) in state.home.iter().enumerate() {
            let home = ir::id::DeviceId::new(usize::from(*home));
            assert!(units.placeable[unit].contains(home), "a unit is where it can't be");
        }
        state.undo(&units, &mut undo);
        assert_eq!(state, before);
    }
}
