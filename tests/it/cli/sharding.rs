//! Shardings with placements that are pinned: what no plan meets together is named, as few as there are, and what is
//! hinted helps.

use std::collections::BTreeSet;
use std::path::Path;

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

/// Exported programs, op by op: each op has placements, a plan that is edited is illegal.
#[test]
fn graphs_are_sharded_op_by_op() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces/samples");
    let models = [
        ("gpt2_2l_h256_b2_s64", 8, "100MB"),
        ("mixtral_tiny_2l_4e_b2_s32", 8, "100MB"),
        ("resnet18_b4_64px", 8, "150MB"),
    ];
    for (name, batch, memory) in models {
        let folder = Folder::new(&diamond());
        folder.write("cluster.yaml", training::CLUSTER);
        let model = samples.join(format!("{name}.pt2"));
        let on = format!("--cluster cluster.yaml --model {}", model.display());
        let line = format!(
            "train {} --cluster cluster.yaml --global-batch {batch} --algorithm sharding(mesh=8) \
             --memory-margin 0 --deterministic --max-memory-per-device {memory} -o p.json --json",
            model.display()
        );
        folder.run(&line).exits(0);
        folder.run(&format!("verify p.json {on}")).exits(0);
        let rules =
            folder.run(&format!("support {} --sharding --json", model.display())).exits(0).json();
        let n_ops = rules["op_types"].as_array().unwrap().iter().map(|of| {
            of["sharded"].as_u64().unwrap() + of["replicated"].as_array().unwrap().len() as u64
        });
        assert_eq!(n_ops.sum::<u64>(), rules["n_ops"].as_u64().unwrap(), "{name}");
        folder.run(&format!("export p.json {on} --target jax -o p.jax.json --force")).exits(0);
        let plan: Value = serde_json::from_str(&folder.read("p.json")).unwrap();
        let ops = plan["sharding"]["ops"].as_array().unwrap();
        let names = |key: &str| -> BTreeSet<&str> {
            ops.iter().map(|op| op[key].as_str().unwrap()).collect()
        };
        let tensors = |op: &Value, from: usize| -> Vec<String> {
            let all = op["tensors"].as_array().unwrap();
            all[from..].iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let n = |op: &Value| op["inputs"].as_array().map_or(0, Vec::len);
        assert_eq!(names("op").len(), ops.len());
        let mut made = BTreeSet::new();
        let mut n_split = 0;
        for op in ops {
            let all = tensors(op, 0);
            // What an op reads was made before it.
            assert!(all[..n(op)].iter().all(|tensor| made.contains(tensor)), "{name} {op}");
            made.extend(all[n(op)..].iter().cloned());
            n_split += usize::from(op["outputs"].to_string().contains("S("));
        }
        assert!(n_split >= 10, "{name}: {n_split}");
        // Gradients of all parameters that are read.
        let sources = ops.iter().filter(|op| n(op) == 0);
        let weights: Vec<&str> = sources.filter_map(|op| op["op"].as_str()).collect();
        let n_trained = weights.iter().filter(|of| made.contains(&format!("{of}.grad"))).count();
        assert!(3 * n_trained > weights.len(), "{name}");
        // Parameters are where the plan has them.
        let jax = folder.json("p.jax.json");
        for op in ops.iter().filter(|op| n(op) == 0) {
            let (rest, path) = (op["outputs"][0][0].as_str().unwrap(), op["op"].as_str().unwrap());
            let path = format!("^{}$", path.replace('.', "\\."));
            let rules = jax["rules"].as_array().unwrap();
            let rule = rules.iter().find(|rule| rule["path"] == path.as_str()).unwrap();
            let spec = rule["shared"].as_array().unwrap();
            let split = spec.iter().position(|axis| !axis.is_null());
            assert_eq!(split.map_or("R".to_owned(), |dim| format!("S({dim})")), rest, "{path}");
        }
        let mut edited = plan.clone();
        let op = edited["sharding"]["ops"].as_array_mut().unwrap().iter_mut();
        let mut split = op.filter(|op| op["outputs"].to_string().contains("S("));
        split.nth(n_split / 2).unwrap()["outputs"][0] = serde_json::json!(["P"]);
        folder.write("e.json", &edited.to_string());
        assert_ne!(folder.run(&format!("verify e.json {on}")).code, 0, "{name}");
    }
}

/// A bound that orders of axes raise is derived again; one above the cost of a plan is not.
#[test]
fn bounds_that_orders_of_axes_raise_are_derived() {
    let folder = Folder::new(&diamond());
    let root = env!("CARGO_MANIFEST_DIR");
    let on = format!("--cluster {root}/examples/clusters/pod-1024.yaml");
    let model = format!("{root}/examples/models/deepseek-v3.json");
    let asked = "--global-batch 4096 --sequence-length 4096 --algorithm sharding -o plan.json";
    folder.run(&format!("train {model} {on} {asked} --time-limit 10m")).exits(0);
    let verify = |plan: &str| folder.run(&format!("verify {plan} --model {model} {on}"));
    verify("plan.json").exits(0);
    let mut plan = folder.json("plan.json");
    let cost = plan["cost"].clone();
    let seconds = cost["bound_s"].as_f64().unwrap() / (1.0 - cost["gap"].as_f64().unwrap());
    plan["cost"]["bound_s"] = serde_json::json!(seconds);
    folder.write("high.json", &plan.to_string());
    assert!(verify("high.json").talk().contains("cost.bound_s"));
}
