//! What a plan of a training run states is derived again: lies are named, field by field, and what
//! says the same otherwise is legal.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use super::folder::{Folder, diamond};
use super::training::{CLUSTER, config};

/// Fields that say what was asked for, or where files are (docs/plan-document.md): another value is a lie only
/// where the plan or its figures don't keep it.
fn is_asked(name: &str, other: &Value) -> bool {
    let same_price = other == "bf16" || other == "fp16";
    name.starts_with("request.")
        || name.starts_with("inputs.")
        || name == "training.stack"
        || name == "workload.dtype" && same_price
}

/// Ways to plan that have every field between them.
const WAYS: [&str; 8] = [
    "--pin pipeline=4 --pin schedule=1f1b",
    "--pin tensor=4 --pin data=2 --pin zero=1 --dtype fp16",
    "--pin pipeline=2 --pin schedule=interleaved --pin virtual-stages=5 --pin data=2 --pin tensor=2",
    "--pin schedule=zb-h1 --pin pipeline=2 --optimizer sgd --devices 4..8",
    "--max-memory-per-device 7GB --pin data=1 --pin tensor=1 --pin pipeline=1 --devices 1",
    "--pin pipeline=4 --pin schedule=1f1b --batch 32 --micro-batch 2",
    "--for any --pin pipeline=4 --pin schedule=zb-v --stack torchtitan --no-offload",
    "--for megatron --max-memory-per-device 12GB --pin pipeline=4 --memory-margin 10%",
];

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", CLUSTER);
    for (index, way) in WAYS.iter().enumerate() {
        let line =
            "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 2048";
        folder.run(&format!("{line} {way} -o plan{index}.json")).exits(0);
    }
    folder
}

fn plans(folder: &Folder) -> Vec<Value> {
    let of = |index: usize| folder.read(&format!("plan{index}.json"));
    (0..WAYS.len()).map(|index| serde_json::from_str(&of(index)).unwrap()).collect()
}

/// Paths of all values that hold no others.
pub(super) fn leaves(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                at.push(name.clone());
                leaves(value, at, found);
                at.pop();
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                at.push(index.to_string());
                leaves(value, at, found);
                at.pop();
            }
        }
        Value::Object(_) | Value::Array(_) => {}
        _ => found.push(at.clone()),
    }
}

pub(super) fn at<'v>(value: &'v mut Value, path: &[String]) -> &'v mut Value {
    path.iter().fold(value, |value, step| match value {
        Value::Array(list) => &mut list[step.parse::<usize>().unwrap()],
        other => &mut other[step.as_str()],
    })
}

/// The name of a field; entries of one list stand for each other.
fn field(path: &[String]) -> String {
    let step = |step: &String| match step.parse::<usize>() {
        Ok(_) => "[]".to_owned(),
        Err(_) => step.clone(),
    };
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

/// Mutants of every field of some plans: how many of each were tried, ten at least.
pub(super) struct Mutants {
    paths: BTreeMap<String, usize>,
    tried: BTreeMap<String, usize>,
}

impl Mutants {
    /// Most of the times that a field is changed, some of which don't change it.
    const WANTED: usize = 14;

    pub(super) fn of<'v>(plans: impl Iterator<Item = &'v Value>) -> Self {
        let mut known = BTreeMap::new();
        for plan in plans {
            let mut paths = Vec::new();
            leaves(plan, &mut Vec::new(), &mut paths);
            paths.iter().for_each(|path| *known.entry(field(path)).or_default() += 1);
        }
        Self { paths: known, tried: BTreeMap::new() }
    }

    /// How often to change the value at a path, `least` times at least.
    pub(super) fn tries(&self, path: &[String], least: usize) -> usize {
        Self::WANTED.div_ceil(self.paths[&field(path)]).max(least)
    }

    pub(super) fn tried(&mut self, path: &[String]) {
        *self.tried.entry(field(path)).or_default() += 1;
    }

    /// # Panics
    /// Where a field was changed fewer than ten times.
    pub(super) fn check(&self) {
        let of = |name: &str| self.tried.get(name).copied().unwrap_or(0);
        let few: Vec<_> = self.paths.keys().filter(|name| of(name) < 10).collect();
        assert!(few.is_empty(), "changed fewer than ten times: {few:?}");
    }
}

