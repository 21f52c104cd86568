//! `--scale` and `--micro-batches`: plans on clusters of other sizes, and on other batches.

use serde_json::Value;

use super::folder::{Folder, diamond};
use super::training::{CLUSTER, config};

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", CLUSTER);
    folder
}

const PLACED: &str = "plan config.json --cluster cluster.yaml --algorithm m-topo --deterministic";
const RUN: &str = "plan config.json --cluster cluster.yaml --sequence-length 2048 \
    --pin data=2 --pin tensor=1 --pin pipeline=4 --pin micro-batch=1 --pin schedule=1f1b \
    --pin split=equal --pin zero=0 --pin recompute=none --pin mesh=data-inside";
const ON: &str = "plan.json --model config.json --cluster cluster.yaml --json";

#[track_caller]
fn number(document: &Value, at: &str) -> f64 {
    document.pointer(at).and_then(Value::as_f64).unwrap_or_else(|| panic!("{at}: {document}"))
}

/// Latency and rate of a way of a replay's cluster.
fn way(document: &Value, name: &str) -> (f64, f64) {
    let ways = document["cluster"]["ways"].as_array().unwrap();
    let way = ways.iter().find(|way| way["name"] == name).unwrap_or_else(|| panic!("{name}"));
    (number(way, "/latency_s"), number(way, "/bytes_per_s"))
}

/// `n` transfers of so many bytes together are busy for n latencies and the bytes over the rate.
#[test]
fn transfers_of_a_replay_take_what_the_scaled_rate_makes_of_their_bytes() {
    let folder = folder();
    folder.run(&format!("{PLACED} -o plan.json")).exits(0);
    let as_is = folder.run(&format!("simulate {ON}")).exits(0).json();
    let slow = folder.run(&format!("simulate {ON} --allow-mismatch --scale nvlink3=0.25"));
    let slow = slow.exits(0).json();
    let (latency, rate) = way(&as_is, "nvlink3");
    assert_eq!(way(&slow, "nvlink3"), (latency, rate / 4.0));
    assert_eq!(way(&slow, "ib_hdr_200"), way(&as_is, "ib_hdr_200"));
    let twice = format!("simulate {ON} --allow-mismatch --scale links=0.5 --scale nvlink3=0.5");
    assert_eq!(way(&folder.run(&twice).exits(0).json(), "nvlink3"), (latency, rate / 4.0));
    let links = slow["report"]["links"].as_array().unwrap();
    let inside = links.iter().filter(|link| link["channel"].as_str().unwrap().contains("scaleup"));
    let mut n_checked = 0;
    for link in inside.filter(|link| number(link, "/bytes") > 0.0) {
        let n = number(link, "/n_transfers");
        let seconds = n * latency + number(link, "/bytes") * 4.0 / rate;
        // Each transfer is rounded to a nanosecond.
        assert!((number(link, "/busy_ns") - seconds * 1e9).abs() <= n, "{link}");
        n_checked += 1;
    }
    assert!(n_checked > 0, "nothing is sent: {links:?}");
    let step = |answer: &Value| number(answer, "/report/step_time_ns");
    assert!(step(&slow) >= step(&as_is));
}

#[test]
fn memory_is_scaled_with_its_reserve_and_not_with_the_context() {
    let folder = folder();
    folder.run(&format!("{PLACED} -o plan.json")).exits(0);
    let half = format!("simulate {ON} --allow-mismatch --scale memory=0.5");
    let half = folder.run(&half).exits(0).json();
    // 80 GiB of an A100; 5 % of it are kept free, 512 MiB are the context.
    let capacity = f64::from(40 << 20) * 1024.0;
    let limit = capacity - (0.05 * capacity) - f64::from(512 << 20);
    let stated = number(&half, "/report/devices/0/memory_limit_bytes");
    assert!((stated - limit).abs() < 4.0, "{stated} is not {limit}");
    let least = format!("simulate {ON} --allow-mismatch --scale memory=0.008");
    let broken = folder.run(&least).exits(6).json();
    assert_eq!(broken["violations"][0]["code"], "memory-exceeded", "{broken}");
}

