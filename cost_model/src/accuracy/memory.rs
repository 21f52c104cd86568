//! Peak memory of training runs against published figures.

use std::collections::{BTreeMap, BTreeSet};

use ir::measured::memory::{JudgedRank, MemoryMetric, MemoryRow};
use ir::stack::AttentionKernel;
use ir::tensor::DType;

use super::published;
use crate::numeric::score::{Bound, Goal, Line, Measure, Score, score};
use crate::runs::counts::block_parameters;
use crate::runs::memory::activations::{Kept, block_bytes};
use crate::runs::memory::{LineKind, MemoryLine, Reserve, TrainingRun, equal_shares};

/// Percent that a row may be off.
const NEAR: f64 = 10.0;
/// Constants found on these very rows: resident bytes, bytes per logit of the loss, of a fused
/// loss and of a deferred embedding gradient.
const N_CONSTANTS: u32 = 4;

/// Allocator peaks of functional tests, split by whether their layout is as far known as a
/// prediction needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoldenRows<'a> {
    /// Rows that state their layout.
    pub stated: &'a [MemoryRow],
    /// Rows that don't, and mixtures of eight experts, whose load per rank nobody states.
    pub unsure: &'a [MemoryRow],
}

/// Lines of allocator peaks.
#[must_use]
pub fn golden(rows: &GoldenRows) -> Vec<Line> {
    let mut lines = Vec::new();
    if !rows.stated.is_empty() {
        lines.push(nearer(rows.stated));
        lines.push(layout_left_out(rows.stated));
        lines.push(larger(rows.stated));
    }
    if !rows.unsure.is_empty() {
        let pairs = rows.unsure.iter().map(|row| (nearer_kernel(row, 0.0), row.value, &row.name));
        lines.push(Line {
            part: "Megatron golden, layout or load not stated, nearer kernel".to_owned(),
            way: "in sample",
            note: "eight experts, or the tensor degree is blank and taken as 1".to_owned(),
            ..line(score(pairs), N_CONSTANTS)
        });
    }
    lines
}

fn line(score: Score, n_constants: u32) -> Line {
    Line { table: "memory", measure: Measure::MemoryError, score, n_constants, ..Line::default() }
}

/// Peak of the judged rank.
fn peak(row: &MemoryRow, attention: AttentionKernel, reserve: Reserve) -> f64 {
    let run = TrainingRun { reserve, ..run(row, attention) };
    let shares = equal_shares(&row.card, &row.parallelism);
    let chosen = match row.rank {
        JudgedRank::First => shares.get(..1),
        JudgedRank::Last => shares.get(shares.len().saturating_sub(1)..),
        JudgedRank::Largest => Some(&shares[..]),
    };
    chosen.unwrap_or_default().iter().map(|share| run.peak(*share)).fold(0.0, f64::max)
}

fn run(row: &MemoryRow, attention: AttentionKernel) -> TrainingRun<'_> {
    TrainingRun {
        card: &row.card,
        parallelism: &row.parallelism,
        recompute: row.recompute,
        attention,
        format: row.format,
        features: &row.features,
        reserve: Reserve::allocator_peak(),
    }
}

/// Peaks with the flash kernel and without it.
fn both(row: &MemoryRow) -> [f64; 2] {
    [AttentionKernel::Flash, AttentionKernel::Unfused]
        .map(|kernel| peak(row, kernel, Reserve::allocator_peak()))
}

