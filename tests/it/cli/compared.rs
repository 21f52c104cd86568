//! `compare` of training runs: two plans, or a plan and what a launcher runs, each on its own batch,
//! length, type and optimizer.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::training::{CLUSTER, config};

const ON: &str = "--model config.json --cluster cluster.yaml";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", CLUSTER);
    folder
}

/// Plans with pins, writes plan and Megatron's flags, and returns the step time.
fn planned(folder: &Folder, name: &str, flags: &str) -> u64 {
    let pins =
        "--pin pipeline=1 --pin tensor=2 --pin zero=1 --pin recompute=full --pin micro-batch=1";
    let plan =
        format!("plan config.json --cluster cluster.yaml {pins} {flags} -o {name}.json --json");
    let step = folder.run(&plan).exits(0).json()["best"]["step_time_ns"].as_u64().unwrap();
    let export = format!("export {name}.json {ON} --target megatron -o {name}.args");
    folder.run(&export).exits(0);
    step
}

const RUNS: [(&str, &str); 5] = [
    ("usual", "--global-batch 32 --sequence-length 2048"),
    ("batch", "--global-batch 8 --sequence-length 2048"),
    ("sequence", "--global-batch 32 --sequence-length 512"),
    ("fp16", "--global-batch 32 --sequence-length 2048 --dtype fp16"),
    ("fp32", "--global-batch 32 --sequence-length 2048 --dtype fp32"),
];

/// Settings cost what the plan costs that they were written from, whatever plan stands beside them;
/// per token a step of fewer tokens counts as one of fewer.
#[test]
fn settings_are_priced_on_their_own_step() {
    let folder = folder();
    let steps = RUNS.map(|(name, flags)| planned(&folder, name, flags));
    for ((name, flags), step) in RUNS.iter().zip(steps) {
        let ran = folder.run(&format!("compare {name}.args usual.json {ON} --json"));
        let answer = ran.exits(if *name == "usual" { 0 } else { 10 }).json();
        assert_eq!(answer["now"]["step_time_ns"], step, "{name}");
        assert_eq!(answer["plan"]["step_time_ns"], steps[0], "{name}");
        let number = |flag: &str| {
            let words: Vec<&str> = flags.split(' ').collect();
            let at = words.iter().position(|word| *word == flag).unwrap();
            words[at + 1].parse::<u64>().unwrap()
        };
        let tokens = number("--global-batch") * number("--sequence-length");
        let each = answer["now"]["ns_per_token"].as_f64().unwrap();
        assert!((each * tokens as f64 / step as f64 - 1.0).abs() < 1e-12, "{name}");
    }
    let text = folder.run(&format!("compare batch.args usual.json {ON}")).exits(10).stdout;
    let ratio = steps[1] as f64 / 8.0 / (steps[0] as f64 / 32.0);
    let wanted = format!("{ratio:.3} times as fast per token as the current setup");
    assert!(text.contains(&wanted), "{wanted}\n{text}");
    // Twice the bytes and half the rate of products.
    assert!(steps[4] > steps[0]);
}

