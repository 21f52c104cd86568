//! Peak memory of training runs against published figures.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::kernels::stack::{DEEPSPEED_UPDATE, megatron_core};
use cost_model::numeric::score::score;
use cost_model::runs::counts::block_parameters;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::interval::{Figure, Likeness};
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::run::Run;
use cost_model::runs::forms::system::System;
use cost_model::runs::judge::judge_plan;
use cost_model::runs::judge::memory::HoldingKind;
use cost_model::runs::judge::report::RankReport;
use cost_model::runs::memory::Reserve;
use cost_model::runs::memory::states::state_bytes;
use cost_model::runs::oracle::{StageFigures, StageOracle, costs, figures};
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::chip::Chip;
use ir::cluster::MARGIN;
use ir::plan::{Parallelism, Plan};
use ir::schedule::Schedule;
use ir::stack::{AttentionKernel, Keeps, Stack};
use ir::tensor::DType;
use ir::workload::Optimizer;
use planner::training::schedule;

use super::intervals::{LONG, Residual};
use super::published;
use crate::line::{Bound, Goal, Line, Measure};
use crate::readers::memory::{JudgedRank, MemoryMetric, MemoryRow};

/// Percent that a row may be off.
const NEAR: f64 = 10.0;
/// Constants found on these very rows: resident bytes, bytes per logit of the loss, of a fused
/// loss and of a deferred embedding gradient.
const N_CONSTANTS: u32 = 4;
/// And of mixtures of experts: spread of loads, their resident bytes, gradients in flight, the gathered
/// embedding.
const N_EXPERT_CONSTANTS: u32 = N_CONSTANTS + 4;

/// Allocator peaks of functional tests, split by whether their layout is as far known as a
/// prediction needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoldenRows<'a> {
    /// Rows that state their layout.
    pub stated: &'a [MemoryRow],
    /// Rows that don't, and mixtures of eight experts, whose load per rank nobody states.
    pub unsure: &'a [MemoryRow],
    /// Mixtures of experts whose peak is of the run alone.
    pub experts: &'a [MemoryRow],
}

/// What replays the rows: any system, as bytes depend on the kind of the device alone, which rows
/// state.
#[derive(Clone, Copy, Debug)]
pub struct Replayer<'a> {
    /// The system.
    pub system: &'a System,
}

/// A row as a plan that was priced and judged.
struct Replayed {
    /// By stage in model order.
    figures: Vec<StageFigures>,
    /// By pipeline rank.
    ranks: Vec<RankReport>,
}

