//! Gradients in buckets: planned, read back, told, exported, and what is wrong with them named.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

/// Parameters of ResNet-50 (He et al. 2016) in forward order: name, elements, multiply-adds.
pub(super) fn resnet_50() -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    let mut normed = |name: String, input: u64, output: u64, window: u64, side: u64| {
        let weights = input * output * window * window;
        all.push((format!("{name}.weight"), weights, weights * side * side));
        all.push((format!("{name}.norm.weight"), output, 0));
        all.push((format!("{name}.norm.bias"), output, 0));
    };
    normed("stem".to_owned(), 3, 64, 7, 112);
    let (mut input, mut side) = (64, 56);
    for (stage, (n, width)) in [(3, 64), (4, 128), (6, 256), (3, 512)].into_iter().enumerate() {
        for block in 0..n {
            let name = |what: &str| format!("{stage}.{block}.{what}");
            let before = side;
            if stage > 0 && block == 0 {
                side /= 2;
            }
            normed(name("reduce"), input, width, 1, before);
            normed(name("middle"), width, width, 3, side);
            normed(name("expand"), width, 4 * width, 1, side);
            if block == 0 {
                normed(name("shortcut"), input, 4 * width, 1, side);
            }
            input = 4 * width;
        }
    }
    all.push(("head.weight".to_owned(), 2_048_000, 2_048_000));
    all.push(("head.bias".to_owned(), 1000, 0));
    all
}

/// A step of 64 samples at 253.1 samples/s on one device, forward : backward 1 : 2, the backward pass
/// spread by multiply-adds, on 10 Gb/s.
pub(super) fn on_ten_gigabit(replicas: u64, start_up_s: f64) -> Value {
    let tensors = resnet_50();
    assert_eq!(tensors.len(), 161);
    let work: u64 = tensors.iter().map(|tensor| tensor.2).sum();
    let (step_s, mut done) = (64.0 / 253.1, 0);
    let gradient = |tensor: &(String, u64, u64)| {
        done += tensor.2;
        let ready_s = 2.0 / 3.0 * step_s * done as f64 / work as f64;
        json!({ "name": tensor.0, "bytes": 4 * tensor.1, "ready_s": ready_s })
    };
    json!({
        "replicas": replicas, "samples": 64, "forward_s": step_s / 3.0,
        "gradients": tensors.iter().rev().map(gradient).collect::<Vec<_>>(),
        "exchange": [{ "by": "all-reduce", "start_up_s": start_up_s, "bytes_per_s": 1.25e9 }],
    })
}

fn rate(folder: &Folder, file: &str, recipe: &str) -> f64 {
    let answer = folder.run(&format!("plan {file} --algorithm {recipe} --json")).exits(0).json();
    answer["samples_per_s"].as_f64().unwrap()
}

/// Shi, Chu and Li's model of ResNet-50 on 8 hosts of 4 V100 (their table of 2020-05-29: 1981, 3785 and
/// 6884 samples/s measured for MG-WFBP).
#[test]
pub(super) fn resnet_50_on_ten_gigabit() {
    let folder = Folder::new(&diamond());
    for (replicas, start_up_s, published) in
        [(8, 0.36e-3, 2022.0), (16, 0.55e-3, 4040.0), (32, 0.98e-3, 8066.0)]
    {
        folder.write("g.json", &on_ten_gigabit(replicas, start_up_s).to_string());
        let none = rate(&folder, "g.json", "bucket-cap(bytes=1000000000)");
        let wait_free = rate(&folder, "g.json", "bucket-cap(bytes=1)");
        let merged = rate(&folder, "g.json", "mg-wfbp");
        let best = rate(&folder, "g.json", "gradient-buckets");
        assert_eq!(merged.round(), published);
        assert!(none < wait_free && wait_free < merged && merged <= best);
        assert!(rate(&folder, "g.json", "bucket-cap") <= best);
        assert!((best / published - 1.0).abs() < 1e-3, "{best}");
    }
}

