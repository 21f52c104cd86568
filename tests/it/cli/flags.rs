//! Every flag of `plan` in every kind of plan: it changes the answer, or the run refuses it by name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::folder::{Folder, diamond, run};
use super::layered::measured;
use super::{expertflow, experts, nano_batches};

/// What a flag does in a kind of plan.
#[derive(Clone, Copy)]
enum Does {
    /// Added to a line, it changes the answer.
    Changes(&'static str, &'static str),
    /// It is taken: what it does is no part of the answer, or can't be seen on so small a case.
    Runs(&'static str),
    /// It writes the file `out`.
    Writes(&'static str),
    /// Exit code 2, and the flag in the message.
    Refused(&'static str),
}

use Does::{Changes, Refused, Runs, Writes};

/// By flag: what it does for ops of a model, a training run, one on measured layers, an instance
/// with given costs, a placement of experts, a plan of streams, and a pipeline that serves.
const TABLE: &[(&str, [Does; 7])] = &[
    (
        "--cluster",
        [Runs(""), Runs(""), Runs(""), Refused("--cluster one.yaml"), Runs(""), Runs(""), Runs("")],
    ),
    (
        "--profile",
        [
            Runs("--profile profile.json"),
            Changes("--pin tensor=4", "--profile profile.json"),
            Runs(""),
            Refused("--profile profile.json"),
            Refused("--profile profile.json"),
            Changes("", "--profile profile.json"),
            Changes("", "--profile profile.json"),
        ],
    ),
    (
        "--costs",
        [
            Changes("", "--costs costs.csv"),
            Refused("--costs costs.csv"),
            Refused("--costs costs.csv"),
            Refused("--costs costs.csv"),
            Refused("--costs costs.csv"),
            Refused("--costs costs.csv"),
            Refused("--costs costs.csv"),
        ],
    ),
    ("--dim", same(Changes("", "--dim sequence=128"), Refused("--dim sequence=8"))),
    (
        "--batch",
        [
            Changes("", "--batch 64"),
            Runs("--batch 8"),
            Runs("--batch 8"),
            Refused("--batch 8"),
            Changes("", "--batch 8"),
            Changes("", "--batch 16"),
            Changes("", "--batch 16"),
        ],
    ),
    (
        "--micro-batch",
        [
            Changes("--batch 64", "--micro-batch 1"),
            Changes("", "--micro-batch 1"),
            Changes("", "--micro-batch 1"),
            Refused("--micro-batch 1"),
            Refused("--micro-batch 1"),
            Refused("--micro-batch 1"),
            Refused("--micro-batch 1"),
        ],
    ),
    ("--batch-axis", same(Runs("--batch-axis input_ids=0"), Refused("--batch-axis input_ids=0"))),
    (
        "--dtype",
        [
            Changes("", "--dtype bf16"),
            Changes("", "--dtype fp32"),
            Refused("--dtype fp32"),
            Refused("--dtype fp32"),
            Refused("--dtype fp32"),
            Refused("--dtype fp32"),
            Changes("", "--dtype fp32"),
        ],
    ),
    (
        "--qdq-as-written",
        [
            Runs("--qdq-as-written"),
            Refused("--qdq-as-written"),
            Refused("--qdq-as-written"),
            Refused("--qdq-as-written"),
            Refused("--qdq-as-written"),
            Refused("--qdq-as-written"),
            Refused("--qdq-as-written"),
        ],
    ),
    ("--trace", same(Runs("--trace run.json.gz"), Refused("--trace run.json.gz"))),
    (
        "--workload",
        [
            Changes("", "--workload training"),
            Refused("--workload inference"),
            Refused("--workload inference"),
            Refused("--workload training"),
            Refused("--workload training"),
            Refused("--workload training"),
            Runs("--workload inference"),
        ],
    ),
    (
        "--optimizer",
        [
            Changes("--workload training", "--optimizer sgd"),
            Changes("", "--optimizer sgd"),
            Refused("--optimizer sgd"),
            Refused("--optimizer sgd"),
            Refused("--optimizer sgd"),
            Refused("--optimizer sgd"),
            Refused("--optimizer sgd"),
        ],
    ),
    (
        "--pin",
        [
            Changes("", "--pin *=node1.gpu1"),
            Changes("", "--pin pipeline=2"),
            Changes("", "--pin pipeline=2"),
            Refused("--pin node77=0"),
            Refused("--pin tensor=2"),
            Refused("--pin tensor=2"),
            Refused("--pin tensor=2"),
        ],
    ),
    (
        "--forbid",
        [
            Changes("", "--forbid *=node0.gpu0"),
            Refused("--forbid *=node0.gpu0"),
            Refused("--forbid *=node0.gpu0"),
            Refused("--forbid node77=0"),
            Refused("--forbid *=node0.gpu0"),
            Refused("--forbid *=node0.gpu0"),
            Refused("--forbid *=node0.gpu0"),
        ],
    ),
    (
        "--colocate",
        [
            Changes("", "--colocate *"),
            Refused("--colocate *"),
            Refused("--colocate *"),
            Refused("--colocate *"),
            Refused("--colocate *"),
            Refused("--colocate *"),
            Refused("--colocate *"),
        ],
    ),
    (
        "--constraints",
        [
            Changes("", "--constraints rules.yaml"),
            Refused("--constraints rules.yaml"),
            Refused("--constraints no-such-file.yaml"),
            Refused("--constraints rules.yaml"),
            Refused("--constraints rules.yaml"),
            Refused("--constraints rules.yaml"),
            Refused("--constraints rules.yaml"),
        ],
    ),
    (
        "--scale",
        [
            Changes("", "--scale links=0.1"),
            Changes("", "--scale links=0.1"),
            Refused("--scale memory=2"),
            Refused("--scale memory=2"),
            Refused("--scale links=0.1"),
            Refused("--scale links=0.1"),
            Changes("", "--scale memory=0.5"),
        ],
    ),
    ("--accelerators", given(Changes("", "--accelerators 2"), Refused("--accelerators 2"))),
    ("--global-batch", trains(Changes("", "--global-batch 16"), Refused("--global-batch 16"))),
    (
        "--sequence-length",
        [
            Refused("--sequence-length 512"),
            Changes("", "--sequence-length 1024"),
            Runs("--sequence-length 512"),
            Refused("--sequence-length 512"),
            Changes("", "--sequence-length 128"),
            Changes("", "--sequence-length 128"),
            Changes("--phase prefill", "--sequence-length 128"),
        ],
    ),
    (
        "--tokens-per-step",
        trains(Changes("", "--tokens-per-step 16384"), Refused("--tokens-per-step 8192")),
    ),
    ("--devices", trains(Changes("", "--devices 2"), Refused("--devices 2"))),
    (
        "--max-memory-per-device",
        holds(Changes("", "--max-memory-per-device 40GB"), Refused("--max-memory-per-device 40GB")),
    ),
    ("--memory-margin", holds(Changes("", "--memory-margin 20%"), Refused("--memory-margin 20%"))),
    (
        "--stack",
        [
            Refused("--stack torchtitan"),
            Changes("", "--stack torchtitan"),
            Refused("--stack torchtitan"),
            Refused("--stack torchtitan"),
            Refused("--stack torchtitan"),
            Refused("--stack torchtitan"),
            Refused("--stack torchtitan"),
        ],
    ),
    (
        "--expert-skew",
        [
            Refused("--expert-skew zipf:1"),
            Runs("--expert-skew balanced"),
            Refused("--expert-skew zipf:1"),
            Refused("--expert-skew zipf:1"),
            Changes("", "--expert-skew visits.json"),
            Changes("", "--expert-skew zipf:1"),
            Refused("--expert-skew zipf:1"),
        ],
    ),
    (
        "--adapter",
        [
            Refused("--adapter lora:rank=4"),
            Changes("", "--adapter lora:rank=4"),
            Refused("--adapter lora:rank=4"),
            Refused("--adapter lora:rank=4"),
            Refused("--adapter lora:rank=4"),
            Refused("--adapter lora:rank=4"),
            Refused("--adapter lora:rank=4"),
        ],
    ),
    (
        "--freeze",
        [
            Refused("--freeze embedding"),
            Changes("", "--freeze embedding"),
            Refused("--freeze embedding"),
            Refused("--freeze embedding"),
            Refused("--freeze embedding"),
            Refused("--freeze embedding"),
            Refused("--freeze embedding"),
        ],
    ),
    (
        "--phase",
        [
            Refused("--phase decode"),
            Refused("--phase decode"),
            Refused("--phase decode"),
            Refused("--phase decode"),
            Changes("", "--phase decode"),
            Refused("--phase decode"),
            Changes("", "--phase prefill --sequence-length 64"),
        ],
    ),
    (
        "--routing-trace",
        [
            Refused("--routing-trace trace.jsonl"),
            Refused("--routing-trace trace.jsonl"),
            Refused("--routing-trace trace.jsonl"),
            Refused("--routing-trace trace.jsonl"),
            Changes("", "--routing-trace trace.jsonl"),
            Refused("--routing-trace trace.jsonl"),
            Refused("--routing-trace trace.jsonl"),
        ],
    ),
    (
        "--cached",
        [
            Refused("--cached 64"),
            Refused("--cached 64"),
            Refused("--cached 64"),
            Refused("--cached 64"),
            Refused("--cached 64"),
            Changes("--algorithm dynaflow --phase decode --batch 64", "--cached 65536"),
            Changes("", "--cached 512"),
        ],
    ),
    (
        "--kv-dtype",
        [
            Refused("--kv-dtype fp8"),
            Refused("--kv-dtype fp8"),
            Refused("--kv-dtype fp8"),
            Refused("--kv-dtype fp8"),
            Refused("--kv-dtype fp8"),
            Changes("--algorithm dynaflow --phase decode --batch 64", "--kv-dtype fp8"),
            Changes("", "--kv-dtype fp8"),
        ],
    ),
    (
        "--interference",
        [
            Refused("--interference table.csv"),
            Refused("--interference table.csv"),
            Refused("--interference table.csv"),
            Refused("--interference table.csv"),
            Refused("--interference table.csv"),
            Changes("--algorithm dynaflow --phase prefill --batch 64", "--interference table.csv"),
            Refused("--interference table.csv"),
        ],
    ),
    ("--spares", degrees(Changes("", "--spares 1"), Refused("--spares 1"))),
    (
        "--replace",
        degrees(
            Changes("", "--replace running.json --lost node0.gpu3"),
            Refused("--replace running.json"),
        ),
    ),
    (
        "--lost",
        degrees(
            Changes("", "--lost node0.gpu3 --replace running.json"),
            Refused("--lost node0.gpu3"),
        ),
    ),
    ("--fastest", degrees(Runs("--fastest"), Refused("--fastest"))),
    ("--no-offload", trains(Changes("", "--no-offload"), Refused("--no-offload"))),
    (
        "--algorithm",
        [
            Changes("", "--algorithm single"),
            Runs("--algorithm search-3d"),
            Runs("--algorithm per-layer"),
            Changes("", "--algorithm orders"),
            Changes("", "--algorithm eplb"),
            Changes("", "--algorithm fsmoe-closed-form"),
            Runs("--algorithm serving-pipeline"),
        ],
    ),
    (
        "--objective",
        [
            Changes("", "--objective max-load"),
            Refused("--objective max-load"),
            Refused("--objective latency"),
            Changes("", "--objective contiguous-max-load"),
            Refused("--objective max-load"),
            Refused("--objective max-load"),
            Changes("", "--objective latency"),
        ],
    ),
    (
        "--for",
        [
            Runs("--for accelerate"),
            Changes("", "--for torchtitan"),
            Runs("--for galvatron"),
            Refused("--for megatron"),
            Refused("--for sglang"),
            Refused("--for sglang"),
            Refused("--for vllm"),
        ],
    ),
    (
        "--pipeline-only",
        [
            Runs("--for vllm --pipeline-only"),
            Refused("--pipeline-only"),
            Refused("--pipeline-only"),
            Refused("--pipeline-only"),
            Refused("--pipeline-only"),
            Refused("--pipeline-only"),
            Refused("--pipeline-only"),
        ],
    ),
    ("--time-limit", [Runs("--time-limit 20s"); 7]),
    (
        "--gap",
        [
            Runs("--gap 5%"),
            Runs("--gap 5%"),
            Runs("--gap 5%"),
            Runs("--gap 5%"),
            Runs("--gap 5%"),
            Refused("--gap 5%"),
            Runs("--gap 5%"),
        ],
    ),
    (
        "--node-budget",
        [
            Runs("--node-budget 50"),
            Runs("--node-budget 50"),
            Runs("--node-budget 50"),
            Runs("--node-budget 50"),
            Runs("--node-budget 50"),
            Refused("--node-budget 50"),
            Runs("--node-budget 50"),
        ],
    ),
    ("--seed", [Runs("--seed 3"); 7]),
    ("--threads", [Runs("--threads 1"); 7]),
    ("--deterministic", [Runs("--deterministic"); 7]),
    ("--allow-lossy", [Refused("--allow-lossy"); 7]),
    (
        "--pue",
        [
            Refused("--pue 1.2"),
            Changes("", "--pue 1.2"),
            Refused("--pue 1.2"),
            Refused("--pue 1.2"),
            Refused("--pue 1.2"),
            Refused("--pue 1.2"),
            Changes("", "--pue 1.2"),
        ],
    ),
    (
        "--power-cap",
        [
            Refused("--power-cap 1MW"),
            Changes("", "--power-cap 1MW"),
            Refused("--power-cap 1MW"),
            Refused("--power-cap 1MW"),
            Refused("--power-cap 1MW"),
            Refused("--power-cap 1MW"),
            Changes("", "--power-cap 1MW"),
        ],
    ),
    ("--output", [Writes("-o out"); 7]),
    (
        "--progress",
        [
            Runs("--progress none"),
            Runs("--progress none"),
            Runs("--progress none"),
            Runs("--progress none"),
            Runs("--progress none"),
            Runs("--progress none"),
            Runs("--progress none"),
        ],
    ),
    (
        "--plot",
        [
            Writes("--plot out"),
            Writes("--plot out"),
            Writes("--plot out"),
            Writes("--plot out"),
            Refused("--plot out"),
            Refused("--plot out"),
            Refused("--plot out"),
        ],
    ),
    (
        "--html",
        [
            Writes("--html out"),
            Writes("--html out"),
            Writes("--html out"),
            Refused("--html out"),
            Refused("--html out"),
            Refused("--html out"),
            Refused("--html out"),
        ],
    ),
    (
        "--export",
        [
            Writes("--export svg=out"),
            Writes("--export megatron=out"),
            Writes("--export galvatron=out"),
            Refused("--export svg=out"),
            Writes("--export sglang=out"),
            Writes("--export svg=out"),
            Writes("--export vllm=out"),
        ],
    ),
    (
        "--force",
        [
            Writes("-o there --export svg=out --force"),
            Runs("--force"),
            Runs("--force"),
            Runs("--force"),
            Runs("--force"),
            Runs("--force"),
            Runs("--force"),
        ],
    ),
    ("--all", [Runs("--all"); 7]),
    ("--json", [Runs(""); 7]),
];

const fn same(ops: Does, others: Does) -> [Does; 7] {
    [ops, others, others, others, others, others, others]
}

const fn given(instance: Does, others: Does) -> [Does; 7] {
    [others, others, others, instance, others, others, others]
}

const fn trains(training: Does, others: Does) -> [Does; 7] {
    [others, training, training, others, others, others, others]
}

const fn degrees(run: Does, others: Does) -> [Does; 7] {
    [others, run, others, others, others, others, others]
}

const fn holds(limited: Does, others: Does) -> [Does; 7] {
    [others, limited, limited, others, others, others, limited]
}

/// What some kind of plan refuses.
pub(super) fn refused() -> BTreeSet<&'static str> {
    let words = |cell: &Does| match cell {
        Refused(words) => Some(*words),
        _ => None,
    };
    TABLE.iter().flat_map(|(_, cells)| cells.iter().filter_map(words)).collect()
}

const KINDS: [&str; 7] = ["ops", "degrees", "layers", "instance", "experts", "streams", "serving"];

/// A line of each kind, without what a flag under test says another way.
fn base(kind: &str, flag: &str, args: &str) -> String {
    let unless = |words: &str, name: &str| match args.contains(name) || flag == name {
        true => String::new(),
        false => format!(" {words}"),
    };
    match kind {
        "ops" => format!(
            "plan config.json --cluster two.yaml{}{}{}",
            unless("--algorithm m-etf", "--algorithm"),
            unless("--batch 4", "--batch "),
            unless("--dim sequence=64", "--dim"),
        ),
        "instance" => "plan dnn.json".to_owned(),
        "streams" => format!(
            "plan experts.json --cluster two.yaml{}{}{}",
            unless("--phase training", "--phase"),
            unless("--batch 8", "--batch "),
            unless("--algorithm fsmoe", "--algorithm"),
        ),
        "serving" => format!(
            "plan config.json --cluster one.yaml{}{}{}",
            unless("--phase decode", "--phase"),
            unless("--batch 8", "--batch "),
            unless("--cached 256", "--cached"),
        ),
        "experts" => format!(
            "plan experts.json --cluster two.yaml{}",
            unless("--algorithm expert-placement(slots=3)", "--algorithm"),
        ),
        _ => format!(
            "plan config.json --cluster one.yaml{}{}{}",
            if kind == "layers" { " --profile measured" } else { "" },
            match flag {
                "--global-batch" | "--tokens-per-step" if args.contains(flag) => String::new(),
                _ => " --global-batch 8".to_owned(),
            },
            if args.contains("--sequence-length") { "" } else { " --sequence-length 512" },
        ),
    }
}

pub(super) fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    let config = json!({
        "model_type": "llama", "hidden_size": 1024, "num_hidden_layers": 12,
        "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 2816,
        "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": false
    });
    folder.write("config.json", &config.to_string());
    folder.write("experts.json", &experts::config().to_string());
    folder.write("visits.json", &experts::visits().to_string());
    folder.write("trace.jsonl", &expertflow::trace());
    folder.write("costs.csv", "op,a100_sxm4_80gb\n*,0.001\n");
    folder.write("table.csv", nano_batches::TABLE);
    let cluster = |hosts: u32| {
        format!(
            "name: c\nnodes:\n  - {{count: {hosts}, device: a100_sxm4_80gb, devices: 4, \
             scaleup: nvlink3, host: pcie4_x16, nics: 4}}\nnetwork: {{link: ib_hdr_200}}\n"
        )
    };
    folder.write("one.yaml", &cluster(1));
    folder.write("two.yaml", &cluster(2));
    folder.write("rules.yaml", "colocate:\n  - [\"*\"]\n");
    folder.write("there", "mine");
    measured(&folder);
    let profile = json!({
        "version": 1, "name": "slow", "kinds": {}, "links": {},
        "stacks": {"megatron-core": {
            "constants": {"derating": 0.45},
            "provenance": {"how": "measured", "source": "test", "date": "2026-01-01"}
        }}
    });
    folder.write("profile.json", &profile.to_string());
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/traces/gloo_rank0.kineto.json.gz");
    std::fs::copy(trace, folder.path("run.json.gz")).unwrap();
    let node = |id: u32, time: f64| {
        json!({ "id": id, "name": format!("node{id}"), "supportedOnFpga": 1, "cpuLatency": 10.0 * time,
            "fpgaLatency": time, "isBackwardNode": 0, "size": 1e6 })
    };
    // A fork, so that contiguous parts cost more than others.
    let edge = |from: u32, to: u32| json!({ "sourceId": from, "destId": to, "cost": 0.1 });
    let dnn = json!({
        "maxSizePerFPGA": 1e9, "maxFPGAs": 3, "maxCPUs": 0,
        "nodes": [node(0, 3.0), node(1, 1.0), node(2, 3.0), node(3, 1.0), node(4, 2.0)],
        "edges": [edge(0, 1), edge(1, 2), edge(2, 3), edge(3, 4)]
    });
    folder.write("dnn.json", &dnn.to_string());
    let running = format!("{} -o running.json", base("degrees", "", ""));
    folder.run(&running).exits(0);
    folder
}

/// What a program would read, less what the moment changes.
fn answer(folder: &Folder, line: &str) -> Value {
    let mut document = folder.run(&format!("{line} --json")).exits(0).json();
    if let Some(members) = document.as_object_mut() {
        for moment in ["run", "elapsed_s", "planning_time_s"] {
            members.remove(moment);
        }
    }
    document
}

#[test]
fn every_flag_of_the_help_is_in_the_table() {
    let help = run("plan --help").exits(0).stdout;
    let words = help
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '-'));
    let shown: BTreeSet<&str> =
        words.filter(|word| word.starts_with("--") && word.len() > 3).collect();
    let known: BTreeSet<&str> = TABLE.iter().map(|(flag, _)| *flag).collect();
    let unknown: Vec<&&str> =
        shown.iter().filter(|flag| !known.contains(**flag) && **flag != "--help").collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let hidden: Vec<&&str> = known.iter().filter(|flag| !shown.contains(**flag)).collect();
    assert!(hidden.is_empty(), "the help does not show {hidden:?}");
    // Flags with two uses show both.
    let line = |flag: &str| help.lines().find(|line| line.contains(flag)).unwrap();
    assert!(line("--pin <").contains("in a training run FIELD=VALUE"), "{help}");
    assert!(line("--for <").contains("or any"), "{help}");
}

