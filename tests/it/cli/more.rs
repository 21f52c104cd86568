//! More memory, one more device, a faster link and a longer search never make an answer worse, and no answer
//! is below the bound of a question that allows as much: random questions of most kinds of plans, each asked
//! again with more of one thing.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::experts;
use super::folder::{Folder, Ran, diamond};
use super::{layered, proofs};

/// What a question allows.
#[derive(Clone, Copy, Debug)]
struct Means {
    /// Times what the kind of question takes as little.
    memory: f64,
    /// The same of the rate of links.
    links: f64,
    devices: u64,
    nodes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum More {
    Memory,
    Links,
    Devices,
    Nodes,
}
use More::{Devices, Links, Memory, Nodes};

impl Means {
    fn drawn(random: &mut SmallRng) -> Self {
        Self {
            memory: random.random_range(1.0..4.0),
            links: pick(random, &[1.0, 4.0, 20.0, 100.0]),
            devices: random.random_range(1..=3),
            nodes: pick(random, &[3, 20, 200, 2000]),
        }
    }

    fn with(mut self, more: More, random: &mut SmallRng) -> Self {
        match more {
            Memory => self.memory *= random.random_range(1.001..2.0),
            Links => self.links *= random.random_range(1.001..8.0),
            Devices => self.devices += 1,
            Nodes => self.nodes *= pick(random, &[2, 5, 20]),
        }
        self
    }
}

/// Writes the files of a question under a name and says how it is asked; the same draws give the same
/// question.
type Ask = fn(&Folder, &str, Means, &mut SmallRng) -> String;

/// A kind of question: how many are asked (a quarter where `MESHWRIGHT_CASES` is unset), what it takes more of.
struct Kind(&'static str, usize, &'static [More], Ask);

const KINDS: [Kind; 17] = [
    Kind("training", 400, &[Memory, Links, Devices, Nodes], training),
    Kind("least energy", 100, &[Memory, Links, Nodes], |folder, name, means, random| {
        small(folder, name, means, random) + " --objective energy-per-token"
    }),
    Kind("power cap", 100, &[Memory, Links, Nodes], |folder, name, means, random| {
        let cap = pick(random, &[300, 700, 1200]);
        small(folder, name, means, random) + &format!(" --power-cap {cap}")
    }),
    Kind("unlike nodes", 200, &[Memory, Links, Devices, Nodes], |folder, name, means, random| {
        unlike(folder, name, means, random);
        let batch = pick(random, &[4, 6, 16]);
        format!(
            "plan dense.json --cluster {name}.yaml --global-batch {batch} --sequence-length 256"
        ) + &nodes(means)
    }),
    Kind("measured layers", 150, &[Memory, Devices, Nodes], measured),
    Kind("ops of a model", 100, &[Memory, Links, Devices, Nodes], |folder, name, means, random| {
        unlike(folder, name, means, random);
        let batch = pick(random, &[1, 8]);
        format!("plan dense.json --cluster {name}.yaml --dim sequence=64 --batch {batch}")
            + &nodes(means)
    }),
    Kind("ops with given costs", 150, &[Memory, Links, Devices, Nodes], ops),
    Kind("load", 150, &[Memory, Devices, Nodes], load),
    Kind("tasks", 100, &[Devices, Nodes], tasks),
    Kind("rounds", 100, &[Links, Nodes], rounds),
    Kind("gradients", 100, &[Links, Nodes], gradients),
    Kind("serving", 200, &[Memory, Links, Devices, Nodes], |folder, name, means, random| {
        unlike(folder, name, means, random);
        let phase = pick(random, &["decode --cached 500", "prefill --sequence-length 256"]);
        let objective =
            pick(random, &["", " --objective latency", " --objective energy-per-token"]);
        let batch = pick(random, &[1, 4]);
        format!(
            "plan dense.json --cluster {name}.yaml --dtype f16 --phase {phase} --batch {batch}{objective}"
        ) + &nodes(means)
    }),
    Kind("streams", 100, &[Links], |folder, name, means, random| {
        step(folder, name, means, random, "training") + " --algorithm fsmoe"
    }),
    Kind("nano-batches", 100, &[Links], |folder, name, means, random| {
        step(folder, name, means, random, "prefill") + " --algorithm dynaflow"
    }),
    Kind("attention and experts apart", 100, &[Memory, Links], |folder, name, means, random| {
        step(folder, name, means, random, "prefill") + " --algorithm findep"
    }),
    // What slots hold is stated: EPLB's rule fills them all, so that more of them may share out less evenly.
    Kind("copies of experts", 100, &[Memory, Links, Devices], |folder, name, means, random| {
        let [slots, by] = [pick(random, &["6", "8"]), pick(random, &["expert-placement", "eplb"])];
        held(folder, name, Means { devices: 3 + means.devices, ..means }, random)
            + &format!(" --batch 256 --algorithm {by}(slots={slots})")
    }),
    Kind("cached experts", 100, &[Memory, Links], |folder, name, means, random| {
        let slots = (15.0 * means.memory).min(60.0);
        let policy = pick(random, &["predicted", "clairvoyant", "lru", "lfu"]);
        held(folder, name, Means { devices: 1, ..means }, random)
            + &format!(" --batch 4 --algorithm expertflow(slots={slots:.0},policy={policy})")
    }),
];

fn pick<T: Copy>(random: &mut SmallRng, all: &[T]) -> T {
    all[random.random_range(0..all.len())]
}

fn nodes(means: Means) -> String {
    format!(" --node-budget {}", means.nodes)
}

fn hosts(folder: &Folder, name: &str, (hosts, each): (u64, u64), means: Means, device: &str) {
    let (memory, rate) = (0.65e9 * means.memory, 1e8 * means.links);
    let text = format!(
        "nodes: [{{count: {hosts}, device: {device}, devices: {each}, memory_bytes: {memory:.0}, host: \
         pcie4_x16}}]\nnetwork: {{bytes_per_s: {rate:.0}, latency_s: 20e-6}}\n"
    );
    folder.write(&format!("{name}.yaml"), &text);
}

fn training(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let device = pick(random, &["a100_sxm4_80gb", "rtx_4090", "t4"]);
    let each = pick(random, &[1, 2, 4]);
    hosts(folder, name, (4 / each, each), means, device);
    let batch = pick(random, &[4, 6, 8, 24]);
    let flags = pick(
        random,
        &[
            "",
            "",
            "--no-offload",
            "--spares 1",
            "--for megatron",
            "--pin micro-batch=1",
            "--pin pipeline=1",
            "--pin zero=1",
            "--pin recompute=full",
            "--memory-margin 0.2",
            "--stack torchtitan",
            "--optimizer sgd",
        ],
    );
    let devices = match flags {
        "--spares 1" => String::new(),
        _ => format!("--fastest --devices 1..{}", means.devices),
    };
    format!(
        "plan dense.json --cluster {name}.yaml --global-batch {batch} --sequence-length 512 {flags} {devices}"
    ) + &nodes(means)
}

/// A training run on one or two devices.
fn small(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let device = pick(random, &["a100_sxm4_80gb", "rtx_4090"]);
    hosts(folder, name, (pick(random, &[1, 2]), 1), means, device);
    let batch = pick(random, &[2, 4]);
    format!("plan dense.json --cluster {name}.yaml --global-batch {batch} --sequence-length 512")
        + &nodes(means)
}

/// Nodes of two sorts.
fn unlike(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) {
    let kinds = pick(random, &[["rtx_4090", "t4"], ["a100_sxm4_80gb", "rtx_3090"]]);
    let (memory, rate) = (0.7e9 * means.memory, 1e8 * means.links);
    let node = |name: &str, kind: &str, n: u64| {
        format!("  - {{name: {name}, device: {kind}, devices: {n}, memory_bytes: {memory:.0}}}\n")
    };
    let text = format!(
        "nodes:\n{}{}network: {{bytes_per_s: {rate:.0}, latency_s: 50e-6}}\n",
        node("a", kinds[0], 1),
        node("b", kinds[1], means.devices)
    );
    folder.write(&format!("{name}.yaml"), &text);
}

fn measured(_: &Folder, _: &str, means: Means, random: &mut SmallRng) -> String {
    let memory = 1600.0 * means.memory;
    let batch = pick(random, &[8, 16, 32]);
    let most = 1 << means.devices.min(3).saturating_sub(1);
    let flags = pick(random, &["", "--no-offload", "--pin tensor=1", "--pin pipeline=1"]);
    format!(
        "plan twelve.json --cluster cluster.yaml --profile measured --global-batch {batch} --sequence-length \
         512 --max-memory-per-device {memory:.0}MiB --devices 1..{most} {flags}"
    ) + &nodes(means)
}

fn ops(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let n = random.random_range(3..9_u64);
    let op = |id: u64| {
        let inputs: Vec<u64> =
            (0..id).filter(|_| random.random_bool(0.4)).map(|input| 100 + input).collect();
        json!({
            "id": id, "name": format!("op{id}"), "time_ns": { "k": random.random_range(10..2000) },
            "persistent": random.random_range(0..200), "temp": random.random_range(0..50),
            "inputs": inputs,
            "outputs": [{ "tensor": 100 + id, "bytes": random.random_range(1..300) }],
        })
    };
    let ops: Vec<Value> = (0..n).map(op).collect();
    let limit = (500.0 * means.memory) as u64;
    let device = |id: u64| json!({ "id": id, "kind": "k", "limit": limit });
    let file = json!({
        "ops": ops, "devices": (0..means.devices).map(device).collect::<Vec<_>>(),
        "link": { "latency_ns": 5, "bytes_per_s": 5e7 * means.links, "duplex": "full" },
    });
    folder.write(&format!("{name}.json"), &file.to_string());
    format!("plan {name}.json") + &nodes(means)
}

fn load(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let n = random.random_range(3..9_u64);
    let node = |id: u64| {
        let [cpu, fpga] = [random.random_range(5..40), random.random_range(1..9)];
        json!({ "id": id, "cpuLatency": cpu, "fpgaLatency": fpga, "size": random.random_range(1..5) })
    };
    let nodes_of: Vec<Value> = (0..n).map(node).collect();
    let edge =
        |to: u64| json!({ "sourceId": random.random_range(0..to), "destId": to, "cost": 0.5 });
    let file = json!({
        "maxSizePerFPGA": (4.0 * means.memory) as u64, "maxFPGAs": means.devices, "maxCPUs": 1,
        "nodes": nodes_of, "edges": (1..n).map(edge).collect::<Vec<_>>(),
    });
    folder.write(&format!("{name}.json"), &file.to_string());
    format!("plan {name}.json") + &nodes(means)
}

fn tasks(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let n = random.random_range(2..9);
    let size = |id: u64| json!({ "id": id, "size": random.random_range(1..20) });
    let tasks: Vec<Value> = (0..n).map(size).collect();
    let mut history = Vec::new();
    for device in 0..means.devices {
        let mut rng = SmallRng::seed_from_u64(device + n);
        for size in [1, 2] {
            let seconds = rng.random_range(1..5) * size;
            history
                .push(json!({ "device": format!("d{device}"), "size": size, "seconds": seconds }));
        }
    }
    let devices: Vec<String> = (0..means.devices).map(|device| format!("d{device}")).collect();
    let file = json!({ "kind": "tasks", "devices": devices, "tasks": tasks, "history": history });
    folder.write(&format!("{name}.json"), &file.to_string());
    format!("plan {name}.json") + &nodes(means)
}

fn rounds(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let n = random.random_range(3..8_usize);
    let mut rates = vec![vec![Value::Null; n]; n];
    for (a, b) in (0..n).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let rate = json!(random.random_range(1..10) as f64 * 1e5 * means.links);
        rates[a][b] = rate.clone();
        rates[b][a] = rate;
    }
    let names: Vec<String> = (0..n).map(|node| format!("n{node}")).collect();
    let window = random.random_range(n..n + 3);
    let file = json!({
        "kind": "averaging", "nodes": names, "bytes": 100_000_000, "kept": 0.01, "rounds": window,
        "bytes_per_s": rates,
    });
    folder.write(&format!("{name}.json"), &file.to_string());
    format!("plan {name}.json") + &nodes(means)
}

