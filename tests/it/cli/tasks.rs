//! Tasks on devices: queues, lines, proofs, and what is wrong with them named.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Two devices: a second a unit, and 2 s and 1 s a unit.
pub(super) const FILE: &str = r#"{"kind": "tasks", "devices": ["a", "b", "c"],
    "tasks": [{"id": 0, "size": 3}, {"id": 1, "size": 2}, {"id": 2, "size": 1}],
    "history": [{"device": "a", "size": 1, "seconds": 1}, {"device": "a", "size": 2, "seconds": 2},
                {"device": "b", "size": 1, "seconds": 3}, {"device": "b", "size": 2, "seconds": 4},
                {"device": "c", "size": 1, "seconds": 100}]}"#;

#[test]
fn queues_are_planned_and_held_against_the_instance() {
    let folder = Folder::new(&diamond());
    folder.write("t.json", FILE);
    let answer = folder.run("plan t.json -o p.json --json").exits(0).json();
    // 3 and 1 on one, 2 on the other: 4 s and 4 s.
    assert_eq!(
        (&answer["value_ns"], &answer["proved_optimal"]),
        (&json!(4_000_000_000_u64), &json!(true))
    );
    assert_eq!(answer["objective"], "makespan");
    let queues = answer["queues"].as_array().unwrap();
    assert_eq!((&queues[0]["tasks"], &queues[1]["tasks"]), (&json!(["0", "2"]), &json!(["1"])));
    let fits: Vec<&Value> = queues.iter().map(|queue| &queue["fit"]).collect();
    assert_eq!(fits, ["line", "line", "through-origin"]);
    assert!((queues[1]["start_up_s"].as_f64().unwrap() - 2.0).abs() < 1e-9);
    folder.run("verify p.json --model t.json").exits(0);
    folder.run("explain p.json --model t.json").exits(0);
    let one = folder.run("explain p.json --model t.json --op 1").exits(0);
    assert!(one.stdout.contains("b: 4"), "{}", one.stdout);
    folder.run("compare p.json p.json --model t.json").exits(0);
    let plan: Value = folder.json("p.json");
    let verdict = |change: &dyn Fn(&mut Value), code: i32| {
        let mut changed = plan.clone();
        change(&mut changed);
        folder.write("q.json", &changed.to_string());
        folder.run("verify q.json --model t.json").exits(code);
    };
    verdict(&|plan| plan["queues"][0]["seconds"] = json!(3.0), 6);
    verdict(&|plan| plan["queues"][0]["per_size_s"] = json!(0.5), 6);
    verdict(&|plan| plan["queues"][2]["fit"] = json!("line"), 6);
    verdict(&|plan| plan["value_ns"] = json!(3_000_000_000_u64), 6);
    verdict(&|plan| plan["queues"][0]["tasks"] = json!(["0"]), 3);
    verdict(&|plan| plan["queues"][2]["tasks"] = json!(["0"]), 3);
    verdict(&|plan| plan["queues"][2]["device"] = json!("d"), 3);
    verdict(&|plan| plan["queues"][0]["tasks"] = json!(["2"]), 3);
    folder.run("plan t.json --cluster c.yaml").exits(2);
    folder.run("export p.json --model t.json --target split -o out").exits(2);
}

/// A pass over all changes of places is longer than the limit.
#[test]
fn limits_hold_on_many_tasks() {
    let folder = Folder::new(&diamond());
    let tasks: Vec<Value> =
        (0..300_000_u64).map(|id| json!({ "id": id, "size": 1 + id * 7919 % 1009 })).collect();
    let file = json!({ "kind": "tasks", "devices": ["a", "b", "c", "d"], "tasks": tasks });
    folder.write("t.json", &file.to_string());
    let started = std::time::Instant::now();
    let answer = folder.run("plan t.json --time-limit 5s --json").exits(0).json();
    // Room for other tests beside this one.
    assert!(started.elapsed().as_secs() < 50, "{:?}", started.elapsed());
    let (value, bound) =
        (answer["value_ns"].as_f64().unwrap(), answer["bound_ns"].as_f64().unwrap());
    assert!(bound <= value && value < bound * 1.001, "{bound} {value}");
    let few = json!({ "kind": "tasks", "devices": (0..100_001).collect::<Vec<_>>(),
                      "tasks": [{ "id": 0, "size": 1 }] });
    folder.write("t.json", &few.to_string());
    let stderr = folder.run("plan t.json").exits(3).stderr;
    assert!(stderr.contains("size-budget"), "{stderr}");
}

/// A history that tells more makes predictions better.
#[test]
fn lines_get_better_as_history_grows() {
    let folder = Folder::new(&diamond());
    // 1 s and 0.5 s a unit, measured up to 20 % off, first one way, then the other.
    let noise = [1.2, 0.85, 1.1, 0.9, 0.95, 1.05, 1.0, 1.02, 0.98, 1.01, 0.99, 1.0];
    let sizes = [2.0, 9.0, 5.0, 1.0, 7.0, 3.0, 8.0, 4.0, 6.0, 2.0, 9.0, 5.0];
    let runs: Vec<Value> = noise
        .iter()
        .zip(sizes)
        .map(|(off, size)| json!({ "device": "a", "size": size, "seconds": off * (1.0 + 0.5 * size) }))
        .collect();
    let off = |n: usize| {
        let file = json!({
            "kind": "tasks", "devices": ["a"], "tasks": [{ "id": "t", "size": 10.0 }],
            "history": runs[..n].to_vec(),
        });
        folder.write("t.json", &file.to_string());
        let answer = folder.run("plan t.json --json").exits(0).json();
        (answer["queues"][0]["seconds"].as_f64().unwrap() / 6.0 - 1.0).abs()
    };
    let off = [1, 4, 12].map(off);
    assert!(off[0] > off[1] && off[1] > off[2], "{off:?}");
}
