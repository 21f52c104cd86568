//! Training runs on nodes of different kinds: planned, read back, and refused where nothing is said.

use serde_json::{Value, json};

use super::clusters::Says;
use super::experts;
use super::folder::{Folder, diamond};

pub(super) const MIXED: &str = "\
name: mixed
nodes:
  - {count: 1, device: t4, devices: 4, nics: 1}
  - {count: 1, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, nics: 1}
network: {link: ethernet_100g}
";

/// Equal nodes, with a network card for each device or for all of a node.
const EQUAL: [&str; 3] = [
    "name: shared\nnodes:\n  - {count: 4, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, nics: 1}\n\
     network: {link: ethernet_25g}\n",
    "name: own\nnodes:\n  - {count: 2, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, nics: 8}\n\
     network: {link: ib_ndr_400}\n",
    "name: single\nnodes:\n  - {count: 1, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3}\n",
];

const PLAN: &str = "plan dense.json --cluster mixed.yaml --global-batch 32 --sequence-length 1024 --dtype f16 \
     --deterministic";

/// A model without experts.
pub(super) fn config() -> Value {
    let mut dense = experts::config();
    dense.as_object_mut().unwrap().remove("num_local_experts");
    dense["model_type"] = json!("llama");
    dense["num_hidden_layers"] = json!(8);
    dense
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("dense.json", &config().to_string());
    folder.write("mixed.yaml", MIXED);
    folder
}

