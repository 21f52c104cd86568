//! What is planned for a launcher is what its file says, and hints hold when they are followed.

use std::path::Path;

use serde_json::{Value, json};

use super::flags::folder as flagged;
use super::folder::Folder;

const MODEL: &str = "--model config.json --cluster two.yaml";

fn folder() -> Folder {
    let folder = flagged();
    let t5 = json!({
        "model_type": "t5", "vocab_size": 1000, "d_model": 256, "d_kv": 64, "d_ff": 1024,
        "num_layers": 4, "num_decoder_layers": 4, "num_heads": 4
    });
    folder.write("t5.json", &t5.to_string());
    folder
}

/// The plan of a line, or how the program ended.
fn planned(folder: &Folder, flags: &str) -> Result<Value, (i32, String)> {
    let line = format!(
        "plan config.json --cluster two.yaml --global-batch 16 --sequence-length 512 {flags} \
         -o plan.json --force --json"
    );
    let ran = folder.run(&line);
    match ran.code {
        0 => Ok(ran.json()["plan"].clone()),
        code => Err((code, format!("{}{}", ran.stdout, ran.stderr))),
    }
}

/// Bytes under which a plan fits only with optimizer states on the hosts.
const SCARCE: &str = "--max-memory-per-device 1550MiB --pin data=8 --pin zero=1";
/// The same beside DeepSpeed's two buckets of 5e8 elements, 1908 MiB.
const SCARCE_BESIDE_BUCKETS: &str = "--max-memory-per-device 3458MiB --pin data=8 --pin zero=1";
/// The same where gradients are shared out, which all of PyTorch's own ways do.
const SCARCER: &str = "--max-memory-per-device 900MiB --pin data=8 --pin zero=2";

/// The files of a plan for a launcher say the plan: set beside it they are the same, whatever part
/// of the cluster, optimizer or type it is for, and wherever its states lie.
#[test]
fn files_of_a_launcher_are_the_plan_that_was_made_for_it() {
    let folder = folder();
    let runs = ["", "--devices 4", "--optimizer sgd", "--dtype fp32", "--pin tensor=1"];
    let mut n_offloaded = 0;
    for target in ["megatron", "torchtitan", "deepspeed"] {
        let scarce = match target {
            "torchtitan" => SCARCER,
            "deepspeed" => SCARCE_BESIDE_BUCKETS,
            _ => SCARCE,
        };
        for run in runs.into_iter().chain([scarce]) {
            let plan = match planned(&folder, &format!("--for {target} {run}")) {
                Ok(plan) => plan,
                // What it can't leave on hosts is no plan for it.
                Err((code, why)) => {
                    assert_eq!((target, run, code), ("torchtitan", SCARCER, 4), "{why}");
                    continue;
                }
            };
            let offloads = plan["training"]["offloads_optimizer"] == true;
            n_offloaded += u32::from(offloads);
            let on = format!("export plan.json {MODEL} --target {target} -o file --force");
            let exported = folder.run(&on);
            assert_eq!(exported.code, 0, "{target} {run}: {}", exported.stderr);
            let warns = exported.stderr.contains("not-in-file");
            let says = ["megatron", "deepspeed"].contains(&target);
            let lacks = offloads && !says || run.ends_with("sgd") && target != "megatron";
            assert_eq!(warns, lacks, "{target} {run}: {}", exported.stderr);
            let ran = folder.run(&format!("compare file plan.json {MODEL} --json"));
            assert_eq!(ran.code, 0, "{target} {run}: {}{}", ran.stdout, ran.stderr);
        }
    }
    assert!(n_offloaded >= 1, "{n_offloaded}");
    let (code, why) = planned(&folder, &format!("--for torchtitan {SCARCER}")).unwrap_err();
    assert!(code == 4 && why.contains("--for any"), "{code} {why}");
    planned(&folder, &format!("--for any {SCARCER}")).unwrap();
}

