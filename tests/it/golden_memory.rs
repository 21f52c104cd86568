//! Peak memory of measured configurations, as the replay of the search's own plan has it.

use std::collections::BTreeMap;

use accuracy::readers::Left;
use accuracy::readers::memory::{JudgedRank, MemoryRow};
use accuracy::readers::peak_memory::golden::{self, Layout};
use cost_model::kernels::stack::megatron_core;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use cost_model::runs::judge::judge_plan;
use cost_model::runs::memory::Reserve;
use cost_model::runs::oracle;
use importers::measurements::devices;
use ir::card::ModelCard;
use ir::stack::{AttentionKernel, Stack};
use ir::units::Bytes;
use planner::run::Limits;
use planner::training::search_3d::{Options, solve};

use crate::{data, only};

/// Percent that the accuracy table asks of the allocator's peaks, on average.
const MEAN: f64 = 3.0;
/// Percent of rows that it wants within [`NEAR`] percent.
const SHARE: f64 = 96.0;
const NEAR: f64 = 10.0;

/// The peak of the judged rank where the row is the only configuration of a space; `None` where it
/// is no plan.
fn peak(row: &MemoryRow, system: &System, stack: &Stack, limit: Option<Bytes>) -> Option<f64> {
    let model = ModelCard::uniform(row.card.clone());
    let constants = Constants::nominal(stack);
    let pricing = Pricing {
        format: row.format,
        resident: Reserve::allocator_peak().allocator,
        limit,
        ..Pricing::unlimited(&model, system, stack, &constants)
    };
    let d = &row.parallelism;
    let space = only::space(d, row.recompute, Some(d.expert));
    let found =
        solve(&pricing, &space, &Options::within(&Limits { threads: 1, ..Limits::default() }));
    let best = found.plans.first()?;
    let plan = best.plan().unwrap();
    let costs = oracle::costs(&pricing, &plan).unwrap();
    let report = judge_plan(&costs, &plan).unwrap().report;
    let peaks: Vec<u64> = report.ranks.iter().map(|rank| rank.peak.bytes).collect();
    assert_eq!(peaks.iter().max(), Some(&best.peak), "{}", row.name);
    let of = match row.rank {
        JudgedRank::First => peaks.first(),
        JudgedRank::Last => peaks.last(),
        JudgedRank::Largest => peaks.iter().max(),
    };
    of.map(|bytes| *bytes as f64)
}

/// The table does not say which attention kernel ran: as in the accuracy table, the nearer one
/// counts, which is an upper bound on quality.
#[test]
fn peaks_of_the_searched_plans_are_those_of_the_allocator() {
    let Some(folder) = data::folder() else { return };
    let mut left = Left::default();
    let rows = golden::read(&folder.join("data/steptimes/megatron_golden.csv"), &mut left);
    assert_eq!(left.0, []);
    let facts = devices::facts("a100_sxm").unwrap().unwrap();
    let system = System::a100_hosts("a100", &facts, BTreeMap::new(), 22.5e9).unwrap();
    let mut known: BTreeMap<String, Option<[f64; 2]>> = BTreeMap::new();
    let (mut errors, mut n_rows) = (Vec::new(), 0);
    let stated = rows.iter().filter(|row| row.layout == Layout::Stated).map(|row| &row.row);
    for row in stated.filter(|row| row.features.is_empty() && row.card.experts.is_none()) {
        n_rows += 1;
        let key =
            format!("{:?} {:?} {:?} {:?}", row.card, row.parallelism, row.recompute, row.rank);
        let of = |attention| {
            let stack = Stack { attention, ..megatron_core() };
            let free = peak(row, &system, &stack, None)?;
            // Under a limit it is the same plan or none, never one that exceeds it.
            let exact = peak(row, &system, &stack, Some(Bytes(free as u64)));
            if row.rank == JudgedRank::Largest {
                assert_eq!(exact, Some(free), "{}", row.name);
                let below = peak(row, &system, &stack, Some(Bytes(free as u64 - 1)));
                assert_eq!(below, None, "{}", row.name);
            }
            Some(free)
        };
        let both = known
            .entry(key)
            .or_insert_with(|| Some([of(AttentionKernel::Flash)?, of(AttentionKernel::Unfused)?]));
        let Some(both) = both else { continue };
        let off = |peak: &f64| 100.0 * (peak / row.value - 1.0).abs();
        errors.push(both.iter().map(off).fold(f64::INFINITY, f64::min));
    }
    let n = errors.len();
    assert!(n * 10 >= n_rows * 9 && n > 0, "{n} of {n_rows} rows are plans");
    let mean = errors.iter().sum::<f64>() / n as f64;
    let near = errors.iter().filter(|error| **error <= NEAR).count();
    println!("{n} of {n_rows} rows: mean error {mean:.2} %, {near} within {NEAR} %");
    assert!(mean <= MEAN, "{mean}");
    assert!(near as f64 * 100.0 >= SHARE * n as f64, "{near} of {n}");
}
