use super::*;
use crate::placement::list_schedule::sketch::Sketch;

/// Figure 2 of the paper: times on three processors, and what the edges cost between two of them.
const TIMES: [[u64; 3]; 10] = [
    [14, 16, 9],
    [13, 19, 18],
    [11, 13, 19],
    [13, 8, 17],
    [12, 13, 10],
    [13, 16, 9],
    [7, 15, 11],
    [5, 11, 14],
    [18, 12, 20],
    [21, 7, 16],
];
const EDGES: [(usize, usize, u64); 15] = [
    (1, 2, 18),
    (1, 3, 12),
    (1, 4, 9),
    (1, 5, 11),
    (1, 6, 14),
    (2, 8, 19),
    (2, 9, 16),
    (3, 7, 23),
    (4, 8, 27),
    (4, 9, 23),
    (5, 9, 13),
    (6, 8, 15),
    (7, 10, 17),
    (8, 10, 11),
    (9, 10, 13),
];

fn paper() -> Problem {
    let kinds = ["p1", "p2", "p3"];
    let mut sketch = Sketch::new(0.0);
    for kind in kinds {
        sketch = sketch.device(kind, 1_000_000);
    }
    for (task, times) in (1..).zip(TIMES) {
        let name = |(from, to, _): &(usize, usize, u64)| format!("e{from}_{to}");
        let inputs: Vec<String> = EDGES.iter().filter(|e| e.1 == task).map(name).collect();
        let outputs = EDGES.iter().filter(|e| e.0 == task);
        let outputs: Vec<String> = outputs.map(|e| format!("{}:{}", name(e), e.2)).collect();
        let (inputs, outputs) = (inputs.join(" "), outputs.join(" "));
        sketch = sketch.op(&format!("n{task}"), kinds[0], times[0], &inputs, &outputs);
        let more = kinds.iter().zip(times).skip(1).map(|(kind, time)| ((*kind).to_owned(), time));
        sketch.ops.last_mut().unwrap().times.extend(more);
    }
    sketch.problem()
}

#[test]
fn ranks_are_those_of_the_paper() {
    let ranks = upward_ranks(&paper());
    // Table 1 of the paper, to three digits.
    let expected = [108.0, 77.0, 80.0, 80.0, 69.0, 63.333, 42.667, 35.667, 44.333, 14.667];
    for (rank, expected) in ranks.iter().zip(expected) {
        assert!((rank - expected).abs() < 1e-3, "{ranks:?}");
    }
}

#[test]
fn the_makespan_of_the_paper_without_contention() {
    let problem = paper();
    let ledger =
        Heft::new(Ledger::new(&problem, Variant::Plain, None), Look::Here, Gaps::new(3, 0))
            .run(&mut || None)
            .unwrap();
    assert_eq!(ledger.end.iter().max(), Some(&80));
    // Figure 4 (a): n1 on p3 over [0, 9], n10 on p2 over [73, 80].
    assert_eq!((ledger.device[0], ledger.end[0]), (Some(DeviceId(2)), 9));
    assert_eq!((ledger.device[9], ledger.start[9]), (Some(DeviceId(1)), 73));
}

#[test]
fn with_serial_channels_the_judge_has_the_same_times() {
    use crate::draft::{Draft, Orders};
    let problem = paper();
    for look in [Look::Here, Look::Ahead] {
        let ledger = Heft::new(Ledger::new(&problem, Variant::Plain, None), look, Gaps::new(3, 6))
            .run(&mut || None)
            .unwrap();
        let ends = ledger.end.clone();
        let listed = ledger.close_in_time();
        let draft = Draft::default().placed(listed.placement);
        let plan = draft.scheduled(Orders::Full(listed.schedule)).finish(&problem);
        assert_eq!(cost_model::ops::judge::verify::verify(&problem, &plan), vec![]);
        let timeline = cost_model::ops::judge::replay::replay(&problem, &plan).unwrap();
        let judged: Vec<u64> = timeline.ops.iter().map(|span| span.unwrap().end).collect();
        assert_eq!(judged, ends, "{look:?}");
        assert!(timeline.step_time.get() >= 80);
    }
}

#[test]
fn an_op_goes_into_a_gap_that_was_left() {
    // A (2) and C (10) are linked by a slow transfer only if apart; B waits 6 for a large tensor.
    let sketch = Sketch::new(0.0).device("a", 99).device("b", 99);
    let sketch = sketch.op("A", "b", 4, "", "x:6").op("B", "a", 9, "x", "");
    let problem = sketch.op("C", "a", 8, "", "").problem();
    // B (rank 9 + 6 + 4 for A) is committed before C (rank 8); it starts at 10, C fits before it.
    let ledger =
        Heft::new(Ledger::new(&problem, Variant::Plain, None), Look::Here, Gaps::new(2, 4))
            .run(&mut || None)
            .unwrap();
    assert_eq!((ledger.start[1], ledger.start[2]), (10, 0));
}

#[test]
fn every_plan_is_legal_and_has_the_times_of_the_judge() {
    use crate::draft::{Draft, Orders};
    use crate::placement::list_schedule::tests::random_sketch;
    use rand::SeedableRng;
    let mut rng = rand::rngs::SmallRng::seed_from_u64(11);
    let (mut n_plans, mut n_waits) = (0, 0);
    for turn in 0..20_000 {
        let Some(problem) = random_sketch(&mut rng).try_problem() else { continue };
        let look = if turn % 2 == 0 { Look::Here } else { Look::Ahead };
        let n_channels = problem.cluster.links.channels.len();
        let gaps = Gaps::new(problem.cluster.n_devices(), n_channels);
        let Ok(ledger) =
            Heft::new(Ledger::new(&problem, Variant::Plain, None), look, gaps).run(&mut || None)
        else {
            continue;
        };
        let ends = ledger.end.clone();
        let listed = ledger.close_in_time();
        n_plans += 1;
        n_waits += usize::from(!listed.schedule.after.is_empty());
        let draft = Draft::default().placed(listed.placement);
        let plan = draft.scheduled(Orders::Full(listed.schedule)).finish(&problem);
        assert_eq!(
            cost_model::ops::judge::verify::verify(&problem, &plan),
            vec![],
            "problem {turn}"
        );
        let timeline = cost_model::ops::judge::replay::replay(&problem, &plan).unwrap();
        for op in &problem.actions {
            assert_eq!(timeline.ops[op.index()].unwrap().end, ends[op.index()], "problem {turn}");
        }
    }
    assert!(n_plans > 3_000 && n_waits > 100, "{n_plans} plans, {n_waits} with waits");
}