#[test]
fn parts_of_graphs_are_planned_for_those_who_run_them() {
    let folder = folder();
    for (target, code) in
        [("megatron", 2), ("torchtitan", 2), ("deepspeed", 2), ("torch-pipelining", 0), ("any", 0)]
    {
        let line = format!(
            "plan t5.json --cluster one.yaml --global-batch 8 --sequence-length 128 --for {target}"
        );
        let ran = folder.run(&line).exits(code);
        assert_eq!(code == 2, ran.stderr.contains("parts of a graph"), "{}", ran.stderr);
    }
    let selective = "plan config.json --cluster one.yaml --global-batch 8 --sequence-length 512 \
                     --pin recompute=selective --for";
    assert!(
        folder.run(&format!("{selective} galvatron")).exits(2).stderr.contains("attention core")
    );
    folder.run(&format!("{selective} megatron")).exits(0);
    // Every name that a hint lists is one that the flag takes.
    let ran = folder.run(
        "plan config.json --cluster one.yaml --global-batch 8 --sequence-length 128 --for accelerate",
    );
    let names = ran.stderr.split("choose from ").nth(1).unwrap().lines().collect::<String>();
    // Split points are those of graphs.
    let names = names.split([',', ' ']).filter(|name| !name.is_empty());
    for name in names.filter(|name| *name != "torch-split-points") {
        let line = format!(
            "plan config.json --cluster one.yaml --global-batch 8 --sequence-length 512 --for {name}"
        );
        assert!([0, 4].contains(&folder.run(&line).code), "{name}");
    }
}

/// Memory that a hint names is enough, and a byte per thousand less is not.
#[test]
fn memory_that_is_asked_for_is_enough() {
    let folder = folder();
    let on = |memory: u64| {
        let cluster = format!(
            "nodes:\n  - {{device: own, devices: 4, scaleup: nvlink3, host: pcie4_x16}}\n\
             kinds:\n  - {{name: own, memory_bytes: {memory}, memory_bytes_per_s: 2e12, \
             peak_bf16_flops: 312e12}}\ncontext_bytes: 500MB\nreserve_fraction: 0.05\n"
        );
        folder.write("own.yaml", &cluster);
        folder.run(
            "plan config.json --cluster own.yaml --global-batch 8 --sequence-length 512 \
             --no-offload --pin data=4 --pin zero=1",
        )
    };
    let stderr = on(2_000_000_000).exits(4).stderr;
    let text: String = stderr.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let bytes = text.split("included (").nth(1).unwrap().split(' ').next().unwrap();
    let bytes: u64 = bytes.parse().unwrap();
    on(bytes).exits(0);
    on(bytes - bytes / 1000).exits(4);
    let line = "plan config.json --cluster one.yaml --global-batch 8 --sequence-length 512 \
                --max-memory-per-device";
    assert!(folder.run(&format!("{line} 100GB")).exits(0).stderr.contains("no-effect"));
    assert!(!folder.run(&format!("{line} 60GB")).exits(0).stderr.contains("no-effect"));
}

#[test]
fn flags_of_another_run_are_refused_by_name() {
    let folder = folder();
    planned(&folder, "").unwrap();
    let flags = [
        "--batch 32",
        "--micro-batch 16",
        "--workload inference",
        "--forbid a=b",
        "--colocate x",
        "--constraints rules.yaml",
    ];
    for flag in flags {
        for verb in ["verify", "simulate", "explain"] {
            let ran = folder.run(&format!("{verb} plan.json {MODEL} {flag}")).exits(2);
            let name = flag.split(' ').next().unwrap();
            assert!(ran.stderr.contains(name), "{verb} {flag}: {}", ran.stderr);
        }
    }
    folder.run(&format!("verify plan.json {MODEL} --batch 16 --workload training")).exits(0);
}

/// What a plan on measured layers states is what was measured.
#[test]
fn statements_on_measured_layers_are_derived() {
    let folder = folder();
    let plan = |model: &str, flags: &str| {
        let line = format!(
            "plan {model} --cluster one.yaml --profile measured --global-batch 8 \
             --sequence-length 512 {flags} -o plan.json --force"
        );
        folder.run(&line)
    };
    plan("config.json", "--pin tensor=2 --pin pipeline=1").exits(0);
    let stated: Value = folder.json("plan.json");
    assert_eq!(stated["workload"]["dtype"], "bf16", "as the files are named");
    let verify = |document: &Value| {
        folder.write("changed.json", &document.to_string());
        let line = "verify changed.json --model config.json --cluster one.yaml --profile measured";
        folder.run(line)
    };
    verify(&stated).exits(0);
    let splits = stated["parallelism"]["training"]["sequence_parallel"] == true;
    let changes = [
        ("/workload/dtype", json!("fp16")),
        ("/workload/optimizer", json!("sgd")),
        ("/parallelism/training/sequence_parallel", json!(!splits)),
        ("/partition/stages/0/blocks/recompute", json!("full")),
    ];
    for (field, value) in changes {
        let mut changed = stated.clone();
        let member = changed.pointer_mut(field).unwrap_or_else(|| panic!("{field} in {stated}"));
        assert_ne!(*member, value, "{field}");
        *member = value;
        let ran = verify(&changed).exits(6);
        let name = field.rsplit('/').next().unwrap();
        assert!(ran.stderr.contains(name) || ran.stdout.contains(name), "{field}: {}", ran.stderr);
    }
    // One replica whose ends are shared out by its tensor ranks.
    let flags = "--pin tensor=2 --pin zero=2 --pin data=1 --max-memory-per-device 2500MiB";
    plan("config.json", flags).exits(0);
    verify(&folder.json("plan.json")).exits(0);
    // The folder was measured of `small`.
    let ran = plan("config.json", "");
    assert!(ran.stderr.contains("measured-of-another"), "{}", ran.stderr);
    std::fs::copy(folder.path("config.json"), folder.path("small.json")).unwrap();
    assert!(!plan("small.json", "").exits(0).stderr.contains("measured-of-another"));
    let ran = plan("config.json", "--pin tensor=3").exits(4);
    assert!(ran.stderr.contains("--pin tensor=2 or --pin tensor=4"), "{}", ran.stderr);
}

