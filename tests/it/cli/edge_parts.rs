//! Stages that send each other a part: what goes, what choosing it takes, when it pays, and what is wrong
//! named.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};

const ON: &str = "--model gpt.json --cluster homes.yaml";

/// A GPT of 12 blocks and three homes: two cards in the first, with slow ways to both others.
fn homes(way_mbit: f64) -> Folder {
    let folder = Folder::new(&diamond());
    let model = json!({
        "model_type": "gpt2", "n_layer": 12, "n_embd": 1024, "n_head": 16, "n_inner": 4096,
        "vocab_size": 50257, "n_positions": 1024, "tie_word_embeddings": false,
    });
    folder.write("gpt.json", &model.to_string());
    let mut file = "name: homes\ndevices:\n".to_owned();
    for (id, kind, node) in [
        ("a0", "rtx_4090", "a"),
        ("a1", "rtx_4090", "a"),
        ("b0", "rtx_4090", "b"),
        ("c0", "rtx_3090", "c"),
    ] {
        file += &format!("  - {{id: {id}, kind: {kind}, node: {node}}}\n");
    }
    file += "links:\n";
    let far = way_mbit * 1e6 / 8.0;
    for (a, b, rate, latency) in [
        ("a0", "a1", 10e9, 1e-5),
        ("a0", "b0", far, 5e-3),
        ("a1", "b0", far, 5e-3),
        ("a0", "c0", far / 2.0, 5e-3),
        ("a1", "c0", far / 2.0, 5e-3),
        ("b0", "c0", 10.0 * far, 1e-3),
    ] {
        file +=
            &format!("  - {{between: [{a}, {b}], bytes_per_s: {rate}, latency_s: {latency}}}\n");
    }
    folder.write("homes.yaml", &file);
    folder
}

fn planned(folder: &Folder, flags: &str) -> Value {
    let line = format!(
        "plan gpt.json --cluster homes.yaml --global-batch 64 --sequence-length 1024 --dtype f16 \
         {flags} -o p.json --force"
    );
    folder.run(&line).exits(0);
    folder.run(&format!("verify p.json {ON}")).exits(0);
    folder.json("p.json")
}

fn step_s(plan: &Value) -> f64 {
    plan["cost"]["step_time_ns"].as_f64().unwrap() * 1e-9
}

/// A profile by which choosing takes no time worth telling.
fn choosing_at_once(folder: &Folder) {
    let rows = "device,family,bytes,time_s\n";
    let row = |kind: &str, n: u64| format!("{kind},top-k,{n},{:e}\n", 1e-9 + n as f64 / 9e15);
    let kinds = ["rtx_4090", "rtx_3090"].iter();
    let all: String =
        kinds.flat_map(|kind| (10..24).map(|n| row(kind, 1 << n)).collect::<Vec<_>>()).collect();
    folder.write("chosen.csv", &(rows.to_owned() + &all));
    folder.run("calibrate chosen.csv -o chosen.json --force").exits(0);
}

#[test]
fn never_slower_and_whole_where_it_does_not_bind() {
    for way_mbit in [2.0, 100.0, 1e3, 7e4] {
        let folder = homes(way_mbit);
        let whole = planned(&folder, "");
        assert_eq!(whole["communication"]["edges"], Value::Null);
        for density in [0.5_f64, 0.01, 0.001, 1e-5] {
            let plan = planned(&folder, &format!("--allow-lossy ada-top-k={density}"));
            assert!(step_s(&plan) <= step_s(&whole), "{way_mbit} Mb/s, {density}");
            assert!(plan["cost"]["bound_ns"].as_u64() <= whole["cost"]["step_time_ns"].as_u64());
            let lossy = &plan["communication"]["lossy"];
            assert_eq!(lossy, &json!([{ "by": "ada-top-k", "density": density }]));
            let edges = plan["communication"]["edges"].as_array().cloned().unwrap_or_default();
            assert_eq!(edges.is_empty(), step_s(&plan) == step_s(&whole), "{way_mbit} {density}");
            for edge in &edges {
                let ratio = edge["ratio"].as_f64().unwrap();
                assert!(ratio > 3.0 && ratio <= (1.0 / density).round(), "{edge}");
            }
            if density > 0.01 {
                assert!(edges.is_empty(), "one in two, with indices, is more than all");
            }
        }
    }
}

