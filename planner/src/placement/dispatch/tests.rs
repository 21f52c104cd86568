use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::Problem;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Dispatcher, Network};
use crate::draft::{Draft, Orders};
use crate::placement::list_schedule::tests::random_sketch;

/// Every unit somewhere where it can be.
fn random_devices(problem: &Problem, rng: &mut SmallRng) -> Vec<u16> {
    let mut device = vec![0; problem.n_ops()];
    for unit in problem.units() {
        let devices: Vec<_> = problem.placeable(unit[0]).iter().collect();
        let home = devices[rng.random_range(0..devices.len())];
        unit.iter().for_each(|op| device[op.index()] = home.index() as u16);
    }
    device
}

#[test]
fn times_and_memory_are_those_of_the_judge() {
    let mut rng = SmallRng::seed_from_u64(7);
    let (mut n_legal, mut n_over, mut n_cut_off) = (0, 0, 0);
    for _ in 0..20_000 {
        let Some(problem) = random_sketch(&mut rng).try_problem() else { continue };
        let network = Network::new(&problem);
        let mut dispatcher = Dispatcher::new(&network);
        let device = random_devices(&problem, &mut rng);
        let key: Vec<u64> = (0..problem.n_ops()).map(|_| rng.random_range(0..9)).collect();
        // A tensor without a way.
        let Some(score) = dispatcher.run(&device, &key, u64::MAX) else { continue };
        let (placement, schedule) = dispatcher.plan(&device);
        let draft = Draft::default().placed(placement).scheduled(Orders::Full(schedule));
        let plan = draft.finish(&problem);
        let timeline = replay(&problem, &plan).unwrap();
        assert_eq!(timeline.step_time.get(), score.makespan);
        for op in &problem.actions {
            assert_eq!(timeline.ops[op.index()].unwrap().start, dispatcher.start[op.index()]);
        }
        let violations = verify(&problem, &plan);
        if score.excess > 0.0 {
            n_over += 1;
            assert_eq!(violations[0].code(), "memory-exceeded");
        } else {
            n_legal += 1;
            assert_eq!(violations, vec![]);
        }
        // A cutoff stops what is longer, and nothing else.
        assert_eq!(dispatcher.run(&device, &key, score.makespan), Some(score));
        if score.makespan > 0 && dispatcher.run(&device, &key, score.makespan - 1).is_none() {
            n_cut_off += 1;
        }
    }
    assert!(n_legal > 1_000 && n_over > 1_000 && n_cut_off > 1_000);
}
