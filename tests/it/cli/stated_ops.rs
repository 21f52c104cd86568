//! What a plan of ops states is derived again: lies are named, field by field, and what says the
//! same otherwise is legal.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::stated::{Mutants, at, edited, leaves};
use super::training::CLUSTER;

/// Fields that carry no fact of a plan of ops (docs/plan-document.md): what was asked for, as long
/// as the plan keeps it, and who made the plan.
fn is_asked(name: &str) -> bool {
    name.starts_with("request.") || name.starts_with("inputs.") || name == "algorithm"
}

pub(super) fn onnx(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_features");
    folder.join(name).to_str().unwrap().to_owned()
}

/// A model with open dimensions.
const OPEN: &str = "symbolic_dims_batch_seq.onnx";
/// One that can be trained.
const TRAINED: &str = "tied_embedding_head.onnx";

/// Ways to plan that have every field between them.
fn ways() -> Vec<(String, String)> {
    let cluster = "--cluster cluster.yaml";
    let (small, open, trained) = ("model.json".to_owned(), onnx(OPEN), onnx(TRAINED));
    let dims = dims();
    [
        (&small, "--algorithm single".to_owned()),
        (&small, "--algorithm m-etf".to_owned()),
        (&small, "--algorithm brute-force".to_owned()),
        (&small, "--objective max-load --algorithm columns".to_owned()),
        (&small, "--algorithm m-topo --pin a=gpu0 --forbid d=gpu0".to_owned()),
        (&open, format!("{cluster}{dims} --dtype bf16 --algorithm m-etf")),
        (&trained, format!("{cluster} --algorithm orders --workload training --optimizer sgd")),
    ]
    .into_iter()
    .map(|(model, flags)| (model.clone(), flags))
    .collect()
}