impl Replayer<'_> {
    /// A row under an attention kernel and degrees; `None` where it has no schedule.
    fn replayed(
        &self,
        row: &MemoryRow,
        attention: AttentionKernel,
        (degrees, recompute): (&Parallelism, Recompute),
    ) -> Option<Replayed> {
        // Chunks of a rank take micro-batches in rounds of one per rank; a last round that is not
        // full keeps no more than a full one.
        let rounds = match degrees.virtual_stages {
            0 | 1 => 1,
            _ => u64::from(degrees.pipeline.max(1)),
        };
        let n_micro_batches = degrees.n_micro_batches.checked_next_multiple_of(rounds)?;
        let degrees = &Parallelism { n_micro_batches, ..degrees.clone() };
        let n_micro_batches = u32::try_from(n_micro_batches).ok()?;
        let grid = schedule::megatron(degrees.pipeline, degrees.virtual_stages, n_micro_batches);
        let run = Run::equal(row.card.clone(), degrees.clone(), recompute);
        let schedule = Schedule { grid: Some(grid.ok()?), ..Schedule::default() };
        let plan = Plan { schedule, ..run.plan };
        // None of these tables' runs kept placeholders of gradients.
        let stack = Stack { attention, keeps: Keeps::default(), ..megatron_core() };
        let constants = Constants::nominal(&stack);
        let mut system = self.system.clone();
        system.device.chip = row.chip;
        let pricing = Pricing {
            format: row.format,
            features: &row.features,
            ..Pricing::unlimited(&run.model, &system, &stack, &constants)
        };
        let priced = pricing.price(degrees, degrees.pipeline <= 1).ok()?;
        let figures = figures(&*priced, run.model.n_blocks(), &plan).ok()?;
        let costs = costs(&pricing, &plan).ok()?;
        let ranks = judge_plan(&costs, &plan).ok()?.report.ranks;
        Some(Replayed { figures, ranks })
    }

    /// Peak of the judged rank; not a number where the row has no schedule.
    fn peak(&self, row: &MemoryRow, attention: AttentionKernel, reserve: Reserve) -> f64 {
        let setup = (&row.parallelism, row.recompute);
        let Some(Replayed { ranks, .. }) = self.replayed(row, attention, setup) else {
            return f64::NAN;
        };
        let chosen = match row.rank {
            JudgedRank::First => ranks.get(..1),
            JudgedRank::Last => ranks.get(ranks.len().saturating_sub(1)..),
            JudgedRank::Largest => Some(&ranks[..]),
        };
        let peaks = chosen.unwrap_or_default().iter().map(|rank| rank.peak.bytes as f64);
        let peak = peaks.fold(0.0, f64::max);
        peak + reserve.bytes(&row.parallelism, peak)
    }

    /// Peaks with the flash kernel and without it.
    fn both(&self, row: &MemoryRow) -> [f64; 2] {
        [AttentionKernel::Flash, AttentionKernel::Unfused]
            .map(|kernel| self.peak(row, kernel, Reserve::allocator_peak()))
    }

    /// Lines of allocator peaks, and how far the estimate is from each row whose layout and load are
    /// known.
    #[must_use]
    pub fn golden(&self, rows: &GoldenRows) -> (Vec<Line>, Vec<Residual>) {
        let (mut lines, mut residuals) = (Vec::new(), Vec::new());
        let peaks = |rows: &[MemoryRow]| rows.iter().map(|row| self.both(row)).collect::<Vec<_>>();
        if !rows.stated.is_empty() {
            let peaks = peaks(rows.stated);
            let dense = rows.stated.iter().zip(&peaks);
            let dense = dense.filter(|(row, _)| row.card.experts.is_none());
            residuals.extend(dense.map(|row| of_tests("memory golden", row)));
            lines.push(nearer(rows.stated, &peaks));
            lines.push(layout_left_out((rows.stated, &peaks), median));
            lines.push(larger(rows.stated, &peaks));
        }
        if !rows.unsure.is_empty() {
            let peaks = peaks(rows.unsure);
            let pairs = rows.unsure.iter().zip(&peaks);
            let pairs = pairs.map(|(row, both)| pair(row, nearer_kernel(row, both, 0.0)));
            lines.push(Line {
                part: "Megatron golden, layout or load not stated, nearer kernel".to_owned(),
                way: "in sample",
                note: "eight experts, or the tensor degree is blank and taken as 1".to_owned(),
                ..line(pairs, N_CONSTANTS)
            });
        }
        if !rows.experts.is_empty() {
            let peaks = peaks(rows.experts);
            let pairs = rows.experts.iter().zip(&peaks);
            residuals.extend(pairs.map(|row| of_tests("memory golden, experts", row)));
            lines.extend(mixtures(rows.experts, &peaks));
        }
        (lines, residuals)
    }

    /// The line of figures that follow from a paper's formulas: they test the formulas.
    #[must_use]
    pub fn formulas(&self, rows: &[MemoryRow]) -> Vec<Line> {
        if rows.is_empty() {
            return Vec::new();
        }
        let figure = |row: &MemoryRow| self.figure(row).unwrap_or(f64::NAN);
        vec![Line {
            part: "Korthikanti 2022, figures of its formulas".to_owned(),
            way: "nothing fitted",
            note: "the paper computed them: they test the form, not the world".to_owned(),
            ..line(rows.iter().map(|row| pair(row, figure(row))), 0)
        }]
    }

    fn figure(&self, row: &MemoryRow) -> Option<f64> {
        let of =
            |degrees, recompute| self.replayed(row, AttentionKernel::Unfused, (degrees, recompute));
        let replayed = of(&row.parallelism, row.recompute)?;
        let (first, rank) = (replayed.figures.first()?, replayed.ranks.first()?);
        Some(match row.metric {
            MemoryMetric::Peak => rank.peak.bytes as f64,
            MemoryMetric::Activations => activations(&replayed.figures, rank),
            MemoryMetric::MatrixStates => {
                let h = row.card.hidden as f64;
                let matrices = 12.0 * h * h / block_parameters(&row.card).total().max(1) as f64;
                let n_chunks = f64::from(row.parallelism.virtual_stages.max(1));
                matrices * n_chunks * first.states
            }
            MemoryMetric::PercentOfTensorParallel => {
                let plain =
                    Parallelism { sequence: SequenceParallel::Off, ..row.parallelism.clone() };
                let whole = of(&plain, Recompute::None)?;
                100.0 * first.activation / whole.figures.first()?.activation
            }
        })
    }

    /// Lines of what nvidia-smi showed: with nominal reserves, and with one that the other models
    /// show; and how far off the former are.
    #[must_use]
    pub fn device(&self, rows: &[MemoryRow]) -> (Vec<Line>, Vec<Residual>) {
        if rows.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let bare = |row: &MemoryRow| self.peak(row, AttentionKernel::Unfused, Reserve::NONE);
        let bare: Vec<f64> = rows.iter().map(bare).collect();
        let whole = |(row, bare): (&MemoryRow, &f64)| {
            bare + Reserve::device().bytes(&row.parallelism, *bare) + self.deepspeed(row)
        };
        let nominal: Vec<f64> = rows.iter().zip(&bare).map(whole).collect();
        let names = ("megatron-deepspeed", Chip::A100);
        let pairs = rows.iter().zip(&nominal);
        let each = pairs.map(|(row, peak)| residual("memory BigScience A100", names, (row, *peak)));
        let residuals = each.collect();
        let nominal = rows.iter().zip(&nominal).map(|(row, peak)| pair(row, *peak));
        let groups: BTreeSet<&str> = rows.iter().map(|row| row.group.as_str()).collect();
        let mut pairs = Vec::new();
        for group in groups {
            let errors = rows.iter().zip(&bare).filter(|(row, _)| row.group != group);
            let reserve = median(errors.map(|(row, bare)| row.value - bare).collect());
            let left_out = rows.iter().zip(&bare).filter(|(row, _)| row.group == group);
            pairs.extend(left_out.map(|(row, bare)| pair(row, bare + reserve)));
        }
        let part = || "BigScience A100, nvidia-smi".to_owned();
        let lines = vec![
            Line {
                part: part(),
                way: "nothing fitted",
                note: "nominal context, communicators and fragmentation; DeepSpeed's update and buckets"
                    .to_owned(),
                ..line(nominal, 0)
            },
            Line {
                part: part(),
                way: "leave one model out",
                note: "one reserve, the median of the other models".to_owned(),
                ..line(pairs.into_iter(), 1)
            },
        ];
        (lines, residuals)
    }

    /// Bytes that DeepSpeed's update takes of the device besides.
    fn deepspeed(&self, row: &MemoryRow) -> f64 {
        let degrees = &row.parallelism;
        let Some(replayed) = self.replayed(row, AttentionKernel::Unfused, (degrees, row.recompute))
        else {
            return f64::NAN;
        };
        let replicas = f64::from(degrees.data.max(1));
        let each = state_bytes(row.format, Optimizer::AdamW, degrees.zero, replicas).total();
        let states = replayed.figures.iter().map(|stage| stage.states).fold(0.0, f64::max);
        let updating = DEEPSPEED_UPDATE.per_parameter(degrees.zero > ZeroStage::None, replicas);
        updating * states / each + DEEPSPEED_UPDATE.buckets
    }

    /// The line of fully sharded runs, and how far off each is.
    #[must_use]
    pub fn sharded(&self, rows: &[MemoryRow]) -> (Vec<Line>, Vec<Residual>) {
        if rows.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let reserved =
            |row: &MemoryRow| self.peak(row, AttentionKernel::Flash, Reserve::reserved());
        let peaks: Vec<f64> = rows.iter().map(reserved).collect();
        let pairs = || rows.iter().zip(peaks.iter().copied());
        let names = ("torchtitan", Chip::H100);
        let residuals = pairs().map(|row| residual("memory torchtitan", names, row)).collect();
        let lines = vec![Line {
            part: "torchtitan, fully sharded".to_owned(),
            way: "in sample",
            target: Some(12.0),
            note: "bytes of a loss that tensor ranks share out were found on two of the rows"
                .to_owned(),
            ..guarded(line(pairs().map(|(row, peak)| pair(row, peak)), 1), 10.0)
        }];
        (lines, residuals)
    }
}