#[test]
fn stages_have_devices_of_their_own_and_are_read_back() {
    let folder = folder();
    let answer = folder.run(&format!("{PLAN} -o plan.json --json")).exits(0).json();
    assert!(answer["bound_s"].as_f64().unwrap() <= answer["best"]["step_time_s"].as_f64().unwrap());
    let plan = folder.json("plan.json");
    assert_eq!(plan["algorithm"], "unlike-nodes");
    let stages = plan["partition"]["stages"].as_array().unwrap();
    let micro_batch = plan["parallelism"]["training"]["micro_batch"].as_u64().unwrap();
    for stage in stages {
        let mesh = &stage["mesh"];
        let samples: Vec<u64> =
            mesh["samples"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(samples.iter().sum::<u64>(), micro_batch);
        let n = mesh["devices"].as_array().unwrap().len() as u64;
        assert_eq!(n, samples.len() as u64 * mesh["tensor"].as_u64().unwrap());
    }
    let on = "--model dense.json --cluster mixed.yaml";
    folder.run(&format!("verify plan.json {on}")).exits(0);
    folder.run(&format!("explain plan.json {on}")).exits(0);
    folder.run(&format!("simulate plan.json {on}")).exits(0);
    folder.run(&format!("compare plan.json plan.json {on}")).exits(0);
    folder.run(&format!("export plan.json {on} --target svg -o plan.svg")).exits(0);
}

/// A launcher has degrees: stages that have as many replicas of as many ranks, of equal shares, are told
/// so, with their devices in the order of ranks; others are refused by what differs.
#[test]
fn stages_of_equal_degrees_go_to_launchers() {
    let folder = folder();
    folder.run(&format!("{PLAN} -o plan.json")).exits(0);
    let on = "--model dense.json --cluster mixed.yaml";
    let mut plan = folder.json("plan.json");
    let blocks = |first: u32, n: u32| json!({ "first": first, "n": n, "recompute": "none" });
    let mesh = |devices: Value, tensor: u32, samples: Value| json!({ "devices": devices, "tensor": tensor, "samples": samples });
    let stage = |blocks: Value, mesh: Value| json!({ "ops": [], "blocks": blocks, "mesh": mesh });
    let a100 = ["node1.gpu3", "node1.gpu1", "node1.gpu0", "node1.gpu2"];
    let t4 = ["node0.gpu2", "node0.gpu0", "node0.gpu1", "node0.gpu3"];
    let grid = |n: u64| {
        let cells = |rank: u64| -> String {
            let ahead = (2 - rank).min(n);
            let mut cells: Vec<String> =
                (0..ahead).map(|batch| format!("{rank}F{batch}")).collect();
            for batch in 0..n {
                cells.push(format!("{rank}B{batch}"));
                cells.extend((batch + ahead < n).then(|| format!("{rank}F{}", batch + ahead)));
            }
            cells.join(",")
        };
        json!([cells(0), cells(1)])
    };
    plan["parallelism"]["pipeline"] = json!(2);
    plan["parallelism"]["n_micro_batches"] = json!(8);
    plan["parallelism"]["training"]["micro_batch"] = json!(4);
    plan["schedule"]["grid"] = grid(8);
    let training = plan["training"].as_object_mut().unwrap();
    for name in ["held", "memory", "peak"] {
        training.remove(name);
    }
    plan.as_object_mut().unwrap().remove("cost");
    let mut exported = |samples: [Value; 2], tensor: [u32; 2], more: &str| {
        plan["partition"]["stages"] = json!([
            stage(blocks(0, 1), mesh(json!(t4), tensor[0], samples[0].clone())),
            stage(blocks(1, 7), mesh(json!(a100), tensor[1], samples[1].clone())),
        ]);
        folder.write("stated.json", &plan.to_string());
        folder.run(&format!("export stated.json {on} --target {more} --force"))
    };
    let two = || json!([2, 2]);
    exported([two(), two()], [2, 2], "megatron --to m").exits(0);
    let flags = folder.read("m/megatron.args");
    for flag in [
        "--tensor-model-parallel-size 2",
        "--pipeline-model-parallel-size 2",
        "--micro-batch-size 2",
        "--global-batch-size 32",
        "--pipeline-model-parallel-layout Et|t*7L",
        "--sequence-parallel",
        "--use-distributed-optimizer",
    ] {
        assert!(flags.lines().any(|line| line == flag), "{flag}: {flags}");
    }
    // Ranks: tensor ranks first, then replicas, then stages.
    let ranks = folder.read("m/ranks.csv");
    let rows: Vec<String> = ranks.lines().skip(1).map(str::to_owned).collect();
    let wanted = t4
        .iter()
        .map(|device| ("node0", device, 0))
        .chain(a100.iter().map(|device| ("node1", device, 1)));
    let wanted: Vec<String> = wanted
        .enumerate()
        .map(|(rank, (host, device, stage))| {
            format!("{rank},{host},{device},{},0,{},{stage}", rank % 2, rank % 4 / 2)
        })
        .collect();
    assert_eq!(rows, wanted);
    let script = folder.read("m/launch.sh");
    assert!(script.contains("devices=(2,0,1,3 3,1,0,2)"), "{script}");
    let refused = |ran: super::folder::Ran, why: &str| {
        assert!(ran.exits(3).stderr.contains(why), "{why}");
    };
    refused(
        exported([json!([1, 3]), two()], [2, 2], "megatron --to n"),
        "replicas of 1 and 2 samples",
    );
    refused(
        exported([json!([4]), two()], [4, 2], "megatron --to n"),
        "stages of 1 x 4 and of 2 x 2",
    );
    refused(exported([two(), two()], [2, 2], "megatron --to n --launcher slurm"), "certain hosts");
    refused(exported([two(), two()], [2, 2], "jax -o n"), "pipeline parallelism");

    // FlagScale has a mesh for each stage: tensor, context, expert, data and pipeline degree. Its own code
    // (v0.9.0 and 16a2dd5b) was run by hand on files like these.
    let listed = |text: &str, name: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| line.trim() != format!("{name}:")).skip(1);
        let items = lines.map_while(|line| line.trim().strip_prefix("- "));
        items.map(str::to_owned).collect()
    };
    for (samples, tensor, meshes, micro_batch) in [
        ([two(), two()], [2, 2], "2 1 1 2 1 2 1 1 2 1", 2),
        ([two(), json!([4])], [2, 4], "2 1 1 2 1 4 1 1 1 1", 2),
        ([json!([4]), json!([1, 1, 1, 1])], [4, 1], "4 1 1 1 1 1 1 1 4 1", 4),
    ] {
        let stderr = exported(samples, tensor, "flagscale --to fs").exits(0).stderr;
        // Its user buffers don't run on Turing, with or without meshes of one rank.
        assert!(!stderr.contains("no-tensor-overlap"), "{stderr}");
        assert!(stderr.contains("layer-numbers"), "{stderr}");
        let text = folder.read("fs/flagscale.yaml");
        assert_eq!(listed(&text, "hetero_process_meshes").join(" "), meshes, "{text}");
        assert_eq!(listed(&text, "hetero_pipeline_layer_split"), ["1", "7"]);
        assert_eq!(listed(&text, "hetero_device_types"), ["t4", "a100_sxm4_80gb"]);
        for line in [
            format!("micro_batch_size: {micro_batch}"),
            "global_batch_size: 32".to_owned(),
            format!("tensor_model_parallel_size: {}", tensor[0]),
            "pipeline_model_parallel_size: 2".to_owned(),
            "sequence_parallel: true".to_owned(),
            "use_distributed_optimizer: true".to_owned(),
            "num_layers: 8".to_owned(),
            "ckpt_format: torch".to_owned(),
            "rdzv_backend: static".to_owned(),
            "CUDA_VISIBLE_DEVICES: 2,0,1,3".to_owned(),
        ] {
            assert!(text.lines().any(|row| row.trim() == line), "{line}: {text}");
        }
        let hosts = folder.read("fs/hostfile");
        let hosts: Vec<&str> = hosts.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(hosts, ["node0 slots=4 type=t4", "node1 slots=4 type=a100_sxm4_80gb"]);
    }
    let ranks = folder.read("fs/ranks.csv");
    let last: Vec<&str> = ranks.lines().skip(5).collect();
    let wanted = (0..4).map(|at| format!("{},node1,{},0,0,{at},1", 4 + at, a100[at]));
    assert_eq!(last, wanted.collect::<Vec<_>>());
    refused(exported([json!([1, 3]), two()], [2, 2], "flagscale -o n"), "unequal samples");
    refused(
        exported([two(), two()], [2, 2], "flagscale --to n --launcher slurm"),
        "another launcher",
    );
}

