//! Instances of other planners: every method beside what their own programs reach.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Asked, Ran, head, meshwright, percent, row, rows};

/// The rows of the registry that are made for each objective.
const METHODS: [(&str, &[&str]); 5] = [
    ("latency", &["blocks-anneal", "milp"]),
    ("contiguous-max-load", &["orders", "ideals"]),
    ("max-load", &["columns"]),
    ("slowest-stage", &["straight"]),
    ("time-per-sample", &["labels"]),
];
/// Gaps whose seconds are shown with other numbers of accelerators; the search stops at the last.
const GAPS: [f64; 2] = [1e-2, 1.5e-3];

/// An instance with one objective.
struct Case {
    name: String,
    file: PathBuf,
    objective: &'static str,
    /// Such as `DP 17.789906 (0.01 s)`, of each peer.
    peers: Vec<String>,
}

pub(crate) fn instances(data: &Path, options: &Asked) {
    let folder = tempfile::tempdir().unwrap();
    let solution = folder.path().join("solution.json");
    let seconds = options.seconds.as_deref().unwrap_or("30");
    let titles = "instance | objective | method | value: | bound: | gap: | s: | CPU s:";
    head(&format!("{titles} | peers (CPU s)"));
    for case in cases(data, folder.path(), &options.only) {
        let methods = METHODS.iter().find(|(objective, _)| *objective == case.objective).unwrap().1;
        let shown = |method: &str, found: [String; 5], peers: String| {
            let named = [&case.name, case.objective, method].map(str::to_owned);
            row(&[&named[..], &found, &[peers]].concat());
        };
        for (at, method) in methods.iter().enumerate() {
            let flags = format!("--algorithm {method} --time-limit {seconds}s --force -o");
            let words = format!("plan --objective {} {flags}", case.objective);
            let ran = meshwright(&words, &[&solution, &case.file]);
            if let Some(split) = expert(data, &case).filter(|_| at == 0) {
                let value = judged(&case, &split, &solution);
                let empty = [value, String::new(), String::new(), String::new(), String::new()];
                shown("expert's split", empty, String::new());
            }
            shown(method, found(&ran), case.peers.join("; "));
        }
    }
}

/// Value, bound, gap and seconds.
fn found(ran: &Ran) -> [String; 5] {
    let [value, bound] = ["value_ns", "bound_ns"].map(|key| in_unit(&ran.json, &ran.json[key]));
    let gap = match (ran.json["proved_optimal"].as_bool(), ran.json["bound_standing"].as_str()) {
        (Some(true), Some("derived" | "certificate-checked")) => "optimal".to_owned(),
        (Some(true), standing) => format!("optimal ({})", standing.unwrap_or("not checked")),
        _ => ran.json["gap"].as_f64().map_or_else(String::new, |gap| percent(gap, 2)),
    };
    let none = if ran.is_infeasible() { "none exists" } else { "none found" };
    [
        value.unwrap_or(none.to_owned()),
        bound.unwrap_or_default(),
        gap,
        format!("{:.3}", ran.seconds),
        format!("{:.2}", ran.cpu_s),
    ]
}

/// A time in the unit of the instance's file.
fn in_unit(document: &Value, time_ns: &Value) -> Option<String> {
    Some(number(time_ns.as_f64()? / document["unit_ns"].as_f64().unwrap_or(1e9)))
}

/// Nine digits behind the point are exact; six are what peers print.
fn number(value: f64) -> String {
    if value.abs() < 1.0 { format!("{value:.8}") } else { format!("{value:.6}") }
}

/// A person's split, judged by the objective of the solution beside it.
fn judged(case: &Case, split: &Path, solution: &Path) -> String {
    let ran = meshwright("compare --model", &[&case.file, split, solution]);
    match ran.error() {
        Some(code) => format!("illegal: {code}"),
        None => in_unit(&ran.json, &ran.json["a"]["value_ns"]).unwrap(),
    }
}

/// The split that people made of a layer graph; that of inference extends to training.
fn expert(data: &Path, case: &Case) -> Option<PathBuf> {
    let stem = case.name.strip_prefix("dnn-partitioning/")?.split_once("/layer/")?.1;
    let file = |stem: &str| {
        data.join(format!("bench/placement/dnn-partitioning/experts/{stem}_expert.json"))
    };
    let files = [file(stem), file(&stem.replace("training", "inference"))];
    files.into_iter().find(|file| file.is_file())
}

