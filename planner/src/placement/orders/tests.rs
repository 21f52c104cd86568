use cost_model::ops::bound::max_load_bound;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::max_load::loads;
use cost_model::ops::problem::{Objective, Problem};
use ir::id::DeviceId;

use super::{Pieces, solve};
use crate::draft::Draft;
use crate::line;
use crate::placement::list_schedule::sketch::Sketch;

/// Six ops of 10 ns in a row, one byte between two of them, transfers of 2 ns.
fn row(devices: Sketch) -> Sketch {
    let mut sketch = devices;
    for at in 0..6 {
        let input = if at == 0 { String::new() } else { format!("t{}", at - 1) };
        sketch = sketch.op(&format!("o{at}"), "a", 10, &input, &format!("t{at}:1"));
    }
    sketch
}

fn max_load(sketch: &Sketch) -> Problem {
    sketch.problem().with_objective(Objective::MAX_LOAD)
}

fn all(problem: &Problem) -> Vec<Pieces> {
    let mut found = Vec::new();
    let mut keep = |piece| {
        found.push(piece);
        true
    };
    for line in line::lines(problem) {
        solve(problem, &line, max_load_bound(problem).value.get(), &mut keep, &mut || false);
    }
    found
}

fn least(problem: &Problem) -> u64 {
    all(problem).iter().filter_map(|pieces| pieces.value_ns).min().unwrap()
}

#[test]
fn a_row_is_cut_where_the_loads_are_even() {
    // 2 + 2 + 2 ops; the middle piece receives and sends: 20 + 2 + 2.
    let three = Sketch::new(1.0).device("a", 99).device("a", 99).device("a", 99);
    assert_eq!(least(&max_load(&row(three))), 24);
    // 3 + 3: 30 + 2.
    let two = Sketch::new(1.0).device("a", 99).device("a", 99);
    assert_eq!(least(&max_load(&row(two))), 32);
}

#[test]
fn slower_devices_get_less() {
    let mut sketch = row(Sketch::new(1.0).device("a", 99).device("b", 99));
    sketch.ops.iter_mut().for_each(|op| op.times.push(("b".to_owned(), 40)));
    let problem = max_load(&sketch);
    // One op takes 40 + 2 on b; the other five 50 + 2 on a. Two on b: 82.
    assert_eq!(least(&problem), 52);
}

#[test]
fn memory_moves_the_cuts() {
    // 7 bytes of parameters each; 16 bytes hold two ops with what they pass on.
    let mut sketch = row(Sketch::new(1.0).device("a", 16).device("a", 99));
    sketch.ops.iter_mut().for_each(|op| op.parameters.push((format!("w {}", op.name), 7)));
    let problem = max_load(&sketch);
    assert_eq!(least(&problem), 42);
    for piece in all(&problem) {
        let draft = Draft::default().placed(piece.placement).scheduled(piece.orders);
        assert_eq!(verify(&problem, &draft.finish(&problem)), vec![]);
    }
}

#[test]
fn ops_of_another_kind_leave_the_line() {
    let mut sketch = row(Sketch::new(1.0).device("a", 99).device("b", 99));
    sketch.ops[2].times = vec![("b".to_owned(), 5)];
    let problem = max_load(&sketch);
    for piece in all(&problem) {
        assert_eq!(piece.placement.device[2], Some(DeviceId::new(1)));
        assert!(loads(&problem, &piece.placement).is_ok());
    }
}

#[test]
fn lines_agree_with_the_graph_and_read_what_was_just_made() {
    // Two weights that nothing is read for stand before their readers, not at the front.
    let problem = Sketch::new(1.0)
        .device("a", 99)
        .op("w1", "a", 1, "", "w1:1")
        .op("w2", "a", 1, "", "w2:1")
        .op("x", "a", 1, "", "x:1")
        .op("y", "a", 1, "x w1", "y:1")
        .op("z", "a", 1, "y w2", "z:1")
        .problem();
    let names = |line: &[ir::id::OpId]| -> Vec<String> {
        line.iter().map(|op| problem.graph.op(*op).name.clone()).collect()
    };
    assert_eq!(names(&line::depth_first(&problem)), ["x", "w1", "y", "w2", "z"]);
    for line in line::lines(&problem) {
        for (at, op) in line.iter().enumerate() {
            let makers = problem.inputs(*op).iter().filter_map(|t| problem.producer(*t));
            assert!(makers.into_iter().all(|maker| line[..at].contains(&maker)));
        }
        assert_eq!(line.len(), problem.actions.len());
    }
}
