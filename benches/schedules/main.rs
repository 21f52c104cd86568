//! Hand-made schedules beside the optimal one, for up to 4 ranks and 8 micro-batches.
//!
//! `cargo bench --bench schedules` prints the table of docs/benchmarks-schedules.md;
//! `-- 5` gives each case 5 s instead of 60.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

#[path = "../../planner/tests/schedules/optimal/mod.rs"]
mod optimal;

use std::time::{Duration, Instant};

use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use cost_model::runs::judge::{judge, over_limit};
use ir::grid::Grid;
use ir::units::{Bytes, Nanos};
use planner::training::schedule::early_recompute::{self, Early};
use planner::training::schedule::{gpipe, one_f_one_b, shifted, zb_h1, zb_h2};

use crate::optimal::{Backward, Limits, solve};

/// What the passes of a stage take.
struct Form {
    name: &'static str,
    backward: Backward,
    stage: StageCosts,
    /// Schedules made for it.
    made: fn(u32, u32) -> Vec<(&'static str, Grid)>,
}

fn forms() -> [Form; 3] {
    let stage = StageCosts {
        forward: Nanos(1),
        backward: Nanos(2),
        backward_input: Nanos(1),
        backward_weight: Nanos(1),
        stash: Bytes(1),
        kept_for_weight: Bytes(1),
        ..StageCosts::default()
    };
    let whole = |p, m| {
        vec![("GPipe", gpipe::grid(p, m).unwrap()), ("1F1B", one_f_one_b::grid(p, m).unwrap())]
    };
    let split =
        |p, m| vec![("ZB-H1", zb_h1::grid(p, m).unwrap()), ("ZB-H2", zb_h2::grid(p, m).unwrap())];
    let again = |p: u32, m| {
        let late = one_f_one_b::grid(p, m).unwrap();
        let early = early_recompute::insert(&late, Early::CoolDown, |stage| stage.0 + 1 != p);
        let shifted = shifted::grid(p, m).unwrap();
        vec![("1F1B late", late), ("1F1B early", early), ("shifted", shifted)]
    };
    let recompute = StageCosts { recompute: Nanos(1), ..stage };
    [
        Form { name: "F 1, B 2", backward: Backward::Whole, stage, made: whole },
        Form { name: "F 1, I 1, W 1", backward: Backward::Split, stage, made: split },
        Form {
            name: "F 1, R 1, B 2, last stage without R",
            backward: Backward::Whole,
            stage: recompute,
            made: again,
        },
    ]
}

fn main() {
    let seconds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(60);
    println!(
        "| ranks | micro-batches | passes | kept at most | schedules | best | bound | gap | s |"
    );
    println!("|---:|---:|---|---|---|---:|---:|---:|---:|");
    for p in 2..=4u32 {
        for m in [2, 4, 6, 8] {
            for form in forms() {
                for cap in [None, Some(p)] {
                    line(p, m, &form, cap, Duration::from_secs(seconds));
                }
            }
        }
    }
}

fn line(p: u32, m: u32, form: &Form, cap: Option<u32>, time: Duration) {
    let mut costs = PipelineCosts::looped(p, 1, m, form.stage);
    for rank in &mut costs.ranks {
        rank.limit = cap.map(|cap| Bytes(u64::from(cap)));
    }
    if form.stage.recompute > Nanos::ZERO {
        costs.stages.last_mut().unwrap().recompute = Nanos::ZERO;
    }
    let made = (form.made)(p, m);
    let shown = made.iter().map(|(name, grid)| {
        let judged = judge(&costs, grid).unwrap();
        match over_limit(&judged.report) {
            Some(_) => format!("{name} does not fit"),
            None => format!("{name} {}", judged.report.step_time.get()),
        }
    });
    let shown: Vec<String> = shown.collect();
    let started = Instant::now();
    // From nothing, so that the search shows what it can.
    let found =
        solve(&costs, form.backward, &[], &Limits::default(), &|| started.elapsed() >= time)
            .unwrap();
    let elapsed = started.elapsed().as_secs_f64();
    let cap = cap.map_or("all".to_owned(), |cap| cap.to_string());
    let (value, gap) = match &found.best {
        _ if found.best.is_none() && found.is_proved => ("none".to_owned(), String::new()),
        None => ("none found".to_owned(), String::new()),
        Some((value, _)) if found.is_proved => (value.get().to_string(), "optimal".to_owned()),
        Some((value, _)) => {
            let gap = value.get() as f64 / found.bound.get() as f64 - 1.0;
            (value.get().to_string(), format!("{:.1} %", gap * 100.0))
        }
    };
    println!(
        "| {p} | {m} | {} | {cap} | {} | {value} | {} | {gap} | {elapsed:.2} |",
        form.name,
        shown.join(", "),
        found.bound.get()
    );
}