/// All cases whose names hold `only`; instances with other limits are written to a folder.
fn cases(data: &Path, folder: &Path, only: &str) -> Vec<Case> {
    let all = data.join("bench/placement");
    let known: Vec<(String, String, String, f64, Option<f64>)> =
        rows(include_str!("placement.csv"));
    let mut cases = Vec::new();
    let kinds: [(&str, &[&str], &str); 5] = [
        ("dnn-partitioning/latency/layer", &["latency"], ".json.gz"),
        ("dnn-partitioning/latency/operator", &["latency"], ".json.gz"),
        ("dnn-partitioning/throughput/layer", &["contiguous-max-load", "max-load"], ".json.gz"),
        ("dnn-partitioning/throughput/operator", &["contiguous-max-load", "max-load"], ".json.gz"),
        ("pipedream-profiles", &["slowest-stage"], ".graph.txt"),
    ];
    for (inside, objectives, ending) in kinds {
        let files = std::fs::read_dir(all.join(inside)).unwrap().map(|entry| entry.unwrap());
        let names = files.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(ending)?.to_owned())).collect();
        names.sort();
        for (stem, objective) in names.iter().flat_map(|s| objectives.iter().map(move |o| (s, *o)))
        {
            let name = format!("{inside}/{stem}");
            let matching = known.iter().filter(|peer| peer.0 == name && peer.1 == objective);
            let peers = matching.map(|(_, _, program, value, s)| peer(program, Some(*value), *s));
            let file = all.join(format!("{name}{ending}"));
            cases.push(Case { file, objective, peers: peers.collect(), name });
        }
    }
    type Experiment = (String, u64, u64, Option<f64>, Option<f64>);
    for (instance, devices, gib, value, cpu_s) in rows::<Experiment>(include_str!("piper.csv")) {
        let name = format!("{instance}, {devices} x {gib} GiB");
        if !name.contains(only) {
            continue;
        }
        let packed = std::fs::File::open(all.join(format!("{instance}.json.gz"))).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["maxDevices"] = json!(devices);
        document["maxMemoryPerDevice"] = json!(gib << 30);
        document["bandwidth"] = json!(25u64 << 30);
        let file = folder.join(format!("{}-{devices}-{gib}.json", instance.replace('/', "-")));
        std::fs::write(&file, document.to_string()).unwrap();
        let peers = vec![peer("Piper", value, cpu_s)];
        cases.push(Case { name, file, objective: "time-per-sample", peers });
    }
    cases.retain(|case| case.name.contains(only));
    cases
}

fn peer(program: &str, value: Option<f64>, cpu_s: Option<f64>) -> String {
    let value = value.map_or("none".to_owned(), number);
    cpu_s.map_or(format!("{program} {value}"), |s| format!("{program} {value} ({s} s)"))
}

/// Max-load of any split with other numbers of accelerators than the files state, and how soon value
/// and bound were near each other.
pub(crate) fn accelerators(data: &Path, options: &Asked) {
    let folder = tempfile::tempdir().unwrap();
    let seconds = options.seconds.as_deref().unwrap_or("60");
    let mut gaps = Vec::new();
    let titles =
        "instance | accelerators: | value: | bound: | gap: | s to 1 %: | s to 0.15 %: | s:";
    head(titles);
    let cases = cases(data, folder.path(), &options.only);
    for case in cases.iter().filter(|case| case.objective == "max-load") {
        for count in [None, Some(2), Some(3), Some(4), Some(8)] {
            let flag = count.map_or_else(String::new, |count| format!("--accelerators {count}"));
            let stop = format!("--gap {} --time-limit {seconds}s", GAPS[1]);
            let words = format!("plan --objective max-load --algorithm columns {stop} {flag}");
            let ran = meshwright(&words, &[&case.file]);
            let to = GAPS.map(|gap| seconds_to(&ran.json, gap));
            let [value, bound, gap, ..] = found(&ran);
            let n = match count {
                None => format!("{} (file)", ran.json["fpgas"].as_array().map_or(0, Vec::len)),
                Some(count) => count.to_string(),
            };
            let seconds = format!("{:.2}", ran.seconds);
            let [one, two] = to.map(|s| s.map_or("-".to_owned(), |s| format!("{s:.2}")));
            let over = to[0].is_none().then(|| format!("{} on {n} ({gap})", case.name));
            row(&[case.name.clone(), n, value, bound, gap, one, two, seconds]);
            gaps.push((count.is_none(), to.map(|s| s.is_some()), over));
        }
    }
    println!();
    for (is_of_file, words) in [(true, "the file's number"), (false, "another number")] {
        let chosen: Vec<_> = gaps.iter().filter(|(of_file, ..)| *of_file == is_of_file).collect();
        let [one, two] = [0, 1].map(|at| chosen.iter().filter(|(_, near, _)| near[at]).count());
        let over: Vec<&str> = chosen.iter().filter_map(|(.., over)| over.as_deref()).collect();
        let rest = if over.is_empty() { "none".to_owned() } else { over.join("; ") };
        let n = chosen.len();
        println!("* {words}: {one} of {n} at most 1 %, {two} at most 0.15 %. Beyond 1 %: {rest}.");
    }
}

/// Seconds until value and bound were so near.
fn seconds_to(report: &Value, gap: f64) -> Option<f64> {
    let trace = report["run"]["trace"].as_array()?;
    let is_near = |point: &&Value| {
        let pair = point["value_ns"].as_f64().zip(point["bound_ns"].as_f64());
        pair.is_some_and(|(value, bound)| value <= bound * (1.0 + gap))
    };
    trace.iter().find(is_near)?["elapsed_s"].as_f64()
}
