//! Training steps: published step times of five sources, replayed by the judge of pipelines.
//!
//! Each set has its own system and constants; nothing is fitted per row, and no row is judged on
//! constants that it helped to fit, except in sample.

use std::collections::BTreeMap;

use cost_model::calibrate::steps::set::{Row, Set};
use cost_model::kernels::stack::megatron_deepspeed_2021;
use cost_model::links::collective::table::{Table, TableKey, tables};
use cost_model::numeric::score::{Score, score};
use cost_model::runs::counts::{pipeline_bubble, step_flops};
use cost_model::runs::forms::constants::{Constant, Constants};
use cost_model::runs::forms::correct;
use cost_model::runs::forms::corrections::Corrections;
use cost_model::runs::forms::fit::{Free, Sample, fit};
use cost_model::runs::forms::interval::{Figure, Likeness};
use cost_model::runs::forms::run::Gradients;
use cost_model::runs::forms::system::{Among, System};
use ir::measured::{CollectiveOperation, CollectiveRow, GpuFacts, StepRow};
use planner::training::schedule;

use crate::judged::intervals::{LONG, Residual};
use crate::judged::own_steps;
use crate::line::Line;

pub mod regret;

/// Rows of the tables.
#[derive(Clone, Debug, Default)]
pub struct StepTables {
    /// `vtrain_single.csv`.
    pub vtrain_single: Vec<StepRow>,
    /// `vtrain_multi.csv`.
    pub vtrain_multi: Vec<StepRow>,
    /// `megatron_sc21.csv`.
    pub sc21: Vec<StepRow>,
    /// `korthikanti.csv`.
    pub korthikanti: Vec<StepRow>,
    /// `bigscience_a100.csv`.
    pub bigscience: Vec<StepRow>,
}

/// A port of 200 Gb/s InfiniBand per device: 22.5 GB/s achieved (`links.csv`, `ib_hdr_200`).
pub const HDR_PER_DEVICE: f64 = 22.5e9;
/// Four Omni-Path ports of 12.5 GB/s per host of eight, of which 0.8 are achieved
/// (`links.csv`, `omnipath_100`; BLOOM, arXiv:2211.05100).
pub const OMNI_PATH_PER_DEVICE: f64 = 5e9;
/// Four of the twelve NVLink 3 of a device join it to another one in a mesh (the same paper), where
/// the measured all-reduces went through a switch with all twelve.
pub const MESH: f64 = 3.0;

/// Hosts of A100 of which nothing was measured. `None` where the data sheet is unusable.
#[must_use]
pub fn bare_system(facts: &GpuFacts) -> Option<System> {
    System::a100_hosts("a100", facts, BTreeMap::new(), HDR_PER_DEVICE)
}

/// The measured all-reduces inside a host of A100, by group size.
fn all_reduces(rows: &[CollectiveRow]) -> BTreeMap<Among, Table> {
    let wanted = tables(rows).into_iter().filter(|(key, _)| {
        key.system == "a100_sxm"
            && key.library.starts_with("nccl/")
            && key.operation == CollectiveOperation::AllReduce
            && key.ranks == key.ranks_per_node
    });
    let among = |key: TableKey| (key.operation, key.ranks, key.ranks_per_node);
    wanted.map(|(key, table)| (among(key), table)).collect()
}

