//! Whatever is pinned, a plan that is written is legal, is followed and is drawn.

use serde_json::{Value, json};

use super::flags::folder;

const PLAN: &str = "plan config.json --cluster one.yaml --global-batch 8 --sequence-length 512";

/// A mixture of experts in half the sizes, for pins of dense and of sparse models.
fn sparse() -> String {
    json!({
        "model_type": "mixtral", "hidden_size": 512, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 1408,
        "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": false,
        "num_local_experts": 8, "num_experts_per_tok": 2
    })
    .to_string()
}

#[test]
fn plans_of_pinned_searches_are_legal() {
    let folder = folder();
    folder.write("sparse.json", &sparse());
    let schedules = [
        "1f1b",
        "gpipe",
        "interleaved",
        "zb-h1",
        "zb-h2",
        "zb-v",
        "dualpipe-v",
        "1f1b-early-recompute",
    ];
    let mut pins: Vec<String> = schedules.iter().map(|name| format!("schedule={name}")).collect();
    pins.extend(["mesh=pipeline-inside", "mesh=data-inside", "split=equal"].map(str::to_owned));
    let switches = ["sequence-parallel=on", "sequence-parallel=off", "sequence-parallel=ulysses"];
    pins.extend(switches.map(str::to_owned));
    pins.extend((0..4).map(|stage| format!("zero={stage}")));
    pins.extend(
        ["none", "full", "selective", "per-op", "alike"]
            .map(|policy| format!("recompute={policy}")),
    );
    pins.extend(["virtual-stages=2", "context=2", "expert=2", "micro-batch=1"].map(str::to_owned));
    let beside = ["", "--pin pipeline=1", "--pin pipeline=2", "--pin tensor=1", "--pin data=1"];
    let mut n_plans = 0;
    for (turn, pin) in pins.iter().enumerate() {
        for (at, beside) in beside.iter().enumerate() {
            // The layers were measured of the dense model.
            let (model, costs) = match (turn + at) % 5 {
                4 => ("config.json", "--profile measured"),
                other => (["config.json", "sparse.json"][other % 2], "--for any"),
            };
            let line = format!(
                "plan {model} --cluster one.yaml --global-batch 8 --sequence-length 512 {costs} \
                 --pin {pin} {beside} -o out.json --force"
            );
            let planned = folder.run(&line);
            let profile = if costs.contains("measured") { costs } else { "" };
            match planned.code {
                0 => {
                    let verify =
                        format!("verify out.json --model {model} --cluster one.yaml {profile}");
                    let verified = folder.run(&verify);
                    assert_eq!(verified.code, 0, "{line}\n{}{}", verified.stdout, verified.stderr);
                    n_plans += 1;
                }
                // Refused or proved to leave nothing; never a fault of the program.
                code => {
                    assert!([2, 3, 4].contains(&code), "{line}: {code}\n{}", planned.stderr);
                    let text = format!("{}{}", planned.stdout, planned.stderr);
                    let named = pin.split('=').next().unwrap();
                    assert!(text.contains(named) || text.contains("infeasible"), "{line}: {text}");
                }
            }
        }
    }
    assert!(n_plans >= 70, "{n_plans}");
}

#[test]
fn searches_over_degrees_are_followed_and_drawn() {
    let folder = folder();
    for costs in ["", "--profile measured"] {
        let line = format!("{PLAN} {costs} -o out.json --plot out.svg --force --progress lines");
        let ran = folder.run(&format!("{line} --json")).exits(0);
        let written = ran.stderr.lines().filter(|line| line.starts_with('{'));
        let events: Vec<Value> = written.map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = &ran.json();
        let of = |name: &str| -> Vec<u64> {
            let incumbents = events.iter().filter(|event| event["event"] == "incumbent");
            incumbents.map(|event| event[name].as_u64().unwrap()).collect()
        };
        let (values, bounds) = (of("value_ns"), of("bound_ns"));
        assert!(!values.is_empty() && values.is_sorted_by(|a, b| a > b), "{values:?}");
        let plan: Value = folder.json("out.json");
        let step = plan["cost"]["step_time_ns"].as_u64().unwrap();
        assert!(step <= values[values.len() - 1], "{step} {values:?}");
        // What was called impossible on the way stays so.
        assert!(bounds.iter().all(|bound| *bound <= step), "{bounds:?} {step}");
        assert!(last.get("event").is_none(), "{last}");
        // Plans that are overtaken before they can be told are left out, so runs differ in lines.
        let stderr = folder.run(&line).exits(0).stderr;
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("step-time")).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.contains("  bound ")),
            "{stderr}"
        );
        let picture = folder.read("out.svg");
        for part in ["<svg", "best plan", "bound", "time since the start"] {
            assert!(picture.contains(part), "{part} is not in {picture}");
        }
    }
    folder.run(&format!("{PLAN} --plot config.json --force")).exits(2);
}
