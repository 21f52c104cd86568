//! Devices that are lost: a plan on those that are left with what moves, and spares.

use serde_json::{Value, json};

use super::clusters::Says;
use super::folder::{Folder, diamond};
use super::unlike::config;

const HOSTS: &str = "\
name: room
nodes:
  - {name: a, count: 3, device: rtx_3090}
  - {name: b, count: 2, device: rtx_3080_10gb}
  - {name: s, device: rtx_3090SPARE}
  - {name: t, device: t4SPARE}
network: {link: ethernet_10g}
";

const RUN: &str = "--global-batch 16 --sequence-length 512 --dtype f16 --deterministic";

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("dense.json", &config().to_string());
    folder.write("room.yaml", &HOSTS.replace("SPARE", ", spare: true"));
    folder.write("all.yaml", &HOSTS.replace("SPARE", ""));
    folder.write("eight.yaml", "name: eight\nnodes:\n  - {device: rtx_3090, devices: 8}\n");
    folder
}

fn list<'v>(value: &'v Value, name: &str) -> &'v Vec<Value> {
    value[name].as_array().unwrap()
}

fn devices(plan: &Value) -> Vec<String> {
    let stages = list(&plan["partition"], "stages").iter();
    let names = stages.flat_map(|stage| list(&stage["mesh"], "devices"));
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// For each device that may be lost, each spare in its place is judged by `simulate`, as a plan on a
/// cluster that has it: the one that is named is the fastest.
#[test]
fn the_spare_that_stands_in_is_the_best_of_all() {
    let folder = folder();
    folder.run(&format!("plan dense.json --cluster room.yaml {RUN} -o plan.json")).exits(0);
    folder.run("verify plan.json --model dense.json --cluster room.yaml").exits(0);
    let plan = folder.json("plan.json");
    let used = devices(&plan);
    assert!(used.iter().all(|device| !["s.gpu0", "t.gpu0"].contains(&device.as_str())));
    let spares = list(&plan["communication"], "spares");
    let rows = |lost: &str| {
        let has = |row: &&Value| list(row, "lost").iter().any(|device| device == lost);
        spares.iter().filter(has).collect::<Vec<_>>()
    };
    let mut n_fitting = 0;
    for lost in &used {
        let [row] = rows(lost)[..] else { panic!("{lost} is in one row of {spares:?}") };
        let mut best: Option<(u64, &str)> = None;
        for spare in ["s.gpu0", "t.gpu0"] {
            let mut other = plan.clone();
            other["communication"] = json!({});
            let text = other["partition"].to_string().replace(lost, spare);
            other["partition"] = serde_json::from_str(&text).unwrap();
            folder.write("other.json", &other.to_string());
            let ran = folder.run(
                "simulate other.json --model dense.json --cluster all.yaml --allow-mismatch --json",
            );
            if ran.code != 0 {
                continue;
            }
            n_fitting += 1;
            let step = ran.json()["step_time_ns"].as_u64().unwrap();
            if best.is_none_or(|(least, _)| step < least) {
                best = Some((step, spare));
            }
        }
        let stated =
            row["step_time_ns"].as_u64().map(|ns| (ns, row["spares"][0].as_str().unwrap()));
        assert_eq!(stated.map(|found| found.0), best.map(|found| found.0), "{lost}");
    }
    assert!(n_fitting > used.len(), "{n_fitting}");
    // What is stated of spares is derived again.
    let mut wrong = plan.clone();
    wrong["communication"]["spares"][0]["copy_ns"] = json!(1);
    folder.write("wrong.json", &wrong.to_string());
    folder.run("verify wrong.json --model dense.json --cluster room.yaml").exits(6).says("copy_ns");
    // A spare that a plan uses is none.
    let text = plan["partition"].to_string().replace(&used[0], "s.gpu0");
    let mut taken = plan;
    taken["partition"] = serde_json::from_str(&text).unwrap();
    folder.write("taken.json", &taken.to_string());
    folder.run("verify taken.json --model dense.json --cluster room.yaml").exits(3).says("s.gpu0");
}

/// By hand, of 8 blocks in a pipeline of eight, one each, of which the fourth is lost: seven stages, and
/// every byte that a device does not have comes from one that does, or from a checkpoint.
#[test]
fn a_lost_device_of_eight_is_planned_around() {
    let folder = folder();
    folder
        .run(&format!("plan dense.json --cluster eight.yaml {RUN} --pin pipeline=8 -o plan.json"))
        .exits(0);
    let replan = "plan dense.json --cluster eight.yaml --replace plan.json --lost node0.gpu3";
    // A pin that needs all eight is given up, and told.
    folder.run(&format!("{replan} --all")).exits(0).says("dropped-pins").says("pipeline=8");
    folder
        .run(&format!("{replan} --pin pipeline=7 --deterministic -o next.json"))
        .exits(0)
        .says("checkpoint");
    folder.run("verify next.json --model dense.json --cluster eight.yaml").exits(0);
    folder
        .run("explain next.json --model dense.json --cluster eight.yaml")
        .exits(0)
        .says("checkpoint");
    let next = folder.json("next.json");
    assert_eq!(next["request"]["lost"], json!(["node0.gpu3"]));
    assert_eq!(next["training"]["global_batch"], 16);
    let block = next["training"]["held"][1]["n_parameters"].as_u64().unwrap()
        / next["partition"]["stages"][1]["blocks"]["n"].as_u64().unwrap();
    let moves = list(&next["communication"], "moves");
    // Which block each device had: device d had block d.
    let had = |device: &str| device.rsplit("gpu").next().unwrap().parse::<u64>().unwrap();
    let mut of_lost = 0;
    for transfer in moves {
        let (tensor, from) =
            (transfer["tensor"].as_str().unwrap(), transfer["from"].as_str().unwrap());
        assert!(transfer["to"] != "node0.gpu3" && from != "node0.gpu3");
        let Some(rest) = tensor.strip_prefix("block ") else { continue };
        let (at, what) = rest.split_once(' ').unwrap();
        let at: u64 = at.parse().unwrap();
        let width = if what == "weights" { 2 } else { 12 };
        assert_eq!(transfer["bytes"].as_u64().unwrap(), block * width, "{transfer}");
        match from {
            "checkpoint" => {
                assert_eq!(at, 3);
                of_lost += 1;
            }
            from => assert_eq!(had(from), at),
        }
    }
    assert_eq!(of_lost, 2, "weights and states of one block: {moves:?}");
    // Each block is where it was, or moves to where it is: 7 stages on gpu0 1 2 4 5 6 7.
    let place = [0, 1, 2, 4, 5, 6, 7];
    for (stage, device) in list(&next["partition"], "stages").iter().zip(place) {
        let (first, n) = (&stage["blocks"]["first"], &stage["blocks"]["n"]);
        let first = first.as_u64().unwrap();
        for at in first..first + n.as_u64().unwrap() {
            let to = format!("node0.gpu{device}");
            let name = format!("block {at} weights");
            let is_moved =
                moves.iter().any(|transfer| transfer["tensor"] == *name && transfer["to"] == *to);
            assert_eq!(is_moved, at != device, "{name} to {to}");
        }
    }
    let mut wrong = next;
    wrong["communication"]["moves"][0]["bytes"] = json!(1);
    folder.write("wrong.json", &wrong.to_string());
    folder.run("verify wrong.json --model dense.json --cluster eight.yaml").exits(6).says("bytes");
}

/// Of replicas that share out what the optimizer keeps, a lost one leaves its share to a checkpoint and
/// nothing else, whoever takes part in the plan that goes on: devices that a cap leaves out still hold theirs.
#[test]
fn devices_that_are_left_out_still_give_what_they_hold() {
    let folder = folder();
    let plan = format!("plan dense.json --cluster eight.yaml {RUN} --pin data=8 --pin zero=1");
    folder.run(&format!("{plan} -o plan.json")).exits(0);
    let mut before = folder.json("plan.json");
    let n_parameters = before["training"]["held"][0]["n_parameters"].as_u64().unwrap();
    // Its pins would hold.
    before["request"]["pin"] = json!([]);
    folder.write("plan.json", &before.to_string());
    let replan = "plan dense.json --cluster eight.yaml --replace plan.json --lost node0.gpu1 \
                  --deterministic";
    for more in ["", "--power-cap 1500", "--devices 2", "--objective energy-per-token"] {
        folder.run(&format!("{replan} {more} -o next.json --force")).exits(0);
        folder.run("verify next.json --model dense.json --cluster eight.yaml").exits(0);
        let next = folder.json("next.json");
        let moves = list(&next["communication"], "moves").iter();
        let lost = moves.filter(|transfer| transfer["from"] == "checkpoint");
        let parts: std::collections::BTreeSet<String> = lost
            .map(|transfer| {
                assert!(transfer["tensor"].as_str().unwrap().ends_with(" optimizer"), "{transfer}");
                let [from, to] = [0, 1].map(|at| transfer["elements"][at].as_u64().unwrap());
                // Each element has 12 bytes of them in fp16: a copy in fp32 and two moments.
                assert_eq!(transfer["bytes"], json!(12 * (to - from)), "{more} {transfer}");
                format!("{} {from} {to}", transfer["tensor"])
            })
            .collect();
        let elements: u64 = parts
            .iter()
            .map(|part| {
                let mut words = part.rsplit(' ').map(|word| word.parse::<u64>().unwrap_or(0));
                words.next().unwrap() - words.next().unwrap()
            })
            .sum();
        let off = elements.abs_diff(n_parameters / 8);
        assert!(off < 16, "{more}: {elements} of {n_parameters}");
    }
    // What no device ever held does not move.
    for more in ["--optimizer sgd", "--dtype bf16"] {
        folder.run(&format!("{replan} {more}")).exits(2).says("not-replaced");
    }
    // Seven equal cards are no worse off than with one more sort of stages.
    folder.run(&format!("plan dense.json --cluster eight.yaml {RUN} -o free.json")).exits(0);
    let on = "plan dense.json --cluster eight.yaml --replace free.json --lost node0.gpu1";
    folder.run(&format!("{on} -o best.json")).exits(0);
    folder.run(&format!("{on} --algorithm unlike-nodes -o other.json")).exits(0);
    let step = |name: &str| folder.json(name)["cost"]["step_time_ns"].as_u64().unwrap();
    assert!(step("best.json") <= step("other.json"));
}

/// Who goes on from a plan that named spares is no worse off than it said, on cards of one host and of two.
#[test]
fn what_goes_on_is_no_slower_than_what_stands_in() {
    let folder = folder();
    let two = "name: two\nnodes:\n  - {name: a, device: rtx_3090, devices: 2}\n  \
               - {name: b, device: rtx_3090, devices: 2}\nnetwork: {link: ethernet_10g}\n";
    folder.write("two.yaml", two);
    folder.write("four.yaml", "name: four\nnodes:\n  - {device: rtx_3090, devices: 4}\n");
    for (cluster, spares) in [("four.yaml", 2), ("two.yaml", 2), ("eight.yaml", 3), ("all.yaml", 2)]
    {
        let plan = format!("plan dense.json --cluster {cluster} {RUN} --spares {spares}");
        folder.run(&format!("{plan} -o plan.json --force")).exits(0);
        let running = folder.json("plan.json");
        for row in list(&running["communication"], "spares") {
            let lost = row["lost"][0].as_str().unwrap();
            let replan =
                format!("plan dense.json --cluster {cluster} --replace plan.json --lost {lost}");
            folder.run(&format!("{replan} -o next.json --force")).exits(0);
            let verify = format!("verify next.json --model dense.json --cluster {cluster}");
            folder.run(&verify).exits(0);
            let step = folder.json("next.json")["cost"]["step_time_ns"].as_u64().unwrap();
            let stated = row["step_time_ns"].as_u64().unwrap_or(u64::MAX);
            assert!(step <= stated, "{cluster} {lost}: {step} {stated}");
        }
    }
    // What has to move is part of what it states.
    let mut silent = folder.json("next.json");
    silent["communication"].as_object_mut().unwrap().remove("moves");
    folder.write("silent.json", &silent.to_string());
    folder.run("verify silent.json --model dense.json --cluster all.yaml").exits(6).says("moves");
}

#[test]
fn losing_and_holding_back_what_is_not_there_is_refused() {
    let folder = folder();
    let plan = format!("plan dense.json --cluster eight.yaml {RUN}");
    folder.run(&format!("{plan} -o plan.json")).exits(0);
    // Without a plan that runs, it is planned on the others.
    folder.run(&format!("{plan} --lost node0.gpu1 -o less.json")).exits(0);
    folder.run("verify less.json --model dense.json --cluster eight.yaml").exits(0);
    folder.run(&format!("{plan} --replace plan.json")).exits(2).says("--lost");
    let replace = "plan dense.json --cluster eight.yaml --replace plan.json --lost";
    folder.run(&format!("{replace} gpu9")).exits(2).says("gpu9");
    folder.run(&format!("{replace} node0")).exits(2).says("no-devices");
    folder.run(&format!("{plan} --spares 8")).exits(2).says("device-count");
    let infers = "plan dense.json --cluster eight.yaml --batch 1 --workload inference --spares 1";
    folder.run(infers).exits(2).says("training run");
    // Losses add up, each once.
    folder.run(&format!("{replace} node0.gpu1 -o next.json")).exits(0);
    let again = "plan dense.json --cluster eight.yaml --replace next.json --lost node0.gpu2 \
                 --lost node0.gpu1";
    folder.run(&format!("{again} -o third.json")).exits(0);
    assert_eq!(folder.json("third.json")["request"]["lost"], json!(["node0.gpu1", "node0.gpu2"]));
    folder.run("verify third.json --model dense.json --cluster eight.yaml").exits(0);
}

/// A plan that holds devices back uses no more than the others, and is none of the worse for it than a
/// plan on a cluster without any devices that may be held back.
#[test]
fn devices_are_held_back() {
    let folder = folder();
    let plan = format!("plan dense.json --cluster all.yaml {RUN}");
    folder.run(&format!("{plan} --spares 3 --all -o plan.json")).exits(0).says("stands in");
    folder.run("verify plan.json --model dense.json --cluster all.yaml").exits(0);
    let plan = folder.json("plan.json");
    let used = devices(&plan);
    assert!(used.len() <= 4, "{used:?}");
    let step = plan["cost"]["step_time_ns"].as_u64().unwrap();
    // Any four devices make a cluster whose plan is one with three held back.
    let four = "name: four\nnodes:\n  - {name: a, count: 3, device: rtx_3090}\n  \
                - {name: s, device: rtx_3090}\nnetwork: {link: ethernet_10g}\n";
    folder.write("four.yaml", four);
    let other =
        format!("plan dense.json --cluster four.yaml {RUN} --algorithm unlike-nodes --json");
    let other = folder.run(&other).exits(0).json();
    assert!(step <= other["best"]["step_time_ns"].as_u64().unwrap(), "{step} {other}");
}

/// Launchers take the first devices of a host, servers those that are named: of those that the file has.
#[test]
fn what_is_left_of_a_host_is_named_by_its_numbers_there() {
    let folder = folder();
    let run = format!("{RUN} --for deepspeed -o plan.json");
    folder.run(&format!("plan dense.json --cluster eight.yaml {run}")).exits(0);
    let replan = "plan dense.json --cluster eight.yaml --replace plan.json --lost node0.gpu3";
    folder.run(&format!("{replan} -o next.json")).exits(0);
    let on = "--model dense.json --cluster eight.yaml --target deepspeed -o next.txt --force";
    let ran = folder.run(&format!("export plan.json {on}")).exits(0);
    assert!(!ran.stderr.contains("CUDA_VISIBLE_DEVICES"), "{}", ran.stderr);
    let ran = folder.run(&format!("export next.json {on}")).exits(0);
    assert!(ran.stderr.contains("CUDA_VISIBLE_DEVICES=0,1,2,4"), "{}", ran.stderr);

    let three = "name: three\nnodes:\n  - {name: a, device: t4, devices: 3}\n";
    folder.write("three.yaml", three);
    let serve = "plan dense.json --cluster three.yaml --phase decode --cached 100 --dtype f16 \
                 --batch 1 --objective energy-per-token -o serves.json";
    folder.run(serve).exits(0);
    let served = folder.json("serves.json").to_string();
    assert!(served.contains("gpu0") && served.contains("gpu2"), "{served}");
    // Of equal devices one is as good as another.
    let other = served.replace("gpu0", "gpuX").replace("gpu2", "gpu0").replace("gpuX", "gpu2");
    folder.write("other.json", &other);
    for (plan, number) in [("serves.json", "0"), ("other.json", "2")] {
        let on = "--model dense.json --cluster three.yaml --target vllm -o serves.sh --force \
                  --allow-mismatch";
        let ran = folder.run(&format!("export {plan} {on}")).exits(0);
        let script = std::fs::read_to_string(folder.path("serves.sh")).unwrap();
        assert!(script.contains(&format!("CUDA_VISIBLE_DEVICES={number}\n")), "{script}");
        // The least energy is that of boards at lower limits.
        assert!(ran.stderr.contains("board-limit"), "{}", ran.stderr);
    }
}
