//! Published runs of today's hardware and of other stacks: steps and passes, each as a plan on hosts
//! of the catalogue, by nominal costs of its stack, replayed by the judge of pipelines.
//!
//! Of several stacks in a table each has its own nominal constants; what is fitted is a factor on
//! them that all rows share.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::numeric::score::{Score, score};
use cost_model::runs::forms::constants::Constant;
use cost_model::runs::forms::interval::{Figure, Likeness};
use cost_model::runs::forms::model::shape::n_devices;

use crate::judged::intervals::{LONG, Residual};
use crate::judged::own_steps::{self, Own};
use crate::line::{Bound, Goal, Line, Scope};
use crate::readers::run::{Hosts, RunRow};

mod choice;
mod kinds;
mod peaks;
mod set;

use choice::{choices, pairs};
pub use set::Machine;
use set::{Row, Set, Term};

/// Rows of the tables.
#[derive(Clone, Debug, Default)]
pub struct RunTables {
    /// Dense rows of `megatron_bridge.csv`.
    pub bridge_dense: Vec<RunRow>,
    /// Dense rows of both of its tables, all systems.
    pub bridge_systems: Vec<RunRow>,
    /// Mixtures of experts of both: a row for each configuration in each release; and the rows that
    /// releases of one configuration tell too differently.
    pub bridge_experts: [Vec<RunRow>; 2],
    /// `megatron_b200.csv`.
    pub b200: Vec<RunRow>,
    /// `megatron_core_h100.csv`.
    pub megatron_core: Vec<RunRow>,
    /// `torchtitan.csv`.
    pub torchtitan: Vec<RunRow>,
    /// `megatron_sc21_table2.csv`: the rows of ZeRO-3, and the others.
    pub sc21: [Vec<RunRow>; 2],
    /// `neusight.csv`: forward passes, and both.
    pub neusight: [Vec<RunRow>; 2],
    /// `llm_foundry.csv`: A100 of 40 and of 80 GB, H100 in 16 and in 8 bits.
    pub foundry: [Vec<RunRow>; 4],
    /// `playbook_nanotron.csv`.
    pub nanotron: Vec<RunRow>,
    /// `megatron_golden.csv`.
    pub golden: Vec<RunRow>,
}

/// What a line has to reach: mean, median and worst error in percent.
#[derive(Clone, Copy, Default)]
struct Wanted {
    mean: Option<f64>,
    median: Option<f64>,
    worst: Option<f64>,
    /// The median of samples of [`LONG`] tokens and more.
    long: Option<f64>,
    /// Least percent of rows that are within 30 %.
    near: Option<f64>,
}

/// Launcher whose presets tell its recipes apart.
const BRIDGE: &str = "megatron-bridge";

/// What a run is priced as that names no stack.
const UNNAMED: &str = "megatron-core";

const fn mean(mean: f64) -> Wanted {
    Wanted { mean: Some(mean), ..NOTHING }
}

const fn median(median: f64, worst: f64) -> Wanted {
    Wanted { median: Some(median), worst: Some(worst), ..NOTHING }
}

const fn middle(median: f64) -> Wanted {
    Wanted { median: Some(median), ..NOTHING }
}

const NOTHING: Wanted = Wanted { mean: None, median: None, worst: None, long: None, near: None };

/// How a table is judged.
struct Protocol {
    part: &'static str,
    /// Constants that its rows are fitted with.
    free: &'static [Term],
    /// Rows that constants are fitted on; all are judged.
    fitted: fn(&RunRow) -> bool,
    /// Which rows are left out together, and how that is called.
    left_out: &'static [(&'static str, fn(&RunRow) -> String)],
    /// What the predictions by rows left out have to reach.
    wanted: Wanted,
    /// What beside hosts and stack tells clusters apart.
    cluster: fn(&RunRow) -> String,
    /// Constants of stacks and generations that were settled on these very rows.
    settled: &'static str,
    /// Whose predictions stand beside.
    peer: &'static str,
}

fn all(_: &RunRow) -> bool {
    true
}

/// Hosts of Megatron-LM's functional tests that take 3 to 13 times what others of their kind do, for
/// no reason that the tests state: GB200 alone (`_1node`), and a cluster of H100.
fn usual_hosts(row: &RunRow) -> bool {
    !row.name.contains("_1node") && row.technique != "dgxh100_dgxc"
}

/// Hosts of nanotron's runs but the largest number of them, on which like configurations took up to 8 times
/// as long as others.
fn usual_network(row: &RunRow) -> bool {
    row.technique != "64 hosts"
}