/// The lines of the table. `facts` is the data sheet of the A100, `collectives` the table of which
/// its all-reduces are taken. No lines where the data sheet is unusable.
/// Beside them how far nominal constants are from each row.
#[must_use]
pub fn lines(
    tables: &StepTables,
    collectives: &[CollectiveRow],
    facts: &GpuFacts,
) -> (Vec<Line>, Vec<Residual>) {
    let all_reduce = all_reduces(collectives);
    let stack = megatron_deepspeed_2021();
    let set = |part, rows: &[StepRow], gradients, network: f64, slower: f64| {
        let mut system = System::a100_hosts(part, facts, all_reduce.clone(), network)?;
        system.slower_inside = slower;
        Some(Set::new(part, rows, Some(gradients), (system, stack.clone()), schedule::megatron))
    };
    use Gradients::{Full, Half};
    let sets = || {
        Some([
            set("steps vTrain single", &tables.vtrain_single, Half, HDR_PER_DEVICE, 1.0)?,
            set("steps vTrain multi", &tables.vtrain_multi, Half, HDR_PER_DEVICE, 1.0)?,
            set("steps Korthikanti", &tables.korthikanti, Full, HDR_PER_DEVICE, 1.0)?,
            set("steps SC21", &tables.sc21, Full, HDR_PER_DEVICE, 1.0)?,
            set("steps BigScience A100", &tables.bigscience, Half, OMNI_PATH_PER_DEVICE, MESH)?,
        ])
    };
    let Some([single, multi, korthikanti, sc21, bigscience]) = sets() else {
        return (Vec::new(), Vec::new());
    };
    let all = [&single, &multi, &korthikanti, &sc21, &bigscience];
    let mut residuals: Vec<Residual> = all.into_iter().flat_map(residuals).collect();
    let mut lines = of_single(&single);
    lines.extend(of_multi(&multi));
    lines.extend(of_korthikanti(&korthikanti));
    lines.extend(of_sc21(&sc21, &[&single, &multi, &korthikanti]));
    lines.extend(of_bigscience(&bigscience));
    for set in all {
        let (line, calibrated) = own_steps(set);
        lines.extend(line);
        residuals.extend(calibrated);
    }
    lines.retain(|line| line.score.n > 0);
    (lines, residuals)
}

/// How far nominal constants are from each row.
fn residuals(set: &Set) -> Vec<Residual> {
    let predicted = set.predict(&Constants::nominal(&set.stack), &Corrections::default());
    let rows = set.rows.iter().zip(predicted);
    rows.map(|(row, time)| residual(set, Figure::Step, (row, time))).collect()
}

fn residual(set: &Set, figure: Figure, (row, time_s): (&Row, f64)) -> Residual {
    let names = (set.stack.name.as_str(), set.system.device.chip);
    Residual {
        figure,
        set: set.part.to_owned(),
        model: row.measured.model.clone(),
        like: Likeness::of(names, row.run.dtype, row.run.degrees(), false),
        is_long: row.measured.sequence >= LONG,
        log: (row.measured.time_s / time_s).ln(),
    }
}

/// The line after a calibration on a few rows of a set, and how far each row is then.
fn own_steps(set: &Set) -> (Option<Line>, Vec<Residual>) {
    let none = Corrections::default();
    let judged = own_steps::judged(&set.samples(|_| true), &set.stack, |rows, constants| {
        let rows: Vec<&Row> = rows.iter().map(|at| &set.rows[*at]).collect();
        set.predict_of(&rows, constants, &none)
    });
    let rows: Vec<(&Row, own_steps::Own)> =
        judged.into_iter().map(|times| (&set.rows[times.at], times)).collect();
    let of = |(row, times): &(&Row, own_steps::Own)| {
        (times.before_s, times.after_s, row.measured.time_s, Set::name(row))
    };
    let line = own_steps::line("steps", set.part, &rows.iter().map(of).collect::<Vec<_>>());
    let far = |(row, times): &(&Row, own_steps::Own)| {
        residual(set, Figure::Calibrated, (*row, times.after_s))
    };
    (line, rows.iter().map(far).collect())
}

/// Judges one set.
struct Judge<'a> {
    set: &'a Set,
    nominal: Constants,
    free: Vec<Free>,
    peers: Vec<(&'static str, f64)>,
    none: Corrections,
}

/// Whether the judged rows of a fold get corrections of their cells from the other rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CellTable {
    Without,
    With,
}

impl<'a> Judge<'a> {
    fn new(set: &'a Set, free: &[Constant]) -> Self {
        Self {
            set,
            nominal: Constants::nominal(&set.stack),
            free: free.iter().map(|constant| Free::usual(*constant)).collect(),
            peers: vec![("constant MFU and bubble, in sample", constant_mfu(set))],
            none: Corrections::default(),
        }
    }