/// Two plans differ field by field, with the model and without it.
#[test]
fn two_plans_differ_field_by_field() {
    let folder = folder();
    let steps = RUNS.map(|(name, flags)| planned(&folder, name, flags));
    for on in [ON, ""] {
        folder.run(&format!("compare usual.json usual.json {on}")).exits(0);
        for ((name, _), step) in RUNS.iter().zip(steps).skip(1) {
            let ran = folder.run(&format!("compare {name}.json usual.json {on} --json"));
            let answer = ran.exits(10).json();
            assert_eq!(
                (&answer["a"]["step_time_ns"], &answer["b"]["step_time_ns"]),
                (&json!(step), &json!(steps[0]))
            );
            let fields: Vec<&str> = answer["changes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|change| change["field"].as_str().unwrap())
                .collect();
            let wanted = match *name {
                "batch" => "samples of a step",
                "sequence" => "tokens of a sample",
                _ => "element type",
            };
            assert!(fields.contains(&wanted), "{name}: {fields:?}");
            for change in answer["changes"].as_array().unwrap() {
                assert_ne!(change["a"], change["b"]);
            }
            let text = folder.run(&format!("compare {name}.json usual.json {on}")).exits(10).stdout;
            assert!(!text.contains("orders only"), "{text}");
        }
    }
    let degrees = "--global-batch 32 --sequence-length 2048 --pin data=2 --pin pipeline=2";
    folder.run(&format!("plan config.json --cluster cluster.yaml {degrees} -o deep.json")).exits(0);
    let answer = folder.run("compare usual.json deep.json --json").exits(10).json();
    let found = |field: &str| {
        let changes = answer["changes"].as_array().unwrap().clone();
        let of_field = changes.into_iter().find(|change| change["field"] == field);
        of_field.map(|change| (change["a"].clone(), change["b"].clone()))
    };
    assert_eq!(found("data"), Some((json!("4"), json!("2"))));
    assert_eq!(found("pipeline"), Some((json!("1"), json!("2"))));
    assert_eq!(found("optimizer"), None::<(Value, Value)>);
}

/// Degrees that the model can't have, and numbers that no machine has.
#[test]
fn impossible_settings_are_refused_at_once() {
    let folder = folder();
    planned(&folder, "usual", RUNS[0].1);
    let rest = "--micro-batch-size 1 --global-batch-size 32";
    for (text, code) in [
        (
            format!(
                "--tensor-model-parallel-size 2 --expert-model-parallel-size 4294967295 {rest}"
            ),
            "bad-settings",
        ),
        (
            format!("--tensor-model-parallel-size 2 --expert-model-parallel-size 4 {rest}"),
            "bad-settings",
        ),
        (
            format!("--tensor-model-parallel-size 2 --context-parallel-size 3 {rest}"),
            "bad-settings",
        ),
        (
            "--tensor-model-parallel-size 8 --seq-length 2048 --micro-batch-size 3 --global-batch-size 32".to_string(),
            "bad-settings",
        ),
        (
            format!("--pipeline-model-parallel-size 4294967295 --num-layers 4294967295 {rest}"),
            "bad-settings",
        ),
        (
            "--pipeline-model-parallel-size 1048576 --tensor-model-parallel-size 1048576 --context-parallel-size 1048576 --micro-batch-size 1".to_string(),
            "bad-settings",
        ),
        (
            format!(
                "--tensor-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 1000000 {rest}"
            ),
            "bad-settings",
        ),
    ] {
        folder.write("now.args", &text);
        let ran = folder.run(&format!("compare now.args usual.json {ON} --json")).exits(3);
        assert!(
            format!("{}{}", ran.stdout, ran.stderr).contains(code),
            "{text}\n{}{}",
            ran.stdout,
            ran.stderr
        );
    }
    folder.run(&format!("compare usual.json model.json {ON}")).exits(3);
}

/// What a file says of now, set beside the usual plan.
fn now(folder: &Folder, text: &str) -> Value {
    folder.write("now", text);
    let ran = folder.run(&format!("compare now usual.json {ON} --json"));
    assert!([0, 10].contains(&ran.code), "{text}\n{}{}", ran.stdout, ran.stderr);
    ran.json()
}

/// What torchtitan runs by default is priced as the same run with all of it stated.
#[test]
fn defaults_of_torchtitan_cost_what_they_mean() {
    let folder = folder();
    planned(&folder, "usual", RUNS[0].1);
    let deep = "--parallelism.pipeline_parallel_degree 4 --training.local_batch_size 8";
    let never = "--parallelism.fsdp_reshard_after_forward never --training.global_batch_size 16";
    let list = |counts: &[u32]| {
        let mut next = 0;
        let layers = counts.iter().enumerate().map(|(stage, n)| {
            let mut names = vec!["tok_embeddings".to_owned()];
            names.truncate(usize::from(stage == 0));
            names.extend((next..next + n).map(|layer| format!("layers.{layer}")));
            names.extend((stage + 1 == counts.len()).then(|| "norm,lm_head".to_owned()));
            next += n;
            names.join(",")
        });
        let parts = layers.collect::<Vec<_>>().join(" ");
        format!("--parallelism.module_fqns_per_model_part {parts}")
    };
    let chunks = "--parallelism.pipeline_parallel_schedule Interleaved1F1B";
    for (more, counts) in [("", &[2, 3, 3, 2][..]), (chunks, &[1, 2, 2, 2, 1, 1, 1, 0])] {
        let [usual, stated] = ["", never].map(|never| match never {
            "" => now(&folder, &format!("{deep} {more}")),
            never => now(&folder, &format!("{deep} {more} {never} {}", list(counts))),
        });
        assert_eq!(usual["now"], stated["now"], "{more}");
        assert_eq!(usual["now"]["global_batch"], 16, "{more}");
        let always = format!("{deep} {more} --parallelism.fsdp_reshard_after_forward always");
        assert_ne!(usual["now"], now(&folder, &always)["now"], "{more}");
    }
    // A pipeline that runs twice in a step.
    folder.write("now", &format!("{deep} --training.global_batch_size 32"));
    let stderr = folder.run(&format!("compare now usual.json {ON}")).exits(3).stderr;
    assert!(stderr.contains("bad-settings") && stderr.contains("several runs"), "{stderr}");
}

/// Sizes that a `ds_config` leaves out are DeepSpeed's, and exchange beside the backward pass is a price.
#[test]
fn a_ds_config_costs_what_deepspeed_runs() {
    let folder = folder();
    planned(&folder, "usual", &format!("{} --stack megatron-core", RUNS[0].1));
    let config = |more: &str, sharing: &str| {
        let text = format!(
            r#"{{{more},"bf16":{{"enabled":true}},"zero_optimization":{{"stage":2{sharing}}}}}"#
        );
        now(&folder, &text)
    };
    let micro = r#""train_micro_batch_size_per_gpu":2"#;
    let steps = r#""gradient_accumulation_steps":1"#;
    let all = format!(r#"{micro},{steps},"train_batch_size":16"#);
    let usual = config(micro, "");
    assert_eq!(usual["now"]["global_batch"], 16);
    for more in [all.clone(), format!("{micro},{steps}"), r#""train_batch_size":16"#.to_owned()] {
        assert_eq!(config(&more, "")["now"], usual["now"], "{more}");
    }
    let time = |answer: &Value| answer["now"]["step_time_ns"].as_u64().unwrap();
    let fields = |answer: &Value| answer["changes"].to_string();
    let beside = config(micro, r#","overlap_comm":true"#);
    assert!(time(&beside) < time(&usual), "{beside} {usual}");
    let is_told = |answer| fields(answer).contains("DP communication");
    assert!(is_told(&usual) && !is_told(&beside));
    // What a stack that overlaps nothing would hide, nobody says.
    planned(&folder, "apart", &format!("{} --stack megatron-deepspeed-2021", RUNS[0].1));
    let ran = folder.run(&format!("compare now apart.json {ON} --json"));
    assert!(ran.json()["warnings"].to_string().contains("does not say how much"), "{}", ran.stdout);
    assert!(!is_told(&ran.json()), "{}", ran.stdout);
    folder.write("now", &format!("{{{},\"train_batch_size\":48}}", all.replace(":16", ":24")));
    folder.run(&format!("compare now usual.json {ON}")).exits(3);
    folder.write("now", r#"{"train_batch_size":24,"train_micro_batch_size_per_gpu":2}"#);
    let stderr = folder.run(&format!("compare now usual.json {ON}")).exits(3).stderr;
    assert!(stderr.contains("24 samples"), "{stderr}");
}

/// Strategies of layers that are all alike need no measured layers; overrides of Bridge have no reader.
#[test]
fn files_of_galvatron_are_read_back_and_those_of_bridge_are_not() {
    let folder = folder();
    for pins in ["", "--pin pipeline=2 --pin recompute=full --pin zero=2", "--pin zero=3"] {
        let plan = format!("plan config.json --cluster cluster.yaml {} {pins}", RUNS[0].1);
        folder.run(&format!("{plan} --for galvatron -o own.json --force")).exits(0);
        let export = format!("export own.json {ON} --target galvatron -o own --force");
        folder.run(&export).exits(0);
        let ran = folder.run(&format!("compare own own.json {ON}"));
        assert_eq!(ran.code, 0, "{pins}: {}{}", ran.stdout, ran.stderr);
    }
    planned(&folder, "usual", RUNS[0].1);
    let export = format!("export usual.json {ON} --target megatron-bridge -o bridge");
    folder.run(&export).exits(0);
    let stderr = folder.run(&format!("compare bridge usual.json {ON}")).exits(3).stderr;
    assert!(stderr.contains("Megatron Bridge"), "{stderr}");
    for (target, whose) in [("huggingface", "Trainer"), ("jax", "JAX")] {
        let pins = "--pin zero=3 --pin tensor=1 --pin pipeline=1 --pin context=1";
        let plan = format!("plan config.json --cluster cluster.yaml {} {pins}", RUNS[0].1);
        folder.run(&format!("{plan} --for {target} -o own.json --force")).exits(0);
        let export = format!("export own.json {ON} --target {target} -o own --force");
        folder.run(&export).exits(0);
        let text = folder.run(&format!("compare own own.json {ON}")).exits(3).talk();
        assert!(text.contains(whose) && text.contains("not read back"), "{text}");
    }
}

/// A measured run is that of the plan, process by process, and states what can be measured.
#[test]
fn measured_runs_that_contradict_themselves_are_refused() {
    let folder = folder();
    let pins = "--pin data=4 --pin pipeline=2 --pin tensor=1";
    let plan =
        format!("plan config.json --cluster cluster.yaml {pins} {} -o usual.json", RUNS[0].1);
    folder.run(&plan).exits(0);
    let compared = |document: &Value| {
        folder.write("measured.json", &document.to_string());
        folder.run("compare usual.json measured.json --json")
    };
    let ranks: Vec<Value> = (0..8)
        .map(|at| {
            json!({ "replica": at / 2, "pipeline_rank": at % 2, "compute_s": 0.5, "waiting_s": 0.3,
                    "transfer_s": 0.2, "peak_bytes": 1000 })
        })
        .collect();
    let mut good = json!({
        "format": "meshwright.measured/1", "torch": "2", "device": "cpu", "schedule": null,
        "plan": { "sha256": "other", "step_time_s": null, "peak_bytes": null },
        "n_steps": 3, "step_time_s": 1.0, "steps_s": [0.9, 1.0, 1.2], "ranks": ranks
    });
    let answer = compared(&good).exits(3).json();
    let facts = answer["error"]["facts"].as_array().unwrap();
    let fact = facts.iter().find(|fact| fact["name"] == "plan").unwrap();
    good["plan"]["sha256"] = fact["value"]["text"].clone();
    compared(&good).exits(0);
    let wrong = [
        ("/n_steps", json!(0), "n_steps"),
        ("/n_steps", json!(2), "n_steps"),
        ("/steps_s", json!([]), "n_steps"),
        ("/steps_s/0", json!(-0.9), "-0.9"),
        ("/steps_s/2", json!(1e308), "a step of"),
        ("/step_time_s", json!(1.1), "median"),
        ("/step_time_s", json!(-1.0), "median"),
        ("/ranks", json!([]), "ranks"),
        ("/ranks/3/compute_s", json!(1.3), "`compute_s` of process 3"),
        ("/ranks/0/waiting_s", json!(-0.1), "waiting_s"),
        ("/ranks/5/pipeline_rank", json!(99), "pipeline rank 99"),
        ("/ranks/5/replica", json!(4), "replica 4"),
        ("/ranks/5/replica", json!(1), "another one is"),
    ];
    for (field, value, word) in wrong {
        let mut document = good.clone();
        *document.pointer_mut(field).unwrap() = value;
        let error = compared(&document).exits(3).json()["error"].clone();
        assert_eq!(error["code"], "bad-measured", "{field} {error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{field} {error}");
    }
    let mut fewer = good.clone();
    fewer["ranks"].as_array_mut().unwrap().pop();
    let error = compared(&fewer).exits(3).json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("7 processes"), "{error}");
}

/// A small mixture of experts.
fn experts() -> Value {
    json!({
        "model_type": "qwen3_moe", "hidden_size": 1024, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 128,
        "intermediate_size": 2048, "moe_intermediate_size": 512, "num_experts": 16,
        "num_experts_per_tok": 4, "vocab_size": 32000, "max_position_embeddings": 4096,
    })
}

/// What was exported is what was planned, on every stack that Megatron's flags are for; a flag that is
/// taken away changes the one field that it sets.
#[test]
fn exported_flags_run_the_stack_of_their_plan() {
    let folder = folder();
    folder.write("config.json", &experts().to_string());
    let pins = "--pin pipeline=1 --pin tensor=2 --pin expert=4 --pin sequence-parallel=on";
    let fields = |plan: &str, args: &str, code: i32| -> Vec<String> {
        let answer = folder.run(&format!("compare {args} {plan} {ON} --json")).exits(code).json();
        let changes = answer["changes"].as_array().unwrap();
        changes.iter().map(|change| change["field"].as_str().unwrap().to_owned()).collect()
    };
    let stacks = cost_model::kernels::stack::presets();
    for stack in stacks.iter().filter(|stack| stack.name.starts_with("megatron")) {
        let run = "--global-batch 64 --sequence-length 1024 --dtype bf16 --for megatron";
        let flags = format!("{run} {pins} --stack {} --force", stack.name);
        let plan = format!("plan config.json --cluster cluster.yaml {flags} -o plan.json");
        folder.run(&plan).exits(0);
        let export = format!("export plan.json {ON} --target megatron --force -o now.args");
        folder.run(&export).exits(0);
        assert_eq!(fields("plan.json", "now.args", 0), [""; 0], "{}", stack.name);
        let text = folder.read("now.args");
        for (flag, field) in [
            ("--grad-reduce-in-bf16", "gradients"),
            ("--overlap-grad-reduce", "DP communication"),
            ("--tp-comm-overlap", "TP communication"),
            ("--moe-token-dispatcher-type flex", "dispatcher"),
            ("--overlap-moe-expert-parallel-comm", "EP communication"),
            ("--attention-backend unfused", "attention"),
        ] {
            let line = format!("{flag}\n");
            // Megatron takes neither gathers without exchanges, nor exchanges beside work without a
            // dispatcher that can.
            let instead = match field {
                "dispatcher" => "--moe-token-dispatcher-type alltoall\n",
                _ => "",
            };
            if text.contains(&line) {
                let less = text.replace(&line, instead);
                let less = match field {
                    "DP communication" => less.replace("--overlap-param-gather\n", ""),
                    _ => less,
                };
                folder.write("less.args", &less);
                assert_eq!(fields("plan.json", "less.args", 10), [field], "{}", stack.name);
            }
        }
    }
}

/// Flags of another model, each by its name.
#[test]
fn flags_of_other_models_are_refused() {
    let folder = folder();
    planned(&folder, "usual", RUNS[0].1);
    let text = folder.read("usual.args");
    for (flag, instead) in [
        ("--swiglu\n", "--squared-relu\n"),
        ("--swiglu\n", ""),
        ("--swiglu", "--swiglu\n--mtp-num-layers 2"),
    ] {
        assert!(text.contains(flag), "{text}");
        folder.write("other.args", &text.replace(flag, instead));
        let ran = folder.run(&format!("compare other.args usual.json {ON}")).exits(3);
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains("bad-settings"));
    }
    let is_width = |line: &&str| !line.starts_with("--ffn-hidden-size");
    let rest: Vec<&str> = text.lines().filter(is_width).collect();
    folder.write("other.args", &rest.join("\n"));
    folder.run(&format!("compare other.args usual.json {ON}")).exits(3);
}