/// Devices on which a forward pass takes as long in training as in inference, but for dropout.
fn usual_forward(row: &RunRow) -> bool {
    row.technique != "NVIDIA_A100_80GB_PCIe"
}

fn model(row: &RunRow) -> String {
    row.model.clone()
}

fn technique(row: &RunRow) -> String {
    row.technique.clone()
}

fn one_cluster(_: &RunRow) -> String {
    String::new()
}

fn line(row: &RunRow) -> String {
    row.line.to_string()
}

/// The release of a row of Megatron-Bridge, which its name ends with.
fn release(row: &RunRow) -> String {
    row.name.rsplit(", ").next().unwrap_or_default().to_owned()
}

/// What processors the hosts have: those of GB200 and GB300 Grace, others x86.
fn host_kind(row: &RunRow) -> String {
    if row.hosts.device.starts_with("gb") { "Grace" } else { "x86" }.to_owned()
}

fn system(row: &RunRow) -> String {
    row.hosts.device.to_owned()
}

const ATTENTION: Term = Term::Constant(Constant::Attention);
const DERATING: Term = Term::Constant(Constant::Derating);
const ELEMENTWISE: Term = Term::Constant(Constant::Elementwise);
const ENDS: Term = Term::Constant(Constant::Ends);
const LAUNCH_FLOOR: Term = Term::Constant(Constant::LaunchFloor);
const NETWORK: Term = Term::Constant(Constant::Network);
const TENSOR_COLLECTIVES: Term = Term::Constant(Constant::TensorCollectives);

const BRIDGE_DENSE: Protocol = Protocol {
    part: "runs Bridge FP8 dense",
    free: &[DERATING, ELEMENTWISE, TENSOR_COLLECTIVES],
    fitted: all,
    left_out: &[("leave one model out", model)],
    wanted: median(8.0, 20.0),
    cluster: one_cluster,
    settled: "the exposed share of tensor collectives, rates that a hot step keeps up",
    peer: "NeuSight",
};
/// Dense rows of all systems, each by constants of the others.
const BRIDGE_SYSTEMS: Protocol = Protocol {
    part: "runs Bridge dense, systems",
    left_out: &[("leave one system out", system)],
    wanted: median(10.0, 20.0),
    ..BRIDGE_DENSE
};
const BRIDGE_EXPERTS: Protocol = Protocol {
    part: "runs Bridge experts",
    free: &[
        Term::Experts(0),
        Term::Experts(1),
        Term::Experts(2),
        Term::Experts(3),
        Term::Experts(4),
        Term::Experts(5),
        Term::Experts(6),
    ],
    fitted: all,
    left_out: &[
        ("leave one release out", release),
        ("leave one host kind out", host_kind),
        ("leave one model out", model),
    ],
    wanted: Wanted { near: Some(90.0), ..median(10.0, 40.0) },
    cluster: one_cluster,
    settled: "nominal: what experts cost, all of these rows in sight; left out: all seven figures anew, \
              from nominal ones; in both the rate of B200 in 16 bits and each expert's launches",
    peer: "NeuSight",
};
/// Rows of Megatron-Bridge whose configuration ran more than 1.2 times as fast under another release.
const BRIDGE_LISTED: Protocol = Protocol {
    part: "runs Bridge experts, releases differ",
    free: &[],
    left_out: &[],
    wanted: NOTHING,
    settled: "",
    peer: "NeuSight",
    ..BRIDGE_EXPERTS
};
const B200_HALF: Protocol = Protocol {
    part: "runs B200 bf16",
    free: &[LAUNCH_FLOOR, TENSOR_COLLECTIVES],
    fitted: all,
    left_out: &[("leave one model out", model)],
    wanted: median(8.0, 18.0),
    cluster: one_cluster,
    settled: "",
    peer: "SimuMax (refined with these rows)",
};
const MEGATRON_CORE: Protocol = Protocol {
    part: "runs Megatron-Core H100",
    free: &[DERATING, TENSOR_COLLECTIVES],
    fitted: all,
    left_out: &[("leave one model out", model)],
    wanted: median(6.0, 15.0),
    cluster: one_cluster,
    settled: "the exposed share of tensor collectives",
    peer: "NeuSight",
};
const TORCHTITAN: Protocol = Protocol {
    part: "runs torchtitan",
    free: &[DERATING, ELEMENTWISE, TENSOR_COLLECTIVES, NETWORK],
    fitted: all,
    left_out: &[("leave one technique out", technique)],
    wanted: median(10.0, 25.0),
    cluster: one_cluster,
    settled: "products scaled by rows, the share that asynchronous tensor parallelism hides, pieces put in order, the rate at 500 W, the rate of split attention",
    peer: "NeuSight",
};
const FOUNDRY: Protocol = Protocol {
    part: "runs llm-foundry H100 bf16",
    free: &[DERATING, ELEMENTWISE, ATTENTION],
    fitted: all,
    left_out: &[("leave one model out", model)],
    wanted: Wanted { long: Some(12.0), ..middle(8.0) },
    cluster: one_cluster,
    settled: "the rate of attention in Triton and, with those of A100 for comparison, that of products of \
              eager PyTorch",
    peer: "NeuSight",
};
const FOUNDRY_F8: Protocol =
    Protocol { part: "runs llm-foundry H100 fp8", wanted: middle(10.0), ..FOUNDRY };