fn gradients(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let mut ready_s = 0.01;
    let gradient = |id: u64| {
        ready_s += random.random_range(0.001..0.05);
        let bytes = 4 * random.random_range(1_000..9_000_000_u64);
        json!({ "name": format!("g{id}"), "bytes": bytes, "ready_s": ready_s })
    };
    let file = json!({
        "replicas": 8, "samples": 64, "forward_s": 0.05,
        "gradients": (0..8).map(gradient).collect::<Vec<_>>(),
        "exchange": [{ "by": "all-reduce", "start_up_s": 1e-3, "bytes_per_s": 1e8 * means.links }],
    });
    folder.write(&format!("{name}.json"), &file.to_string());
    format!("plan {name}.json") + &nodes(means)
}

/// A step of a model of experts on two hosts.
fn step(folder: &Folder, name: &str, means: Means, random: &mut SmallRng, phase: &str) -> String {
    let (memory, rate) = (1.5e9 * means.memory, 1e9 * means.links);
    let text = format!(
        "nodes: [{{count: 2, device: h100_sxm5_80gb, devices: {}, memory_bytes: {memory:.0}, scaleup: nvlink4, \
         host: pcie5_x16}}]\nnetwork: {{bytes_per_s: {rate:.0}, latency_s: 5e-6}}\n",
        pick(random, &[2, 4])
    );
    folder.write(&format!("{name}.yaml"), &text);
    let batch = pick(random, &[64, 128]);
    let tokens = if phase == "decode" { 1 } else { pick(random, &[256, 1024]) };
    let length =
        if phase == "decode" { String::new() } else { format!(" --sequence-length {tokens}") };
    format!("plan experts.json --cluster {name}.yaml --phase {phase} --batch {batch}{length}")
}

