//! The worked examples of `docs/conventions.md`, with their optima.

use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::Problem;
use planner::placement::brute_force::{Obstacle, Verdict, solve};

use crate::sample::Sample;

fn optimum(problem: &Problem) -> u64 {
    match solve(problem, &mut |_| false) {
        Verdict::Optimal(plan, step_time) => {
            assert_eq!(verify(problem, &plan), vec![]);
            assert_eq!(replay(problem, &plan).unwrap().step_time.get(), step_time);
            step_time
        }
        other => panic!("no optimum: {other:?}"),
    }
}

#[test]
fn a_join_with_a_shared_tensor_takes_10() {
    let problem = Sample::new(1.0)
        .op("A", "a=2", "", "x=2")
        .op("B", "a=4", "x", "y=1")
        .op("C", "a=5", "x", "z=1")
        .op("D", "a=1", "y z", "")
        .device("a", 10)
        .device("a", 10)
        .problem();
    assert_eq!(optimum(&problem), 10);
}

#[test]
fn two_senders_on_one_receive_channel_take_13() {
    let problem = Sample::new(1.0)
        .op("A", "a=2", "", "x=3")
        .op("B", "a=3", "", "y=2")
        .op("C", "b=4", "x y", "")
        .device("a", 10)
        .device("a", 10)
        .device("b", 10)
        .problem();
    assert_eq!(optimum(&problem), 13);
}

#[test]
fn a_group_that_no_longer_fits_takes_8() {
    let problem = Sample::new(1.0)
        .op("A", "a=2", "", "x=1")
        .parameter("wa", 6)
        .op("B", "a=2", "x", "y=1")
        .parameter("wb", 3)
        .group(0)
        .op("C", "a=2", "y", "")
        .parameter("wc", 3)
        .group(0)
        .device("a", 10)
        .device("a", 10)
        .problem();
    assert_eq!(optimum(&problem), 8);
}

#[test]
fn a_parameter_counts_from_time_0_and_the_step_takes_7() {
    let problem = Sample::new(1.0)
        .op("A", "a=2", "", "x=1")
        .temporary(8)
        .op("B", "a=3", "x", "")
        .parameter("w", 4)
        .device("a", 10)
        .device("a", 10)
        .problem();
    assert_eq!(optimum(&problem), 7);
}

#[test]
fn a_chain_stays_on_one_device_and_takes_8() {
    let problem = Sample::new(1.0)
        .op("A", "a=2", "", "x=1")
        .parameter("wa", 1)
        .op("B", "a=3", "x", "y=1")
        .temporary(2)
        .op("C", "a=2", "y", "z=1")
        .parameter("wc", 3)
        .op("D", "a=1", "z", "")
        .parameter("wd", 1)
        .device("a", 20)
        .device("a", 20)
        .problem();
    assert_eq!(optimum(&problem), 8);
}

#[test]
fn a_tensor_of_no_bytes_costs_the_latency_and_the_step_takes_10() {
    let problem = Sample::new(5.0)
        .op("A", "a=3", "", "x=0")
        .temporary(4)
        .op("B", "b=2", "x", "")
        .temporary(2)
        .device("a", 10)
        .device("b", 10)
        .problem();
    assert_eq!(optimum(&problem), 10);
}

#[test]
fn independent_ops_share_two_devices_in_8() {
    let problem = Sample::new(1.0)
        .op("two", "a=4", "", "")
        .op("five", "a=4", "", "x=1")
        .op("nine", "a=4", "", "")
        .op("one", "a=3", "x", "")
        .device("a", 10)
        .device("a", 10)
        .problem();
    assert_eq!(optimum(&problem), 8);
}

#[test]
fn the_case_where_m_sct_beats_m_etf_takes_5() {
    let problem = Sample::new(1.0)
        .op("A", "a=1", "", "x=2")
        .op("B", "a=4", "x", "")
        .op("C", "a=2", "", "")
        .op("D", "a=3", "", "")
        .device("a", 10)
        .device("a", 10)
        .problem();
    assert_eq!(optimum(&problem), 5);
}

fn waiting_transfer(limit: u64) -> Problem {
    Sample::new(1.0)
        .op("A", "a=1", "", "x=4")
        .op("B", "b=5", "", "")
        .temporary(6)
        .op("C", "b=2", "x", "")
        .device("a", 8)
        .device("b", limit)
        .problem()
}

#[test]
fn a_transfer_waits_for_memory_and_the_step_takes_12() {
    let problem = waiting_transfer(8);
    assert_eq!(optimum(&problem), 12);
    let Verdict::Optimal(plan, _) = solve(&problem, &mut |_| false) else { panic!("no plan") };
    assert_eq!(plan.schedule.after.len(), 1);
}

#[test]
fn with_room_for_both_nothing_waits() {
    // B [0,5) while x arrives over [1,6); C [6,8).
    assert_eq!(optimum(&waiting_transfer(10)), 8);
}

#[test]
fn what_fits_no_order_is_proved_infeasible() {
    let verdict = solve(&waiting_transfer(5), &mut |_| false);
    assert_eq!(verdict, Verdict::Infeasible(Obstacle::Memory));
}

#[test]
fn memory_freed_by_a_transfer_lets_the_step_take_12() {
    let problem = Sample::new(1.0)
        .op("A", "a=1", "", "x=4")
        .op("D", "c=7", "", "y=3")
        .op("P", "a=5", "", "")
        .temporary(6)
        .op("C", "b=1", "x y", "")
        .device("a", 8)
        .device("b", 10)
        .device("c", 10)
        .problem();
    assert_eq!(optimum(&problem), 12);
}

#[test]
fn a_transfer_lets_one_of_no_length_pass_first() {
    // x could leave over [1,3), but then z, which takes no time, would come to C at 3 instead of
    // 2: x goes over [2,4), C runs over [2,11), D over [11,12).
    let problem = Sample::new(0.0)
        .op("A", "a=1", "", "x=2 w=1")
        .op("B", "a=1", "w", "z=0")
        .op("C", "b=9", "z", "")
        .op("D", "b=1", "x", "")
        .device("a", 10)
        .device("b", 10)
        .problem();
    assert_eq!(optimum(&problem), 12);
}

#[test]
fn more_than_eight_ops_or_three_devices_are_refused() {
    let mut nine = Sample::new(1.0).device("a", 10);
    for index in 0..9 {
        nine = nine.op(&format!("op{index}"), "a=1", "", "");
    }
    assert_eq!(solve(&nine.problem(), &mut |_| false), Verdict::TooLarge);
    let four = (0..4).fold(Sample::new(1.0), |sample, _| sample.device("a", 10));
    assert_eq!(solve(&four.op("A", "a=1", "", "").problem(), &mut |_| false), Verdict::TooLarge);
}

#[test]
fn a_search_that_is_stopped_says_so() {
    let problem = waiting_transfer(8);
    assert!(matches!(solve(&problem, &mut |_| true), Verdict::Stopped(_)));
}