/// Another value of the same kind.
fn changed(old: &Value, random: &mut SmallRng) -> Value {
    match old {
        Value::Bool(is) => json!(!is),
        Value::Number(number) if number.is_u64() => {
            let n = number.as_u64().unwrap();
            let others = [n + 1, n.saturating_sub(1), n * 2, n / 2, n + n / 100 + 1, 0, 7];
            let others: Vec<u64> = others.into_iter().filter(|other| *other != n).collect();
            json!(others[random.random_range(0..others.len())])
        }
        Value::Number(number) => {
            let x = number.as_f64().unwrap();
            let factors = [0.5, 0.9, 0.999_99, 1.000_01, 1.1, 2.0, -1.0];
            json!(
                x * factors[random.random_range(0..factors.len())] + f64::from(u8::from(x == 0.0))
            )
        }
        Value::String(text) => {
            let words =
                ["x", "1f1b", "gpipe", "zb-h1", "fp32", "bf16", "sgd", "torchtitan", "none"];
            let word = words[random.random_range(0..words.len())];
            match text.contains(',') {
                // A row of a grid: two cells change places.
                true => {
                    let mut cells: Vec<&str> = text.split(',').collect();
                    let at = random.random_range(1..cells.len());
                    cells.swap(at - 1, at);
                    json!(cells.join(","))
                }
                false if word == text => json!(format!("{text}x")),
                false => json!(word),
            }
        }
        other => other.clone(),
    }
}

#[test]
fn every_lie_is_named() {
    let folder = folder();
    let plans = plans(&folder);
    let mut random = SmallRng::seed_from_u64(3);
    let mut missed = Vec::new();
    let mut mutants = Mutants::of(plans.iter());
    let (mut n_mutants, mut n_told) = (0, 0);
    for plan in &plans {
        let mut paths = Vec::new();
        leaves(plan, &mut Vec::new(), &mut paths);
        for path in paths {
            let name = path.join(".");
            for _ in 0..mutants.tries(&path, 1) {
                let mut mutant = plan.clone();
                let value = at(&mut mutant, &path);
                let other = changed(value, &mut random);
                if other == *value {
                    continue;
                }
                let what = format!("{name}: {value} -> {other}");
                *value = other;
                n_mutants += 1;
                mutants.tried(&path);
                folder.write("mutant.json", &mutant.to_string());
                let on = "verify mutant.json --model config.json --cluster cluster.yaml --json";
                let ran = folder.run(on);
                match ran.code {
                    6 => {
                        let violations = ran.json()["violations"].to_string();
                        n_told += u32::from(
                            violations.contains("stated") || violations.contains("field"),
                        );
                    }
                    2 | 3 => n_told += 1,
                    0 if is_asked(&name, at(&mut mutant, &path)) => n_mutants -= 1,
                    code => missed.push(format!("{code} {what}")),
                }
            }
        }
    }
    assert!(missed.is_empty(), "{} of {n_mutants}: {missed:#?}", missed.len());
    assert!(n_mutants > 1000, "{n_mutants}");
    mutants.check();
    assert!(n_told > n_mutants * 9 / 10, "{n_told} of {n_mutants}");
}

