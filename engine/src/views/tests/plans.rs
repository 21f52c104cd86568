//! Views of real plans against what `simulate` says of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::Random;
use crate::door::{Answer, Form, answer};
use crate::request::PlanOnModel;
use crate::views::{self, Graph, Inside, Role, Tile, View};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

fn asked(request: &Value) -> Answer {
    answer(request.to_string().as_bytes(), &Arc::default(), ("test", Form::Document), &mut |_| ())
}

/// A plan's view and what `simulate` says of it.
struct Made {
    file: Vec<u8>,
    simulated: Value,
}

fn made(model: &str, cluster: &str, fields: Value) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let model = format!("{EXAMPLES}/models/{model}");
    let cluster = format!("{EXAMPLES}/clusters/{cluster}");
    let mut request = json!({ "verb": "plan", "model": model, "cluster": cluster });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let planned = asked(&request);
    assert_eq!(planned.exit_code, 0, "{}", planned.document);
    let plan = folder.path().join("plan.json");
    std::fs::write(&plan, planned.document["plan"].to_string()).unwrap();
    let on = |verb: &str| {
        let on = json!({ "verb": verb, "plan": plan, "model": model, "cluster": cluster });
        let answer = asked(&on);
        assert_eq!(answer.exit_code, 0, "{}", answer.document);
        answer
    };
    let viewed = on("view");
    let file = made_again(&plan, &model, &cluster);
    let view = View::open(&file).unwrap();
    assert_eq!(viewed.document["view"], json!(view.overview()));
    // The door's answer is text, the file is not.
    let text = viewed.files[views::FILE]["base64"].as_str().unwrap();
    assert_eq!(text.len(), file.len().div_ceil(3) * 4);
    Made { simulated: on("simulate").document, file }
}

fn made_again(plan: &Path, model: &str, cluster: &str) -> Vec<u8> {
    let mut request =
        PlanOnModel { plan: plan.to_owned(), model: model.into(), ..PlanOnModel::default() };
    request.target.problem.cluster = Some(cluster.into());
    views::make(&request).unwrap().bytes
}

/// Training of a small model, op by op, with micro-batches.
static OPS: LazyLock<Made> = LazyLock::new(|| {
    let fields =
        json!({ "workload": "training", "batch": 4, "micro_batch": 1, "algorithm": "m-etf" });
    made("gpt2_small.onnx", "two-nodes.yaml", fields)
});

/// A training run with a pipeline whose backward passes are split.
static RUN: LazyLock<Made> = LazyLock::new(|| {
    let pin = json!(["pipeline=4", "schedule=zb-h1", "tensor=8"]);
    let fields = json!({ "global_batch": 64, "sequence_length": 4096, "pin": pin });
    made("llama-2-70b.json", "pod.yaml", fields)
});

pub(super) fn file_of_ops() -> &'static [u8] {
    &OPS.file
}

pub(super) fn file_of_run() -> &'static [u8] {
    &RUN.file
}

/// Of all lanes of a role, nanoseconds by device and kind of figure.
fn sums(tiles: &[Tile], role: Role) -> BTreeMap<String, [u64; 3]> {
    let mut sums: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for lane in tiles.iter().flat_map(|tile| &tile.lanes).filter(|lane| lane.role == role) {
        let sum = sums.entry(lane.lane.clone()).or_default();
        for (kind, ns) in &lane.ns {
            let figure = match *kind {
                "communication" => 1,
                kind if kind.starts_with("idle-") || kind == "free" => 2,
                _ => 0,
            };
            sum[figure] += ns;
        }
    }
    sums
}