/// A plan of equal stages goes to FlagScale as one mesh, a model with tied words where it sums them up.
#[test]
fn equal_stages_are_one_mesh() {
    let folder = folder();
    folder.write("equal.yaml", "name: equal\nnodes:\n  - {device: t4, devices: 4}\n");
    let plan = |pins: &str| {
        let run = "--global-batch 32 --sequence-length 1024 --dtype f16";
        let line = format!("plan dense.json --cluster equal.yaml {run} {pins} -o e.json --force");
        folder.run(&line).exits(0);
        folder.run("export e.json --model dense.json --cluster equal.yaml --target flagscale -o e.yaml --force")
    };
    plan("--pin tensor=1 --pin data=2 --pin pipeline=2 --pin zero=1 --pin schedule=1f1b").exits(0);
    let text = folder.read("e.yaml");
    let meshes: Vec<&str> = text
        .lines()
        .skip_while(|line| line.trim() != "hetero_process_meshes:")
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("- "))
        .collect();
    assert_eq!(meshes, ["1", "1", "1", "2", "2"], "{text}");
    plan("--pin zero=3 --pin pipeline=1").exits(3).says("ZeRO 2 or 3");
    plan("--pin context=2").exits(3).says("context");
}

#[test]
fn devices_of_stages_are_judged_and_compared() {
    let folder = folder();
    folder.run(&format!("{PLAN} -o plan.json")).exits(0);
    let plan = folder.json("plan.json");
    let on = "--model dense.json --cluster mixed.yaml";
    let edited = |at: &str, value: Value| {
        let mut edited = plan.clone();
        edited["partition"]["stages"][0]["mesh"][at] = value;
        folder.write("edited.json", &edited.to_string());
        folder.run(&format!("verify edited.json {on}"))
    };
    let mesh = &plan["partition"]["stages"][0]["mesh"];
    let first = &mesh["devices"][0];
    // A device in two stages, samples that nobody has, no shards, another node's device.
    for (at, value) in [
        ("samples", json!([1_000_000])),
        ("samples", json!([])),
        ("devices", json!([first, first])),
        ("devices", json!([])),
        ("tensor", json!(0)),
        ("tensor", json!(3)),
    ] {
        let stdout = edited(at, value).exits(6).stdout;
        assert!(stdout.matches("stage-devices").count() <= 1, "{stdout}");
    }
    edited("devices", json!(["nobody"])).exits(3);
    for degree in ["data", "tensor", "context", "expert", "pipeline"] {
        let mut edited = plan.clone();
        edited["parallelism"][degree] = json!(2 * plan["parallelism"][degree].as_u64().unwrap());
        folder.write("edited.json", &edited.to_string());
        let ran = folder.run(&format!("verify edited.json {on}"));
        assert!([3, 6].contains(&ran.code), "{degree}: {}", ran.stdout);
    }
    // Other devices of the same node do the same: another decision, at the same price.
    let mut devices: Vec<Value> = mesh["devices"].as_array().unwrap().clone();
    devices.reverse();
    let ran = edited("devices", json!(devices));
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    for on in ["", on] {
        let stdout = folder.run(&format!("compare plan.json edited.json {on}")).exits(10).stdout;
        assert!(stdout.contains("devices of stages"), "{stdout}");
    }
    let mut bare = plan.clone();
    for stage in bare["partition"]["stages"].as_array_mut().unwrap() {
        stage.as_object_mut().unwrap().remove("mesh");
    }
    folder.write("bare.json", &bare.to_string());
    let ran = folder.run(&format!("verify bare.json {on}"));
    assert!([3, 6].contains(&ran.code), "{}", ran.code);
    assert!((ran.talk() + &ran.stdout).contains("one kind of device"));
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    let folder = folder();
    let flags =
        ["--pin tensor=2", "--micro-batch 4", "--devices 4", "--for megatron", "--export megatron"];
    for flag in flags {
        let ran = folder.run(&format!("{PLAN} {flag}")).exits(2);
        let name = flag.split(' ').next_back().unwrap();
        let text = ran.stderr;
        assert!(text.contains(flag.split(' ').next().unwrap()) || text.contains(name), "{text}");
    }
    // The search that was named does not look at such nodes.
    let ran = folder.run(&format!("{PLAN} --algorithm search-3d"));
    assert!(ran.stderr.contains("another-search"), "{}", ran.stderr);
    folder.write("experts.json", &experts::config().to_string());
    let text = folder.run(&PLAN.replace("dense.json", "experts.json")).exits(2).stderr;
    assert!(text.contains("not-for-unlike-nodes"), "{text}");
}

