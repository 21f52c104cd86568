use std::time::Duration;

use ir::id::OpId;

use super::favourites::{Edge, dearest, edges, match_greedily};
use super::program::{Limits, Relaxation, relax};
use super::{THETA, build, solve};
use crate::placement::list_schedule::sketch::{Sketch, full_duplex, route_kind};
use crate::run::algorithm::Options;

/// A feeds B over 4 ns and C over 2 ns; everything takes 1 ns.
fn fork() -> Sketch {
    Sketch::new(1.0)
        .device("a", 100)
        .device("a", 100)
        .op("A", "a", 1, "", "x:3 y:1")
        .op("B", "a", 1, "x", "")
        .op("C", "a", 1, "y", "")
}

#[test]
fn the_program_balances_the_branches_of_a_fork() {
    // With x_AB = a and x_AC = 1 - a: w = max(2 + 4a, 2 + 2(1 - a)), least at a = 1/3.
    let problem = fork().problem();
    let edges = edges(&problem);
    let Relaxation::Optimal(x) = relax(&problem, &edges, Limits::default()) else { panic!() };
    assert!((x[0] - 0.333_333).abs() < 1e-12 && (x[1] - 0.666_667).abs() < 1e-12, "{x:?}");
}

#[test]
fn the_threshold_is_met_with_equality() {
    let problem = fork().problem();
    assert_eq!(solve(&problem, 0.1, None), [None, None, None]);
    assert_eq!(solve(&problem, 0.333_332, None), [None, None, None]);
    assert_eq!(solve(&problem, 0.333_333, None), [Some(OpId(1)), None, None]);
}

#[test]
fn each_op_of_a_chain_is_the_favourite_of_the_one_before() {
    let mut sketch =
        Sketch::new(1.0).device("a", 100).device("a", 100).op("o0", "a", 5, "", "t0:1");
    for number in 1..20 {
        let (input, output) = (format!("t{}", number - 1), format!("t{number}:1"));
        sketch = sketch.op(&format!("o{number}"), "a", 5, &input, &output);
    }
    let favourites = solve(&sketch.problem(), 0.1, Some(Duration::from_secs(60)));
    for (op, favourite) in favourites.iter().enumerate() {
        assert_eq!(*favourite, (op < 19).then(|| OpId::new(op + 1)));
    }
}

#[test]
fn the_dearest_edge_stands_in_for_a_program_that_was_not_solved() {
    let problem = fork().problem();
    let edges = edges(&problem);
    let limits = Limits { time: Some(Duration::ZERO), iterations: Some(0) };
    assert!(matches!(relax(&problem, &edges, limits), Relaxation::NotSolved(_)));
    assert_eq!(dearest(&problem, &edges), [0.0, 1.0]);
    let even: Vec<Edge> = edges.iter().map(|edge| Edge { time: 4, ..*edge }).collect();
    assert_eq!(dearest(&problem, &even), [0.0, 1.0]);
}

#[test]
fn the_matching_takes_the_least_x_and_then_the_least_number() {
    let problem = fork().problem();
    let edge = |from, to| Edge { from: OpId(from), to: OpId(to), time: 1 };
    let edges = [edge(0, 1), edge(0, 2), edge(1, 2)];
    let matched = |x: &[f64]| match_greedily(&problem, &edges, x, 0.5);
    assert_eq!(matched(&[0.2, 0.1, 0.3]), [Some(OpId(2)), None, None]);
    assert_eq!(matched(&[0.1, 0.1, 0.1]), [Some(OpId(1)), Some(OpId(2)), None]);
    assert_eq!(matched(&[0.6, 0.6, 0.5]), [None, Some(OpId(2)), None]);
}

#[test]
fn the_time_of_an_edge_is_the_lower_median_over_ordered_pairs() {
    // Three devices: 4 of the 6 ordered pairs are slow, or 3, or 2.
    for (n_slow, expected) in [(4, 13), (3, 4), (2, 4)] {
        let mut links = full_duplex(3, 1.0);
        links.kinds.push(route_kind(0, 10.0, 1.0));
        let pairs: Vec<usize> = (0..9).filter(|pair| pair % 4 != 0).collect();
        pairs.iter().take(n_slow).for_each(|pair| links.pairs[*pair] = 1);
        let mut sketch = fork().device("a", 100);
        sketch.links = Some(links);
        assert_eq!(edges(&sketch.problem())[0].time, expected, "{n_slow}");
    }
}

#[test]
fn a_threshold_outside_0_to_1_is_refused() {
    for text in ["-0.1", "1.5", "nan", "inf"] {
        let options = Options::new([(THETA.name.to_owned(), text.to_owned())].into());
        assert_eq!(build(&options).err().unwrap().code, "bad-option", "{text}");
    }
}