const FOUNDRY_40: Protocol = Protocol {
    part: "runs llm-foundry A100 40 GB",
    wanted: Wanted { long: Some(9.0), ..middle(2.8) },
    ..FOUNDRY
};
const FOUNDRY_80: Protocol = Protocol {
    part: "runs llm-foundry A100 80 GB",
    wanted: Wanted { long: Some(9.0), ..middle(7.2) },
    ..FOUNDRY
};
const NANOTRON: Protocol = Protocol {
    part: "runs nanotron",
    free: &[DERATING, LAUNCH_FLOOR],
    fitted: usual_network,
    left_out: &[("leave one model out", model)],
    wanted: middle(12.0),
    cluster: technique,
    settled: "launches of a block and of a step, what replicas exchange and when; rows on 64 hosts, of \
              which like ones differ up to 8 times, are judged, but nothing is fitted on them",
    peer: "NeuSight",
};
const SHARDED: Protocol = Protocol {
    part: "runs SC21 ZeRO-3",
    free: &[NETWORK],
    fitted: all,
    left_out: &[("leave one row out", line)],
    wanted: mean(12.0),
    cluster: one_cluster,
    settled: "the exposed share of gathers, one card for a ring and its rate",
    peer: "NeuSight",
};
const PIPELINED: Protocol = Protocol {
    part: "runs SC21 tensor + pipeline",
    free: &[DERATING],
    fitted: all,
    left_out: &[("leave one row out", line)],
    wanted: NOTHING,
    cluster: one_cluster,
    settled: "",
    peer: "NeuSight",
};
const INFERENCE: Protocol = Protocol {
    part: "runs NeuSight inference",
    free: &[DERATING, ELEMENTWISE],
    fitted: all,
    left_out: &[("leave one model out", model)],
    wanted: mean(10.0),
    cluster: one_cluster,
    settled: "the share of the fp32 rate by generation",
    peer: "NeuSight",
};
const TRAINING: Protocol = Protocol {
    part: "runs NeuSight training",
    fitted: usual_forward,
    settled: "the share of the fp32 rate by generation; forward passes of training on the A100 of \
              80 GB take 1.6 to 2 times what they take in inference on the slower one of 40 GB, for \
              no reason that the table states: they are judged, but nothing is fitted on them",
    ..INFERENCE
};
const GOLDEN: Protocol = Protocol {
    part: "runs golden over 0.3 s",
    free: &[LAUNCH_FLOOR, ENDS],
    fitted: usual_hosts,
    left_out: &[("leave one platform out", technique)],
    wanted: middle(15.0),
    cluster: technique,
    settled: "the launch floor of a block, the host's shares of a step, and that a gather of tokens takes \
              as few launches as a flex dispatcher; hosts of unusual slowness (`_1node`, dgxh100_dgxc) are \
              judged, but nothing is fitted on them",
    peer: "NeuSight",
};

/// Constants of stacks and generations as plans have them, some of which were settled on rows of the
/// same table.
const NOMINAL: &str = "nominal";