/// A file in which replicas share out what they hold alike in the plan is another run.
#[test]
fn states_that_nobody_shares_out_stay_on_the_devices() {
    let folder = folder();
    for (target, stack, mib) in
        [("megatron", "megatron-core", 900), ("deepspeed", "megatron-deepspeed-2021", 2808)]
    {
        let flags = format!(
            "--pin zero=0 --pin data=2 --pin tensor=4 --stack {stack} --max-memory-per-device {mib}MiB"
        );
        let (code, why) = planned(&folder, &format!("--for {target} {flags}")).unwrap_err();
        assert!(code == 4 && why.contains("--for any"), "{target}: {code} {why}");
        let plan = planned(&folder, &format!("--for any {flags}")).unwrap();
        assert_eq!(plan["training"]["offloads_optimizer"], true);
        let export = format!("export plan.json {MODEL} --target {target} -o file --force");
        assert!(folder.run(&export).exits(3).stderr.contains("cannot-express"));
    }
    // What a file can't say is told by whichever verb writes it.
    let line = "plan config.json --cluster two.yaml --global-batch 16 --sequence-length 512 \
                --optimizer sgd --for torch-pipelining --export torch-pipelining=file --force";
    assert!(folder.run(line).exits(0).stderr.contains("not-in-file"));
    let margin = "plan config.json --cluster one.yaml --global-batch 8 --sequence-length 512 \
                  --memory-margin 0.99999999999";
    assert!(folder.run(margin).exits(0).stderr.contains("margin-not-kept"));
}

/// A plan for another cluster is no lie.
#[test]
fn a_plan_that_fits_no_more_is_one_of_another_cluster() {
    let folder = folder();
    planned(&folder, "--pin data=8 --pin zero=1 --pin tensor=1").unwrap();
    let smaller = folder.read("two.yaml").replace("80gb", "40gb");
    folder.write("two.yaml", &smaller);
    let ran = folder.run(&format!("verify plan.json {MODEL}")).exits(3);
    assert!(ran.stderr.contains("digest-mismatch"), "{}", ran.stderr);
}

/// A folder starts what its file says: run by a shell with a `torchrun` that tells its words, the script
/// gives each flag as one word, whatever a shell makes of bars and stars.
#[test]
#[cfg(unix)]
fn folders_start_what_their_files_say() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    let folder = folder();
    planned(&folder, "--for megatron --pin pipeline=4 --pin virtual-stages=1").unwrap();
    let export = |more: &str| folder.run(&format!("export plan.json {MODEL} {more}"));
    export("--target megatron -o file").exits(0);
    for (launcher, file) in [("torchrun", "env"), ("slurm", "job.sbatch"), ("k8s", "jobset.json")] {
        export(&format!("--target megatron --to {launcher} --launcher {launcher}")).exits(0);
        assert!(folder.path(launcher).join(file).is_file(), "{launcher}");
    }
    let ran = export("--target megatron --to slurm --launcher slurm").exits(2);
    assert!(ran.stderr.contains("error[file-exists]"), "{}", ran.stderr);
    export("--target megatron --to slurm --launcher slurm --force").exits(0);
    let none = export("--target megatron --to other --launcher slum").exits(2);
    assert!(none.stderr.contains("slurm") && !folder.path("other").exists());
    let none = export("--target galvatron --to other").exits(3);
    assert!(none.stderr.contains("cannot-express") && !folder.path("other").exists());
    let stub = folder.path("torchrun-dir");
    std::fs::create_dir(&stub).unwrap();
    let program = stub.join("torchrun");
    std::fs::write(&program, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", stub.display(), std::env::var("PATH").unwrap());
    let ran = Command::new("bash")
        .arg(folder.path("slurm/launch.sh"))
        .args(["--lr", "1e-4"])
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let words = String::from_utf8(ran.stdout).unwrap();
    let words: Vec<&str> = words.lines().collect();
    let file = folder.read("file");
    let planned: Vec<&str> = file.split_whitespace().collect();
    assert!(words.ends_with(&planned), "{words:?}\n{planned:?}");
    assert!(words.windows(2).any(|pair| pair == ["--lr", "1e-4"]));
    let ranks = folder.read("slurm/ranks.csv");
    let n: usize =
        words[words.iter().position(|w| *w == "--nproc-per-node").unwrap() + 1].parse().unwrap();
    let hosts: usize =
        words[words.iter().position(|w| *w == "--nnodes").unwrap() + 1].parse().unwrap();
    assert_eq!(ranks.lines().count() - 1, n * hosts);
}

