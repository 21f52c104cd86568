//! Every way of breaking a plan is found, by the verifier and (times apart) by the replay.

use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::verify::{MAX_VIOLATIONS, Violation, verify};
use cost_model::ops::problem::Problem;
use ir::cluster::{Duplex, NO_ROUTE};
use ir::diagnostic::Blame;
use ir::id::{ChannelId, DeviceId, OpId, TensorId};
use ir::plan::{Plan, Stage};
use ir::schedule::{Action, Task, Wait};

use crate::cases::{Case, cluster, plan, transfer};
use crate::random::{Random, random_plan, random_problem};

/// A on d0 feeds B and C on d1, which share a group; D runs on kind 0 only.
fn base() -> (Case, Plan) {
    let mut case = Case {
        cluster: cluster(&[(0, 100), (1, 100), (0, 100)], 1.0, Duplex::Full),
        ..Case::default()
    };
    let x = case.activation("x", 2);
    case.op("A", &[(0, 2), (1, 2)], &[], &[x]);
    let b = case.op("B", &[(0, 2), (1, 2)], &[x], &[]);
    let c = case.op("C", &[(0, 2), (1, 2)], &[x], &[]);
    case.op("D", &[(0, 2)], &[], &[]);
    case.group(b, 0);
    case.group(c, 0);
    let sent = vec![transfer(x, 1)];
    let channels = [(ChannelId(0), sent.clone()), (ChannelId(3), sent)];
    (case, plan(4, &[&[0, 3], &[1, 2], &[]], &channels, &[]))
}

/// The codes of both; the replay's must be among the verifier's.
fn codes(problem: &Problem, plan: &Plan) -> (Vec<&'static str>, Option<&'static str>) {
    let found = verify(problem, plan);
    for violation in &found {
        let diagnostic = violation.diagnostic(problem);
        assert_eq!(diagnostic.blame, Blame::IllegalPlan);
        assert!(!diagnostic.message.is_empty() && !diagnostic.message.ends_with('.'));
        assert_ne!(diagnostic.message, violation.code(), "no words for it");
    }
    let codes: Vec<_> = found.iter().map(Violation::code).collect();
    let replayed = replay(problem, plan).err().map(|violation| violation.code());
    assert!(replayed.is_none_or(|code| codes.contains(&code)), "{replayed:?} not in {codes:?}");
    (codes, replayed)
}

fn check(code: &'static str, replays: bool, edit: impl FnOnce(&mut Plan)) {
    let (case, mut plan) = base();
    let problem = case.problem();
    assert_eq!(codes(&problem, &plan), (vec![], None));
    edit(&mut plan);
    let (found, replayed) = codes(&problem, &plan);
    assert!(found.contains(&code), "{code} not in {found:?}");
    assert_eq!(replayed.is_none(), replays, "{code}: {replayed:?}");
}

#[test]
fn each_defect_has_its_code() {
    let x = TensorId(0);
    check("degree-not-one", true, |p| p.parallelism.tensor = 2);
    check("stages-not-one", true, |p| p.partition.stages.clear());
    check("stage-ops-wrong", true, |p| {
        p.partition.stages[0] = Stage { ops: vec![OpId(0)], ..Stage::default() }
    });
    check("op-not-placed", false, |p| p.placement.device[3] = None);
    check("op-not-placed", false, |p| p.placement.device.clear());
    check("op-unknown", true, |p| p.placement.device.push(Some(DeviceId(0))));
    check("device-unknown", false, |p| p.placement.device[3] = Some(DeviceId(9)));
    check("device-not-allowed", false, |p| {
        p.placement.device[3] = Some(DeviceId(1));
        let op = p.schedule.actions[0].pop().unwrap();
        p.schedule.actions[1].push(op);
    });
    check("group-split", false, |p| p.placement.device[2] = Some(DeviceId(0)));
    check("op-not-in-order", false, |p| p.schedule.actions[0].truncate(1));
    check("op-in-wrong-order", false, |p| p.schedule.actions[2].push(Action::Op(OpId(0))));
    check("op-in-wrong-order", false, |p| p.schedule.actions[2].push(Action::Op(OpId(77))));
    check("op-in-wrong-order", false, |p| {
        p.schedule.actions.resize(9, Vec::new());
        p.schedule.actions[8].push(Action::Op(OpId(0)));
    });
    check("op-twice-in-order", false, |p| p.schedule.actions[0].push(Action::Op(OpId(0))));
    check("transfer-missing", false, |p| {
        p.schedule.channels.remove(&ChannelId(3));
    });
    check("transfer-needless", false, |p| {
        p.schedule.channels.entry(ChannelId(5)).or_default().push(transfer(x, 2));
    });
    check("transfer-needless", false, |p| {
        p.schedule.channels.entry(ChannelId(99)).or_default().push(transfer(TensorId(50), 70));
    });
    check("transfer-repeated", false, |p| {
        p.schedule.channels.entry(ChannelId(0)).or_default().push(transfer(x, 1));
    });
    check("transfer-on-wrong-channel", false, |p| {
        p.schedule.channels.entry(ChannelId(4)).or_default().push(transfer(x, 1));
    });
    let wait = |task, after| move |p: &mut Plan| p.schedule.after.push(Wait { task, after });
    let (a, b) = (Task::Op(OpId(0)), Task::Op(OpId(1)));
    check("wait-unknown", false, wait(a, vec![Task::Op(OpId(4))]));
    check("wait-unknown", false, wait(Task::Transfer(transfer(x, 2)), vec![a]));
    check("deadlock", false, wait(a, vec![b]));
    check("deadlock", false, wait(b, vec![b]));
}