#[test]
fn buckets_are_verified_from_the_document_alone() {
    let folder = Folder::new(&diamond());
    folder.write("g.json", &on_ten_gigabit(32, 0.98e-3).to_string());
    folder.run("plan g.json -o p.json").exits(0);
    let plan: Value = folder.json("p.json");
    assert_eq!((&plan["proved_optimal"], &plan["objective"]), (&json!(true), &json!("step-time")));
    folder.run("verify p.json --model g.json").exits(0);
    let buckets = plan["communication"]["buckets"].as_array().unwrap();
    assert_eq!(buckets[0]["tensors"][0], "head.bias");
    let verdict = |change: &dyn Fn(&mut Value), code: i32, word: &str| {
        let mut changed = plan.clone();
        change(&mut changed);
        folder.write("q.json", &changed.to_string());
        let ran = folder.run("verify q.json --model g.json").exits(code);
        assert!(ran.talk().contains(word), "{}", ran.stderr);
    };
    verdict(&|plan| plan["communication"]["buckets"][1]["bytes"] = json!(1), 6, "bytes");
    verdict(&|plan| plan["samples_per_s"] = json!(9000.0), 6, "samples_per_s");
    verdict(&|plan| plan["value_ns"] = json!(253_902_000), 6, "value_ns");
    verdict(&|plan| plan["communication"]["exchange"] = json!("gossip"), 3, "gossip");
    verdict(&|plan| plan["communication"]["exchange"] = json!("parameter-server"), 6, "no cost");
    let drop_last = |plan: &mut Value| {
        plan["communication"]["buckets"].as_array_mut().unwrap().pop();
    };
    verdict(&drop_last, 6, "tensors");
    let swap =
        |plan: &mut Value| plan["communication"]["buckets"].as_array_mut().unwrap().swap(0, 1);
    verdict(&swap, 3, "where the next gradient that is there is `head.bias`");
}

/// Elements of each bucket of a size: one closes before a tensor that the rule, told what it holds and what
/// comes, keeps out.
fn cut(elements: &[u64], keeps_out: &dyn Fn(u64, u64) -> bool) -> Vec<usize> {
    let (mut lengths, mut filled) = (vec![0], 0);
    for n in elements {
        if filled > 0 && keeps_out(filled, *n) {
            lengths.push(0);
            filled = 0;
        }
        filled += n;
        *lengths.last_mut().unwrap() += 1;
    }
    lengths
}

/// Megatron-Core closes a bucket once it is full, DeepSpeed before it is more than full: no size makes a
/// shorter step by the rule of each. Steps are derived anew from the file.
#[test]
fn sizes_of_buckets_for_others_are_the_best_by_their_rules() {
    let folder = Folder::new(&diamond());
    let file = on_ten_gigabit(32, 0.98e-3);
    folder.write("g.json", &file.to_string());
    folder.run("plan g.json -o best.json").exits(0);
    let gradients = file["gradients"].as_array().unwrap();
    let elements: Vec<u64> =
        gradients.iter().map(|gradient| gradient["bytes"].as_u64().unwrap() / 4).collect();
    let step = |lengths: Vec<usize>| {
        let (mut at, mut end_s) = (0, 0.0_f64);
        for n in lengths {
            let bytes = 4 * elements[at..at + n].iter().sum::<u64>();
            at += n;
            let ready_s = gradients[at - 1]["ready_s"].as_f64().unwrap();
            end_s = end_s.max(ready_s) + 0.98e-3 + bytes as f64 * 2.0 * 31.0 / 32.0 / 1.25e9;
        }
        end_s
    };
    let full = |size: u64| step(cut(&elements, &|filled, _| filled >= size));
    let before = |size: u64| step(cut(&elements, &|filled, n| filled + n > size));
    let all: u64 = elements.iter().sum();
    let least = |of: &dyn Fn(u64) -> f64| {
        (1..=4000).map(|at| of(all * at / 4000)).fold(f64::INFINITY, f64::min)
    };
    let export = "export best.json --model g.json -o out --force --target";
    folder.run(&format!("{export} megatron-buckets")).exits(0);
    let text = folder.read("out");
    let size = text.trim().rsplit_once("--ddp-bucket-size ").unwrap().1.parse().unwrap();
    assert!(full(size) <= least(&full) + 1e-9);
    folder.run(&format!("{export} deepspeed-buckets")).exits(0);
    let size = folder.json("out")["zero_optimization"]["reduce_bucket_size"].as_u64().unwrap();
    assert!(before(size) <= least(&before) + 1e-9);
}

