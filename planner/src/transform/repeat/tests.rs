use cost_model::ops::judge::verify::verify;
use cost_model::ops::max_load::evaluate;
use cost_model::ops::problem::{Objective, Problem};

use super::{Stretch, solve};
use crate::draft::Draft;
use crate::line;
use crate::placement::list_schedule::sketch::Sketch;
use crate::placement::orders;
use crate::run::algorithm::Transform;

/// `n` layers of 12 ops each: a wide value passes inside, a narrow one from layer to layer.
fn layers(n: usize) -> Problem {
    let mut sketch = Sketch::new(1.0).device("a", 9_999).device("a", 9_999);
    sketch = sketch.op("first", "a", 3, "", "in:1");
    for layer in 0..n {
        for at in 0..12u64 {
            let before = match (layer, at) {
                (0, 0) => "in".to_owned(),
                (_, 0) => format!("t{}.11", layer - 1),
                _ => format!("t{layer}.{}", at - 1),
            };
            let bytes = if at == 11 { 1 } else { 20 };
            let (name, made) = (format!("o{layer}.{at}"), format!("t{layer}.{at}:{bytes}"));
            sketch = sketch.op(&name, "a", 10 + at, &before, &made);
        }
    }
    sketch.op("last", "a", 5, &format!("t{}.11", n - 1), "").problem()
}

#[test]
fn layers_are_found_and_cut_where_little_passes() {
    let problem = layers(8);
    let found = solve(&problem, 1.0);
    assert_eq!(found.stretches, [Stretch { start: 1, end: 97, period: 12 }]);
    assert_eq!(found.stretches[0].n_blocks(), 8);
    // One piece per layer, each from the first to the last op of the layer.
    assert_eq!(found.sets.len(), 8);
    assert!(found.sets.iter().all(|set| set.len() == 12));
    let line = line::depth_first(&problem);
    assert_eq!(found.sets[0][0], line[1]);
}

#[test]
fn pieces_respect_their_share_and_are_alike() {
    let problem = layers(8);
    // 1,496 ns of work, 748 per device, a tenth of which admits up to seven ops.
    let found = solve(&problem, 0.1);
    let times = |set: &Vec<ir::id::OpId>| -> Vec<u64> {
        set.iter().map(|op| problem.least_time_ns(*op)).collect()
    };
    assert!(found.sets.iter().all(|set| times(set).iter().sum::<u64>() <= 74));
    let n_first = found.sets.len() / 8;
    assert!(n_first > 1);
    let first: Vec<_> = found.sets[..n_first].iter().map(times).collect();
    for layer in found.sets.chunks(n_first) {
        assert_eq!(layer.iter().map(times).collect::<Vec<_>>(), first);
    }
}

#[test]
fn what_does_not_repeat_is_left_alone() {
    assert!(solve(&layers(1), 1.0).sets.is_empty());
}

#[test]
fn a_plan_costs_the_same_with_the_groups_and_without() {
    let problem = std::sync::Arc::new(layers(8).with_objective(Objective::MAX_LOAD));
    let made = super::Repeat { share: 1.0 }.apply(&problem).unwrap();
    let line = line::depth_first(&made.problem);
    let mut found = Vec::new();
    let mut keep = |piece| {
        found.push(piece);
        true
    };
    orders::solve(&made.problem, &line, 748, &mut keep, &mut || false);
    let piece = found.pop().unwrap();
    let draft = Draft::default().placed(piece.placement).scheduled(piece.orders);
    let plan = made.lift.lift(draft).finish(&problem);
    assert_eq!(verify(&problem, &plan), vec![]);
    assert_eq!(evaluate(&problem, &plan).unwrap().get(), piece.value_ns.unwrap());
    assert_eq!(evaluate(&made.problem, &plan).unwrap().get(), piece.value_ns.unwrap());
}