/// Columns add up to the lane, rows to the window.
fn check_tile(tile: &Tile, most: usize) {
    let n_rows: usize = tile.lanes.iter().map(|lane| lane.rows.n.len()).sum();
    assert!(n_rows <= most, "{n_rows} rows for {most}");
    for lane in &tile.lanes {
        let rows = &lane.rows;
        assert_eq!(lane.ns.values().sum::<u64>(), tile.to_ns - tile.from_ns, "{}", lane.lane);
        for (kind, ns) in &lane.ns {
            assert_eq!(rows.ns[kind].iter().sum::<u64>(), *ns, "{kind}");
        }
        assert_eq!(rows.n_started.iter().sum::<u64>(), lane.n_started);
        assert_eq!(rows.from_ns.first(), Some(&tile.from_ns));
        assert_eq!(rows.to_ns.last(), Some(&tile.to_ns));
        assert!(rows.from_ns[1..].iter().eq(&rows.to_ns[..rows.to_ns.len() - 1]));
        for row in 0..rows.n.len() {
            let of_row: u64 = rows.ns.values().map(|column| column[row]).sum();
            assert_eq!(of_row, rows.to_ns[row] - rows.from_ns[row]);
            assert!((rows.what[row] as usize) < tile.things.len());
            let kind = tile.kinds[rows.kind[row] as usize];
            let is_alone = rows.n[row] == 1;
            assert!(!is_alone || of_row == rows.ns.get(kind).map_or(0, |column| column[row]));
        }
    }
}

/// Devices by name with what the report says: computing, communication, idle, peak.
fn reported(simulated: &Value) -> BTreeMap<String, [u64; 4]> {
    let numbers = |device: &Value| {
        let names = [
            ["compute_ns", "busy_ns"],
            ["communication_ns"; 2],
            ["idle_ns"; 2],
            ["peak_bytes", "peak_memory_bytes"],
        ];
        names.map(|names| names.iter().find_map(|name| device[name].as_u64()).unwrap())
    };
    match simulated["ranks"].as_array() {
        Some(ranks) => ranks
            .iter()
            .enumerate()
            .map(|(at, rank)| (format!("rank {at}"), numbers(rank)))
            .collect(),
        None => {
            let devices = simulated["report"]["devices"].as_array().unwrap();
            let name = |device: &Value| device["id"].as_str().unwrap().to_owned();
            devices.iter().map(|device| (name(device), numbers(device))).collect()
        }
    }
}

#[test]
fn tiles_add_up_to_the_report_at_every_zoom_and_in_every_partition() {
    for made in [&*OPS, &*RUN] {
        let view = View::open(&made.file).unwrap();
        let reported = reported(&made.simulated);
        let mut random = Random(5);
        let n_lanes = view.overview().lanes.len();
        let step = view.overview().step_time_ns;
        let mut links = None;
        let mut n_started = None;
        for most in [n_lanes, n_lanes + 7, 300, 5_000, usize::MAX] {
            let most = most.saturating_mul(2);
            for n_cuts in [0, 1, 9] {
                let mut cuts: Vec<u64> = (0..n_cuts).map(|_| random.below(step)).collect();
                cuts.extend([0, step]);
                cuts.sort_unstable();
                cuts.dedup();
                let tiles: Vec<Tile> = cuts
                    .windows(2)
                    .map(|cut| view.timeline(Some(cut[0]), Some(cut[1]), &[], most).unwrap())
                    .collect();
                tiles.iter().for_each(|tile| check_tile(tile, most));
                let devices = sums(&tiles, Role::Device);
                assert_eq!(devices.len(), reported.len());
                for (device, figures) in devices {
                    assert_eq!(figures[..], reported[&device][..3], "{device}");
                }
                let of_links = (sums(&tiles, Role::Link), sums(&tiles, Role::Exchange));
                assert_eq!(links.get_or_insert(of_links.clone()), &of_links);
                let started: u64 =
                    tiles.iter().flat_map(|tile| &tile.lanes).map(|lane| lane.n_started).sum();
                assert_eq!(*n_started.get_or_insert(started), started);
            }
        }
        assert_eq!(step, made.simulated["step_time_ns"].as_u64().unwrap_or(step));
    }
}

