//! Where nobody states a number of devices, fewer of them are planned on where that is faster; hosts
//! hold optimizer states where that is faster too; what is claimed covers both.

use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::training::config;

/// Two hosts of four, joined by so many bytes a second.
fn hosts(bytes_per_s: &str) -> String {
    format!(
        "name: slow\nnodes:\n  - {{count: 2, device: h100_sxm5_80gb, devices: 4, scaleup: nvlink4, \
         host: pcie5_x16, nics: 1}}\nnetwork: {{bytes_per_s: {bytes_per_s}, latency_s: 10e-6}}\n"
    )
}

const PAIR: &str = "name: pair\nnodes:\n  - {count: 2, device: rtx_4090, devices: 1}\n\
                    network: {bytes_per_s: 30e6, latency_s: 50e-6}\n";

fn folder(cluster: &str) -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", cluster);
    folder
}

const PLAN: &str = "plan config.json --cluster cluster.yaml --global-batch 16 \
                    --sequence-length 1024 --json --fastest";

fn asked(folder: &Folder, flags: &str) -> Value {
    folder.run(&format!("{PLAN} {flags}")).exits(0).json()
}

fn step(answer: &Value) -> u64 {
    answer["best"]["step_time_ns"].as_u64().unwrap()
}

fn bound(answer: &Value) -> f64 {
    answer["bound_s"].as_f64().unwrap()
}

#[test]
fn fewer_devices_are_planned_on_where_the_others_make_the_step_slower() {
    let folder = folder(&hosts("0.2e9"));
    let free = asked(&folder, "-o plan.json");
    assert_eq!(free["best"]["n_devices"], 4, "{}", free["best"]);
    // No plan that --devices asks for is faster, nor below the bound.
    for n in [1, 2, 3, 4, 8] {
        let fixed = asked(&folder, &format!("--devices {n}"));
        assert!(step(&free) <= step(&fixed), "{n} devices");
        assert!(bound(&free) <= 1e-9 * step(&fixed) as f64 + 1e-9, "{n} devices");
    }
    assert!(step(&asked(&folder, "--devices 8")) > 2 * step(&free));
    let text = folder.run(&PLAN.replace(" --json", "")).exits(0).stdout;
    assert!(
        text.contains("4 of 8 devices: no plan that megatron can run on more of them is faster"),
        "{text}"
    );
    assert!(text.contains("on 1 to 8 devices, optimizer states on devices or hosts"), "{text}");
    // The plan is one of the whole cluster: its host alone works, and is started.
    let on = "--model config.json --cluster cluster.yaml";
    folder.run(&format!("verify plan.json {on}")).exits(0);
    let again = folder.run(&format!("simulate plan.json {on} --json")).exits(0).json();
    assert_eq!(again["step_time_ns"].as_u64().unwrap_or(step(&free)), step(&free));
    folder.run(&format!("explain plan.json {on}")).exits(0);
    folder.run("compare plan.json plan.json").exits(0);
    // With a link that is no bottleneck all of them work.
    folder.write("cluster.yaml", &hosts("50e9"));
    let free = asked(&folder, "");
    assert_eq!(free["best"]["n_devices"], 8, "{}", free["best"]);
    let text = folder.run(&PLAN.replace(" --json", "")).exits(0).stdout;
    assert!(!text.contains(" of 8 devices: "), "{text}");
}

/// A pin takes plans away, not devices: no number of them that is stated with it is faster, and degrees that
/// don't divide all devices are had on fewer.
#[test]
fn pinned_degrees_leave_devices_out_too() {
    let folder = folder(&hosts("0.2e9"));
    for pin in ["tensor=2", "data=2", "pipeline=3", "tensor=1"] {
        let pinned = asked(&folder, &format!("--pin {pin}"));
        for n in [3, 4, 6, 8] {
            let fixed = folder.run(&format!("{PLAN} --pin {pin} --devices {n}"));
            let is_no_slower = fixed.code != 0 || step(&pinned) <= step(&fixed.json());
            assert!(is_no_slower, "{pin} on {n} devices");
        }
    }
}