/// Experts of a model on the devices of one host, with visits that are drawn.
fn held(folder: &Folder, name: &str, means: Means, random: &mut SmallRng) -> String {
    let Means { memory, links, devices, .. } = means;
    let (memory, rate) = (4e9 * memory, 1e9 * links);
    let text = format!(
        "nodes: [{{device: h100_sxm5_80gb, devices: {devices}, memory_bytes: {memory:.0}, host: wire}}]\n\
         link_kinds: [{{name: wire, bytes_per_s: {rate:.0}, latency_s: 5e-6}}]\n"
    );
    folder.write(&format!("{name}.yaml"), &text);
    let skew = pick(random, &[0.3, 0.8, 1.2, 2.0]);
    format!("plan experts.json --cluster {name}.yaml --phase decode --expert-skew zipf:{skew}")
}

/// An answer: what is to be least, what no answer falls below, whether the search ended by proof, whether the
/// memory margin is kept.
#[derive(Debug)]
struct Answer {
    value: f64,
    bound: f64,
    is_proved: bool,
    keeps_margin: bool,
}

impl Answer {
    fn of(answer: &Value, line: &str) -> Self {
        let cost = &answer["plan"]["cost"];
        let number =
            |value: &Value, names: &[&str]| names.iter().find_map(|name| value[name].as_f64());
        let value = ["value_ns", "step_time_ns"];
        let rate = |name: &str| answer[name].as_f64().map(|per_s| 1.0 / per_s);
        let figures = if line.contains("energy-per-token") {
            // No bound of energy is told.
            let joules = answer["plan"]["energy"]["joules_per_token"].as_f64();
            joules.zip(Some(0.0))
        } else if let Some(visits) = answer["busiest_visits"].as_f64() {
            let even = answer["even_visits"].as_f64().zip(answer["bound"].as_f64());
            even.map(|(even, bound)| (visits, even * bound))
        } else if let Some(waited) = answer["exposed_s"].as_f64() {
            Some((waited, 0.0))
        } else if line.contains("findep") {
            rate("samples_per_s").zip(rate("bound_samples_per_s"))
        } else {
            let of_cost = number(cost, &value).zip(number(cost, &["bound_ns"]));
            let of_solution = || number(answer, &value).zip(number(answer, &["bound_ns"]));
            of_cost.or_else(of_solution)
        };
        let (value, bound) = figures.unwrap_or_else(|| panic!("{line}: {answer}"));
        let warnings = answer["warnings"].as_array().into_iter().flatten();
        Self {
            value,
            bound,
            is_proved: answer["stop_reason"] == "proved-optimal",
            keeps_margin: !warnings.into_iter().any(|warning| warning["code"] == "margin-not-kept"),
        }
    }
}