/// Devices of one kind with unlike memory: each stage fits those that it has, where nothing is asked that
/// only equal stages honour; else all are held to the least, and that is said.
#[test]
fn unlike_memory_is_used() {
    let folder = folder();
    let node = |gb: u32| {
        format!(
            "  - {{count: 1, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, nics: 1, \
             memory_bytes: {gb}GB}}\n"
        )
    };
    let cluster = |a: u32, b: u32| {
        format!("name: m\nnodes:\n{}{}network: {{link: ethernet_100g}}\n", node(a), node(b))
    };
    let mut wide = config();
    wide["hidden_size"] = json!(4096);
    wide["intermediate_size"] = json!(16384);
    folder.write("dense.json", &wide.to_string());
    folder.write("mixed.yaml", &cluster(40, 6));
    let planned = |more: &str| folder.run(&format!("{PLAN} {more} --json")).exits(0);
    let step = |answer: &Value| answer["best"]["step_time_s"].as_f64().unwrap();
    let free = planned("-o plan.json").json();
    assert_eq!(free["plan"]["algorithm"], "unlike-nodes");
    let equal = planned("--devices 8").json();
    assert_eq!(equal["warnings"][0]["code"], "unlike-memory", "{equal}");
    assert!(step(&free) < step(&equal), "{free}");
    let plan = folder.json("plan.json");
    // More than any device of the second node could hold lies on the first one.
    let memory = |at: usize, of: &str| plan["training"]["memory"][at][of].as_u64().unwrap();
    assert!(memory(0, "peak_bytes") > memory(1, "limit_bytes"), "{plan}");
    let ran = folder.run("verify plan.json --model dense.json --cluster mixed.yaml").exits(0);
    assert!(!ran.stderr.contains("unlike-memory"), "{}", ran.stderr);
}

#[test]
fn a_device_that_no_stage_has_is_told_by_those_that_one_has() {
    let folder = folder();
    folder.run(&format!("{PLAN} -o plan.json")).exits(0);
    let plan = folder.json("plan.json");
    let stages = plan["partition"]["stages"].as_array().unwrap();
    let devices = |stage: &Value| stage["mesh"]["devices"].as_array().unwrap().clone();
    let used: Vec<Value> = stages.iter().flat_map(devices).collect();
    let on = "--model dense.json --cluster mixed.yaml";
    let all = (0..2).flat_map(|node| (0..4).map(move |gpu| format!("node{node}.gpu{gpu}")));
    for device in all {
        let ran = folder.run(&format!("explain plan.json {on} --device {device}"));
        let is_used = used.contains(&json!(device));
        assert_eq!(ran.code, if is_used { 0 } else { 2 }, "{device}: {}", ran.stderr);
        assert!(is_used || !ran.stderr.contains(&format!("mean `{device}`")), "{}", ran.stderr);
    }
}