/// On one host of six, of which three and six fill the host evenly, and four are faster than three.
#[test]
fn a_range_of_devices_is_never_slower_than_a_number_in_it() {
    let folder = folder("name: six\nnodes:\n  - {device: rtx_4090, devices: 6, host: pcie4_x16}\n");
    let range = asked(&folder, "--devices 1..4");
    for n in 1..=4 {
        let fixed = folder.run(&format!("{PLAN} --devices {n}"));
        let is_no_slower = fixed.code != 0 || step(&range) <= step(&fixed.json());
        assert!(is_no_slower, "{n} devices");
    }
}

#[test]
fn hosts_hold_optimizer_states_where_that_is_faster_and_memory_never_hurts() {
    let folder = folder(PAIR);
    let mut config = config();
    config["num_hidden_layers"] = json!(28);
    folder.write("config.json", &config.to_string());
    let pair = asked(&folder, "--devices 1..2 -o plan.json");
    let alone = asked(&folder, "--devices 1");
    assert!(step(&pair) <= step(&alone));
    assert!(bound(&pair) <= 1e-9 * step(&alone) as f64 + 1e-9);
    assert_eq!(alone["plan"]["training"]["offloads_optimizer"], true);
    assert_eq!(pair["plan"]["training"]["offloads_optimizer"], true);
    // Without hosts both devices are needed, over a slow link.
    let devices = asked(&folder, "--no-offload");
    assert_ne!(devices["plan"]["training"]["offloads_optimizer"], true);
    assert!(step(&pair) < step(&devices), "{} {}", step(&pair), step(&devices));
    let on = "--model config.json --cluster cluster.yaml";
    folder.run(&format!("verify plan.json {on}")).exits(0);
    let mut least = u64::MAX;
    for memory in ["0.6", "0.7", "0.85", "1.0", "1.5"] {
        let step_ns = step(&asked(&folder, &format!("--scale memory={memory}")));
        assert!(step_ns <= least, "more memory ({memory}) is slower: {step_ns} > {least}");
        least = step_ns;
    }
}

/// Every number of devices with and without states on hosts, one after the other: none is faster than
/// the answer to all at once, none is below its bound; more memory is never slower, and does not put
/// its bound above a plan that needs less.
#[test]
fn no_part_of_the_space_is_faster_than_all_of_it() {
    let folder = folder(PAIR);
    let (mut n_offloaded, mut n_fewer) = (0, 0);
    let clusters = [(1, 4, "1e9"), (2, 1, "30e6"), (2, 2, "30e6"), (3, 1, "1e9"), (4, 1, "1e9")];
    for (at, (hosts, devices, rate)) in clusters.into_iter().enumerate() {
        folder.write(
            "cluster.yaml",
            &format!(
                "name: k\nnodes:\n  - {{count: {hosts}, device: rtx_4090, devices: {devices}, \
                 host: pcie4_x16}}\nnetwork: {{bytes_per_s: {rate}, latency_s: 10e-6}}\n"
            ),
        );
        let batch = [4, 6][at % 2];
        let line = format!(
            "plan config.json --cluster cluster.yaml --global-batch {batch} --sequence-length 512 \
             --dtype f16 --json --fastest"
        );
        for memory in [0.3, 0.5] {
            let planned = |memory: f64, more: &str| {
                let ran = folder.run(&format!("{line} --scale memory={memory} {more}"));
                (ran.code == 0).then(|| ran.json())
            };
            let all = planned(memory, "").unwrap();
            let is_under = |answer: &Value| bound(&all) <= 1e-9 * (step(answer) + 1) as f64;
            for n in 1..=hosts * devices {
                for hosts in ["", "--no-offload"] {
                    let fixed = planned(memory, &format!("--devices {n} {hosts}"));
                    let holds = |answer: &Value| step(&all) <= step(answer) && is_under(answer);
                    assert!(fixed.as_ref().is_none_or(holds), "{at}: {memory} {n} {hosts}");
                }
            }
            let more = planned(memory * 1.5, "").unwrap();
            assert!(step(&more) <= step(&all), "{at}: {memory}");
            assert!(bound(&more) <= 1e-9 * (step(&all) + 1) as f64, "{at}: {memory}");
            n_offloaded += u32::from(all["plan"]["training"]["offloads_optimizer"] == true);
            n_fewer += u32::from(all["best"]["n_devices"] != hosts * devices);
        }
    }
    assert!(n_offloaded > 0 && n_fewer >= 4, "{n_offloaded} {n_fewer}");
}