/// The one of both peaks, with `more` bytes, that is nearer to what was measured.
fn nearer_kernel(row: &MemoryRow, more: f64) -> f64 {
    let [flash, unfused] = both(row).map(|peak| peak + more);
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

fn nearer(rows: &[MemoryRow]) -> Line {
    let predicted: Vec<f64> = rows.iter().map(|row| nearer_kernel(row, 0.0)).collect();
    let measured = || predicted.iter().copied().zip(rows.iter().map(|row| row.value));
    let pairs = rows.iter().zip(&predicted).map(|(row, peak)| (*peak, row.value, &row.name));
    Line {
        part: "Megatron golden, nearer kernel".to_owned(),
        way: "in sample",
        target: Some(3.0),
        published: published::NEARER_KERNEL.to_vec(),
        goals: vec![Goal {
            what: "rows within 10 %",
            figure: percent_within(measured()),
            bound: Some(Bound::AtLeast(96.0)),
        }],
        note: format!(
            "the table does not say which attention kernel ran: the nearer of two predictions is \
             an upper bound on quality, not a prediction error; {} layouts",
            layouts(rows).len()
        ),
        ..line(score(pairs), N_CONSTANTS)
    }
}

/// Rows by what a layout is: degrees, sharding, recompute.
fn layouts(rows: &[MemoryRow]) -> BTreeMap<String, Vec<&MemoryRow>> {
    let mut layouts: BTreeMap<String, Vec<&MemoryRow>> = BTreeMap::new();
    for row in rows {
        let p = &row.parallelism;
        let degrees = [p.tensor, p.pipeline, p.context, p.expert, p.virtual_stages, p.data];
        let key = format!("{degrees:?} {:?} {:?}", p.zero, row.recompute);
        layouts.entry(key).or_default().push(row);
    }
    layouts
}

/// Each layout with the resident bytes that the others show: their median error.
fn layout_left_out(rows: &[MemoryRow]) -> Line {
    let layouts = layouts(rows);
    let missing: BTreeMap<&str, Vec<f64>> = layouts
        .iter()
        .map(|(key, rows)| {
            let errors = rows.iter().map(|row| row.value - nearer_kernel(row, 0.0));
            (key.as_str(), errors.collect())
        })
        .collect();
    let mut pairs = Vec::new();
    for (key, rows) in &layouts {
        let others = missing.iter().filter(|(other, _)| **other != key.as_str());
        let more = median(others.flat_map(|(_, errors)| errors.iter().copied()).collect());
        pairs.extend(rows.iter().map(|row| (nearer_kernel(row, more), row.value, &row.name)));
    }
    Line {
        part: "Megatron golden, nearer kernel".to_owned(),
        way: "leave one layout out",
        note: "resident bytes fitted on the other layouts".to_owned(),
        ..line(score(pairs.into_iter()), N_CONSTANTS)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn larger(rows: &[MemoryRow]) -> Line {
    let predicted: Vec<f64> =
        rows.iter().map(|row| both(row).into_iter().fold(0.0, f64::max)).collect();
    let errors = || rows.iter().zip(&predicted).map(|(row, peak)| 100.0 * (peak / row.value - 1.0));
    let n_rows = rows.len().max(1) as f64;
    let pairs = rows.iter().zip(&predicted).map(|(row, peak)| (*peak, row.value, &row.name));
    Line {
        part: "Megatron golden, larger kernel".to_owned(),
        way: "in sample",
        goals: vec![
            Goal {
                what: "worst under-prediction",
                figure: -errors().fold(0.0, f64::min),
                bound: Some(Bound::AtMost(NEAR)),
            },
            Goal {
                what: "mean over-prediction",
                figure: errors().sum::<f64>() / n_rows,
                bound: Some(Bound::AtMost(21.0)),
            },
        ],
        published: published::LARGER_KERNEL.to_vec(),
        note: "what a planner has to assume where the kernel is not known".to_owned(),
        ..line(score(pairs), N_CONSTANTS)
    }
}

/// The line of figures that follow from a paper's formulas: they test the formulas.
#[must_use]
pub fn formulas(rows: &[MemoryRow]) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let pairs = rows.iter().map(|row| (figure(row), row.value, &row.name));
    vec![Line {
        part: "Korthikanti 2022, figures of its formulas".to_owned(),
        way: "nothing fitted",
        note: "the paper computed them: they test the form, not the world".to_owned(),
        ..line(score(pairs), 0)
    }]
}

fn figure(row: &MemoryRow) -> f64 {
    let run = TrainingRun { reserve: Reserve::NONE, ..run(row, AttentionKernel::Unfused) };
    let first = equal_shares(&row.card, &row.parallelism).first().copied();
    let lines = first.map(|share| run.lines(share)).unwrap_or_default();
    match row.metric {
        MemoryMetric::Peak => sum(&lines, |_| true),
        MemoryMetric::Activations => sum(&lines, |kind| kind == LineKind::Activations),
        MemoryMetric::MatrixStates => {
            let h = row.card.hidden as f64;
            let matrices = 12.0 * h * h / block_parameters(&row.card).total().max(1) as f64;
            matrices * sum(&lines, |kind| kind <= LineKind::OptimizerStates)
        }
        MemoryMetric::PercentOfTensorParallel => {
            let mut plain = row.parallelism.clone();
            plain.sequence = ir::card::SequenceParallel::Off;
            let kept = match row.recompute {
                ir::card::Recompute::None => Kept::All,
                ir::card::Recompute::Selective => Kept::WithoutCore,
                _ => Kept::Input,
            };
            let block = |parallelism, kept| {
                block_bytes(&row.card, parallelism, (AttentionKernel::Unfused, DType::Bf16), kept)
            };
            100.0 * block(&row.parallelism, kept) / block(&plain, Kept::All)
        }
    }
}

fn sum(lines: &[MemoryLine], wanted: impl Fn(LineKind) -> bool) -> f64 {
    lines.iter().filter(|line| wanted(line.kind)).map(|line| line.bytes).sum()
}

/// Lines of what nvidia-smi showed: with nominal reserves, and with one that the other models show.
#[must_use]
pub fn device(rows: &[MemoryRow]) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let predict = |row: &MemoryRow, reserve| peak(row, AttentionKernel::Unfused, reserve);
    let nominal =
        score(rows.iter().map(|row| (predict(row, Reserve::device()), row.value, &row.name)));
    let bare: Vec<f64> = rows.iter().map(|row| predict(row, Reserve::NONE)).collect();
    let groups: BTreeSet<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    let mut pairs = Vec::new();
    for group in groups {
        let errors = rows.iter().zip(&bare).filter(|(row, _)| row.group != group);
        let reserve = median(errors.map(|(row, bare)| row.value - bare).collect());
        let left_out = rows.iter().zip(&bare).filter(|(row, _)| row.group == group);
        pairs.extend(left_out.map(|(row, bare)| (bare + reserve, row.value, &row.name)));
    }
    let part = || "BigScience A100, nvidia-smi".to_owned();
    vec![
        Line {
            part: part(),
            way: "nothing fitted",
            note: "nominal context, communicators and fragmentation".to_owned(),
            ..line(nominal, 0)
        },
        Line {
            part: part(),
            way: "leave one model out",
            note: "one reserve, the median of the other models".to_owned(),
            ..line(score(pairs.into_iter()), 1)
        },
    ]
}

/// The line of fully sharded runs.
#[must_use]
pub fn sharded(rows: &[MemoryRow]) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let pairs = rows.iter().map(|row| {
        let bytes = peak(row, AttentionKernel::Flash, Reserve::allocator_peak());
        (bytes, row.value, &row.name)
    });
    vec![Line {
        part: "torchtitan, fully sharded".to_owned(),
        way: "nothing fitted",
        note: "products in 8 bits and recompute by op are not told apart".to_owned(),
        ..line(score(pairs), 0)
    }]
}