/// The lines of the table, and how far nominal constants are from each row. `machines` has the hosts
/// that rows name; rows of others are left out.
#[must_use]
pub fn lines(
    tables: &RunTables,
    machines: &BTreeMap<Hosts, Machine>,
) -> (Vec<Line>, Vec<Residual>) {
    let set = |protocol: &Protocol, rows| Set::new(protocol.part, rows, machines);
    let [sharded, pipelined] = &tables.sc21;
    let [inference, training] = &tables.neusight;
    let [foundry_40, foundry_80, foundry, foundry_f8] = &tables.foundry;
    let nanotron = set(&NANOTRON, &tables.nanotron);
    let [experts, listed] = &tables.bridge_experts;
    let (sharded, pipelined) = (set(&SHARDED, sharded), set(&PIPELINED, pipelined));
    let others = [
        (&BRIDGE_DENSE, &tables.bridge_dense),
        (&BRIDGE_SYSTEMS, &tables.bridge_systems),
        (&BRIDGE_EXPERTS, experts),
        (&B200_HALF, &tables.b200),
        (&MEGATRON_CORE, &tables.megatron_core),
        (&TORCHTITAN, &tables.torchtitan),
        (&INFERENCE, inference),
        (&TRAINING, training),
        (&FOUNDRY_40, foundry_40),
        (&FOUNDRY_80, foundry_80),
        (&FOUNDRY, foundry),
        (&FOUNDRY_F8, foundry_f8),
        (&GOLDEN, &tables.golden),
    ];
    let (mut lines, mut residuals) = (Vec::new(), Vec::new());
    let listed = set(&BRIDGE_LISTED, listed);
    let apart =
        of_way(&listed, &BRIDGE_LISTED, NOMINAL, &listed.predict(&Vec::new()), (0, NOTHING));
    for (protocol, rows) in others {
        of_set(&set(protocol, rows), protocol, (&mut lines, &mut residuals));
    }
    of_set(&nanotron, &NANOTRON, (&mut lines, &mut residuals));
    // Most of its rows are those of another set.
    residuals.retain(|residual| residual.set != BRIDGE_SYSTEMS.part);
    of_set(&sharded, &SHARDED, (&mut lines, &mut residuals));
    of_set(&pipelined, &PIPELINED, (&mut lines, &mut residuals));
    // What is judged of these rows is the form alone.
    for line in lines.iter_mut().filter(|l| l.part == PIPELINED.part && l.n_constants == 0) {
        line.target = Some(4.0);
    }
    lines.push(apart);
    lines.push(unnamed(experts, machines));
    lines.extend(peaks::lines(&set(&B200_HALF, &tables.b200)));
    lines.extend(pairs(&sharded, &pipelined));
    lines.extend(choices(&nanotron));
    lines.retain(|line| line.score.n > 0);
    (lines, residuals)
}

/// Mixtures priced as who names no stack gets them priced.
fn unnamed(rows: &[RunRow], machines: &BTreeMap<Hosts, Machine>) -> Line {
    let rows: Vec<RunRow> =
        rows.iter().map(|row| RunRow { stack: UNNAMED, ..row.clone() }).collect();
    let set = Set::new(BRIDGE_EXPERTS.part, &rows, machines);
    let predicted = set.predict(&Vec::new());
    of_way(&set, &BRIDGE_EXPERTS, "no stack named", &predicted, (0, middle(15.0)))
}

