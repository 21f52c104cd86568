//! What the transforms tie together, and that their plans come back.

use std::sync::Arc;

use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::Problem;
use ir::id::OpId;
use planner::algorithm::{Options, Row, Transformed};
use planner::draft::Draft;
use planner::placement::brute_force;
use planner::transform::{blocks, coplace, fuse};

use crate::sample::Sample;

fn ops(sets: &[&[usize]]) -> Vec<Vec<OpId>> {
    sets.iter().map(|set| set.iter().map(|op| OpId::new(*op)).collect()).collect()
}

/// A feeds B and C, which D joins; D feeds E. Transfers take 5.
fn diamond() -> Sample {
    Sample::new(1.0)
        .op("A", "a=9", "", "x=4")
        .op("B", "a=8", "x", "y=4")
        .temporary(3)
        .op("C", "a=2", "x", "z=4")
        .op("D", "a=8", "y z", "u=4")
        .op("E", "a=8", "u", "v=2")
        .temporary(1)
        .device("a", 100)
        .device("a", 100)
}

#[test]
fn chains_and_light_ops_are_fused() {
    let problem = diamond().problem();
    // D-E is a chain. C is light (2 < 5) and A-C the only edge into it. A-B is the only edge into
    // B, but B is not light, and A-C was there first.
    assert_eq!(fuse::solve(&problem, fuse::Reach::Chains, 1.0), ops(&[&[0, 2], &[1], &[3, 4]]));
}

#[test]
fn the_share_keeps_ops_apart() {
    let problem = diamond().problem();
    assert_eq!(fuse::solve(&problem, fuse::Reach::Any, 0.0).len(), 5);
    assert_eq!(coplace::solve(&problem, coplace::Rule::All, 0.0), ops(&[]));
}

#[test]
fn whatever_leaves_no_cycle_is_fused_on_demand() {
    let problem = diamond().problem();
    assert_eq!(fuse::solve(&problem, fuse::Reach::Any, 1.0).len(), 1);
}

#[test]
fn ops_of_different_groups_or_devices_are_not_fused() {
    let apart = Sample::new(1.0)
        .op("A", "a=1", "", "x=1")
        .group(0)
        .op("B", "a=1", "x", "y=1")
        .group(1)
        .op("C", "a=1 b=1", "y", "")
        .device("a", 9)
        .device("b", 9)
        .problem();
    assert_eq!(fuse::solve(&apart, fuse::Reach::Any, 1.0).len(), 3);
}

fn transformed(row: Row, problem: &Arc<Problem>) -> Transformed {
    let Row::Transform(transform) = row else { panic!("a transform") };
    transform.apply(problem).unwrap()
}

#[test]
fn a_fused_op_adds_times_and_holds_what_is_alive_inside() {
    let problem = Arc::new(diamond().problem());
    let options = Options::new([("share".to_owned(), "1".to_owned())].into());
    let made = transformed(fuse::build(&options).unwrap(), &problem);
    let fused = &made.problem;
    assert_eq!(fused.actions.len(), 3);
    let last = OpId::new(2);
    assert_eq!(fused.least_time_ns(last), 16);
    // u (4) is alive while D and E run, E adds 1; v is an output.
    assert_eq!(fused.temporary(last), 5);
    assert_eq!(fused.outputs(last).len(), 1);
    // A hands x on to B, and C's z to D.
    assert_eq!(fused.outputs(OpId::new(0)).len(), 2);
}

#[test]
fn a_plan_of_the_fused_problem_comes_back() {
    let problem = Arc::new(diamond().problem());
    let options = Options::new([("share".to_owned(), "1".to_owned())].into());
    let made = transformed(fuse::build(&options).unwrap(), &problem);
    let verdict = brute_force::solve(&made.problem, &mut |_| false);
    let brute_force::Verdict::Optimal(plan, step_time) = verdict else { panic!("no plan") };
    let plan = made.lift.lift(Draft::from_plan(*plan)).finish(&problem);
    assert_eq!(verify(&problem, &plan), vec![]);
    // Memory does not bind: the members of a fused op in their places are never later.
    assert!(replay(&problem, &plan).unwrap().step_time.get() <= step_time);
}

#[test]
fn costly_transfers_tie_ops_together() {
    // Each transfer takes 5. Only C is shorter, and A is its only producer: A and C; then D, the
    // only reader of C's z.
    let problem = diamond().problem();
    assert_eq!(coplace::solve(&problem, coplace::Rule::Costly, 1.0), ops(&[&[0, 2, 3]]));
    assert_eq!(coplace::solve(&problem, coplace::Rule::All, 1.0), ops(&[&[0, 1, 2, 3, 4]]));
}

#[test]
fn co_placed_ops_share_a_group() {
    let problem = Arc::new(diamond().problem());
    let options = Options::new([("share".to_owned(), "1".to_owned())].into());
    let made = transformed(coplace::build(&options).unwrap(), &problem);
    assert_eq!(made.problem.groups, ops(&[&[0, 2, 3]]));
    assert_eq!(problem.groups, ops(&[]));
}

#[test]
fn blocks_hold_all_their_ops() {
    let problem = Sample::new(1.0)
        .op("embed", "a=1", "", "e=1")
        .parameter("wte", 8)
        .module("m.transformer.wte")
        .op("mask", "a=1", "", "k=1")
        .parameter("table", 4)
        .module("m.transformer")
        .op("attn", "a=1", "e k", "f=1")
        .parameter("w0", 4)
        .module("m.transformer.h.0.attn.c_attn")
        .op("add", "a=1", "e f", "g=1")
        .module("m.transformer.h.0")
        .op("mlp", "a=1", "g", "h=1")
        .module("m.transformer.h.1.mlp")
        .op("cast", "a=1", "h", "i=1")
        .op("head", "a=1", "i", "j=1")
        .parameter("wte", 8)
        .module("m.lm_head")
        .op("last", "a=1", "j", "")
        .device("a", 100)
        .problem();
    // The container's mask joins its first reader; the cast joins the head, which is tied to the
    // embedding; the last op follows its producer.
    assert_eq!(blocks::solve(&problem), ops(&[&[0, 5, 6, 7], &[1, 2, 3], &[4]]));
}

#[test]
fn without_modules_nothing_is_tied() {
    assert_eq!(blocks::solve(&diamond().problem()), ops(&[]));
}
