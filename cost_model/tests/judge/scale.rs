//! The same laws on a graph of 20,000 ops on 16 devices.

use std::collections::BTreeMap;

use cost_model::ops::bound::{lower_bound, memory_certificate};
use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::report::report;
use cost_model::ops::judge::verify::{step_time_ns, verify};
use cost_model::ops::problem::Problem;
use ir::cluster::Duplex;
use ir::id::{ChannelId, DeviceId, TensorId};
use ir::plan::Plan;
use ir::schedule::{Action, Transfer};
use ir::tensor::Role;

use crate::cases::{Case, cluster, plan};
use crate::random::Random;

const N_OPS: usize = 20_000;
const N_DEVICES: usize = 16;

fn large() -> (Problem, Plan) {
    let mut random = Random(1);
    let devices: Vec<(usize, u64)> = (0..N_DEVICES).map(|d| (d % 2, u64::MAX - 1)).collect();
    let mut case = Case { cluster: cluster(&devices, 5_000.0, Duplex::Full), ..Case::default() };
    let mut made: Vec<TensorId> = Vec::new();
    for i in 0..N_OPS {
        let w = case.tensor(&format!("w{i}"), 1_000, Role::Parameter);
        let mut inputs = vec![w];
        for _ in 0..3 {
            if let Some(&tensor) = made.get(made.len().wrapping_sub(1 + random.below(300))) {
                inputs.push(tensor);
            }
        }
        inputs.sort_unstable();
        inputs.dedup();
        let output = case.activation(&format!("t{i}"), random.below(100_000) as u64);
        let ns = 1_000 + random.below(50_000) as u64;
        case.op(&format!("op{i}"), &[(0, ns), (1, 2 * ns)], &inputs, &[output]);
        case.temporary[i] = random.below(1_000) as u64;
        made.push(output);
    }
    let problem = case.problem();
    let mut plan = plan(N_OPS, &[&[][..]; N_DEVICES], &[], &[]);
    let mut channels: BTreeMap<ChannelId, Vec<Transfer>> = BTreeMap::new();
    for &op in &problem.actions {
        let home = DeviceId::new(random.below(N_DEVICES));
        plan.placement.device[op.index()] = Some(home);
        plan.schedule.actions[home.index()].push(Action::Op(op));
        for &tensor in problem.inputs(op) {
            let from = plan.placement.of(problem.producer(tensor).unwrap()).unwrap();
            let moved = Transfer { tensor, to: home };
            if let Some(route) = problem.cluster.route(from, home)
                && !channels.get(&route.receive).is_some_and(|list| list.contains(&moved))
            {
                channels.entry(route.send).or_default().push(moved);
                channels.entry(route.receive).or_default().push(moved);
            }
        }
    }
    plan.schedule.channels = channels;
    (problem, plan)
}

#[test]
fn twenty_thousand_ops_on_sixteen_devices() {
    let (problem, plan) = large();
    let timeline = replay(&problem, &plan).unwrap();
    let report = report(&problem, &plan, &timeline);
    let found: Vec<_> = report.devices.iter().map(|device| device.peak).collect();
    assert_eq!(found, peaks(&problem, &plan, &timeline));
    assert_eq!(verify(&problem, &plan), []);
    assert_eq!(step_time_ns(&problem, &plan), Some(timeline.step_time.get()));
    let bound = lower_bound(&problem);
    assert!(bound.value > ir::units::Nanos::ZERO && bound.value <= timeline.step_time);
    assert_eq!(memory_certificate(&problem), None);
}