#[test]
fn buckets_are_explained_compared_and_exported() {
    let folder = Folder::new(&diamond());
    folder.write("g.json", &on_ten_gigabit(32, 0.98e-3).to_string());
    folder.run("plan g.json -o best.json").exits(0);
    folder.run("plan g.json --algorithm bucket-cap(bytes=1) -o each.json").exits(0);
    let answer = folder.run("explain best.json --model g.json --json").exits(0).json();
    let others: Vec<u64> = answer["others"]
        .as_array()
        .unwrap()
        .iter()
        .map(|other| other["step_ns"].as_u64().unwrap())
        .collect();
    assert_eq!(others.last(), answer["value_ns"].as_u64().as_ref());
    assert!(others.iter().all(|other| other >= others.last().unwrap()), "{others:?}");
    // One exchange at a time, none before all of its gradients are there.
    let spans = answer["buckets"].as_array().unwrap();
    let of = |span: &Value, name: &str| span[name].as_f64().unwrap();
    for pair in spans.windows(2) {
        assert!(of(&pair[0], "end_s") <= of(&pair[1], "start_s"));
    }
    assert!(spans.iter().all(|span| of(span, "ready_s") <= of(span, "start_s")));
    let text = folder.run("explain best.json --model g.json").exits(0).stdout;
    assert!(text.contains("MG-WFBP's rule") && text.contains("samples/s"), "{text}");
    folder.run("explain best.json --model g.json --op stem.weight").exits(0);
    let stdout = folder.run("compare each.json best.json --model g.json").exits(10).stdout;
    assert!(stdout.contains("B is 1.577 times as fast as A"), "{stdout}");
    let exported = |target: &str| -> Value {
        folder
            .run(&format!("export best.json --model g.json --target {target} -o e --force"))
            .exits(0);
        folder.json("e")
    };
    // As PyTorch reads them: whole bytes of MiB.
    let list = exported("torch-ddp@2.13")["bucket_cap_mb_list"].clone();
    let sizes = list.as_array().unwrap().iter().map(|mib| mib.as_f64().unwrap() * 1048576.0);
    let bytes: Vec<u64> = spans.iter().map(|span| span["bytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes.map(|size| size as u64).collect::<Vec<_>>(), bytes);
    let cap = exported("torch-ddp")["bucket_cap_mb"].as_f64().unwrap() * 1048576.0;
    let capped = rate(&folder, "g.json", &format!("bucket-cap(bytes={})", cap as u64));
    assert_eq!(capped, rate(&folder, "g.json", "bucket-cap"));
    assert_eq!(exported("torch-ddp@2.12"), exported("torch-ddp"));
    for target in ["torch-ddp@new", "split", "megatron", "megatron-buckets@1"] {
        folder.run(&format!("export best.json --model g.json --target {target} -o no")).exits(2);
    }
    folder.run("plan g.json --accelerators 4").exits(2);
    folder.run("plan g.json --algorithm milp").exits(2);
    folder.run("plan g.json --objective latency").exits(2);
}

/// BERT-Large, 8 samples a device, 100 Gb/s that behave like 5 GB/s: whatever is exchanged together, it
/// scales badly (measured: 25.5 %).
#[test]
fn bert_large_scales_badly_on_a_hundred_gigabit() {
    let folder = Folder::new(&diamond());
    let step_s = 8.0 / 49.0;
    let gradient = |at: u32| {
        let ready_s = 2.0 / 3.0 * step_s * f64::from(at + 1) / 24.0;
        json!({ "name": format!("layer{at}"), "bytes": 336_000_000 / 24 * 4, "ready_s": ready_s })
    };
    let file = json!({
        "replicas": 32, "samples": 8, "forward_s": step_s / 3.0,
        "gradients": (0..24).map(gradient).collect::<Vec<_>>(),
        "exchange": [{ "by": "all-reduce", "start_up_s": 1e-4, "bytes_per_s": 5e9 }],
    });
    folder.write("g.json", &file.to_string());
    let efficiency = rate(&folder, "g.json", "auto") / (32.0 * 49.0);
    assert!((0.2..0.3).contains(&efficiency), "{efficiency}");
    // Servers of their own carry each byte once, where a ring carries it nearly twice.
    let mut servers = file;
    servers["exchange"] = json!([{ "by": "parameter-server", "start_up_s": 1e-4, "bytes_per_s": 5e9, "servers": 64 }]);
    folder.write("s.json", &servers.to_string());
    let answer = folder.run("plan s.json --json").exits(0).json();
    assert_eq!(answer["communication"]["exchange"], "parameter-server");
    assert!(answer["samples_per_s"].as_f64().unwrap() > 1.5 * efficiency * 32.0 * 49.0, "{answer}");
}

const ON_MODEL: &str = "plan dense.json --cluster c.yaml --batch 16 --dim sequence=128";

/// A model without experts on two hosts of four devices.
fn replicas() -> Folder {
    let folder = Folder::new(&diamond());
    let mut config = super::experts::config();
    config.as_object_mut().unwrap().remove("num_local_experts");
    config["model_type"] = json!("llama");
    folder.write("dense.json", &config.to_string());
    folder.write("c.yaml", super::training::CLUSTER);
    folder.write(
        "one.yaml",
        &super::training::CLUSTER
            .replace("count: 2", "count: 1")
            .replace("devices: 4", "devices: 1"),
    );
    folder
}

#[test]
fn a_models_own_backward_pass_says_when_gradients_are_there() {
    let folder = replicas();
    let ran = folder.run(&format!("{ON_MODEL} --algorithm gradient-buckets -o p.json --json"));
    let answer = ran.exits(0).json();
    let plan: Value = folder.json("p.json");
    assert_eq!((&plan["parallelism"]["data"], &plan["workload"]["batch"]), (&json!(8), &json!(16)));
    // Gradients are summed up in 32 bits: words and head, four layers of attention and feed-forward with
    // two norms, and the last norm.
    let layer = 1024 * (2 * 1024 + 2 * 512) + 3 * 1024 * 2816 + 2 * 1024;
    let parameters = 2 * 32_000 * 1024 + 4 * layer + 1024;
    let buckets = plan["communication"]["buckets"].as_array().unwrap();
    let bytes: u64 = buckets.iter().map(|bucket| bucket["bytes"].as_u64().unwrap()).sum();
    assert_eq!(bytes, 4 * parameters);
    // The head's gradient is there first, the words' last.
    let last = buckets.last().unwrap()["tensors"].as_array().unwrap().last().unwrap();
    assert!(last.as_str().unwrap().contains("embed"), "{last}");
    let of = |name: &str| answer[name].as_f64().unwrap();
    assert!(of("passes_seconds") < of("seconds") && of("bound_seconds") <= of("seconds"));
    // By hand: a ring of eight at 25 GB/s of the slowest way, all bytes after both passes at the most.
    let ring_s = 2.0 * 7.0 / 8.0 * bytes as f64 / 25e9;
    assert!(of("seconds") < of("passes_seconds") + 1.1 * ring_s + 1e-3, "{answer}");
    assert!(of("seconds") >= ring_s, "{answer}");
    let on = "--model dense.json --cluster c.yaml";
    let said = folder.run(&format!("verify p.json {on}")).exits(0).stdout;
    assert!(said.contains("gradients on 8 replicas"), "{said}");
    folder.run(&format!("simulate p.json {on}")).exits(0);
    let others = folder.run(&format!("explain p.json {on} --json")).exits(0).json();
    let steps = others["others"].as_array().unwrap().iter();
    let least = steps.map(|other| other["step_ns"].as_u64().unwrap()).min();
    assert_eq!(least, plan["cost"]["step_time_ns"].as_u64());
    folder
        .run(&format!("{ON_MODEL} --algorithm mg-wfbp -o rule.json --export torch-ddp=d.json"))
        .exits(0);
    assert!(folder.read("d.json").contains("bucket_cap_mb"));
    folder.run(&format!("verify rule.json {on}")).exits(0);
    folder.run("compare p.json p.json").exits(0);
    folder.run(&format!("{ON_MODEL} --algorithm bucket-cap(bytes=1) -o each.json")).exits(0);
    let said = folder.run("compare each.json p.json").exits(10).stdout;
    assert!(said.contains("the buckets differ"), "{said}");
    folder.run(&format!("export p.json {on} --target torch-ddp@2.13 -o list.json")).exits(0);
    assert!(folder.read("list.json").contains("bucket_cap_mb_list"));
}

#[test]
fn what_a_plan_of_gradients_states_in_vain_is_named() {
    let folder = replicas();
    folder.run(&format!("{ON_MODEL} --algorithm gradient-buckets -o p.json")).exits(0);
    let plan: Value = folder.json("p.json");
    let verdict = |change: &dyn Fn(&mut Value), code: i32, word: &str| {
        let mut changed = plan.clone();
        change(&mut changed);
        folder.write("q.json", &changed.to_string());
        let ran = folder.run("verify q.json --model dense.json --cluster c.yaml").exits(code);
        assert!(ran.talk().contains(word), "{}", ran.stderr);
    };
    verdict(&|plan| plan["communication"]["buckets"][0]["bytes"] = json!(1), 6, "bytes");
    verdict(&|plan| plan["cost"]["step_time_ns"] = json!(1), 6, "step_time_ns");
    verdict(&|plan| plan["cost"]["bound_ns"] = json!(1u64 << 60), 6, "bound_ns");
    verdict(&|plan| plan["parallelism"]["data"] = json!(4), 6, "parallelism.data");
    verdict(&|plan| plan["parallelism"]["tensor"] = json!(2), 3, "parallelism");
    verdict(&|plan| plan["communication"]["buckets"] = json!([]), 3, "communication.buckets");
    verdict(&|plan| plan["communication"]["exchange"] = json!("parameter-server"), 6, "no cost");
    let reversed = |plan: &mut Value| {
        plan["communication"]["buckets"][0]["tensors"].as_array_mut().unwrap().reverse();
        plan["communication"]["buckets"].as_array_mut().unwrap().reverse();
    };
    verdict(&reversed, 6, "where the next gradient that is there is");
    for line in [
        "--algorithm gradient-buckets --pin a=b",
        "--algorithm gradient-buckets --micro-batch 1",
        "--algorithm gradient-buckets --objective latency",
        "--algorithm gradient-buckets --workload inference",
        "--algorithm gradient-buckets --export megatron",
        "--algorithm gradient-buckets --html p.html",
    ] {
        folder.run(&format!("{ON_MODEL} {line}")).exits(2);
    }
    let line = ON_MODEL.replace("16", "15");
    folder.run(&format!("{line} --algorithm mg-wfbp")).exits(2);
    let line = ON_MODEL.replace("c.yaml", "one.yaml");
    folder.run(&format!("{line} --algorithm mg-wfbp")).exits(2);
    folder.run("verify p.json --model dense.json --cluster c.yaml --batch 8").exits(2);
    folder.run("explain p.json --model dense.json --cluster c.yaml --op a").exits(2);
}
