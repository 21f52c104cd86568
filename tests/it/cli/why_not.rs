//! `explain --why-not`: the terms of a difference add up to it, and the plan with a setting is that of `train`
//! with the setting pinned.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::clusters::Says;
use super::folder::Folder;
use super::kinds;

const N_RUNS: usize = 6;
const PINS_OF_A_RUN: usize = 3;

const PINS: [&str; 14] = [
    "tensor=2",
    "tensor=4",
    "tensor=8",
    "pipeline=2",
    "pipeline=4",
    "context=2",
    "expert=2",
    "expert=4",
    "data=4",
    "micro-batch=1",
    "recompute=none",
    "recompute=full",
    "zero=1",
    "zero=3",
];

struct Run {
    folder: Folder,
    /// `MODEL --cluster ..` and the size of a step, as `train` takes them.
    asked: String,
    /// Flags by which `explain` finds the plan's model.
    on: String,
    plan: Value,
}

impl Run {
    fn of(model: &str, cluster: &str, size: &str) -> Self {
        let folder = kinds::folder();
        let flags = format!("{model} --cluster {cluster} {size}");
        folder.run(&format!("train {flags} --fastest -o plan.json")).exits(0);
        let plan = folder.json("plan.json");
        Self {
            folder,
            asked: flags,
            on: format!("plan.json --model {model} --cluster {cluster}"),
            plan,
        }
    }

    fn random(random: &mut SmallRng) -> Self {
        let model = ["billion.json", "experts.json", "dense.json"].choose(random).unwrap();
        let cluster = ["one.yaml", "two.yaml"].choose(random).unwrap();
        let batch = 8 << random.random_range(0..4);
        let sequence = 256 << random.random_range(0..4);
        Self::of(model, cluster, &format!("--global-batch {batch} --sequence-length {sequence}"))
    }

    fn why_not(&self, pins: &[&str]) -> super::folder::Ran {
        let pins: String = pins.iter().map(|pin| format!(" --why-not {pin}")).collect();
        self.folder.run(&format!("explain {} --json{pins}", self.on))
    }
}

/// Differences add up to that of the whole, and figures to the wholes.
fn add_up(whole: &Value, terms: &Value) {
    for member in ["plan", "pinned", "difference"] {
        let sum: i64 =
            terms.as_array().unwrap().iter().map(|term| term[member].as_i64().unwrap()).sum();
        assert_eq!(Some(sum), whole[member].as_i64(), "{member} of {whole}: {terms}");
    }
    for row in terms.as_array().unwrap().iter().chain([whole]) {
        let of = |member: &str| row[member].as_i64().unwrap();
        assert_eq!(of("difference"), of("pinned") - of("plan"), "{row}");
        assert!(of("plan") >= 0 && of("pinned") >= 0, "{row}");
    }
}

#[test]
fn terms_add_up_and_the_plan_is_that_of_train_with_the_setting() {
    let random = &mut SmallRng::seed_from_u64(29);
    let (mut n_compared, mut n_kept, mut n_refused) = (0, 0, 0);
    for _ in 0..N_RUNS {
        let run = Run::random(random);
        for _ in 0..PINS_OF_A_RUN {
            let n = random.random_range(1..3);
            let pins: Vec<&str> = (0..n).map(|_| *PINS.choose(random).unwrap()).collect();
            let flags: String = pins.iter().map(|pin| format!(" --pin {pin}")).collect();
            let pinned = run.folder.run(&format!("train {}{flags} --fastest --json", run.asked));
            let answer = run.why_not(&pins);
            if answer.code != 0 {
                n_refused += 1;
                assert_eq!(answer.code, pinned.code, "{} {flags}: {}", run.asked, answer.stdout);
                continue;
            }
            let answer = answer.json();
            let step = run.plan["cost"]["step_time_ns"].as_u64().unwrap();
            assert_eq!(answer["step_time_ns"].as_u64(), Some(step));
            let why_not = &answer["why_not"];
            assert_eq!(why_not["pins"].as_array().unwrap().len(), pins.len());
            if why_not["is_kept"] == true {
                n_kept += 1;
                assert_eq!(pinned.exits(0).json()["best"]["step_time_ns"], step);
                continue;
            }
            if why_not["does_not_fit"].is_object() {
                assert_ne!(pinned.code, 0, "{} {flags}", run.asked);
                continue;
            }
            n_compared += 1;
            let best = &pinned.exits(0).json()["best"];
            let compared = &why_not["pinned"];
            assert_eq!(
                compared["step_ns"]["pinned"], best["step_time_ns"],
                "{} {flags}",
                run.asked
            );
            assert_eq!(
                compared["peak_bytes"]["pinned"], best["peak_bytes"],
                "{} {flags}",
                run.asked
            );
            assert_eq!(compared["step_ns"]["plan"], step);
            add_up(&compared["step_ns"], &compared["terms"]);
            add_up(&compared["peak_bytes"], &compared["memory"]);
            let bound = run.plan["cost"]["bound_ns"].as_i64().unwrap();
            assert!(
                compared["step_ns"]["pinned"].as_i64().unwrap() >= bound,
                "{} {flags}",
                run.asked
            );
        }
    }
    assert!(n_compared >= 6 && n_kept + n_refused >= 2, "{n_compared} {n_kept} {n_refused}");
}

