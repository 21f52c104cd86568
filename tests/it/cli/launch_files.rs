//! `compare` of the current setup: files of launchers as people write them.

use super::folder::{Folder, Ran, diamond};
use super::training::{CLUSTER, config};

/// What was said, without the ends of its lines.
fn said(ran: &Ran) -> String {
    ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

const ON: &str = "--model config.json --cluster cluster.yaml";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", CLUSTER);
    let plan = "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 512";
    folder.run(&format!("{plan} -o plan.json")).exits(0);
    folder
}

/// Layers of a virtual stage mean the same whether the layers of the model are stated or left to it:
/// ten layers on two ranks are five chunks of one each.
#[test]
fn virtual_stages_follow_from_the_model() {
    let folder = folder();
    let n = config()["num_hidden_layers"].as_u64().unwrap();
    let words = "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2 --bf16 \
                 --num-layers-per-virtual-pipeline-stage 1 --micro-batch-size 1 \
                 --global-batch-size 32 --seq-length 512";
    let now = |text: &str| {
        folder.write("now.args", text);
        let ran = folder.run(&format!("compare now.args plan.json {ON} --json"));
        assert!([0, 10].contains(&ran.code), "{}{}", ran.stdout, ran.stderr);
        ran.json()["now"].clone()
    };
    let [left, stated] =
        [words.to_owned(), format!("{words} --num-layers {n}")].map(|text| now(&text));
    assert_eq!(left, stated);
    let plain = now(&words.replace("--num-layers-per-virtual-pipeline-stage 1 ", ""));
    assert_ne!(left["step_time_ns"], plain["step_time_ns"]);
}

/// What does nothing is said, by its name.
#[test]
fn settings_without_effect_are_warned_of() {
    let folder = folder();
    folder
        .write("now.args", "--micro-batch-size 1 --global-batch-size 32 --bf16 --fp8-recipe mxfp8");
    let ran = folder.run(&format!("compare now.args plan.json {ON}"));
    let wanted = "warning[no-effect]: `--fp8-recipe` has no effect without `--fp8-format`";
    assert!(said(&ran).contains(wanted), "{}", ran.stderr);
}

/// Every setting of a file that no plan has is named, whatever the launcher.
#[test]
fn settings_that_are_in_no_plan_are_named() {
    let folder = folder();
    let batch =
        r#""train_batch_size":32,"train_micro_batch_size_per_gpu":1,"bf16":{"enabled":true}"#;
    let bucket = r#""zero_optimization":{"stage":1,"reduce_bucket_size":7}"#;
    for (file, text, names) in [
        (
            "now.args",
            "--micro-batch-size 1 --global-batch-size 32 --bf16 --lr 1 --save x".to_owned(),
            vec!["--lr", "--save"],
        ),
        ("ds.json", format!("{{{batch},{bucket}}}"), vec!["zero_optimization.reduce_bucket_size"]),
        (
            "train.toml",
            "[training]\nlocal_batch_size = 1\nsteps = 5\n[metrics]\nlog_freq = 9\n".to_owned(),
            vec!["--training.steps", "metrics.log_freq"],
        ),
    ] {
        folder.write(file, &text);
        let answer = folder.run(&format!("compare {file} plan.json {ON} --json")).json();
        let warnings = answer["warnings"].as_array().unwrap().clone();
        let named: Vec<_> = warnings.iter().filter(|one| one["code"] == "not-planned").collect();
        assert_eq!(named.len(), 1, "{file}: {answer}");
        assert_eq!(named[0]["facts"][0]["value"]["list"], serde_json::json!(names), "{file}");
    }
}

