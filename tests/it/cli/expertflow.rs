//! Experts in slots: planned from traces and visits, read back, exported, and what is wrong with them
//! named.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::experts::{config, visits};
use super::folder::{Folder, diamond};

pub(super) const ONE: &str =
    "name: c\nnodes:\n  - {device: rtx_4090, devices: 1, host: pcie4_x16}\n";
pub(super) const TWO: &str =
    "name: c\nnodes:\n  - {device: rtx_4090, devices: 2, host: pcie4_x16}\n";
const ON: &str = "--model experts.json --cluster c.yaml";

fn folder(cluster: &str) -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("experts.json", &config().to_string());
    folder.write("visits.json", &visits().to_string());
    folder.write("c.yaml", cluster);
    folder.write("trace.jsonl", &trace());
    folder
}

/// Twelve steps of three tokens: each goes to neighbours that move on from step to step.
pub(super) fn trace() -> String {
    let mut text = String::new();
    for step in 0..12 {
        for layer in 0..4 {
            for token in 0..3 {
                let first = (step * (layer + 1) + 5 * token) % 16;
                let second = (first + 1 + token) % 16;
                writeln!(
                    text,
                    "{{\"step\":{step},\"layer\":{layer},\"token\":{token},\"experts\":[{first},{second}]}}"
                )
                .unwrap();
            }
        }
    }
    text
}

fn line(options: &str, visits: &str) -> String {
    format!(
        "plan experts.json --cluster c.yaml --phase decode {visits} --algorithm expertflow({options})"
    )
}

fn planned(folder: &Folder, line: &str, name: &str) -> Value {
    folder.run(&format!("{line} -o {name} --force")).exits(0);
    folder.json(name)
}

const TRACE: &str = "--routing-trace trace.jsonl";