/// PyTorch runs recompute several times beside a split backward pass (`torch.autograd.grad` for each
/// group of parameters), Megatron's stacks know no such graph.
#[test]
fn recompute_beside_split_passes_is_warned_about() {
    let folder = folder();
    let pins = "--for any --pin pipeline=2 --pin schedule=zb-v";
    for (stack, recompute, is_warned) in [
        ("torchtitan", "full", true),
        ("torchtitan", "none", false),
        ("megatron-core", "full", false),
    ] {
        let flags = format!("{pins} --stack {stack} --pin recompute={recompute}");
        let line = "plan config.json --cluster two.yaml --global-batch 16 --sequence-length 512";
        let answer = folder.run(&format!("{line} {flags} --json")).exits(0).json();
        let found = answer["warnings"].to_string().contains("split-again");
        assert_eq!(found, is_warned, "{flags}: {}", answer["warnings"]);
    }
}

/// Accelerate's words are those of its own parser (`accelerate/commands/launch.py`), its file the member of
/// the whole one.
#[test]
fn folders_of_accelerate_start_on_every_host() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    let folder = folder();
    planned(&folder, "--for huggingface --pin zero=3 --pin tensor=1").unwrap();
    folder.run(&format!("export plan.json {MODEL} --target huggingface --to run")).exits(0);
    let read = |name: &str| -> Value { folder.json(&format!("run/{name}.json")) };
    let whole = read("huggingface");
    for member in ["accelerate", "training_arguments"] {
        assert_eq!(read(member), whole[member], "{member}");
    }
    let program = folder.path("accelerate");
    std::fs::write(&program, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let stub = program.parent().unwrap().display();
    let path = format!("{stub}:{}", std::env::var("PATH").unwrap());
    let started = |train: Option<&str>| {
        let mut script = Command::new("bash");
        script.arg(folder.path("run/launch.sh")).args(["--lr", "1e-4"]).env("PATH", &path);
        script.env("NODE_RANK", "1").envs(train.map(|train| ("TRAIN", train)));
        script.output().unwrap()
    };
    assert!(String::from_utf8_lossy(&started(None).stderr).contains("TRAIN"));
    let ran = started(Some("my train.py"));
    let words = String::from_utf8(ran.stdout).unwrap();
    let words: Vec<&str> = words.lines().collect();
    let after = |flag: &str| words[words.iter().position(|word| *word == flag).unwrap() + 1];
    let n_ranks = folder.read("run/ranks.csv").lines().count() - 1;
    assert_eq!(after("--num_processes"), n_ranks.to_string());
    assert_eq!(whole["accelerate"]["num_processes"], n_ranks);
    assert_eq!([after("--num_machines"), after("--machine_rank")], ["2", "1"]);
    assert!(Path::new(after("--config_file")).is_file(), "{words:?}");
    assert!(words.ends_with(&["my train.py", "--lr", "1e-4"]), "{words:?}");
}