#[test]
fn every_flag_is_honoured_or_refused_by_name() {
    let mut wrong = Vec::new();
    for (index, kind) in KINDS.into_iter().enumerate() {
        let folder = folder();
        for (flag, cells) in TABLE {
            let fault = match cells[index] {
                Changes(first, args) => {
                    let before = answer(&folder, &format!("{} {first}", base(kind, "", first)));
                    let line =
                        format!("{} {first} {args}", base(kind, flag, &format!("{first} {args}")));
                    (before == answer(&folder, &line)).then(|| "changes nothing".to_owned())
                }
                Runs(args) => {
                    let line = format!("{} {args}", base(kind, flag, args));
                    let ran = folder.run(&format!("{line} --json"));
                    (ran.code != 0).then(|| format!("{}: {}{}", ran.code, ran.stdout, ran.stderr))
                }
                Writes(args) => {
                    let ran = folder.run(&format!("{} {args}", base(kind, flag, args)));
                    let is_there = std::fs::remove_file(folder.path("out")).is_ok();
                    // A program without its pages has none of a plan either, and says so.
                    let has_pages = !ran.stderr.contains("error[no-pages]");
                    let is_wrong = ran.code != 0 || !is_there;
                    (is_wrong && has_pages).then(|| format!("{}: {}", ran.code, ran.stderr))
                }
                Refused(args) => {
                    let ran = folder.run(&format!("{} {args}", base(kind, "", args)));
                    let is_named = ran.stderr.contains(flag) && ran.stderr.contains("hint: ");
                    (ran.code != 2 || !is_named).then(|| format!("{}: {}", ran.code, ran.stderr))
                }
            };
            wrong.extend(fault.map(|fault| format!("{kind} {flag}: {fault}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let folder = folder();
    let line = base("degrees", "", "");
    for (args, code) in [
        ("--batch 4", "global-batch"),
        ("--pin tensor=2 --pin tensor=4", "bad-pin"),
        ("--micro-batch 2 --pin micro-batch=4", "bad-pin"),
        ("--workload inference", "not-for-training"),
    ] {
        let ran = folder.run(&format!("{line} {args}")).exits(2);
        assert!(ran.stderr.contains(&format!("error[{code}]")), "{args}: {}", ran.stderr);
    }
    folder.run(&format!("{line} --pin schedule=1f1b --pin schedule=gpipe")).exits(0);
    let answer = answer(&folder, &line.replace("--sequence-length 512", ""));
    assert_eq!(answer["plan"]["training"]["sequence_length"], 4096);
    assert!(
        answer["warnings"].to_string().contains("4096 tokens are assumed"),
        "{}",
        answer["warnings"]
    );
}