    fn fit(&self, samples: &[Sample<'_>]) -> Constants {
        fit(samples, &self.set.stack, &self.nominal, &self.free)
    }

    fn nothing_fitted(&self) -> Vec<f64> {
        self.set.predict(&self.nominal, &self.none)
    }

    fn in_sample(&self) -> Vec<f64> {
        self.set.predict(&self.fit(&self.set.samples(|_| true)), &self.none)
    }

    /// Each group of rows predicted by constants of the others.
    fn left_out<K: Ord>(&self, group: impl Fn(&Row) -> K, table: CellTable) -> Vec<f64> {
        let set = self.set;
        let mut predicted = vec![f64::NAN; set.rows.len()];
        let mut keys: Vec<K> = set.rows.iter().map(&group).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let others = set.samples(|row| group(row) != key);
            let constants = self.fit(&others);
            let corrections = match table {
                CellTable::Without => Corrections::default(),
                CellTable::With => correct::fit(&others, &set.stack, &constants),
            };
            let all = set.predict(&constants, &corrections);
            for ((row, time), entry) in set.rows.iter().zip(all).zip(&mut predicted) {
                if group(row) == key {
                    *entry = time;
                }
            }
        }
        predicted
    }

    fn line(
        &self,
        way: &'static str,
        predicted: &[f64],
        n_constants: u32,
        target: Option<f64>,
    ) -> Line {
        let set = self.set;
        let [low, high] = spread(set, predicted);
        let mut note = format!("measured over predicted 10 to 90 %: {low:+.1} to {high:+.1} %");
        if !set.refused.is_empty() {
            let lines: Vec<String> = set.refused.iter().map(u64::to_string).collect();
            note += &format!("; refused as faster than the peak rate: lines {}", lines.join(", "));
        }
        Line {
            table: "steps",
            part: set.part.to_owned(),
            way,
            score: judged(set, predicted),
            n_constants,
            target,
            peers: self.peers.clone(),
            note,
            ..Line::default()
        }
    }

    fn n_free(&self) -> u32 {
        self.free.len() as u32
    }
}

fn judged(set: &Set, predicted: &[f64]) -> Score {
    let rows = set.rows.iter().zip(predicted);
    score(rows.map(|(row, time)| (*time, row.measured.time_s, Set::name(row))))
}

/// First and ninth decile of measured over predicted, less one, in percent.
fn spread(set: &Set, predicted: &[f64]) -> [f64; 2] {
    let rows = set.rows.iter().zip(predicted);
    let mut ratios: Vec<f64> = rows.map(|(row, time)| row.measured.time_s / time).collect();
    ratios.sort_by(f64::total_cmp);
    [0.1, 0.9].map(|share| {
        let at = (share * ratios.len().saturating_sub(1) as f64).round() as usize;
        100.0 * (ratios.get(at).copied().unwrap_or(1.0) - 1.0)
    })
}

/// Mean error of the naive model: a constant share of the peak rate, the median over the set, and
/// the bubble `(p - 1) / (v m)`.
fn constant_mfu(set: &Set) -> f64 {
    let ideal = |row: &Row| {
        let measured = &row.measured;
        let StepRow { pipeline, virtual_stages, global_batch, recompute, .. } = *measured;
        let bubble = pipeline_bubble(pipeline, virtual_stages, measured.n_micro_batches());
        let flops = |card| step_flops(card, global_batch, recompute);
        let operations = row.run.card().map_or(f64::NAN, flops);
        operations / measured.gpus as f64 * (1.0 + bubble)
    };
    let mut rates: Vec<f64> = set.rows.iter().map(|row| row.measured.time_s / ideal(row)).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
    score(set.rows.iter().map(|row| (median * ideal(row), row.measured.time_s, ""))).mape
}

fn model(row: &Row) -> String {
    row.measured.model.clone()
}