/// Places of ranks by nested loops, in the order of docs/conventions.md: tensor ranks are neighbours.
#[test]
fn folders_say_what_each_rank_is() {
    let folder = folder();
    for (mesh, order) in [("data-inside", [2, 3]), ("pipeline-inside", [3, 2])] {
        let pins = format!("--pin tensor=2 --pin pipeline=2 --pin mesh={mesh} --pin zero=1");
        planned(&folder, &format!("--for megatron {pins}")).unwrap();
        let line = format!("export plan.json {MODEL} --target megatron --to {mesh}");
        folder.run(&line).exits(0);
        let text = folder.read(&format!("{mesh}/ranks.csv"));
        let mut rank = 0;
        let mut wanted = String::from("rank,host,device,tensor,context,data,pipeline\n");
        for outer in 0..2 {
            for inner in 0..2 {
                for tensor in 0..2 {
                    let mut at = [tensor, 0, 0, 0];
                    (at[order[0]], at[order[1]]) = (inner, outer);
                    let [t, c, d, p] = at;
                    let (host, device) = (rank / 4, rank % 4);
                    let place = format!("node{host},node{host}.gpu{device}");
                    wanted.push_str(&format!("{rank},{place},{t},{c},{d},{p}\n"));
                    rank += 1;
                }
            }
        }
        assert_eq!(text, wanted, "{mesh}");
    }
}

/// Names of hosts never reach a shell as anything but names.
#[test]
fn names_of_hosts_are_names() {
    let folder = folder();
    let cluster = folder.read("two.yaml");
    for (name, is_written) in
        [("h$(touch owned)", false), ("h$(touch${IFS}owned)", true), ("#h", false)]
    {
        let named = cluster.replace("{count: 2,", &format!("{{name: '{name}', count: 2,"));
        folder.write("two.yaml", &named);
        planned(&folder, "--for megatron").unwrap();
        let ran =
            folder.run(&format!("export plan.json {MODEL} --target megatron --to run --force"));
        assert_eq!(ran.code == 0, is_written, "{}", ran.stderr);
    }
    let script = folder.read("run/launch.sh");
    assert!(script.contains("first='h$(touch${IFS}owned)0'\n"), "{script}");
}

/// What a launcher can't be told is refused when it is planned for it, not when it is exported.
#[test]
fn plans_for_a_launcher_are_exported_to_it() {
    let folder = folder();
    let mixture = json!({
        "model_type": "mixtral", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8,
        "num_key_value_heads": 8, "intermediate_size": 1024, "vocab_size": 1000,
        "num_local_experts": 8, "num_experts_per_tok": 2, "max_position_embeddings": 4096
    });
    folder.write("mixture.json", &mixture.to_string());
    let on = "--cluster two.yaml --global-batch 16 --sequence-length 512 -o p.json --force";
    let plan = |model: &str, flags: &str| folder.run(&format!("plan {model} {on} {flags}"));
    let whole = "--pin sequence-parallel=off";
    for (model, flags, code) in [
        ("mixture.json", format!("--for megatron {whole}"), 2),
        ("mixture.json", format!("--for megatron {whole} --pin tensor=1"), 0),
        ("config.json", format!("--for megatron {whole} --pin tensor=2"), 0),
        ("config.json", "--for megatron --optimizer adafactor".to_owned(), 2),
        ("config.json", "--for torchtitan --optimizer sgd".to_owned(), 0),
    ] {
        let ran = plan(model, &flags);
        assert_eq!(ran.code, code, "{model} {flags}: {}", ran.stderr);
        if code == 0 {
            let target = flags.split(' ').nth(1).unwrap();
            let line =
                format!("export p.json --model {model} --cluster two.yaml --target {target}");
            let exported = folder.run(&format!("{line} -o file --force")).exits(0);
            let is_told = exported.stderr.contains("not-in-file");
            assert_eq!(is_told, flags.contains("sgd"), "{flags}: {}", exported.stderr);
        } else {
            assert!(ran.stderr.contains("cannot-express"), "{}", ran.stderr);
        }
    }
}

/// Megatron trains the model that its flags state, whatever config lies beside them.
#[test]
fn settings_of_another_model_are_refused() {
    let folder = folder();
    planned(&folder, "--for megatron").unwrap();
    folder.run(&format!("export plan.json {MODEL} --target megatron -o own.args")).exits(0);
    let text = folder.read("own.args");
    let compared = |text: &str| {
        folder.write("other.args", text);
        folder.run(&format!("compare other.args plan.json {MODEL}"))
    };
    compared(&text).exits(0);
    let sizes = [
        "--hidden-size",
        "--vocab-size",
        "--num-attention-heads",
        "--ffn-hidden-size",
        "--kv-channels",
    ];
    for flag in sizes {
        let line = text.lines().find(|line| line.starts_with(flag)).unwrap();
        let ran = compared(&text.replace(line, &format!("{flag} 96")));
        assert!(ran.code == 3 && ran.stderr.contains(flag), "{flag}: {}", ran.stderr);
    }
    let untied = "--untie-embeddings-and-output-weights";
    let flipped = match text.contains(untied) {
        true => text.replace(untied, ""),
        false => format!("{text}{untied}\n"),
    };
    for (flag, other) in [(untied, flipped), ("--num-experts", format!("{text}--num-experts 4\n"))]
    {
        let ran = compared(&other);
        assert!(ran.code == 3 && ran.stderr.contains(flag), "{flag}: {}", ran.stderr);
    }
}