/// A question and the same with more of one thing: what is wrong with the pair of answers.
fn broken(
    folder: &Folder,
    (lines, more_of): (&[String; 2], More),
    counts: &mut [usize; 2],
) -> Option<String> {
    let [less, more] = lines.each_ref().map(|line| folder.run(&format!("{line} --json")));
    let context = || format!("{}\n{}\n{}\n{}", lines[0], lines[1], less.stderr, more.stderr);
    assert!([0, 4, 5].contains(&less.code), "{}", context());
    // A refusal is compared with nothing, and what a budget leaves of a larger space is no larger space: an
    // answer that it ended is held against bounds alone, but for a longer one.
    let is_cut =
        |ran: &Ran| ran.code == 5 || ran.stdout.contains("\"stop_reason\": \"node-budget\"");
    let is_less = more_of != Nodes && is_cut(&more);
    if less.code != 0 || (is_less && more.code != 0) {
        return None;
    }
    if more.code != 0 {
        return Some(format!("no answer any more: {}", context()));
    }
    let (less, more) = (less.json(), more.json());
    let answers = [Answer::of(&less, &lines[0]), Answer::of(&more, &lines[1])];
    counts[0] += 1;
    counts[1] += usize::from(answers[0].is_proved);
    let [less, more] = &answers;
    let above = |a: f64, b: f64| a > b * (1.0 + 1e-9);
    let what = if answers.iter().any(|answer| above(answer.bound, answer.value)) {
        "an answer below its own bound"
    } else if above(more.bound, less.value) {
        "an answer below the bound of more"
    } else if above(more.value, less.value) && less.keeps_margin == more.keeps_margin && !is_less {
        "a worse answer with more"
    } else {
        return None;
    };
    Some(format!("{what}: {answers:?}\n{}\n{}", lines[0], lines[1]))
}