/// The same plan with members in another order, or without what need not be stated.
pub(super) fn edited(value: &Value, random: &mut SmallRng) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> =
                map.iter().map(|(name, value)| (name.clone(), edited(value, random))).collect();
            for at in (1..entries.len()).rev() {
                entries.swap(at, random.random_range(0..=at));
            }
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(list) => {
            Value::Array(list.iter().map(|value| edited(value, random)).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn what_says_the_same_stays_legal() {
    let folder = folder();
    let mut random = SmallRng::seed_from_u64(4);
    let optional = [
        &["cost"][..],
        &["cost", "interval"],
        &["cost", "gap"],
        &["training", "held"],
        &["training", "memory"],
        &["training", "peak"],
        &["training", "n_parameters"],
        &["training", "n_blocks"],
    ];
    let mut n = 0;
    for plan in plans(&folder) {
        for round in 0..20 {
            let mut reordered = edited(&plan, &mut random);
            if let Some(path) = optional.get(round) {
                let (last, front) = path.split_last().unwrap();
                let front: Vec<String> = front.iter().map(|step| (*step).to_owned()).collect();
                at(&mut reordered, &front).as_object_mut().unwrap().remove(*last);
            }
            let text = match round % 3 {
                0 => serde_json::to_string_pretty(&reordered).unwrap(),
                1 => reordered.to_string(),
                _ => reordered.to_string().replace(':', " :\n\t "),
            };
            folder.write("edited.json", &text);
            folder.run("verify edited.json --model config.json --cluster cluster.yaml").exits(0);
            n += 1;
        }
    }
    assert!(n >= 100, "{n}");
}

/// A model, a cluster or a profile that changed since is no reason not to look at the plan: what is
/// wrong besides is named, and a plan that is right but for them is not called illegal.
#[test]
fn a_plan_of_what_changed_since_is_looked_at_all_the_same() {
    let folder = folder();
    let verify = |plan: &Value| {
        folder.write("other.json", &plan.to_string());
        folder.run("verify other.json --model config.json --cluster cluster.yaml --json")
    };
    for part in ["model", "cluster", "profile"] {
        let mut plan = plans(&folder)[0].clone();
        plan[part]["digest"] = json!("0".repeat(64));
        let answer = verify(&plan).exits(3).json();
        assert_eq!(answer["error"]["code"], "digest-mismatch", "{answer}");
        plan["parallelism"]["tensor"] = json!(5);
        plan["training"]["schedule"] = json!("nonsense");
        plan["cost"]["step_time_s"] = json!(0.001);
        let violations = verify(&plan).exits(6).json()["violations"].clone();
        assert_eq!(violations[0]["code"], "digest-mismatch", "{violations}");
        for wrong in ["shape-rule", "training.schedule", "cost.step_time_s"] {
            assert!(violations.to_string().contains(wrong), "{wrong}: {violations}");
        }
        // What has another name is another one.
        plan[part]["name"] = json!("other");
        assert_eq!(verify(&plan).exits(3).json()["error"]["code"], "digest-mismatch");
    }
}

#[test]
fn types_may_be_spelt_as_elsewhere() {
    let folder = folder();
    let line = "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 2048";
    folder.run(&format!("{line} --dtype float32 -o single.json")).exits(0);
    let mut plan: Value = folder.json("single.json");
    assert_eq!(plan["workload"]["dtype"], "fp32");
    for (name, code) in [("f32", 0), ("torch.float32", 0), ("f16", 6), ("int32", 3)] {
        plan["workload"]["dtype"] = json!(name);
        folder.write("other.json", &plan.to_string());
        folder.run("verify other.json --model config.json --cluster cluster.yaml").exits(code);
    }
}

/// Written as a person would: degrees, blocks and a schedule, nothing derived.
#[test]
fn plans_written_by_hand_are_legal() {
    let folder = folder();
    let [model, cluster, profile] =
        ["model", "cluster", "profile"].map(|part| plans(&folder)[0][part].clone());
    let mut n = 0;
    for (data, tensor, pipeline) in [
        (1, 1, 1),
        (2, 2, 2),
        (1, 4, 2),
        (8, 1, 1),
        (1, 2, 4),
        (4, 1, 2),
        (2, 1, 4),
        (2, 1, 2),
        (2, 2, 1),
        (4, 1, 1),
        (1, 1, 2),
        (1, 2, 2),
        (2, 4, 1),
    ] {
        for (micro_batch, recompute) in [(1, "none"), (2, "full"), (4, "none"), (1, "full")] {
            let m = 32 / data / micro_batch;
            let blocks: Vec<u64> = match pipeline {
                1 => vec![10],
                2 => vec![6, 4],
                _ => vec![3, 3, 2, 2],
            };
            let mut first = 0;
            let stages: Vec<Value> = blocks
                .iter()
                .map(|n| {
                    first += n;
                    let blocks = json!({"first": first - n, "n": n, "recompute": recompute});
                    json!({"ops": [], "blocks": blocks})
                })
                .collect();
            let grid: Vec<String> = (0..pipeline)
                .map(|rank| {
                    let forward = (0..m).map(|i| format!("{rank}F{i}"));
                    let backward = (0..m).map(|i| format!("{rank}B{i}"));
                    forward.chain(backward).collect::<Vec<_>>().join(",")
                })
                .collect();
            let plan = json!({
                "format": "meshwright.plan/1",
                "model": model, "cluster": cluster, "profile": profile,
                "workload": {"mode": "training", "optimizer": "adamw", "dtype": "bf16"},
                "objective": "step-time", "algorithm": "search-3d",
                "parallelism": {
                    "data": data, "tensor": tensor, "pipeline": pipeline, "expert": 1, "context": 1,
                    "n_micro_batches": m,
                    "training": {
                        "micro_batch": micro_batch, "virtual_stages": 1,
                        "sequence_parallel": tensor > 1, "zero": u8::from(data > 1),
                        "mesh": "data-inside"
                    }
                },
                "partition": {"stages": stages},
                "placement": [], "experts": {}, "communication": {},
                "schedule": {"devices": [], "channels": [], "after": [], "grid": grid},
                "training": {
                    "global_batch": 32, "sequence_length": 2048, "stack": "megatron-core",
                    "schedule": "custom"
                }
            });
            folder.write("hand.json", &plan.to_string());
            folder.run("verify hand.json --model config.json --cluster cluster.yaml").exits(0);
            n += 1;
        }
    }
    assert_eq!(n, 52);
}