/// The plan with its devices stated: tensor ranks are neighbours, then come replicas, or stages.
fn stated(plan: &Value, cluster: &[String]) -> Value {
    let mut plan = plan.clone();
    let degree = |name: &str| plan["parallelism"][name].as_u64().unwrap() as usize;
    let (t, d, p) = (degree("tensor"), degree("data"), degree("pipeline"));
    let micro_batch = plan["parallelism"]["training"]["micro_batch"].as_u64().unwrap();
    assert_eq!(t * d * p, cluster.len());
    let is_inside = plan["parallelism"]["training"]["mesh"] == "pipeline-inside";
    let replica =
        |stage: usize, index: usize| if is_inside { index * p + stage } else { stage * d + index };
    for at in 0..p {
        let replicas = (0..d).map(|index| t * replica(at, index));
        let devices: Vec<&String> = replicas.flat_map(|first| &cluster[first..first + t]).collect();
        plan["partition"]["stages"][at]["mesh"] =
            json!({ "devices": devices, "tensor": t, "samples": vec![micro_batch; d] });
    }
    let n = plan["parallelism"]["n_micro_batches"].as_u64().unwrap();
    assert_eq!(micro_batch * d as u64 * n, 32);
    plan["parallelism"]["training"]["micro_batch"] = json!(micro_batch * d as u64);
    plan["parallelism"]["training"]["sequence_parallel"] = json!(false);
    plan["parallelism"]["training"]["zero"] = json!(0);
    plan["parallelism"]["training"]["mesh"] = json!("data-inside");
    plan["request"].as_object_mut().unwrap().remove("pin");
    plan["parallelism"]["data"] = json!(1);
    plan["parallelism"]["tensor"] = json!(1);
    plan
}

/// Equal nodes are priced by forms that share no code with those of unlike ones: the same stages cost
/// the same seconds and bytes.
#[test]
fn equal_nodes_are_the_special_case() {
    let folder = folder();
    let (mut n, mut wrong) = (0, Vec::new());
    for (file, of_nodes) in EQUAL.iter().zip([[4, 4], [2, 8], [1, 4]]) {
        folder.write("equal.yaml", file);
        let [nodes, each] = of_nodes;
        let name = |at: usize| match nodes {
            1 => format!("node0.gpu{at}"),
            _ => format!("node{}.gpu{}", at / each, at % each),
        };
        let devices: Vec<String> = (0..nodes * each).map(name).collect();
        let on = "dense.json --cluster equal.yaml --global-batch 32 --sequence-length 512 \
                  --stack megatron-core";
        let best =
            folder.run(&format!("plan {on} --algorithm unlike-nodes --json")).exits(0).json();
        assert_eq!(best["is_optimum"], true);
        let degrees = [(1, 1), (1, 2), (2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (8, 1), (8, 2)];
        for ((pipeline, tensor), mesh) in degrees
            .into_iter()
            .flat_map(|pair| ["data-inside", "pipeline-inside"].map(|m| (pair, m)))
        {
            let data = devices.len() / pipeline / tensor;
            if data == 0 || 32 % data != 0 {
                continue;
            }
            let zero = if data > 1 { "--pin zero=1" } else { "--pin zero=0" };
            let sequence = if tensor > 1 { "on" } else { "off" };
            let run = folder.run(&format!(
                "plan {on} --algorithm search-3d --pin pipeline={pipeline} \
                 --pin tensor={tensor} --pin data={data} --pin context=1 --pin schedule=1f1b \
                 --pin virtual-stages=1 --pin mesh={mesh} {zero} --pin sequence-parallel={sequence} -o equal.json --force"
            ));
            // With one axis of the two there is one mesh.
            if run.code == 4 && mesh == "pipeline-inside" {
                continue;
            }
            assert_eq!(run.code, 0, "{}", run.stderr);
            let plan = folder.json("equal.json");
            folder.write("stated.json", &stated(&plan, &devices).to_string());
            let on = "--model dense.json --cluster equal.yaml --json";
            let simulated = |name: &str| {
                let answer = folder.run(&format!("simulate {name} {on}")).json();
                let ranks = answer["ranks"].as_array().unwrap().iter();
                let peaks: Vec<Value> = ranks.map(|rank| rank["peak_bytes"].clone()).collect();
                (answer["step_time_ns"].clone(), peaks)
            };
            let (stated, equal) = (simulated("stated.json"), simulated("equal.json"));
            if stated != equal
                || (mesh == "data-inside"
                    && best["best"]["step_time_ns"].as_u64() > equal.0.as_u64())
            {
                wrong.push(format!(
                    "{pipeline} x {tensor} {mesh} on {file}: {stated:?}, not {equal:?}"
                ));
            }
            n += 1;
        }
    }
    assert!(n > 15 && wrong.is_empty(), "{n}: {wrong:#?}");
}