#[test]
fn links_are_busy_as_the_report_says() {
    let view = View::open(&OPS.file).unwrap();
    let tile = view.timeline(None, None, &[], usize::MAX).unwrap();
    let busy = sums(&[tile], Role::Link);
    let links = OPS.simulated["report"]["links"].as_array().unwrap();
    assert!(!links.is_empty());
    for link in links {
        let name = link["channel"].as_str().unwrap();
        assert_eq!(busy[name][0], link["busy_ns"].as_u64().unwrap(), "{name}");
    }
    assert_eq!(busy.len(), links.len());
}

#[test]
fn the_peak_is_that_of_the_report_whatever_is_asked_for() {
    for made in [&*OPS, &*RUN] {
        let view = View::open(&made.file).unwrap();
        for (device, figures) in reported(&made.simulated) {
            for points in [1, 2, 7, 100, usize::MAX] {
                let curve = view.memory(&device, points).unwrap();
                assert!(curve.at_ns.len() <= points);
                let total = |at: usize| curve.bytes.values().map(|kind| kind[at]).sum::<u64>();
                let peak =
                    (0..curve.at_ns.len()).max_by_key(|at| (total(*at), std::cmp::Reverse(*at)));
                let peak = peak.unwrap();
                assert_eq!(total(peak), figures[3], "{device}, {points} points");
                assert_eq!(curve.figures.peak_bytes, figures[3]);
                assert_eq!(curve.at_ns[peak], curve.figures.peak_at_ns, "{device}");
                assert!(curve.at_ns.is_sorted());
                let alive: u64 = curve.alive.largest.iter().map(|holding| holding.bytes).sum();
                assert_eq!(alive + curve.alive.other_bytes, figures[3], "{device}");
                let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
                for holding in &curve.alive.largest {
                    *kinds.entry(&holding.kind).or_default() += holding.bytes;
                }
                if curve.alive.n_others == 0 {
                    for (kind, column) in &curve.bytes {
                        let bytes = kinds.get(kind.as_str()).copied().unwrap_or(0);
                        assert_eq!(bytes, column[peak], "{device}: {kind}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_alive_goes_with_what_ends_then() {
    let view = View::open(&OPS.file).unwrap();
    let mut n_told = [0, 0];
    for (device, _) in reported(&OPS.simulated) {
        for holding in view.memory(&device, 1).unwrap().alive.largest {
            let (Some(until), Some(by)) = (holding.until_ns, &holding.freed_by) else {
                assert!(holding.until_ns.is_none() || holding.kind == "output", "{holding:?}");
                continue;
            };
            let tile = view.timeline(Some(until - 1), Some(until + 1), &[], usize::MAX).unwrap();
            let ends = tile.lanes.iter().flat_map(|lane| {
                let rows = lane.rows.to_ns.iter().zip(&lane.rows.what);
                rows.filter(|(to, _)| **to == until).map(move |(_, what)| (lane, *what))
            });
            let mut ends = ends.map(|(lane, what)| (lane, &tile.things[what as usize]));
            let is_op = ends.clone().any(|(lane, thing)| lane.lane == device && thing.name == *by);
            let is_sent = ends.any(|(_, thing)| {
                thing.from.as_ref() == Some(&device) && thing.to.as_ref() == Some(by)
            });
            assert!(is_op || is_sent, "{device}: {holding:?}");
            n_told[usize::from(is_sent)] += 1;
        }
    }
    assert!(n_told[0] > 100, "{n_told:?}");
}

fn total(inside: &Inside, of: impl Fn(&views::NodeFigures) -> u64) -> u64 {
    inside.nodes.iter().map(|node| of(&node.figures)).sum()
}

#[test]
fn groups_add_up_to_the_report_at_every_level() {
    let view = View::open(&OPS.file).unwrap();
    let devices = view.overview().devices;
    let top = view.graph(None, 1, &[]).unwrap();
    let sum = |of: &dyn Fn(&views::DeviceFigures) -> u64| devices.iter().map(of).sum::<u64>();
    assert_eq!(total(&top.inside, |node| node.time_ns), sum(&|device| device.compute_ns));
    assert_eq!(total(&top.inside, |node| node.peak_bytes), sum(&|device| device.peak_bytes));
    let parameters = OPS.simulated["report"]["devices"].as_array().unwrap();
    let parameters = parameters.iter().map(|device| device["parameter_bytes"].as_u64().unwrap());
    assert_eq!(total(&top.inside, |node| node.parameter_bytes), parameters.sum::<u64>());
    let step = view.overview().step_time_ns;
    let critical = total(&top.inside, |node| node.critical_ns.unwrap());
    assert!(critical > 0 && critical <= step);
    // Every group is the sum of what is in it, and is left and entered as its edges say.
    let mut open = vec![top];
    let mut n_ops = 0;
    let mut repeats = Vec::new();
    while let Some(Graph { inside, group, .. }) = open.pop() {
        for (at, node) in (0u32..).zip(&inside.nodes) {
            let figures = &node.figures;
            assert_eq!(figures.devices.values().sum::<u64>(), figures.time_ns);
            assert_eq!(figures.origins.values().sum::<u64>(), figures.time_ns);
            if figures.kind == views::NodeKind::Op {
                n_ops += 1;
                continue;
            }
            if figures.kind == views::NodeKind::Repeat {
                repeats.push((figures.id.clone(), figures.n_equal));
            }
            let opened = view.graph(Some(&figures.id), 1, &[]).unwrap();
            assert_eq!(opened.parent.as_deref(), Some(group.as_str()));
            let numbers = |node: &views::NodeFigures| {
                let bytes = [node.peak_bytes, node.parameter_bytes, node.output_bytes];
                [&[node.time_ns, node.critical_ns.unwrap(), node.n_ops][..], &bytes].concat()
            };
            for (at, sum) in numbers(figures).into_iter().enumerate() {
                assert_eq!(total(&opened.inside, |node| numbers(node)[at]), sum, "{}", figures.id);
            }
            let inside_edges = inside.edges.iter().map(|edge| edge.figures);
            let has_edges = inside_edges.clone().any(|edge| edge.from == at || edge.to == at);
            let crosses = opened
                .inside
                .nodes
                .iter()
                .any(|node| node.figures.in_bytes + node.figures.out_bytes > 0);
            assert!(!has_edges || crosses, "{}", figures.id);
            open.push(opened);
        }
    }
    assert_eq!(n_ops, total(&view.graph(None, 1, &[]).unwrap().inside, |node| node.n_ops));
    assert!(repeats.iter().any(|(_, n)| *n == 12), "{repeats:?}");
    let deep = view.graph(None, 64, &[]).unwrap();
    assert_eq!(total(&deep.inside, |node| node.time_ns), sum(&|device| device.compute_ns));
}

#[test]
fn stages_take_the_time_of_their_ranks() {
    let view = View::open(&RUN.file).unwrap();
    let graph = view.graph(None, 1, &[]).unwrap();
    for (rank, device) in view.overview().devices.iter().enumerate() {
        let name = format!("rank {rank}");
        let tile = view.timeline(None, None, std::slice::from_ref(&name), usize::MAX).unwrap();
        let of_optimizer = tile.lanes[0].ns.get("optimizer").copied().unwrap_or(0);
        let times = graph.inside.nodes.iter().filter_map(|node| node.figures.devices.get(&name));
        assert_eq!(times.sum::<u64>() + of_optimizer, device.compute_ns);
    }
    let tile = view.timeline(None, None, &[], usize::MAX).unwrap();
    let kinds = ["forward", "backward-input", "backward-weight", "idle-fill", "idle-drain"];
    for kind in kinds {
        assert!(tile.lanes.iter().any(|lane| lane.ns.contains_key(kind)), "no {kind}");
    }
    // A device stands for its rank.
    let member = view.head.members.last().unwrap();
    let by_device = view.memory(&member.0, 5).unwrap();
    assert_eq!(by_device.figures.device, format!("rank {}", member.1));
}

#[test]
fn what_is_asked_wrongly_is_refused_with_a_hint() {
    let view = View::open(&OPS.file).unwrap();
    let step = view.overview().step_time_ns;
    let device = view.overview().devices[0].device.clone();
    let window = |from, to| view.timeline(Some(from), Some(to), &[], 1000).map(drop);
    let lane = |name: &str| view.timeline(None, None, &[name.to_owned()], 1000).map(drop);
    let refused = [
        (window(5, 5), "empty-window"),
        (window(9, 5), "empty-window"),
        (window(step, step + 9), "empty-window"),
        (lane("gpuX"), "unknown-lane"),
        (view.timeline(None, None, &[], 1).map(drop), "too-few-slices"),
        (view.memory("gpuX", 5).map(drop), "unknown-device"),
        (view.memory(&device, 0).map(drop), "no-points"),
        (view.graph(Some("nothing"), 1, &[]).map(drop), "unknown-group"),
        (view.graph(None, 0, &[]).map(drop), "no-depth"),
    ];
    for (answer, code) in refused {
        let error = answer.unwrap_err();
        assert_eq!(error.code, code);
        assert_eq!(error.hints.len(), 1, "{code}");
    }
    let clipped = view.timeline(Some(1), Some(u64::MAX), &[device], 1000).unwrap();
    assert_eq!((clipped.from_ns, clipped.to_ns), (1, step));
}

/// Iterations of one worker of each type from its first request, which cover the window of the view.
#[test]
fn a_fleet_is_viewed_by_the_iterations_of_its_workers() {
    let fields = json!({ "task": "infer", "rate": "20", "ttft": "1s", "tpot": "20ms",
        "input_tokens": 2000, "output_tokens": 200 });
    let made = made("qwen3-30b-a3b.json", "a100-node.yaml", fields);
    let view = View::open(&made.file).unwrap();
    let overview = view.overview();
    let workers = made.simulated["fleet"]["workers"].as_array().unwrap();
    assert_eq!((overview.plans.as_str(), overview.lanes.len()), ("fleet", workers.len()));
    let tile = view.timeline(None, None, &[], 100_000).unwrap();
    check_tile(&tile, 100_000);
    for (lane, worker) in tile.lanes.iter().zip(workers) {
        let role = worker["role"].as_str().unwrap();
        assert!(lane.lane.starts_with(role) && lane.n_started <= 2_000, "{}", lane.lane);
        let least: &[&str] = match role {
            "prefill" => &["prefill"],
            "decode" => &["decode"],
            _ => &["prefill", "decode"],
        };
        assert!(least.iter().all(|kind| lane.ns.contains_key(kind)), "{:?}", lane.ns);
    }
    let longest = tile.lanes.iter().map(|lane| lane.n_started).max();
    assert!(longest > Some(100), "{longest:?}");
    check_tile(&view.timeline(None, None, &[], 50).unwrap(), 50);
}

#[test]
fn instances_have_no_view() {
    let folder = tempfile::tempdir().unwrap();
    let node = |id: u32| {
        json!({ "id": id, "name": format!("node{id}"), "supportedOnFpga": 1, "cpuLatency": 10.0,
            "fpgaLatency": 1.0, "isBackwardNode": 0, "size": 1e6 })
    };
    let edge = json!({ "sourceId": 0, "destId": 1, "cost": 0.1 });
    let dnn = json!({ "maxSizePerFPGA": 1e9, "maxFPGAs": 2, "maxCPUs": 0,
        "nodes": [node(0), node(1)], "edges": [edge] });
    let model = folder.path().join("dnn.json");
    std::fs::write(&model, dnn.to_string()).unwrap();
    let refused = asked(&json!({ "verb": "view", "plan": "none.json", "model": model }));
    assert_eq!(refused.exit_code, 2, "{}", refused.document);
    assert_eq!(refused.document["error"]["code"], "no-view");
}