/// Bytes that blocks keep for their backward passes at the peak of a rank.
fn activations(figures: &[StageFigures], rank: &RankReport) -> f64 {
    let stashes = rank.alive.iter().filter(|holding| holding.what == HoldingKind::Stash);
    let of = |holding: &cost_model::runs::judge::memory::Holding| {
        let stage = figures.get(holding.stage?.index())?;
        Some(f64::from(holding.n_micro_batches) * stage.activation)
    };
    stashes.filter_map(of).sum()
}

/// How far an estimate is from a row of a set that ran under a stack on a kind of device. No table
/// prices states or activations of less than 16 bits.
fn residual(set: &str, names: (&str, Chip), (row, peak): (&MemoryRow, f64)) -> Residual {
    Residual {
        figure: Figure::Peak,
        set: set.to_owned(),
        model: row.group.clone(),
        like: Likeness::of(names, DType::Bf16, &row.parallelism, row.card.experts.is_some()),
        is_long: row.card.sequence >= LONG,
        log: (row.value / peak).ln(),
    }
}

/// The same of a functional test, whose bytes are those of any run of Megatron-Core, by the kernel
/// that is nearer, as a plan knows its own.
fn of_tests(set: &str, (row, both): (&MemoryRow, &[f64; 2])) -> Residual {
    let names = ("megatron-core", row.chip);
    residual(set, names, (row, nearer_kernel(row, both, 0.0)))
}

