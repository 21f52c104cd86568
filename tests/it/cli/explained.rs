//! Every figure of a report can be asked for.

use serde_json::Value;

use super::folder::{Folder, diamond};

#[test]
fn every_figure_of_a_report_can_be_asked_for() {
    let folder = Folder::new(&diamond());
    let plan = folder.planned("plan.json");
    let step = plan["cost"]["step_time_ns"].as_u64().unwrap();
    let on = "plan.json --model model.json --json";
    let whole = folder.run(&format!("explain {on}")).exits(0).json();
    let path = whole["critical_path"].as_array().unwrap();
    let length =
        |task: &Value| task["end"]["ns"].as_u64().unwrap() - task["start"]["ns"].as_u64().unwrap();
    assert_eq!(path.iter().map(length).sum::<u64>(), step);
    assert_eq!(whole["bound"]["value"]["ns"], plan["cost"]["bound_ns"]);
    for device in whole["report"]["devices"].as_array().unwrap() {
        let line = format!("explain {on} --device {}", device["id"].as_str().unwrap());
        let found = folder.run(&line).exits(0).json();
        assert_eq!(found["compute"]["ns"], device["busy_ns"]);
        assert_eq!(found["communication"]["ns"], device["communication_ns"]);
        assert_eq!(found["peak"]["bytes"], device["peak_memory_bytes"]);
        assert_eq!(found["limit_bytes"], device["memory_limit_bytes"]);
    }
    for task in path.iter().filter(|task| task["transfer"].is_string()) {
        let line = format!("explain {on} --transfer {}", task["transfer"].as_str().unwrap());
        let found = folder.run(&line).exits(0).json();
        let all = found["transfers"].as_array().unwrap();
        assert!(all.iter().any(|one| one["end"] == task["end"]), "{found}");
        let total = |one: &Value| one["why"]["total"]["ns"].as_u64().unwrap();
        assert!(all.iter().all(|one| total(one) == length(one)), "{found}");
    }
    assert_eq!(whole["n_critical"], path.len());
    for n in 1..=path.len() + 1 {
        let found = folder.run(&format!("explain {on} --longest {n}")).exits(0).json();
        let listed = found["critical_path"].as_array().unwrap();
        assert_eq!((listed.len(), &found["n_critical"]), (n.min(path.len()), &whole["n_critical"]));
        let shortest = listed.iter().map(length).min().unwrap();
        let is_listed = |task: &&Value| listed.contains(task);
        assert!(path.iter().filter(|task| !is_listed(task)).all(|task| length(task) <= shortest));
        assert_eq!(
            path.iter().filter(is_listed).collect::<Vec<_>>(),
            listed.iter().collect::<Vec<_>>()
        );
    }
    let stdout = folder.run("explain plan.json --model model.json --longest 1").exits(0).stdout;
    assert!(stdout.contains("longest"), "{stdout}");
    let bad = "--longest 1 --op c;--longest 0;--longest x".split(';');
    bad.for_each(|bad| drop(folder.run(&format!("explain {on} {bad}")).exits(2)));
    for bad in ["--op nothing", "--device nothing", "--transfer nothing", "--op c --device x"] {
        folder.run(&format!("explain {on} {bad}")).exits(2);
    }
}