/// The terms are the parts of the search, with communication by axis.
#[test]
fn terms_are_the_parts_of_the_step() {
    for (model, axis, name, others) in [
        ("billion.json", "tensor", "TP", ["CP", "EP"]),
        ("experts.json", "expert", "EP", ["CP", "PP"]),
        ("billion.json", "pipeline", "PP", ["CP", "EP"]),
    ] {
        let run = Run::of(model, "two.yaml", "--global-batch 32 --sequence-length 2048");
        let pin = format!("{axis}={}", if run.plan["parallelism"][axis] == 4 { 2 } else { 4 });
        let answer = run.why_not(&[&pin]).exits(0).json();
        let compared = &answer["why_not"]["pinned"];
        let line = format!("train {} --pin {pin} --fastest --json", run.asked);
        let best = &run.folder.run(&line).exits(0).json()["best"];
        let of = |name: &str| {
            let term =
                compared["terms"].as_array().unwrap().iter().find(|term| term["name"] == name);
            term.unwrap()["pinned"].as_f64().unwrap() * 1e-9
        };
        let part = |name: &str| best["parts"][name].as_f64().unwrap();
        let communication = |axes: &[&str]| {
            axes.iter().map(|axis| of(&format!("{axis} communication"))).sum::<f64>()
        };
        for (sum, part) in [
            (of("compute"), part("compute_s")),
            (of("recompute"), part("recompute_s")),
            (communication(&["TP", "CP", "EP"]), part("collectives_s")),
            (communication(&["DP", "PP"]), part("exposed_transfers_s")),
            (of("optimizer"), part("optimizer_s")),
            (of("bubble"), part("bubble_s")),
        ] {
            assert!((sum - part).abs() < 1e-8, "{pin}: {sum} s, {part} s");
        }
        assert!(communication(&[name]) > 0.0 && communication(&others) == 0.0, "{compared}");
    }
}

#[test]
fn what_no_plan_has_is_refused_by_name() {
    let run = Run::of(
        "billion.json",
        "one.yaml",
        "--global-batch 16 --sequence-length 512 --for megatron",
    );
    let refused = [
        ("colour=red", 2, "`--why-not colour=red` names no field"),
        ("tensor", 2, "`--why-not tensor` does not have the form FIELD=VALUE"),
        ("zero=4", 2, "`--why-not zero=4` needs one of 0, 1, 2, 3"),
        ("tensor=3", 4, "`--why-not tensor=3` leaves no configuration"),
        ("expert=2", 4, "the model has no experts"),
        ("schedule=zb-h1", 2, "megatron has no words for the pinned schedule `zb-h1`"),
    ];
    for (pin, code, why) in refused {
        let ran = run.folder.run(&format!("explain {} --why-not {pin}", run.on));
        let talk = ran.exits(code).talk();
        assert!(talk.contains(why), "{pin}: {talk}");
        assert!(talk.contains("hint: "), "{pin}: {talk}");
    }
    // What a hint names is accepted.
    let talk = run.why_not(&["tensor=3"]).exits(4).stdout;
    assert!(talk.contains("--why-not tensor=2 or --why-not tensor=4 works"), "{talk}");
    run.why_not(&["tensor=2"]).exits(0);
    let both = run.folder.run(&format!("explain {} --why-not tensor=2 --device x", run.on));
    both.exits(2);
}

/// A setting that the plan has, by its short name too; one that no plan with it fits.
#[test]
fn settings_that_are_kept_and_that_do_not_fit_are_answers() {
    let run = Run::of("billion.json", "one.yaml", "--global-batch 16 --sequence-length 512");
    let tensor = run.plan["parallelism"]["tensor"].clone();
    let said = run.folder.run(&format!("explain {} --why-not TP={tensor}", run.on)).exits(0).stdout;
    assert_eq!(said, format!("the plan has tensor {tensor}\n"));
    let small = "--global-batch 16 --sequence-length 512 --max-memory-per-device 6GB --no-offload";
    let run = Run::of("billion.json", "one.yaml", small);
    let ran = run.folder.run(&format!("explain {} --why-not zero=0 --why-not dp=4", run.on));
    let said = ran.exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("with zero 0, data 4 ")
            && said.contains(" more than is usable; most of it is "),
        "{said}"
    );
    let answer = run.why_not(&["zero=0", "data=4"]).exits(0).json();
    let short = &answer["why_not"]["does_not_fit"];
    assert!(short["need_bytes"].as_u64() > short["have_bytes"].as_u64(), "{answer}");
}

#[test]
fn other_plans_are_refused() {
    let folder = kinds::folder();
    folder
        .run("place config.json --cluster one.yaml --dim sequence=64 --algorithm m-etf -o ops.json")
        .exits(0);
    folder
        .run("explain ops.json --model config.json --cluster one.yaml --why-not tensor=2")
        .exits(2)
        .says("--why-not");
}