#[test]
fn a_circle_is_told_in_order() {
    let (case, mut plan) = base();
    let problem = case.problem();
    let (a, b) = (Task::Op(OpId(0)), Task::Op(OpId(1)));
    plan.schedule.after.push(Wait { task: a, after: vec![b] });
    let circle = vec![a, Task::Transfer(transfer(TensorId(0), 1)), b];
    let violation = replay(&problem, &plan).unwrap_err();
    assert_eq!(violation, Violation::Deadlock { cycle: circle });
    assert_eq!(
        violation.diagnostic(&problem).message,
        "inputs, orders and waits form a circle, so nothing on it can start: \
         `A`, then transfer of `x` to `d1`, then `B`, then `A`"
    );
}

#[test]
fn a_pair_without_a_way_is_found() {
    let (mut case, plan) = base();
    case.cluster.links.pairs[1] = NO_ROUTE;
    let (found, replayed) = codes(&case.problem(), &plan);
    assert!(found.contains(&"no-route") && replayed == Some("no-route"), "{found:?}");
}

#[test]
fn the_list_is_capped() {
    let mut case = Case { cluster: cluster(&[(0, 1)], 1.0, Duplex::Full), ..Case::default() };
    (0..300).for_each(|i| {
        case.op(&format!("op{i}"), &[(0, 1)], &[], &[]);
    });
    let nothing = plan(300, &[], &[], &[]);
    assert_eq!(verify(&case.problem(), &nothing).len(), MAX_VIOLATIONS);
}

/// Damage at random: neither panics, and what the verifier accepts the replay accepts.
#[test]
fn random_damage_is_found_or_harmless() {
    let mut n_illegal = 0;
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        let mut plan = random_plan(&problem, &mut random);
        let schedule = &mut plan.schedule;
        match random.below(5) {
            0 => {
                let op = random.below(plan.placement.device.len());
                plan.placement.device[op] = Some(DeviceId::new(random.below(5)));
            }
            1 => {
                let row = random.below(schedule.actions.len());
                schedule.actions[row].push(Action::Op(OpId::new(random.below(13))));
            }
            2 => {
                let n = schedule.channels.len();
                if let Some(order) = schedule.channels.values_mut().nth(random.below(n)) {
                    let at = random.below(order.len());
                    order.swap(0, at);
                }
            }
            3 => {
                let channel = ChannelId::new(random.below(9));
                let tensor = TensorId::new(random.below(12));
                let moved = transfer(tensor, random.below(5) as u32);
                schedule.channels.entry(channel).or_default().push(moved);
            }
            _ => {
                let (a, b) = (OpId::new(random.below(13)), OpId::new(random.below(13)));
                schedule.after.push(Wait { task: Task::Op(a), after: vec![Task::Op(b)] });
            }
        }
        let (found, replayed) = codes(&problem, &plan);
        n_illegal += u32::from(!found.is_empty());
        assert!(!found.is_empty() || replayed.is_none(), "seed {seed}: {found:?} {replayed:?}");
    }
    assert!(n_illegal > 1_000, "only {n_illegal} plans were damaged");
}
