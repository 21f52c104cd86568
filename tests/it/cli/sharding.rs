//! Shardings with placements that are pinned: what no plan meets together is named, as few as there are, and what is
//! hinted helps.

use serde_json::Value;

use super::folder::{Folder, diamond};
use super::training;

struct Case<'a> {
    folder: &'a Folder,
    pins: Vec<&'a str>,
    memory: Option<&'a str>,
}

impl Case<'_> {
    fn run(&self, limit: &str) -> (i32, Value) {
        let mut line = format!(
            "train config.json --cluster cluster.yaml --global-batch 16 --sequence-length 1024 \
             --algorithm sharding --memory-margin 0 --time-limit {limit} --json"
        );
        self.pins.iter().for_each(|pin| line.push_str(&format!(" --pin {pin}")));
        let memory = self.memory.iter();
        memory.for_each(|bytes| line.push_str(&format!(" --max-memory-per-device {bytes}")));
        let ran = self.folder.run(&line);
        (ran.code, ran.json())
    }
}

/// Members of a conflict.
fn members(error: &Value) -> Vec<String> {
    let facts = error["facts"].as_array().unwrap();
    let conflict = facts.iter().find(|fact| fact["name"] == "conflict").unwrap();
    let all = conflict["value"]["list"].as_array().unwrap();
    all.iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

#[test]
fn conflicts_are_minimal_and_their_hints_help() {
    let folder = Folder::new(&diamond());
    let mut config = training::config();
    config["num_hidden_layers"] = 4.into();
    folder.write("config.json", &config.to_string());
    folder.write("cluster.yaml", training::CLUSTER);
    let cases = [
        (vec!["mlp.*.weight=R", "norm=R"], "1.5GB", vec!["`--pin mlp.*.weight=R`"]),
        (
            vec!["attention.*.weight=R", "head.weight=R"],
            "2.2GB",
            vec!["`--pin attention.*.weight=R`", "`--pin head.weight=R`"],
        ),
    ];
    for (pins, memory, conflict) in cases {
        let case = Case { folder: &folder, pins, memory: Some(memory) };
        let (code, answer) = case.run("60s");
        assert_eq!(code, 4, "{answer}");
        let members = members(&answer["error"]);
        assert_eq!(members[..members.len() - 1], conflict[..]);
        check(&case, &members, &answer["error"]);
    }
}

/// Without any one member there is a plan of the others, and each hint gives one.
fn check(case: &Case<'_>, members: &[String], error: &Value) {
    let is_pin = |pin: &&str| members.contains(&format!("`--pin {pin}`"));
    let pins: Vec<&str> = case.pins.iter().copied().filter(is_pin).collect();
    let of_memory = members.len() > pins.len();
    let memory = case.memory.filter(|_| of_memory);
    let hints: Vec<&str> =
        error["hints"].as_array().unwrap().iter().map(|hint| hint.as_str().unwrap()).collect();
    for pin in &pins {
        assert!(hints.contains(&format!("leave out --pin {pin}").as_str()), "{hints:?}");
        let others = pins.iter().copied().filter(|other| other != pin).collect();
        let without = Case { folder: case.folder, pins: others, memory };
        assert_eq!(without.run("8s").0, 0, "{members:?} without {pin}");
    }
    if of_memory {
        let without = Case { folder: case.folder, pins: pins.clone(), memory: None };
        assert_eq!(without.run("8s").0, 0, "{members:?} without memory");
        let enough = hints.iter().find_map(|hint| {
            hint.strip_prefix("--max-memory-per-device ")?.strip_suffix(" is enough")
        });
        let memory = Some(enough.unwrap_or_else(|| panic!("{hints:?}")));
        let with = Case { folder: case.folder, pins, memory };
        assert_eq!(with.run("8s").0, 0, "{members:?} {hints:?}");
    }
}