/// Bytes by hand: 1,024 x 1,024 elements a sample of 2 bytes, an index of 4 beside each that goes. A way
/// that is as much faster as less goes over it takes as long.
#[test]
fn a_part_takes_as_long_as_all_of_it_on_a_faster_way() {
    let folder = homes(100.0);
    choosing_at_once(&folder);
    let plan = planned(&folder, "--allow-lossy ada-top-k=0.001");
    let [edge] = &plan["communication"]["edges"].as_array().unwrap()[..] else { panic!() };
    let samples = plan["parallelism"]["training"]["micro_batch"].as_u64().unwrap();
    let stages = plan["partition"]["stages"].as_array().unwrap();
    let shares = |at: usize| -> Vec<u64> {
        let samples = stages[at]["mesh"]["samples"].as_array().unwrap();
        samples.iter().map(|n| n.as_u64().unwrap()).collect()
    };
    // One of both stages has one replica, so that each replica of the other is one message.
    assert!(shares(0).len() == 1 || shares(1).len() == 1);
    let messages = if shares(0).len() > 1 { shares(0) } else { shares(1) };
    let ratio = edge["ratio"].as_u64().unwrap();
    assert_eq!(ratio, 1000);
    let sent: u64 = messages.iter().map(|samples| (samples << 20).div_ceil(ratio) * 6).sum();
    assert_eq!(edge["bytes"], (samples << 20) * 2);
    assert_eq!(edge["sent_bytes"], sent);

    // The same plan, its choosing for nothing.
    let at_once = "--profile chosen.json --allow-mismatch";
    let ns = |file: &str, flags: &str| {
        let answer = folder.run(&format!("simulate {file} {ON} {flags} --json")).json();
        let ranks = answer["ranks"].as_array().unwrap();
        let compute = ranks.iter().map(|rank| rank["compute_ns"].as_f64().unwrap()).collect();
        (answer["step_time_ns"].as_f64().unwrap(), compute)
    };
    let (part, _): (f64, Vec<f64>) = ns("p.json", at_once);
    let (priced, with_choosing) = ns("p.json", "");
    let mut whole = plan.clone();
    for member in ["edges", "lossy"] {
        whole["communication"].as_object_mut().unwrap().remove(member);
    }
    folder.write("whole.json", &whole.to_string());
    let (all, without) = ns("whole.json", "--allow-mismatch");
    assert!(all > priced && priced > part);
    let rate = (samples << 21) as f64 / sent as f64;
    let faster = folder.read("homes.yaml").replace("12500000", &format!("{}", 12.5e6 * rate));
    folder.write("faster.yaml", &faster.replace("name: homes", "name: faster"));
    let on = "--model gpt.json --cluster faster.yaml --allow-mismatch";
    let named = folder.read("whole.json").replace("\"homes\"", "\"faster\"");
    folder.write("whole.json", &named);
    let answer = folder.run(&format!("simulate whole.json {on} --json")).json();
    let faster = answer["step_time_ns"].as_f64().unwrap();
    assert!((faster / part - 1.0).abs() < 1e-4, "{faster} on the faster way, {part} in part");

    // What choosing takes by hand: 2.19e-10 s x n log2 n on a card of 440 GB/s; these have 1,008 and 936.
    let m = plan["parallelism"]["n_micro_batches"].as_f64().unwrap();
    for (at, compute) in [0, 1].into_iter().zip(with_choosing) {
        let most = *shares(at).iter().max().unwrap();
        // Who has one replica sends as many messages as the other stage has.
        let own_messages = if shares(at).len() > 1 { vec![most] } else { messages.clone() };
        let chosen_s = |samples: &u64| {
            let n = (samples << 20) as f64;
            2.19e-10 * n * n.log2() * 440.0 / 1008.0
        };
        let by_hand = 1e9 * m * own_messages.iter().map(chosen_s).sum::<f64>();
        let took = compute - without[at];
        assert!((took / by_hand - 1.0).abs() < 1e-3, "stage {at}: {took} ns, {by_hand} by hand");
    }
}

#[test]
fn told_compared_and_refused_by_who_lacks_words() {
    let folder = homes(100.0);
    planned(&folder, "");
    std::fs::copy(folder.path("p.json"), folder.path("whole.json")).unwrap();
    planned(&folder, "--allow-lossy ada-top-k=0.001");
    let ran = folder.run(&format!("explain p.json {ON}")).exits(0);
    assert!(ran.stdout.contains("ada-top-k  1 in 1000"), "{}", ran.stdout);
    assert!(ran.stderr.contains("warning[lossy]"), "{}", ran.stderr);
    let answer = folder.run("compare whole.json p.json --json").exits(10).json();
    let changes = answer["changes"].as_array().unwrap();
    let change = changes.iter().find(|change| change["field"] == "edges between stages").unwrap();
    assert_eq!((&change["a"], &change["b"]), (&json!("whole"), &json!("0 to 1: 1 in 1000")));
    for target in ["megatron", "torchtitan", "flagscale"] {
        let ran = folder.run(&format!("export p.json {ON} --target {target} --to out-{target}"));
        assert!(ran.stderr.contains("compressed edges"), "{target}: {}", ran.stderr);
    }
    folder.run(&format!("export p.json {ON} --target svg -o p.svg")).exits(0);
}

