use super::*;
use crate::placement::list_schedule::sketch::Sketch;

/// A chain with these times and one byte between neighbours.
fn chain(times: &[u64], n_devices: usize) -> Problem {
    let mut sketch = Sketch::new(0.0);
    for _ in 0..n_devices {
        sketch = sketch.device("a", 1_000);
    }
    for (op, time) in times.iter().enumerate() {
        let input = if op == 0 { String::new() } else { format!("t{}", op - 1) };
        sketch = sketch.op(&format!("o{op}"), "a", *time, &input, &format!("t{op}:1"));
    }
    sketch.problem()
}

fn loads(problem: &Problem, weights: Weights) -> Vec<u64> {
    let network = Network::new(problem);
    let units = Units::new(problem);
    let items = first_come(&units, &problem.topological_order());
    let line = Line::new(&network, &units, items.iter().map(std::slice::from_ref).collect());
    let devices: Vec<usize> = (0..problem.cluster.n_devices()).collect();
    let home = line.cut(&devices, weights).unwrap();
    let mut loads = vec![0; devices.len()];
    units.time.iter().zip(home).for_each(|(time, device)| loads[usize::from(device)] += time);
    loads
}

#[test]
fn the_fullest_piece_is_as_small_as_can_be() {
    // 9 | 2 6 | 4 4: no cut into three has less than 9; an even one by count has 11.
    let problem = chain(&[9, 2, 6, 4, 4], 3);
    assert_eq!(loads(&problem, WEIGHTS[0]).into_iter().max(), Some(9));
    // By bytes every op counts the same but for what is between them.
    assert_eq!(loads(&problem, WEIGHTS[2]).iter().filter(|load| **load > 0).count(), 3);
}

#[test]
fn orders_are_topological() {
    let sketch = Sketch::new(0.0).device("a", 99);
    let sketch = sketch.op("A", "a", 1, "", "x:9").op("B", "a", 1, "", "y:1");
    let sketch = sketch.op("C", "a", 1, "x", "z:1").op("D", "a", 1, "y z", "");
    let problem = sketch.problem();
    let all = orders(&problem);
    assert!(all.len() > 1);
    for order in all {
        let at = |op: usize| order.iter().position(|other| other.index() == op).unwrap();
        assert_eq!(order.len(), 4);
        assert!(at(0) < at(2) && at(1) < at(3) && at(2) < at(3));
    }
}