/// Predicted and measured bytes, and the name of the row.
pub(super) type Pair = (f64, f64, String);

fn pair(row: &MemoryRow, predicted: f64) -> Pair {
    (predicted, row.value, row.name.clone())
}

/// What the goals of every line call its largest error from below.
const UNDER: &str = "worst under-prediction";

/// The line of some rows, with how far and how often they are under-predicted.
pub(super) fn line(pairs: impl Iterator<Item = Pair>, n_constants: u32) -> Line {
    let pairs: Vec<Pair> = pairs.collect();
    let under = |least: f64| {
        let is_under = |(p, m, _): &&Pair| 100.0 * (1.0 - p / m) > least;
        100.0 * pairs.iter().filter(is_under).count() as f64 / pairs.len().max(1) as f64
    };
    let errors = pairs.iter().map(|(predicted, measured, _)| 100.0 * (1.0 - predicted / measured));
    let goal = |what, figure| Goal { what, figure, bound: None };
    let goals = vec![
        goal(UNDER, errors.fold(0.0, f64::max)),
        goal("rows under-predicted", under(0.0)),
        goal("rows under by more than the planner's margin", under(100.0 * MARGIN)),
    ];
    let score = score(pairs.into_iter());
    let (table, measure) = ("memory", Measure::MemoryError);
    Line { table, measure, score, n_constants, goals, ..Line::default() }
}

/// The line where no row may be under-predicted by more than so many percent.
pub(super) fn guarded(mut line: Line, most: f64) -> Line {
    for goal in line.goals.iter_mut().filter(|goal| goal.what == UNDER) {
        goal.bound = Some(Bound::AtMost(most));
    }
    line
}

/// The one of both peaks, with `more` bytes, that is nearer to what was measured.
fn nearer_kernel(row: &MemoryRow, both: &[f64; 2], more: f64) -> f64 {
    let [flash, unfused] = both.map(|peak| peak + more);
    let off = |peak: f64| (peak - row.value).abs();
    if off(flash) <= off(unfused) { flash } else { unfused }
}

fn percent_within(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut n, mut near) = (0, 0);
    for (predicted, measured) in pairs {
        n += 1;
        near += usize::from(100.0 * (predicted / measured - 1.0).abs() <= NEAR);
    }
    100.0 * f64::from(u32::try_from(near).unwrap_or(u32::MAX)) / f64::from(n.max(1))
}

fn nearer(rows: &[MemoryRow], peaks: &[[f64; 2]]) -> Line {
    let nearest = |(row, both): (&MemoryRow, &[f64; 2])| nearer_kernel(row, both, 0.0);
    let predicted: Vec<f64> = rows.iter().zip(peaks).map(nearest).collect();
    let measured = || predicted.iter().copied().zip(rows.iter().map(|row| row.value));
    let mut line =
        line(rows.iter().zip(&predicted).map(|(row, peak)| pair(row, *peak)), N_CONSTANTS);
    line.goals.push(Goal {
        what: "rows within 10 %",
        figure: percent_within(measured()),
        bound: Some(Bound::AtLeast(96.0)),
    });
    Line {
        part: "Megatron golden, nearer kernel".to_owned(),
        way: "in sample",
        target: Some(3.0),
        published: published::NEARER_KERNEL.to_vec(),
        note: format!(
            "the table does not say which attention kernel ran: the nearer of two predictions is \
             an upper bound on quality, not a prediction error; {} layouts",
            layouts(rows, peaks).len()
        ),
        ..line
    }
}