/// In fp16 Megatron sums gradients in 16 bits unless it is told otherwise (`validate_args`): as the plan
/// has it with the flag, and otherwise without.
#[test]
fn gradients_are_priced_in_the_type_that_megatron_sums_them_in() {
    let folder = folder();
    planned(&folder, "--for megatron --dtype fp16").unwrap();
    folder.run(&format!("export plan.json {MODEL} --target megatron -o own.args")).exits(0);
    let text = folder.read("own.args");
    let compared = |text: &str| {
        folder.write("other.args", text);
        folder.run(&format!("compare other.args plan.json {MODEL}"))
    };
    let unchanged = compared(&text);
    assert!(
        unchanged.code == 0 && !unchanged.stderr.contains("sums-otherwise"),
        "{}",
        unchanged.stderr
    );
    let flag = "--accumulate-allreduce-grads-in-fp32\n";
    assert!(text.contains(flag), "{text}");
    let other = compared(&text.replace(flag, ""));
    assert!(other.stderr.contains("sums-otherwise"), "{}", other.stderr);
}

/// A schedule that torch has no name for lies in a file, cell by cell, and is read from there.
#[test]
fn schedules_in_files_are_read_from_them() {
    let folder = folder();
    for schedule in ["zb-h1", "breadth-first", "1f1b"] {
        let chunks = if schedule == "breadth-first" { 2 } else { 1 };
        let pins =
            format!("--pin pipeline=2 --pin virtual-stages={chunks} --pin schedule={schedule}");
        planned(&folder, &format!("--for torchtitan {pins}")).unwrap();
        let export = format!("export plan.json {MODEL} --target torchtitan --force");
        folder.run(&format!("{export} --to run")).exits(0);
        let ran = folder.run(&format!("compare run/torchtitan.args plan.json {MODEL}"));
        assert_eq!(ran.code, 0, "{schedule}: {}{}", ran.stdout, ran.stderr);
        let is_apart = schedule != "1f1b";
        // A shell's array has no commas between its words.
        let script = folder.read("run/launch.sh");
        let mut listed = script.split_whitespace().filter(|word| word.contains("layers.0"));
        assert!(listed.all(|word| word.starts_with('\'')), "{script}");
        let alone = folder.run(&format!("{export} -o alone.args")).exits(0);
        assert_eq!(alone.stderr.contains("file-apart"), is_apart, "{}", alone.stderr);
        let ran = folder.run(&format!("compare alone.args plan.json {MODEL}"));
        assert_eq!(ran.code, if is_apart { 3 } else { 0 }, "{schedule}: {}", ran.stderr);
        if is_apart {
            // Another order of the passes is another schedule.
            let text = folder.read("run/schedule.csv");
            let (first, rest) = text.split_once(',').unwrap();
            let (second, rest) = rest.split_once(',').unwrap();
            folder.write("schedule.csv", &format!("{second},{first},{rest}"));
            let ran = folder.run(&format!("compare alone.args plan.json {MODEL}"));
            assert!(ran.stdout.contains("custom") || ran.code == 3, "{}{}", ran.stdout, ran.stderr);
            let (top, bottom) = text.trim_end().split_once('\n').unwrap();
            let (cut, _) = bottom.rsplit_once(',').unwrap();
            let wrong = [
                String::new(),
                format!("{text}{text}"),
                format!("{bottom}\n{top}\n"),
                format!("{top}\n{cut}\n"),
                format!("{top},0F0\n{bottom}\n"),
            ];
            for wrong in wrong {
                folder.write("schedule.csv", &wrong);
                let ran = folder.run(&format!("compare alone.args plan.json {MODEL}")).exits(3);
                let stderr = ran.stderr;
                assert!(
                    stderr.contains("wrong-schedule") && stderr.contains("schedule.csv"),
                    "{stderr}"
                );
            }
            std::fs::remove_file(folder.path("schedule.csv")).unwrap();
        }
    }
}