/// Nominal constants, groups of rows left out, in sample.
fn of_set(
    set: &Set<'_>,
    protocol: &Protocol,
    (lines, residuals): (&mut Vec<Line>, &mut Vec<Residual>),
) {
    let n = protocol.free.len() as u32;
    let nominal = set.predict(&Vec::new());
    let in_sample = set.predict(&set.fit(protocol.free, protocol.fitted));
    lines.push(of_way(set, protocol, NOMINAL, &nominal, (0, NOTHING)));
    for (way, group) in protocol.left_out {
        let predicted = left_out(set, protocol, *group);
        let line = of_way(set, protocol, way, &predicted, (n, protocol.wanted));
        lines.push(Line { scope: scope(set), ..line });
    }
    lines.push(of_way(set, protocol, "in sample", &in_sample, (n, NOTHING)));
    let residual = |figure, (entry, time): (&Row<'_>, f64)| {
        let row = entry.row;
        let names = (row.stack, entry.machine.system.device.chip);
        Residual {
            figure,
            set: table_of(set.part).to_owned(),
            model: row.model.clone(),
            like: Likeness::of(names, row.dtype, entry.run.degrees(), row.card.has_experts()),
            is_long: sequence(row) >= LONG,
            log: (row.time_s / time).ln(),
        }
    };
    residuals.extend(set.rows.iter().zip(nominal).map(|pair| residual(Figure::Step, pair)));
    lines.extend(kinds::line(set, protocol));
    let judged = set.own_steps(protocol.cluster);
    let row = |(row, times): &(&Row<'_>, Own)| {
        (times.before_s, times.after_s, row.row.time_s, row.row.name.clone())
    };
    lines.extend(own_steps::line("runs", set.part, &judged.iter().map(row).collect::<Vec<_>>()));
    let calibrated =
        |(row, times): (&Row<'_>, Own)| residual(Figure::Calibrated, (row, times.after_s));
    residuals.extend(judged.into_iter().map(calibrated));
}

/// What rows ran on, and what they are; `None` of no rows.
fn scope(set: &Set<'_>) -> Option<Scope> {
    let joined = |name: fn(&RunRow) -> String| {
        let names: BTreeSet<String> = set.rows.iter().map(|row| name(row.row)).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    let has_experts = |row: &Row<'_>| row.row.card.has_experts();
    let n = || set.rows.iter().map(|row| n_devices(row.run.degrees()));
    Some(Scope {
        software: joined(|row| family(row.stack)),
        devices: joined(system),
        n_devices: (n().min()?, n().max()?),
        types: joined(|row| row.dtype.to_string()),
        models: match (set.rows.iter().any(has_experts), set.rows.iter().all(has_experts)) {
            (_, true) => "experts",
            (true, false) => "dense, experts",
            (false, false) => "dense",
        },
    })
}

fn family(stack: &str) -> String {
    if stack.starts_with(BRIDGE) { BRIDGE } else { stack }.to_owned()
}

/// Parts of one table, which are no evidence for each other.
fn table_of(part: &str) -> &str {
    const FOUNDRY: &str = "runs llm-foundry";
    if part.starts_with(FOUNDRY) { FOUNDRY } else { part }
}

/// Each group of rows predicted by factors of the others.
fn left_out(set: &Set<'_>, protocol: &Protocol, group: fn(&RunRow) -> String) -> Vec<f64> {
    let Protocol { free, fitted, .. } = *protocol;
    let mut keys: Vec<String> = set.rows.iter().map(|row| group(row.row)).collect();
    let mut predicted = vec![f64::NAN; keys.len()];
    let all = keys.clone();
    keys.sort();
    keys.dedup();
    for key in keys {
        let times = set.predict(&set.fit(free, |row| group(row) != key && fitted(row)));
        for ((other, time), entry) in all.iter().zip(times).zip(&mut predicted) {
            if *other == key {
                *entry = time;
            }
        }
    }
    predicted
}

fn of_way(
    set: &Set<'_>,
    protocol: &Protocol,
    way: &'static str,
    predicted: &[f64],
    (n_constants, wanted): (u32, Wanted),
) -> Line {
    let rows = set.rows.iter().zip(predicted);
    let score = score(rows.map(|(row, time)| (*time, row.row.time_s, row.row.name.clone())));
    let near = wanted.near.map(|least| {
        let is_near = |(row, time): &(&Row<'_>, &f64)| (*time / row.row.time_s - 1.0).abs() <= 0.3;
        let n = set.rows.iter().zip(predicted).filter(is_near).count();
        let figure = 100.0 * n as f64 / set.rows.len().max(1) as f64;
        Goal { what: "rows within 30 %", figure, bound: Some(Bound::AtLeast(least)) }
    });
    let peers = set.rows.iter().filter_map(|row| Some((row.row.peer_s?, row.row.time_s, "")));
    let peers = self::score(peers);
    Line {
        table: "runs",
        part: set.part.to_owned(),
        way,
        goals: goals(&score, (wanted, long_median(set, predicted)))
            .into_iter()
            .chain(near)
            .collect(),
        n_constants,
        target: wanted.mean,
        peers: if peers.n > 0 { vec![(protocol.peer, peers.mape)] } else { Vec::new() },
        note: match protocol.settled {
            "" => String::new(),
            settled => format!("settled on these rows: {settled}"),
        },
        score,
        ..Line::default()
    }
}

fn goals(score: &Score, (wanted, long): (Wanted, f64)) -> Vec<Goal> {
    let goals = [
        ("median error", score.median, wanted.median),
        ("worst error", score.worst, wanted.worst),
        ("median error of samples of 16,384 tokens and more", long, wanted.long),
    ];
    let goal = |(what, figure, most): (&'static str, f64, Option<f64>)| {
        Some(Goal { what, figure, bound: Some(Bound::AtMost(most?)) })
    };
    goals.into_iter().filter_map(goal).collect()
}

fn sequence(row: &RunRow) -> u64 {
    row.card.groups.first().map_or(0, |group| group.card.sequence)
}

/// Median error of long samples.
fn long_median(set: &Set<'_>, predicted: &[f64]) -> f64 {
    let long = set.rows.iter().zip(predicted).filter(|(row, _)| sequence(row.row) >= LONG);
    score(long.map(|(row, time)| (*time, row.row.time_s, ""))).median
}