/// Lines of mixtures of experts: in sample, and each layout with the resident bytes that the others
/// show where one that is too little counts three times one that is too much.
fn mixtures(rows: &[MemoryRow], peaks: &[[f64; 2]]) -> [Line; 2] {
    let part = || "Megatron golden, mixtures of experts, nearer kernel".to_owned();
    let nearest = |(row, both): (&MemoryRow, &[f64; 2])| pair(row, nearer_kernel(row, both, 0.0));
    let in_sample = Line {
        part: part(),
        way: "in sample",
        target: Some(5.0),
        note:
            "spread of loads, resident bytes, gradients in flight and the gathered embedding were \
               found on these rows"
                .to_owned(),
        ..guarded(line(rows.iter().zip(peaks).map(nearest), N_EXPERT_CONSTANTS), 6.0)
    };
    let left_out = Line { part: part(), ..layout_left_out((rows, peaks), upper_quartile) };
    [in_sample, Line { target: Some(5.0), ..guarded(left_out, 6.0) }]
}

/// Rows of one layout, with their peaks under both kernels.
type Layout<'r> = Vec<(&'r MemoryRow, &'r [f64; 2])>;

/// Rows by what a layout is: degrees, sharding, recompute.
fn layouts<'r>(rows: &'r [MemoryRow], peaks: &'r [[f64; 2]]) -> BTreeMap<String, Layout<'r>> {
    let mut layouts: BTreeMap<String, Layout<'r>> = BTreeMap::new();
    for (row, both) in rows.iter().zip(peaks) {
        let p = &row.parallelism;
        let degrees = [p.tensor, p.pipeline, p.context, p.expert, p.virtual_stages, p.data];
        let key = format!("{degrees:?} {:?} {:?}", p.zero, row.recompute);
        layouts.entry(key).or_default().push((row, both));
    }
    layouts
}

/// Each layout with the resident bytes that the others show: some middle of their errors.
fn layout_left_out(
    (rows, peaks): (&[MemoryRow], &[[f64; 2]]),
    middle: fn(Vec<f64>) -> f64,
) -> Line {
    let layouts = layouts(rows, peaks);
    let missing: BTreeMap<&str, Vec<f64>> = layouts
        .iter()
        .map(|(key, rows)| {
            let errors = rows.iter().map(|(row, both)| row.value - nearer_kernel(row, both, 0.0));
            (key.as_str(), errors.collect())
        })
        .collect();
    let mut pairs = Vec::new();
    for (key, rows) in &layouts {
        let others = missing.iter().filter(|(other, _)| **other != key.as_str());
        let more = middle(others.flat_map(|(_, errors)| errors.iter().copied()).collect());
        let corrected =
            |(row, both): &(&'_ MemoryRow, &[f64; 2])| pair(row, nearer_kernel(row, both, more));
        pairs.extend(rows.iter().map(corrected));
    }
    Line {
        part: "Megatron golden, nearer kernel".to_owned(),
        way: "leave one layout out",
        note: "resident bytes fitted on the other layouts".to_owned(),
        ..line(pairs.into_iter(), N_CONSTANTS)
    }
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 1, 2)
}

fn upper_quartile(values: Vec<f64>) -> f64 {
    quantile(values, 3, 4)
}

fn quantile(mut values: Vec<f64>, part: usize, of: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * part / of).copied().unwrap_or_default()
}

fn larger(rows: &[MemoryRow], peaks: &[[f64; 2]]) -> Line {
    let predicted: Vec<f64> = peaks.iter().map(|both| both[0].max(both[1])).collect();
    let errors = || rows.iter().zip(&predicted).map(|(row, peak)| 100.0 * (peak / row.value - 1.0));
    let n_rows = rows.len().max(1) as f64;
    let pairs = rows.iter().zip(&predicted).map(|(row, peak)| pair(row, *peak));
    let mut line = guarded(line(pairs, N_CONSTANTS), NEAR);
    line.goals.push(Goal {
        what: "mean over-prediction",
        figure: errors().sum::<f64>() / n_rows,
        bound: Some(Bound::AtMost(21.0)),
    });
    Line {
        part: "Megatron golden, larger kernel".to_owned(),
        way: "in sample",
        published: published::LARGER_KERNEL.to_vec(),
        note: "what a planner has to assume where the kernel is not known".to_owned(),
        ..line
    }
}