fn folder() -> Folder {
    let folder = Folder::new(&diamond());
    folder.write("dense.json", &proofs::config(4).to_string());
    folder.write("experts.json", &experts::config().to_string());
    folder.write("twelve.json", &layered::config(12).to_string());
    folder.write("cluster.yaml", layered::CLUSTER);
    layered::measured(&folder);
    folder
}

#[test]
fn more_of_anything_never_makes_an_answer_worse() {
    let mut broken_by: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let only = std::env::var("MESHWRIGHT_KIND").ok();
    for (at, Kind(kind, n, more, ask)) in KINDS.iter().enumerate() {
        if only.as_ref().is_some_and(|name| name != kind) {
            continue;
        }
        let folder = folder();
        let (mut counts, mut by) = ([0; 2], BTreeMap::new());
        let n = *n.min(&(benchmark_data::cases(*n as u64 / 4) as usize));
        for question in 0..n {
            let seed = (at * 10_000 + question) as u64;
            let mut random = SmallRng::seed_from_u64(seed);
            let means = Means::drawn(&mut random);
            let more_of = more[question % more.len()];
            let larger = means.with(more_of, &mut random);
            let ask = |name: &str, means| ask(&folder, name, means, &mut random.clone());
            let lines = [ask("less", means), ask("more", larger)];
            if let Some(fault) = broken(&folder, (&lines, more_of), &mut counts) {
                *by.entry(more_of).or_insert(0) += 1;
                broken_by
                    .entry(kind)
                    .or_default()
                    .push(format!("{kind} {seed} {more_of:?}: {fault}"));
            }
        }
        println!(
            "{kind}: {n} questions, {} answered, {} of them by proof; broken {by:?}",
            counts[0], counts[1]
        );
        for fault in broken_by.get(kind).into_iter().flatten().take(8) {
            println!("{fault}");
        }
        assert!(2 * counts[0] >= n, "{kind}: too few answers");
    }
    let faults: Vec<_> = broken_by.values().flat_map(|list| list.iter().take(3).cloned()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
