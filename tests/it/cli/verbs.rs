//! Verbs by kind of model and kind of plan: each pair works, or is refused by a named diagnostic.

use super::folder::Folder;
use super::kinds::{self, KINDS, Kind, Small, VERBS};

/// With a plan of every kind.
fn planned() -> Folder {
    let folder = kinds::folder();
    for kind in &KINDS {
        folder.run(&format!("{} -o {}", kind.plans[0].line(), kind.file(0))).exits(0);
    }
    folder
}

/// A verb on a plan of one kind with model and cluster of another.
fn line(verb: &str, of: &Kind, on: &Small) -> String {
    let plan = of.file(0);
    match verb {
        "compare" => on.read(verb, &format!("{plan} {plan}")),
        "export" => {
            let target = of.targets.first().unwrap_or(&"split");
            format!("{} --target {target} -o out --force", on.read(verb, &plan))
        }
        _ => on.read(verb, &plan),
    }
}

#[test]
fn every_verb_takes_every_kind_of_plan_or_names_why_not() {
    let folder = planned();
    for of in &KINDS {
        for (verb, code) in VERBS.into_iter().zip(of.exits) {
            let line = line(verb, of, &of.plans[0]);
            let ran = folder.run(&line);
            assert_eq!(ran.code, code, "{line}:\n{}{}", ran.stdout, ran.stderr);
            assert_eq!(code != 0, ran.stderr.contains("error["), "{line}: {}", ran.stderr);
        }
    }
}

#[test]
fn no_verb_takes_a_plan_for_the_model_of_another() {
    let folder = planned();
    for verb in VERBS {
        for of in &KINDS {
            let plans = KINDS.iter().map(|kind| &kind.plans[0]);
            for on in plans.filter(|on| on.model != of.plans[0].model) {
                let line = line(verb, of, on);
                let ran = folder.run(&line);
                assert!([2, 3].contains(&ran.code), "{line}: {}\n{}", ran.code, ran.stdout);
                assert!(ran.stderr.contains("error["), "{line}: {}", ran.stderr);
            }
        }
    }
}

/// `plan` gives the answer of the verb that it names, to the byte; verbs of other questions refuse.
#[test]
fn plan_names_the_verb_that_was_meant() {
    let folder = planned();
    for plan in KINDS.iter().flat_map(|kind| kind.plans) {
        let verb = plan.verb();
        let meant = folder.run(&format!("{} -o meant --force", plan.line()));
        let guessed = folder.run(&format!("{} -o guessed --force", plan.line_of("plan")));
        assert_eq!(meant.code, guessed.code, "{}", plan.line());
        if meant.code == 0 {
            assert!(folder.read("meant") == folder.read("guessed"), "{}", plan.line());
        }
        let note = format!("`plan` is deprecated: `meshwright {verb}` asks the same");
        let has_note = guessed.stderr.contains(&note);
        assert_eq!(has_note, meant.code == 0, "{}: {}", plan.line(), guessed.stderr);
        assert!(!meant.stderr.contains("deprecated"), "{}", meant.stderr);
    }
    for plan in KINDS.iter().map(|kind| &kind.plans[0]) {
        for other in
            ["train", "place", "infer", "solve"].iter().filter(|verb| **verb != plan.verb())
        {
            let line = plan.line_of(other);
            let ran = folder.run(&line);
            assert_eq!(ran.code, 2, "{line}: {}", ran.stdout);
            assert!(ran.stderr.contains("hint: "), "{line}: {}", ran.stderr);
        }
    }
}

#[test]
fn every_kind_of_model_is_imported_or_named() {
    let folder = kinds::folder();
    for (model, code) in [("config.json --dim sequence=64", 0), ("model.json", 0), ("dnn.json", 3)]
    {
        for verb in ["import", "support"] {
            let ran = folder.run(&format!("{verb} {model}"));
            assert_eq!(ran.code, code, "{verb} {model}: {}", ran.stderr);
            assert!(code == 0 || ran.stderr.contains("hint: "), "{verb} {model}");
            assert_eq!(code != 0, ran.stderr.contains("error["), "{verb} {model}");
        }
    }
}

/// A picture and a trace of a step are those of its passes.
#[test]
fn the_step_of_a_training_run_is_drawn() {
    let folder = kinds::folder();
    let plan = "plan billion.json --cluster two.yaml --global-batch 32 --sequence-length 2048 \
                --pin pipeline=4 --pin schedule=1f1b --pin micro-batch=1 --pin data=2";
    let files =
        "-o four.plan --export svg=step.svg --export trace=step.json --export megatron=m.args";
    let answer = folder.run(&format!("{plan} --json {files}")).exits(0).json();
    let step_us = answer["best"]["step_time_s"].as_f64().unwrap() * 1e6;
    let trace: serde_json::Value = folder.json("step.json");
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |pass: &str| {
        let of = |event: &&serde_json::Value| event["name"].as_str().unwrap().starts_with(pass);
        events.iter().filter(of).count()
    };
    // Sixteen micro-batches of each replica on four stages.
    assert_eq!((named("forward"), named("backward")), (64, 64));
    let end =
        |event: &serde_json::Value| event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap();
    let last = events.iter().filter(|event| event["ph"] == "X").map(end).fold(0.0, f64::max);
    assert!((last / step_us - 1.0).abs() < 1e-6, "{last} {step_us}");
    let picture = folder.read("step.svg");
    assert!(picture.contains("rank 3") && picture.contains("forward 15"), "{}", picture.len());
    assert!(folder.read("m.args").contains("--pipeline-model-parallel-size 4"));
    // RecomputeRule from the plan.
    let on = "four.plan --model billion.json --cluster two.yaml";
    folder.run(&format!("export {on} --target svg -o again.svg")).exits(0);
    assert_eq!(folder.read("again.svg"), picture);
    let stdout = folder.run(&format!("explain {on} --device node1.gpu3")).exits(0).stdout;
    assert!(stdout.contains("`node1.gpu3` is one of the devices of rank 3"), "{stdout}");
    assert!(
        folder.run(&format!("explain {on} --device node1.gpu9")).exits(2).stderr.contains("hint: ")
    );
}

/// Whatever is planned, `--progress lines` prints a line once its file is there.
#[test]
fn the_lines_of_a_search_are_those_of_every_kind() {
    let folder = kinds::folder();
    for kind in &KINDS {
        let line = kind.plans[0].line().replace(" --deterministic", "");
        let ran = folder.run(&format!("{line} -o {} --progress lines", kind.file(0))).exits(0);
        let is_line = |text: &str| {
            let mut words = text.split_whitespace();
            words.next().is_some_and(|word| word.parse::<f64>().is_ok())
                && words.next() == Some("s")
        };
        assert!(ran.stderr.lines().any(is_line), "{line}:\n{}", ran.stderr);
    }
}