fn missed(plan: &Value) -> u64 {
    let layers = plan["experts"]["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["cache"]["missed"].as_u64().unwrap()).sum()
}

#[test]
fn a_plan_of_slots_is_judged_explained_compared_and_exported() {
    for (cluster, skew) in
        [(ONE, TRACE), (ONE, "--expert-skew zipf:1.2 --batch 4"), (TWO, TRACE), (TWO, "--batch 4")]
    {
        let folder = folder(cluster);
        let plan = planned(&folder, &line("slots=24", skew), "own.json");
        let layers = plan["experts"]["layers"].as_array().unwrap();
        let slots: u64 = layers.iter().map(|layer| layer["slots"].as_u64().unwrap()).sum();
        assert!((8..=24).contains(&slots) && layers.len() == 4, "{slots}");
        // Exact predictions see all that fits come.
        let lru = planned(&folder, &line("slots=24,policy=lru", skew), "lru.json");
        assert!(
            missed(&plan) < missed(&lru),
            "{cluster} {skew}: {} {}",
            missed(&plan),
            missed(&lru)
        );
        let answer = folder.run(&format!("verify own.json {ON} --json")).exits(0).json();
        assert_eq!(answer["not_judged"].as_array().unwrap().is_empty(), skew != TRACE);
        folder.run(&format!("verify lru.json {ON}")).exits(0);
        let stdout = folder.run(&format!("explain own.json {ON}")).exits(0).stdout;
        assert!(stdout.contains("a step computes") && stdout.contains("pcie4_x16"), "{stdout}");
        let ran = folder.run(&format!("explain own.json {ON} --device node0.gpu0 --json")).exits(0);
        assert_eq!(ran.json()["device"]["layers"].as_array().unwrap().len(), 4);
        let answer = folder.run("compare lru.json own.json --json").exits(10).json();
        let hits = |side: &str| answer[side]["hit_ratio"].as_f64().unwrap();
        assert!(hits("a") < hits("b"), "{answer}");
        folder.run("compare own.json own.json").exits(0);
        if cluster == ONE {
            let ran =
                folder.run(&format!("export own.json {ON} --target llama.cpp -o run.sh --force"));
            assert!(ran.exits(0).stderr.contains("whole-layers"));
            assert!(folder.read("run.sh").contains(" --n-cpu-moe 4\n"));
        }
    }
}

/// The same counts by a program of its own: what the plan states of the trace.
#[test]
fn counts_are_those_of_the_trace() {
    let folder = folder(ONE);
    let plan = planned(&folder, &line("slots=64", TRACE), "own.json");
    let mut visits = vec![vec![0.0; 16]; 4];
    let mut needed = [0_u64; 4];
    let mut step: Vec<std::collections::BTreeSet<u64>> = vec![Default::default(); 4];
    for text in trace().lines() {
        let row: Value = serde_json::from_str(text).unwrap();
        let layer = row["layer"].as_u64().unwrap() as usize;
        if row["token"] == 0 {
            needed[layer] += step[layer].len() as u64;
            step[layer].clear();
        }
        for expert in row["experts"].as_array().unwrap() {
            visits[layer][expert.as_u64().unwrap() as usize] += 1.0;
            step[layer].insert(expert.as_u64().unwrap());
        }
    }
    for (layer, entry) in plan["experts"]["layers"].as_array().unwrap().iter().enumerate() {
        assert_eq!(entry["visits"], json!(visits[layer]));
        assert_eq!(entry["cache"]["needed"], json!(needed[layer] + step[layer].len() as u64));
        assert_eq!((&entry["cache"]["missed"], &entry["cache"]["waves"]), (&json!(0), &json!(12)));
        // All that is needed lies in slots from the start.
        assert_eq!(entry["cache"]["ahead"], 0);
    }
    let host = &plan["experts"]["host"];
    assert_eq!((&host["steps"], &host["exposed_s"]), (&json!(12), &json!(0.0)));
    // 3 x 1024 x 2816 weights of four bytes, as the config states no type.
    assert_eq!(host["expert_bytes"], json!(4 * 3 * 1024 * 2816));
    // Copies are placed by the visits of the same trace.
    let copies = "plan experts.json --cluster c.yaml --routing-trace trace.jsonl --algorithm eplb";
    let placed = planned(&folder, copies, "copies.json");
    assert_eq!(placed["experts"]["layers"][0]["visits"], json!(visits[0]));
}

#[test]
fn misses_over_the_link_are_waited_for() {
    let folder = folder(ONE);
    let plan = planned(&folder, &line("slots=8,policy=lru,start=empty", TRACE), "own.json");
    let host = &plan["experts"]["host"];
    let number = |name: &str| host[name].as_f64().unwrap();
    let fetch = number("start_up_s") + number("expert_bytes") / number("bytes_per_s");
    // Layers of this model compute for less than one expert arrives.
    let least = missed(&plan) as f64 * fetch - number("compute_s");
    assert!(
        number("exposed_s") >= least * (1.0 - 1e-9)
            && number("exposed_s") <= missed(&plan) as f64 * fetch
    );
    let whole = planned(&folder, &line("slots=24,layers=whole", TRACE), "whole.json");
    let slots: Vec<&Value> = whole["experts"]["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| &layer["slots"])
        .collect();
    assert_eq!(slots, [2, 2, 2, 16]);
    folder.run(&format!("verify whole.json {ON}")).exits(0);
    folder.run(&format!("export whole.json {ON} --target llama.cpp -o run.sh")).exits(0);
    assert!(folder.read("run.sh").ends_with("-ngl all --n-cpu-moe 3\n"));
}

#[test]
fn every_corruption_is_named() {
    type Maim = fn(&mut Value);
    let folder = folder(TWO);
    let traced = planned(&folder, &line("slots=16", TRACE), "own.json");
    let drawn = planned(&folder, &line("slots=16", "--expert-skew visits.json"), "own.json");
    let both: [(&str, Maim); 12] = [
        ("resident", |v| v["layers"][0]["resident"] = json!([16])),
        ("resident", |v| v["layers"][0]["resident"] = json!([1, 0])),
        ("resident", |v| v["layers"][0]["resident"] = json!([0, 1, 2, 3, 4, 5, 6, 7])),
        ("prefetch", |v| v["layers"][0]["prefetch"] = json!([3, 3])),
        ("slots", |v| v["layers"][0]["slots"] = json!(9)),
        ("slots", |v| v["layers"][0]["slots"] = json!(1)),
        ("other-devices", |v| v["layers"][0]["devices_of_expert"][0] = json!(["node0.gpu1"])),
        ("bad-visits", |v| v["layers"][0]["visits"] = json!([1])),
        ("cache", |v| v["layers"][0]["cache"]["missed"] = json!(100_000)),
        ("expert_bytes", |v| v["host"]["expert_bytes"] = json!(7)),
        ("memory_bytes", |v| v["host"]["memory_bytes"] = json!(7)),
        ("bytes_per_s", |v| v["host"]["bytes_per_s"] = json!(7.0)),
    ];
    for plan in [&traced, &drawn] {
        for (code, maim) in both {
            let mut bad = plan.clone();
            maim(&mut bad["experts"]);
            folder.write("bad.json", &bad.to_string());
            let ran = folder.run(&format!("verify bad.json {ON}")).exits(6);
            assert!(ran.stderr.contains(code), "{code}: {}", ran.stderr);
        }
    }
    let alone: [(&str, bool, Maim); 6] = [
        ("cache", false, |v| v["layers"][1]["cache"]["missed"] = json!(1)),
        ("exposed_s", false, |v| v["host"]["exposed_s"] = json!(1.0)),
        ("compute_s", false, |v| v["host"]["compute_s"] = json!(1.0)),
        ("exposed_s", true, |v| v["host"]["exposed_s"] = json!(1e3)),
        ("compute_s", true, |v| v["host"]["compute_s"] = json!(0.0)),
        ("layers-missing", true, |v| drop(v["layers"].as_array_mut().unwrap().pop())),
    ];
    for (code, is_traced, maim) in alone {
        let mut bad = if is_traced { traced.clone() } else { drawn.clone() };
        maim(&mut bad["experts"]);
        folder.write("bad.json", &bad.to_string());
        let ran = folder.run(&format!("verify bad.json {ON}")).exits(6);
        assert!(ran.stderr.contains(code), "{code}: {}", ran.stderr);
    }
}

#[test]
fn bad_input_is_refused_by_name() {
    let folder = folder(ONE);
    let refused = |line: &str, code: &str, exit: i32| {
        let ran = folder.run(line).exits(exit);
        let is_told =
            ran.stderr.contains(&format!("error[{code}]")) && ran.stderr.contains("hint: ");
        assert!(is_told, "{line}: {}", ran.stderr);
    };
    let traced = |options: &str| line(options, TRACE);
    refused(&traced("slots=7"), "too-few-slots", 2);
    refused(&traced("slots=65"), "too-many-slots", 2);
    refused(&traced("policy=lru,noise=0.5"), "bad-option", 2);
    refused(&traced("policy=fifo"), "bad-option", 2);
    refused(&traced("steps=8"), "not-for-traces", 2);
    refused(&line("", &format!("{TRACE} --expert-skew balanced")), "two-sources", 2);
    refused(&line("", TRACE).replace("decode", "training"), "not-for-experts", 2);
    refused(&format!("{} --export sglang=x", traced("")), "unknown-target", 2);
    // The line is named.
    let (first, rest) =
        trace().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    for (text, named) in [
        (format!("{rest}{first}\n"), "out of order"),
        (format!("{first}\n{{\"step\":0}}\n"), "line 2"),
        (trace().replacen("[0,1]", "[0,16]", 1), "the model has 16"),
        (trace().replacen("[0,1]", "[]", 1), "goes to no expert"),
        (trace().replace("\"layer\":3", "\"layer\":4"), "layer 4 of the trace has no experts"),
        (first.clone(), "step 0 has no line of layer 1"),
        (String::new(), "no line"),
    ] {
        folder.write("trace.jsonl", &text);
        let ran = folder.run(&traced("")).exits(3);
        assert!(
            ran.stderr.contains("error[bad-trace]") && ran.stderr.contains(named),
            "{}",
            ran.stderr
        );
    }
    for visits in ["{\"0\": [0, 0]}", "{\"0\": [1, -1]}", "{\"0\": []}"] {
        folder.write("visits.json", visits);
        refused(&line("", "--expert-skew visits.json"), "bad-histogram", 3);
    }
    folder.write("trace.jsonl", &trace());
    folder.write("c.yaml", &ONE.replace("pcie4_x16", "none"));
    refused(&traced(""), "no-host-link", 3);
    folder.write("c.yaml", &ONE.replace("- {device", "- {count: 2, nics: 1, device"));
    refused(&traced(""), "several-hosts", 2);
}

#[test]
fn a_plan_is_held_against_its_trace() {
    let folder = folder(TWO);
    let plan = planned(&folder, &line("slots=16", TRACE), "own.json");
    let verify = format!("verify own.json {ON}");
    let answer = folder.run(&format!("{verify} --json")).exits(0).json();
    assert_eq!(answer["not_judged"].as_array().unwrap().len(), 7, "{answer}");
    let answer = folder.run(&format!("{verify} {TRACE} --json")).exits(0).json();
    assert_eq!(answer["not_judged"], json!([]), "{answer}");
    let layers = plan["experts"]["layers"].as_array().unwrap().len();
    for member in ["needed", "missed", "ahead", "waves"] {
        let mut bad = plan.clone();
        let cache = &mut bad["experts"]["layers"][layers - 1]["cache"];
        cache[member] = json!(cache[member].as_u64().unwrap() + 1);
        folder.write("bad.json", &bad.to_string());
        let ran = folder.run(&format!("verify bad.json {ON} {TRACE}")).exits(6);
        assert!(ran.stderr.contains("cache"), "{member}: {}", ran.stderr);
    }
    // Another trace is none of the plan's.
    let other = trace().replace("[3,4]", "[3,9]");
    folder.write("other.jsonl", &other);
    folder.run(&format!("{verify} --routing-trace other.jsonl")).exits(6);
    planned(&folder, &line("slots=16", "--batch 4"), "drawn.json");
    let ran = folder.run(&format!("verify drawn.json {ON} {TRACE}")).exits(2);
    assert!(ran.stderr.contains("not-for-traces") && ran.stderr.contains("hint"), "{}", ran.stderr);
}

/// Steps of two tokens of each of two kinds, in four layers.
fn of_two_kinds() -> String {
    let mut text = String::new();
    for step in 0..16 {
        for layer in 0..4 {
            for token in 0..4 {
                let first = 8 * (token % 2) + (step / 2 + layer + token / 2) % 4;
                let experts = format!("[{first},{}]", first + 4);
                let place = format!("\"step\":{step},\"layer\":{layer},\"token\":{token}");
                writeln!(text, "{{{place},\"experts\":{experts}}}").unwrap();
            }
        }
    }
    text
}

#[test]
fn tokens_change_places_where_that_misses_fewer() {
    let folder = folder(ONE);
    folder.write("kinds.jsonl", &of_two_kinds());
    let kinds = "--routing-trace kinds.jsonl";
    let sum = |plan: &Value, of: &str| -> u64 {
        let layers = plan["experts"]["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["cache"][of].as_u64().unwrap()).sum()
    };
    let options = |more: &str| line(&format!("slots=16,policy=lru{more}"), kinds);
    let in_order = planned(&folder, &options(""), "order.json");
    let plan = planned(&folder, &options(",regroup=2"), "own.json");
    let regrouped = &plan["experts"]["host"]["regrouped"];
    assert_eq!(
        (&regrouped["steps"], &regrouped["is_done"]),
        (&json!(2), &json!(true)),
        "{regrouped}"
    );
    // Both steps are of the same four experts of each kind: in order each needs all eight.
    assert_eq!(regrouped["needed_in_order"], sum(&in_order, "needed"));
    assert_eq!(regrouped["missed_in_order"], sum(&in_order, "missed"));
    assert_eq!((sum(&in_order, "needed"), sum(&plan, "needed")), (16 * 4 * 8, 16 * 4 * 4));
    assert_eq!(regrouped["needed_at_least"], 16 * 4 * 4);
    assert!(sum(&plan, "missed") < sum(&in_order, "missed"), "{regrouped}");
    let stdout = folder.run(&format!("explain own.json {ON}")).exits(0).stdout;
    assert!(stdout.contains("tokens of 2 steps change places"), "{stdout}");
    for trace in ["", kinds] {
        folder.run(&format!("verify own.json {ON} {trace}")).exits(0);
        for (member, value) in [("steps", json!(3)), ("needed_at_least", json!(100_000))] {
            let mut bad = plan.clone();
            bad["experts"]["host"]["regrouped"][member] = value;
            folder.write("bad.json", &bad.to_string());
            let ran = folder.run(&format!("verify bad.json {ON} {trace}")).exits(6);
            assert!(ran.stderr.contains("regrouped"), "{member}: {}", ran.stderr);
        }
    }
    let mut bad = plan;
    bad["experts"]["host"]["regrouped"]["needed_in_order"] = json!(513);
    folder.write("bad.json", &bad.to_string());
    folder.run(&format!("verify bad.json {ON} {kinds}")).exits(6);
    // Neighbours that move on: whoever changes places or not, no more is missed.
    for n in 2..6 {
        let of = |more: &str| line(&format!("slots=16{more}"), TRACE);
        let before = planned(&folder, &of(""), "before.json");
        let after = planned(&folder, &of(&format!(",regroup={n}")), "after.json");
        assert!(sum(&after, "missed") <= sum(&before, "missed"));
        folder.run(&format!("verify after.json {ON} {TRACE}")).exits(0);
    }
    let partial = of_two_kinds().lines().skip(1).collect::<Vec<_>>().join("\n");
    folder.write("partial.jsonl", &partial);
    let partial = line("slots=16,regroup=2", "--routing-trace partial.jsonl");
    for (line, code) in [
        (options(",regroup=0"), "bad-option"),
        (options(",regroup=2000"), "bad-option"),
        (options(",regroup=1000").replace("kinds", "many"), "not-for-regrouping"),
        (line("slots=16,regroup=2", "--batch 4"), "needs-trace"),
        (partial, "not-for-regrouping"),
    ] {
        let steps = |at: usize| {
            let place = format!("\"step\":{at},\"layer\":");
            (0..4)
                .map(|layer| {
                    let tokens = (0..4).map(|token| {
                        format!("{{{place}{layer},\"token\":{token},\"experts\":[0,1]}}\n")
                    });
                    tokens.collect::<String>()
                })
                .collect::<String>()
        };
        folder.write("many.jsonl", &(0..300).map(steps).collect::<String>());
        let ran = folder.run(&line);
        assert!(ran.stderr.contains(code) && ran.stderr.contains("hint"), "{line}: {}", ran.stderr);
        assert!([2, 3].contains(&ran.code), "{line}: {}", ran.code);
    }
}