/// The current setup has the processes that its script starts, or that the sizes of its batch imply.
#[test]
fn processes_are_the_devices_of_what_runs_now() {
    let folder = folder();
    let judged = |file: &str, text: &str| {
        folder.write(file, text);
        folder.run(&format!("compare {file} plan.json {ON} --json")).json()
    };
    let flags = "--micro-batch-size 1 --global-batch-size 32 --seq-length 512 --bf16";
    let script = |n: u64| judged("now.sh", &format!("torchrun --nproc_per_node {n} p.py {flags}"));
    let sized = |n: u64| {
        let sizes = r#""train_micro_batch_size_per_gpu":1,"gradient_accumulation_steps":1"#;
        judged(
            "ds.json",
            &format!(r#"{{"train_batch_size":{n},{sizes},"bf16":{{"enabled":true}}}}"#),
        )
    };
    let has = |answer: &serde_json::Value, code: &str| {
        answer["warnings"].as_array().unwrap().iter().any(|one| one["code"] == code)
    };
    let [all, half] = [8, 4].map(script);
    assert!(!has(&all, "other-devices") && has(&half, "other-devices"), "{half}");
    let time = |answer: &serde_json::Value| answer["now"]["step_time_ns"].as_u64().unwrap();
    assert!(time(&half) > time(&all));
    assert!(has(&script(16), "other-devices"));
    assert_eq!(time(&script(16)), time(&all));
    let odd = judged(
        "odd.sh",
        &format!("torchrun --nproc_per_node 6 p.py {flags} --tensor-model-parallel-size 4"),
    );
    assert_eq!(odd["error"]["code"], "bad-settings", "{odd}");
    assert!(has(&sized(4), "other-devices") && !has(&sized(8), "other-devices"));
    let open = judged("open.sh", &format!("torchrun --nproc_per_node gpu p.py {flags}"));
    assert!(open.to_string().contains("leaves open how many processes it starts"), "{open}");
    let two = format!("python a.py {flags}\npython b.py {}", flags.replace("--bf16", "--fp16"));
    assert_eq!(judged("two.sh", &two)["error"]["code"], "bad-settings");
}

/// Files that start containers are no scripts: their lists of words and environments would be dropped.
#[test]
fn manifests_are_refused_by_name() {
    let folder = folder();
    let command =
        "command: [torchrun, --nproc_per_node, \"8\", p.py, --tensor-model-parallel-size, \"4\"]";
    for (text, what) in [
        (format!("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {command}\n"), "Kubernetes"),
        (format!("services:\n  train:\n    {command}\n"), "Compose"),
        (
            "envs:\n  TP: 4\nrun: |\n  torchrun p.py --tensor-model-parallel-size $TP\n".to_owned(),
            "SkyPilot",
        ),
        (
            "FROM a\nCMD [\"torchrun\", \"p.py\", \"--tensor-model-parallel-size\", \"4\"]\n"
                .to_owned(),
            "Dockerfile",
        ),
    ] {
        folder.write("now.yaml", &text);
        let ran = folder.run(&format!("compare now.yaml plan.json {ON}"));
        assert!(ran.code != 0 && said(&ran).contains(what), "{what}: {}", ran.stderr);
    }
}

/// A recipe is judged with the DeepSpeed file that it names, found from the root of its repository.
#[test]
fn recipes_are_judged() {
    let folder = folder();
    let judged = |name: &str, text: &str, code: i32| {
        folder.write(name, text);
        folder.run(&format!("compare {name} flat.json {ON} --json")).exits(code).json()
    };
    let pins = "--pin data=8 --pin tensor=1 --pin pipeline=1 --pin micro-batch=2 --pin zero=1";
    let plan = "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 512";
    folder.run(&format!("{plan} {pins} -o flat.json")).exits(0);
    let now = |name: &str, text: &str| judged(name, text, 10)["now"].clone();
    let accelerate = "distributed_type: MULTI_GPU\nmixed_precision: bf16\nnum_processes: 8\n";
    let copies = now("accelerate.yaml", accelerate);
    let shards = accelerate.replace("MULTI_GPU", "FSDP") + "fsdp_config:\n  fsdp_version: 2\n";
    let shards = now("accelerate.yaml", &shards);
    assert!(shards["peak_bytes"].as_u64() < copies["peak_bytes"].as_u64(), "{shards}");
    let recipe = "model_name_or_path: m\nfinetuning_type: full\nstage: sft\ncutoff_len: 512\n\
                  per_device_train_batch_size: 1\ngradient_accumulation_steps: 4\nbf16: true\n";
    let alone = now("sft.yaml", recipe);
    let named = format!("{recipe}deepspeed: ds/z3.json\n");
    let missing = judged("sft.yaml", &named, 3);
    assert_eq!(missing["error"]["code"], "unreadable-file");
    std::fs::create_dir(folder.path("ds")).unwrap();
    folder.write("ds/z3.json", r#"{"zero_optimization":{"stage":3},"bf16":{"enabled":"auto"}}"#);
    let with_file = now("sft.yaml", &named);
    assert!(with_file["peak_bytes"].as_u64() < alone["peak_bytes"].as_u64());
    let lora = now("sft.yaml", &recipe.replace(": full", ": lora"));
    assert!(lora["peak_bytes"].as_u64() < alone["peak_bytes"].as_u64());
    let frozen = judged("sft.yaml", &recipe.replace(": full", ": freeze"), 3);
    assert_eq!(frozen["error"]["code"], "not-judged");
}

/// A `ds_config` without a section of 16 bits runs in 32, as one that switches both off, and what leaves
/// products whole is no plan's.
#[test]
fn deepspeed_runs_in_single_precision_unless_a_section_says_otherwise() {
    let folder = folder();
    let judged = |config: &str, code: i32| {
        folder.write("ds.json", config);
        folder.run(&format!("compare ds.json plan.json {ON} --json")).exits(code).json()
    };
    let sized = |more: &str| {
        format!(
            r#"{{"train_batch_size":32,"train_micro_batch_size_per_gpu":1,
            "topology":{{"num_dp":8,"num_pp":1,"num_mp":1}}{more}}}"#
        )
    };
    let silent = judged(&sized(""), 10);
    let off = judged(&sized(r#","bf16":{"enabled":false}"#), 10);
    assert_eq!(silent["now"], off["now"]);
    let on = judged(&sized(r#","bf16":{"enabled":true}"#), 10);
    assert_ne!(silent["now"], on["now"]);
    for (word, wanted) in [("\"true\"", &on), ("\"Yes\"", &on), ("1", &on), ("\"off\"", &off)] {
        let found = judged(&sized(&format!(r#","bf16":{{"enabled":{word}}}"#)), 10);
        assert_eq!(found["now"], wanted["now"], "{word}");
    }
    for (threshold, code) in [("1e9", 3), ("1e5", 10), ("\"auto\"", 10)] {
        let stage = format!(
            r#","bf16":{{"enabled":true}},"zero_optimization":{{"stage":3,
            "stage3_param_persistence_threshold":{threshold}}}"#
        );
        let answer = judged(&sized(&stage), code);
        let named = answer.to_string().contains("stage3_param_persistence_threshold");
        assert_eq!(named, code == 3, "{threshold}: {answer}");
    }
}

/// What an optimizer is told of its rates changes no price; when it steps does.
#[test]
fn rates_of_an_optimizer_change_nothing_of_torchtitan() {
    let folder = folder();
    let judged = |words: &str| {
        let base = "--training.local_batch_size 4 --training.global_batch_size 32 \
            --training.seq_len 512 --parallelism.data_parallel_shard_degree 8";
        folder.write("tt.args", &format!("{base} {words}"));
        folder.run(&format!("compare tt.args plan.json {ON} --json"))
    };
    let plain = judged("--optimizer.name AdamW");
    let rates = "--optimizer.lr 3e-4 --optimizer.beta1 0.9 --optimizer.beta2 0.95 \
        --optimizer.eps 1e-8 --optimizer.weight_decay 0.1 --optimizer.implementation fused";
    let ran = judged(&format!("--optimizer.name AdamW {rates}"));
    assert_eq!(ran.code, plain.code, "{}", ran.stderr);
    assert_eq!(ran.json()["now"], plain.json()["now"]);
    let ran = judged("--optimizer.early_step_in_backward").exits(3);
    assert!(ran.stdout.contains("early_step_in_backward"), "{}", ran.stdout);
}

/// A number without a unit is no memory of a device, and the hint works.
#[test]
fn memory_has_a_unit() {
    let folder = folder();
    let plan = "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 512";
    let ran = folder.run(&format!("{plan} --max-memory-per-device 40")).exits(2);
    assert!(said(&ran).contains("has no unit; write 40GB, 40GiB or 40MiB"), "{}", ran.stderr);
    folder.run(&format!("{plan} --max-memory-per-device 40GB")).exits(0);
    folder.run(&format!("{plan} --max-memory-per-device 40000000000")).exits(0);
}

/// Plans by different profiles are compared: the hint says how, and what it says works.
#[test]
fn plans_before_and_after_a_calibration_are_compared() {
    let folder = folder();
    folder.write("steps.csv", &super::calibrate_steps::steps(24));
    let line = "calibrate --steps steps.csv --stack megatron-core -o mine.json";
    folder.run(line).exits(0);
    let plan = "plan config.json --cluster cluster.yaml --global-batch 32 --sequence-length 512";
    folder.run(&format!("{plan} --profile mine.json -o after.json")).exits(0);
    let compare = format!("compare plan.json after.json {ON}");
    let ran = folder.run(&compare).exits(3);
    assert!(said(&ran).contains("made with the profile"), "{}", ran.stderr);
    assert!(said(&ran).contains("add --profile with the file of"), "{}", ran.stderr);
    let ran = folder.run(&format!("{compare} --profile mine.json")).exits(3);
    assert!(said(&ran).contains("made without a profile"), "{}", ran.stderr);
    assert!(said(&ran).contains("add --allow-mismatch"), "{}", ran.stderr);
    let ran = folder.run(&format!("{compare} --profile mine.json --allow-mismatch"));
    assert!([0, 10].contains(&ran.code), "{}", ran.stderr);
}
