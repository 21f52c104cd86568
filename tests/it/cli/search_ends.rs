//! What ends a search over degrees: limits, signals, pins that leave nothing, times past counting.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use engine::answer::follow::{Files, Follower, Watch};
use engine::answer::page::{Format, Page, Part};
use engine::plan::{Run, plan};
use engine::request::PlanRequest;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::folder::{Folder, diamond};
use super::training::{CLUSTER, config};

const PLAN: &str = "plan config.json --cluster cluster.yaml --sequence-length 2048";

fn folder(cluster: &str) -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("config.json", &config().to_string());
    folder.write("cluster.yaml", cluster);
    folder
}

/// A model of a thousand blocks on a thousand devices: minutes of search.
fn large() -> Folder {
    let folder = folder(&CLUSTER.replace("count: 2", "count: 256"));
    let mut config = config();
    config["num_hidden_layers"] = 1000.into();
    folder.write("config.json", &config.to_string());
    folder
}

#[test]
fn pins_that_leave_nothing_name_themselves_and_the_nearest_values_that_work() {
    let folder = folder(CLUSTER);
    for pin in ["tensor=3", "virtual-stages=12", "pipeline=7", "data=5", "context=6", "expert=2"] {
        let line = format!("{PLAN} --global-batch 32 --no-offload --devices 8");
        let error = folder.run(&format!("{line} --pin {pin}")).exits(4).stderr;
        assert!(error.contains("no-configuration") && error.contains(pin), "{pin}: {error}");
        let words = error.split_whitespace().map(|word| word.trim_matches([':', ',', '`']));
        let name = pin.split('=').next().unwrap();
        let offered: Vec<&str> =
            words.filter(|word| word.starts_with(&format!("{name}=")) && *word != pin).collect();
        assert!(!offered.is_empty(), "{pin}: {error}");
        for value in offered {
            folder.run(&format!("{line} --pin {value}")).exits(0);
        }
    }
}

/// Each pin goes with the model and the devices, but not the last with the others: 32 devices over
/// tensor 8 leave 4 replicas for 8 expert ranks, 16 over tensor 2 and pipeline 2 leave 4.
#[test]
fn the_pin_whose_own_rule_is_broken_is_blamed() {
    let folder = folder(&CLUSTER.replace("count: 2", "count: 8"));
    let mut mixture = config();
    mixture["model_type"] = "mixtral".into();
    mixture["num_local_experts"] = 8.into();
    mixture["num_experts_per_tok"] = 2.into();
    folder.write("config.json", &mixture.to_string());
    let line = format!("{PLAN} --global-batch 64 --no-offload --devices");
    for pins in [
        "32 --pin tensor=8 --pin expert=8",
        "16 --pin pipeline=2 --pin tensor=2 --pin expert=8",
        "16 --pin expert=8 --pin context=1 --pin tensor=4",
    ] {
        // Other launchers have such ranks, across those of tensors, so that nothing is proved.
        let error = folder.run(&format!("{line} {pins} --for torchtitan")).exits(2).stderr;
        assert!(error.contains("`--pin expert=8` leaves no configuration"), "{pins}: {error}");
        assert!(error.contains("expert ranks divide data x context"), "{pins}: {error}");
    }
    for pins in ["32 --pin tensor=8 --pin expert=8", "16 --pin expert=8 --pin tensor=4"] {
        folder.run(&format!("{line} {pins}")).exits(0);
    }
    let pins = "16 --pin data=4 --pin pipeline=2 --pin expert=2 --pin tensor=8";
    let error = folder.run(&format!("{line} {pins}")).exits(4).stderr;
    assert!(error.contains("`--pin tensor=8` leaves no configuration"), "{error}");
}

/// Keeps nothing.
struct Deaf;

impl Follower for Deaf {
    fn planned(&mut self, _: Vec<u8>, _: Files) -> Result<Vec<String>, Diagnostic> {
        Ok(Vec::new())
    }
}

/// The usual time counts from the first byte; a model that took all of it to be read has 5 s left.
#[test]
fn a_search_that_nobody_limits_ends_after_the_usual_time_and_says_its_bound() {
    let folder = large();
    let request: PlanRequest = serde_json::from_value(json!({
        "model": folder.path("config.json"), "cluster": folder.path("cluster.yaml"),
        "sequence_length": 2048, "global_batch": 1024
    }))
    .unwrap();
    let now = Instant::now();
    let (watch, page) = (Watch::new(now, None, Arc::default()), Page::new(Format::Json, false));
    let start = now.checked_sub(Duration::from_secs(60)).unwrap();
    let ended = plan(&request, &mut Run::new((start, &watch), &mut Deaf, &page, ""));
    let taken = now.elapsed();
    // Room for other tests beside this one.
    assert!(taken < Duration::from_secs(50), "{taken:?}");
    match ended {
        Err(error) => assert_eq!(error.code, "no-plan"),
        Ok(_) => {
            let parts = page.into_parts();
            let document = parts.into_iter().find_map(|part| match part {
                Part::Document(document, _) => Some(document),
                _ => None,
            });
            let document = document.unwrap();
            assert_eq!(document["stopped_early"], true);
            let (bound, step) = (&document["bound_s"], &document["best"]["step_time_s"]);
            let bound = bound.as_f64().unwrap();
            assert!(bound > 0.0 && bound < step.as_f64().unwrap(), "{bound} {step}");
        }
    }
}

#[test]
fn more_than_eight_chunks_a_rank_are_planned() {
    let folder = folder(CLUSTER);
    let mut config = config();
    config["num_hidden_layers"] = 24.into();
    folder.write("config.json", &config.to_string());
    let line = format!("{PLAN} --global-batch 32 --pin virtual-stages=12 --json");
    let answer = folder.run(&line).exits(0).json();
    assert_eq!(answer["plan"]["parallelism"]["training"]["virtual_stages"], 12);
}

#[test]
fn a_time_limit_holds_whatever_the_batch_and_the_blocks() {
    for (folder, batch) in [(folder(CLUSTER), 262_144), (large(), 1024)] {
        let start = Instant::now();
        let ran = folder.run(&format!("{PLAN} --global-batch {batch} --time-limit 1s --json"));
        let taken = start.elapsed();
        assert!([0, 5].contains(&ran.code), "{}", ran.stderr);
        // Room for other tests beside this one.
        assert!(taken < Duration::from_secs(20), "{batch}: {taken:?}");
    }
}

#[test]
fn a_signal_keeps_the_best_plan_so_far() {
    let folder = large();
    for signal in ["-INT", "-TERM"] {
        let child = Command::new(env!("CARGO_BIN_EXE_meshwright"))
            .current_dir(folder.path("."))
            .args(format!("{PLAN} --global-batch 1024 --json").split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_secs(4));
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let start = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        // Nothing may have been found by then on a machine that is busy.
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 130)), "{code:?}");
        if code == Some(0) {
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer["stopped_early"], true);
            assert!(answer["best"]["step_time_ns"].as_u64().unwrap() > 0);
        }
    }
}

#[test]
fn what_depends_on_a_clock_is_not_the_same_each_time() {
    let folder = folder(CLUSTER);
    let line = format!("{PLAN} --global-batch 32 --deterministic");
    folder.run(&format!("{line} --time-limit 5s")).exits(2);
    let printed = |line: &str| folder.run(line).exits(0).stdout;
    assert_eq!(printed(&line), printed(&line));
    let line = format!("{line} --json");
    assert_eq!(printed(&line), printed(&line));
}