/// Names of the dimensions that the model leaves open.
fn symbols() -> Vec<String> {
    let error = super::folder::run(&format!("import {} --json", onnx(OPEN))).json();
    let list = error["error"]["facts"][0]["value"]["list"].clone();
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Flags that bind them.
pub(super) fn dims() -> String {
    symbols().iter().map(|name| format!(" --dim {name}=4")).collect()
}

struct Planned {
    folder: Folder,
    /// Model and plan.
    plans: Vec<(String, Value)>,
}

fn planned() -> Planned {
    let folder = Folder::new(&diamond());
    folder.write("cluster.yaml", CLUSTER);
    let mut plans = Vec::new();
    for (index, (model, flags)) in ways().into_iter().enumerate() {
        let flags = flags.replace("gpu0", &device_of(&folder));
        folder.run(&format!("plan {model} {flags} -o plan{index}.json")).exits(0);
        plans.push((model, folder.json(&format!("plan{index}.json"))));
    }
    Planned { folder, plans }
}

/// The first device of the small model.
fn device_of(folder: &Folder) -> String {
    if !folder.path("first.json").exists() {
        folder.planned("first.json");
    }
    let plan: Value = folder.json("first.json");
    plan["schedule"]["devices"][0]["device"].as_str().unwrap().to_owned()
}

impl Planned {
    /// Neither `--dim`, `--batch`, `--dtype` nor anything else is said again.
    fn verify(&self, model: &str, plan: &Value) -> super::folder::Ran {
        self.folder.write("mutant.json", &plan.to_string());
        let cluster = if model == "model.json" { "" } else { " --cluster cluster.yaml" };
        self.folder.run(&format!("verify mutant.json --model {model}{cluster} --json"))
    }
}

/// Another value of the same kind; words are those of the plan itself.
fn changed(old: &Value, words: &[String], random: &mut SmallRng) -> Value {
    match old {
        Value::Bool(is) => json!(!is),
        Value::Number(number) if number.is_u64() => {
            let n = number.as_u64().unwrap();
            let others = [n + 1, n.saturating_sub(1), n * 2, n / 2, n + n / 100 + 1, 0, 7];
            json!(others[random.random_range(0..others.len())])
        }
        Value::Number(number) => {
            let x = number.as_f64().unwrap();
            let factors = [0.5, 0.9, 0.999_99, 1.000_01, 1.1, 2.0, -1.0];
            json!(
                x * factors[random.random_range(0..factors.len())] + f64::from(u8::from(x == 0.0))
            )
        }
        Value::String(_) => json!(words[random.random_range(0..words.len())]),
        other => other.clone(),
    }
}

#[test]
fn every_lie_of_a_plan_of_ops_is_named() {
    let planned = planned();
    let mut random = SmallRng::seed_from_u64(5);
    let (mut n_mutants, mut n_told, mut missed) = (0, 0, Vec::new());
    let mut mutants = Mutants::of(planned.plans.iter().map(|(_, plan)| plan));
    for (model, plan) in &planned.plans {
        let mut paths = Vec::new();
        leaves(plan, &mut Vec::new(), &mut paths);
        let mut words: Vec<String> = ["x", "fp32", "bf16", "sgd", "training", "none", "max-load"]
            .map(str::to_owned)
            .to_vec();
        words.extend(paths.iter().filter_map(|path| {
            let mut plan = plan.clone();
            at(&mut plan, path).as_str().map(str::to_owned)
        }));
        for path in paths {
            let name = path.join(".");
            for _ in 0..mutants.tries(&path, 4) {
                let mut mutant = plan.clone();
                let value = at(&mut mutant, &path);
                let other = changed(value, &words, &mut random);
                if other == *value {
                    continue;
                }
                let what = format!("{name}: {value} -> {other}");
                *value = other;
                n_mutants += 1;
                mutants.tried(&path);
                let ran = planned.verify(model, &mutant);
                match ran.code {
                    6 => {
                        let violations = ran.json()["violations"].clone();
                        n_told +=
                            u32::from(violations.as_array().is_some_and(|list| !list.is_empty()));
                    }
                    // 4: constraints that contradict each other.
                    2..=4 => n_told += 1,
                    0 if is_asked(&name) => n_mutants -= 1,
                    code => missed.push(format!("{code} {what}")),
                }
            }
        }
    }
    assert!(missed.is_empty(), "{} of {n_mutants}: {missed:#?}", missed.len());
    assert!(n_mutants > 1000, "{n_mutants}");
    mutants.check();
    assert_eq!(n_told, n_mutants);
}

/// Lies of several fields that agree with each other.
#[test]
fn claims_that_agree_with_each_other_are_derived_too() {
    let planned = planned();
    let (model, plan) = &planned.plans[0];
    let stated = |change: &dyn Fn(&mut Value), field: &str| {
        let mut mutant = plan.clone();
        change(&mut mutant);
        let ran = planned.verify(model, &mutant).exits(6).json();
        let violations = ran["violations"].to_string();
        assert!(
            violations.contains("stated-wrong") && violations.contains(field),
            "{field}: {violations}"
        );
    };
    // A claim of optimality: the bound is the value.
    stated(
        &|plan| {
            let cost = plan["cost"].as_object_mut().unwrap();
            let (ns, s) = (cost["step_time_ns"].clone(), cost["step_time_s"].clone());
            cost["bound_ns"] = json!(ns.as_u64().unwrap() - 1);
            cost["bound_s"] = json!(s.as_f64().unwrap() - 1e-9);
            let gap = ns.as_f64().unwrap() / (ns.as_f64().unwrap() - 1.0) - 1.0;
            cost["gap"] = json!(gap);
        },
        "cost.bound_ns",
    );
    stated(&|plan| plan["cost"]["value_ns"] = json!(5), "cost.value_ns");
    stated(&|plan| plan["workload"]["optimizer"] = json!("adamw"), "workload.optimizer");
    // What only training runs state, or are asked, is refused.
    let mut gridded = plan.clone();
    gridded["schedule"]["grid"] = json!(["0F0,0B0"]);
    let refused = planned.verify(model, &gridded).exits(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("schedule.grid"), "{refused}");
    let mut requested = plan.clone();
    requested["request"] = json!({ "devices": [1, 2] });
    planned.verify(model, &requested).exits(3);
}

#[test]
fn plans_of_ops_that_say_the_same_stay_legal() {
    let planned = planned();
    let mut random = SmallRng::seed_from_u64(6);
    let optional: [&[&str]; 4] =
        [&["cost"], &["cost", "gap"], &["cost", "interval"], &["cost", "origins"]];
    let mut n = 0;
    for (model, plan) in &planned.plans {
        for round in 0..20 {
            let mut reordered = edited(plan, &mut random);
            if let Some((last, front)) = optional.get(round).and_then(|path| path.split_last()) {
                let front: Vec<String> = front.iter().map(|step| (*step).to_owned()).collect();
                at(&mut reordered, &front).as_object_mut().unwrap().remove(*last);
            }
            // Lists whose entries are told apart by name have no order.
            if round % 2 == 1 {
                reordered["placement"].as_array_mut().unwrap().reverse();
                reordered["schedule"]["devices"].as_array_mut().unwrap().reverse();
                reordered["algorithm"] = json!("by-hand");
            }
            planned.verify(model, &reordered).exits(0);
            n += 1;
        }
    }
    assert!(n >= 100, "{n}");
}

/// A plan keeps all that shaped its problem, so the other verbs ask for it no more.
#[test]
fn a_plan_model_and_cluster_are_enough() {
    let planned = planned();
    for (index, (model, _)) in planned.plans.iter().enumerate() {
        let cluster = if model == "model.json" { "" } else { " --cluster cluster.yaml" };
        let on = format!("plan{index}.json --model {model}{cluster}");
        for verb in ["verify", "simulate", "explain"] {
            planned.folder.run(&format!("{verb} {on}")).exits(0);
        }
        planned.folder.run(&format!("export {on} --target trace -o t{index}.json")).exits(0);
        planned.folder.run(&format!("compare plan{index}.json {on}")).exits(0);
    }
}
