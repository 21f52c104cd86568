//! The simplest of equals, on real models: which plans it recommends in place of the fastest is written down
//! in tests/data/simplest.txt (`MESHWRIGHT_BLESS=1` writes it anew), and is never slower than it may be.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use super::folder::{Folder, diamond};
use super::training::config;
use crate::data;

const CLUSTERS: [(&str, &str); 3] = [
    (
        "a100x8",
        "nodes:\n  - {device: a100_sxm4_80gb, devices: 8, scaleup: nvlink3, host: pcie4_x16}\n",
    ),
    (
        "h100x8",
        "nodes:\n  - {device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, host: pcie5_x16}\n",
    ),
    (
        "h100x16",
        "nodes:\n  - {count: 2, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, \
         host: pcie5_x16, nics: 8}\nnetwork: {link: ib_ndr_400}\n",
    ),
];
const COMMON: &str = "--deterministic --no-offload --json";

fn folder(models: &Path) -> Folder {
    let folder = Folder::new(&diamond());
    for (name, text) in CLUSTERS {
        folder.write(&format!("{name}.yaml"), text);
    }
    for file in std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap()) {
        let text = std::fs::read_to_string(file.path()).unwrap();
        folder.write(&file.file_name().into_string().unwrap(), &text);
    }
    folder
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/simplest.txt")
}

/// The runs that are written down.
fn lines() -> Vec<String> {
    let text = std::fs::read_to_string(file()).unwrap();
    text.lines().filter(|line| line.starts_with("train ")).map(str::to_owned).collect()
}

fn seconds(run: &Value) -> f64 {
    run["step_time_s"].as_f64().unwrap()
}

fn reasons(recommended: &Value) -> Vec<&str> {
    recommended["reason"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason.as_str().unwrap())
        .collect()
}

/// By which share of the fastest step an answer may be slower.
fn most(answer: &Value) -> f64 {
    match answer.get("recommended") {
        Some(recommended) if reasons(recommended).contains(&"judged-terms") => 0.05,
        Some(_) => 0.01,
        None => 0.0,
    }
}

/// The simplest of equals beside the fastest, in a line; `None` where that is the same plan, or there is none.
fn told(folder: &Folder, line: &str) -> Option<String> {
    let simplest = folder.run(&format!("{line} {COMMON}"));
    let fastest = folder.run(&format!("{line} {COMMON} --fastest"));
    assert_eq!(simplest.code, fastest.code, "{line}: {}", simplest.stderr);
    if fastest.code != 0 {
        return None;
    }
    let (simplest, fastest) = (simplest.json(), fastest.json());
    for name in ["bound_s", "is_optimum", "stop_reason", "turns", "counts"] {
        assert_eq!(simplest[name], fastest[name], "{line}: {name}");
    }
    assert!(fastest.get("recommended").is_none(), "{line}");
    let Some(recommended) = simplest.get("recommended") else {
        assert_eq!(simplest["plan"], fastest["plan"], "{line}");
        return None;
    };
    for name in ["degrees", "step_time_s", "step_time_ns"] {
        assert_eq!(recommended["fastest"][name], fastest["best"][name], "{line}: {name}");
    }
    let share = seconds(&simplest["best"]) / seconds(&fastest["best"]) - 1.0;
    let stated = recommended["than_fastest"].as_f64().unwrap();
    assert!((stated - share).abs() < 1e-9, "{line}: {stated} {share}");
    let (reasons, most) = (reasons(recommended), most(&simplest));
    assert!(
        !reasons.is_empty() && (0.0..=most + 1e-9).contains(&share),
        "{line}: {share} {reasons:?}"
    );
    let degrees = |plan: &Value| plan["degrees"].as_str().unwrap().to_owned();
    Some(format!(
        "{line}\n  {:+.2} % {}\n  {}\n  fastest: {}\n",
        100.0 * share,
        reasons.join(", "),
        degrees(&simplest["best"]),
        degrees(&recommended["fastest"]),
    ))
}

#[test]
fn simpler_plans_are_recommended_and_never_slower_than_they_may_be() {
    let Some(data) = data::folder() else { return };
    let (folder, lines) = (folder(&data.join("models/hf_configs")), lines());
    let next = Mutex::new(lines.iter().enumerate());
    let all = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((at, line)) = next.lock().unwrap().next() else { break };
                    let row = told(&folder, line);
                    all.lock().unwrap().push((at, row));
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap();
    all.sort();
    let all: Vec<String> = all.into_iter().filter_map(|(_, row)| row).collect();
    let text = all.concat();
    if std::env::var_os("MESHWRIGHT_BLESS").is_some() {
        std::fs::write(file(), &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(file()).unwrap());
    assert_eq!(all.len(), lines.len());
    let percent = |row: &&String| row.split_once("  +")?.1.split(' ').next()?.parse::<f64>().ok();
    let n_equal = all.iter().filter(|row| percent(row).is_some_and(|share| share <= 1.0)).count();
    assert!(n_equal >= 50, "{n_equal} pairs within 1 %");
}

/// What takes plans away makes none faster: exactly with `--fastest`, within the shares of the rule without.
#[test]
fn less_choice_is_faster_by_no_more_than_the_rule_may_cost() {
    let Some(data) = data::folder() else { return };
    let folder = folder(&data.join("models/hf_configs"));
    let (mut n_compared, mut n_slower) = (0, 0);
    for line in lines().iter().step_by(12) {
        let planned = |flags: &str| {
            let ran = folder.run(&format!("{line} {COMMON} {flags}"));
            (ran.code == 0).then(|| ran.json())
        };
        let (whole, fastest) = (planned("").unwrap(), planned("--fastest").unwrap());
        for less in ["--devices 8", "--pin zero=1", "--pin pipeline=2", "--scale memory=0.8"] {
            let Some(narrower) = planned(less) else { continue };
            let exact = planned(&format!("{less} --fastest")).unwrap();
            let step = |run: &Value| seconds(&run["best"]);
            assert!(step(&fastest) <= step(&exact), "{line} {less}");
            let share = step(&whole) / step(&narrower) - 1.0;
            assert!(share <= most(&whole) + 1e-9, "{line} {less}: {share}");
            n_compared += 1;
            n_slower += usize::from(share > 0.0);
        }
    }
    assert!(n_compared >= 10 && n_slower > 0, "{n_compared} {n_slower}");
}

/// The line of the recommendation, ties among the runners-up, and what `--fastest` is refused with.
#[test]
fn the_fastest_plan_is_named_and_given_where_it_is_wanted() {
    let Some(data) = data::folder() else { return };
    let folder = folder(&data.join("models/hf_configs"));
    let line = &lines()[0];
    let text = folder.run(line).exits(0).stdout;
    assert!(text.contains("slower than the fastest (`--fastest`): "), "{text}");
    let text = folder.run(&format!("{line} --fastest")).exits(0).stdout;
    assert!(!text.contains("slower than the fastest"), "{text}");
    folder.write("config.json", &config().to_string());
    let line = "train config.json --cluster h100x16.yaml --global-batch 16 --sequence-length 512";
    for other in ["--spares 1", "--objective energy-per-token", "--power-cap 1MW"] {
        let flag = other.split(' ').next().unwrap();
        let refused = folder.run(&format!("{line} {other} --fastest")).exits(2).stderr;
        assert!(refused.contains(&format!("`--fastest` has no effect with `{flag}`")), "{refused}");
    }
}