#[test]
fn what_is_wrong_is_named() {
    let folder = homes(100.0);
    let flags = "--global-batch 64 --sequence-length 1024";
    for (words, named) in [
        ("", "does not state the least share"),
        ("all", "does not state the least share"),
        ("ada-top-k", "does not state the least share"),
        ("top-k=0.01", "no way to send less between stages"),
        ("ada-top-k=0", "not in (0, 0.5]"),
        ("ada-top-k=-1", "not in (0, 0.5]"),
        ("ada-top-k=0.6", "not in (0, 0.5]"),
        ("ada-top-k=NaN", "not in (0, 0.5]"),
        ("ada-top-k=inf", "not in (0, 0.5]"),
        ("ada-top-k=x", "is no number"),
        ("ada-top-k=0.1,ada-top-k=0.2", "second way"),
    ] {
        let line = format!("plan gpt.json --cluster homes.yaml {flags} --allow-lossy {words}");
        let ran = folder.run(&line).exits(2);
        assert!(ran.stderr.contains(named), "{words}: {}", ran.stderr);
    }
    for (flags, named) in [
        ("--algorithm search-3d --cluster one.yaml", "unlike-nodes"),
        ("--cluster homes.yaml --pin tensor=1", "--pin"),
        ("--cluster homes.yaml --power-cap 500", "under a cap"),
        ("--cluster homes.yaml --objective energy-per-token", "energy"),
        ("--cluster homes.yaml --for megatron", "--for"),
    ] {
        folder.write(
            "one.yaml",
            "nodes: [{count: 2, device: rtx_4090}]\nnetwork: {link: ib_edr_100}\n",
        );
        let line = format!(
            "plan gpt.json {flags} --global-batch 64 --sequence-length 1024 --allow-lossy ada-top-k=0.01"
        );
        let ran = folder.run(&line).exits(2);
        assert!(ran.talk().contains(named), "{flags}: {}", ran.stderr);
    }
    let plan = planned(&folder, "--allow-lossy ada-top-k=0.001");
    for (member, value, named) in [
        ("from", json!(5), "communication.edges.to"),
        ("to", json!(0), "communication.edges.to"),
        ("from", json!(4_294_967_295_u32), "communication.edges.to"),
        ("by", json!("top-k"), "communication.edges.by"),
        ("ratio", json!(1), "communication.edges.ratio"),
        ("ratio", json!(0), "communication.edges.ratio"),
        ("ratio", json!(2), "error[edges]: stage 0 sends the next one 1 in 2"),
        ("ratio", json!(999), "step_time_ns"),
        ("ratio", json!(1001), "1000 at most is allowed"),
        ("bytes", json!(1), "edges"),
        ("sent_bytes", json!(1), "edges"),
    ] {
        let mut changed = plan.clone();
        changed["communication"]["edges"][0][member] = value.clone();
        folder.write("own.json", &changed.to_string());
        let ran = folder.run(&format!("verify own.json {ON}"));
        assert!(ran.code != 0 && ran.stderr.contains(named), "{member} {value}: {}", ran.stderr);
    }
    let mut without = plan.clone();
    without["communication"].as_object_mut().unwrap().remove("lossy");
    let mut other = plan.clone();
    other["communication"]["lossy"][0]["density"] = json!(0.1);
    let mut second = plan.clone();
    second["communication"]["lossy"][0]["by"] = json!("top-k");
    let mut twice = plan.clone();
    let edge = plan["communication"]["edges"][0].clone();
    twice["communication"]["edges"] = json!([edge, edge]);
    let mut no_edge = plan.clone();
    no_edge["communication"].as_object_mut().unwrap().remove("edges");
    for (changed, named) in [
        (without, "1 at most is allowed"),
        (other, "10 at most is allowed"),
        (second, "not the one way"),
        (twice, "twice"),
        (no_edge, "step_time_ns"),
    ] {
        folder.write("own.json", &changed.to_string());
        let ran = folder.run(&format!("verify own.json {ON}"));
        assert!(ran.code != 0 && ran.stderr.contains(named), "{named}: {}", ran.stderr);
    }
}

#[test]
fn no_limit_of_the_search_makes_the_plan_slower() {
    let folder = homes(100.0);
    for budget in [1, 10, 100, 1000, 20_000] {
        let limits = format!("--node-budget {budget} --algorithm unlike-nodes");
        let line = |more: &str| {
            folder.run(&format!(
                "plan gpt.json --cluster homes.yaml --global-batch 48 --sequence-length 512 --dtype f16 \
                 --max-memory-per-device 2500MB {limits} {more} -o p.json --force"
            ))
        };
        let whole = line("");
        let in_part = line("--allow-lossy ada-top-k=0.001");
        assert!(whole.code != 0 || in_part.code == 0, "{budget}: {}", in_part.stderr);
        if whole.code == 0 {
            folder.run(&format!("verify p.json {ON}")).exits(0);
            let plan = folder.json("p.json");
            let part = step_s(&plan);
            // What does not bind is whole, whatever the budget.
            let n_edges = plan["communication"]["edges"].as_array().map_or(0, Vec::len);
            for at in 0..n_edges {
                let mut changed = plan.clone();
                changed["communication"]["edges"].as_array_mut().unwrap().remove(at);
                folder.write("own.json", &changed.to_string());
                let answer = folder.run(&format!("simulate own.json {ON} --json")).json();
                let step = answer["step_time_ns"].as_f64().unwrap() * 1e-9;
                assert!(step > part, "{budget}: edge {at} is in part in vain");
            }
            line("").exits(0);
            assert!(part <= step_s(&folder.json("p.json")), "{budget}");
        }
    }
}