#[test]
fn a_plan_for_a_scaled_cluster_is_legal_there_and_belongs_to_no_other() {
    let folder = folder();
    let run = format!("{RUN} --global-batch 16 --scale links=0.5 -o plan.json --json");
    let slow = folder.run(&run).exits(0).json();
    let as_is = folder.run(&format!("{RUN} --global-batch 16 --json")).exits(0).json();
    let step = |answer: &Value| number(answer, "/best/step_time_ns");
    assert!(step(&slow) > step(&as_is));
    folder.run(&format!("verify {ON} --scale links=0.5")).exits(0);
    let refused = folder.run(&format!("verify {ON}"));
    assert!(refused.exits(3).stdout.contains("digest-mismatch"));
}

#[test]
fn a_scaled_network_is_the_one_of_a_file_that_states_its_rate() {
    let folder = folder();
    let run = format!("{RUN} --global-batch 16 -o plan.json --json");
    let scaled = folder.run(&format!("{run} --scale ib_hdr_200=0.5")).exits(0).json();
    let as_is = folder.run(&format!("simulate {ON} --scale ib_hdr_200=0.5")).exits(0).json();
    let (latency, rate) = way(&as_is, "ib_hdr_200");
    let stated = format!("bytes_per_s: {rate:e}, latency_s: {latency:e}");
    folder.write("cluster.yaml", &CLUSTER.replace("link: ib_hdr_200", &stated));
    let written = folder.run(&format!("{run} --force")).exits(0).json();
    assert_eq!(written["best"]["step_time_ns"], scaled["best"]["step_time_ns"]);
}

/// The same decisions, planned for the larger batch, are the judge of the replay.
#[test]
fn a_run_replayed_on_other_micro_batches_is_the_run_that_is_planned_for_them() {
    let folder = folder();
    let small = format!("{RUN} --global-batch 16 -o plan.json");
    folder.run(&small).exits(0);
    let large = format!("{RUN} --global-batch 48 -o large.json --json");
    let large = folder.run(&large).exits(0).json();
    let replayed = folder.run(&format!("simulate {ON} --micro-batches 24")).exits(0).json();
    assert_eq!(number(&replayed, "/global_batch"), 48.0);
    assert_eq!(number(&replayed, "/step_time_ns"), number(&large, "/best/step_time_ns"));
    for (rank, memory) in large["plan"]["training"]["memory"].as_array().unwrap().iter().enumerate()
    {
        let at = format!("/ranks/{rank}/peak_bytes");
        assert_eq!(number(&replayed, &at), number(memory, "/peak_bytes"));
    }
    let step_s = number(&replayed, "/step_time_ns") / 1e9;
    assert!((number(&replayed, "/samples_per_s") * step_s - 48.0).abs() < 1e-6);
    folder.run(&format!("simulate {ON} --micro-batches 16777216")).exits(2);
}

#[test]
fn what_can_not_be_scaled_is_refused_by_name() {
    let folder = folder();
    folder.run(&format!("{PLACED} -o plan.json")).exits(0);
    let refused = [
        ("--scale nvlink9=2", "nvlink9"),
        ("--scale memory", "NAME=FACTOR"),
        ("--scale memory=fast", "memory=fast"),
        ("--scale memory=0", "memory=0"),
        ("--scale memory=NaN", "memory=NaN"),
        ("--scale memory=-1", "memory=-1"),
        ("--scale links=1e9", "links=1e9"),
        ("--scale memory=0.001", "memory=0.001"),
        ("--micro-batches 4", "--micro-batches"),
    ];
    for (flags, word) in refused {
        let ran = folder.run(&format!("simulate {ON} --allow-mismatch {flags}")).exits(2);
        assert!(ran.stdout.contains(word), "{flags}: {}", ran.stdout);
    }
}

/// The factor that is named where nothing fits is one with which a plan is found.
#[test]
fn the_memory_that_is_missing_is_named_as_a_factor_that_works() {
    let folder = folder();
    folder.write("cluster.yaml", &CLUSTER.replace("nics: 4", "nics: 4, memory_bytes: 2GB"));
    let full = folder.run(&format!("{RUN} --global-batch 16 --json"));
    // 5 where other layer splits are not ruled out.
    assert!([4, 5].contains(&full.code), "{}", full.code);
    let full = full.json();
    let hints = full["error"]["hints"].to_string();
    let (_, rest) = hints.split_once("--scale memory=").unwrap_or_else(|| panic!("{hints}"));
    let factor: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    folder.run(&format!("{RUN} --global-batch 16 --scale memory={factor}")).exits(0);
}