fn of_single(set: &Set) -> Vec<Line> {
    use Constant::{
        Derating, Elementwise, Ends, LaunchFloor, Neighbour, TensorCollectives, WideLaunch,
    };
    let free = [Derating, LaunchFloor, WideLaunch, Ends, Elementwise, TensorCollectives, Neighbour];
    let judge = Judge::new(set, &free);
    let n = judge.n_free();
    let nominal = judge.nothing_fitted();
    let by_hidden = judge.left_out(|row| row.measured.hidden, CellTable::Without);
    let table = judge.left_out(model, CellTable::With);
    vec![
        judge.line("nothing fitted", &nominal, 0, Some(8.5)),
        judge.line("in sample", &judge.in_sample(), n, Some(6.0)),
        judge.line("leave one model out", &judge.left_out(model, CellTable::Without), n, Some(6.2)),
        judge.line("leave one hidden size out", &by_hidden, n, Some(7.0)),
        judge.line("leave one model out, table", &table, n, Some(2.2)),
        regret::line(set, "nothing fitted", &nominal, (0, None), (None, None)),
        regret::line(
            set,
            "leave one hidden size out",
            &by_hidden,
            (n, Some(3.3)),
            (Some(98.0), None),
        ),
        regret::line(set, "leave one model out, table", &table, (n, Some(0.7)), (None, Some(15.0))),
    ]
}

fn of_multi(set: &Set) -> Vec<Line> {
    use Constant::{Derating, Elementwise, Network, PartCollectives};
    let free = [Derating, Elementwise, PartCollectives, Network];
    let judge = Judge::new(set, &free);
    let n = judge.n_free();
    let nominal = judge.nothing_fitted();
    vec![
        judge.line("nothing fitted", &nominal, 0, Some(10.0)),
        judge.line("in sample", &judge.in_sample(), n, Some(7.8)),
        judge.line("leave one model out", &judge.left_out(model, CellTable::Without), n, Some(8.8)),
        regret::line(set, "nothing fitted", &nominal, (0, Some(0.0)), (None, None)),
    ]
}

fn of_korthikanti(set: &Set) -> Vec<Line> {
    let peers = set
        .rows
        .iter()
        .filter_map(|row| row.measured.peer_s.map(|peer| (peer, row.measured.time_s, "")));
    let calculon = score(peers).mape;
    let mut judge = Judge::new(set, &[Constant::Derating]);
    judge.peers.push(("Calculon", calculon));
    let n = judge.n_free();
    vec![
        judge.line("nothing fitted", &judge.nothing_fitted(), 0, Some(6.3)),
        judge.line("in sample", &judge.in_sample(), n, Some(2.3)),
        judge.line(
            "leave one row out",
            &judge.left_out(|row| row.measured.line, CellTable::Without),
            n,
            Some(3.2),
        ),
        judge.line("leave one model out", &judge.left_out(model, CellTable::Without), n, None),
    ]
}

fn of_sc21(set: &Set, others: &[&Set]) -> Vec<Line> {
    let judge = Judge::new(set, &[Constant::Derating, Constant::LaunchFloor]);
    let n = judge.n_free();
    let samples: Vec<Sample<'_>> = others.iter().flat_map(|set| set.samples(|_| true)).collect();
    let elsewhere = set.predict(&judge.fit(&samples), &judge.none);
    vec![
        judge.line("nothing fitted", &judge.nothing_fitted(), 0, Some(6.3)),
        judge.line("constants of other sets", &elsewhere, n, Some(5.5)),
        judge.line("leave one model out", &judge.left_out(model, CellTable::Without), n, None),
    ]
}

fn of_bigscience(set: &Set) -> Vec<Line> {
    use Constant::{Derating, Network, TensorCollectives, Unaligned};
    let judge = Judge::new(set, &[Derating, TensorCollectives, Network, Unaligned]);
    let n = judge.n_free();
    let nominal = judge.nothing_fitted();
    let left_out = judge.left_out(model, CellTable::Without);
    vec![
        judge.line("nothing fitted", &nominal, 0, Some(10.5)),
        judge.line("in sample", &judge.in_sample(), n, Some(4.5)),
        judge.line("leave one model out", &left_out, n, Some(6.0)),
        regret::line(set, "nothing fitted", &nominal, (0, None), (None, None)),
        regret::line(set, "leave one model out", &left_out, (n, Some(2.0)), (None, None)),
    ]
}
