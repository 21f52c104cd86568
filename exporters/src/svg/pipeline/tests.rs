//! Laws of the picture of a training step.

use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use cost_model::runs::judge::judge;
use ir::grid::{Cell, Pass};
use ir::id::StageId;

use super::*;

/// One forward pass, one backward pass, in turn (1F1B).
fn grid(n_ranks: u32, m: u32) -> Grid {
    let row = |rank: u32| {
        let cell = |pass, micro_batch| Cell { stage: StageId(rank), pass, micro_batch };
        let ahead = (n_ranks - rank).min(m);
        let mut row: Vec<Cell> =
            (0..ahead).map(|micro_batch| cell(Pass::Forward, micro_batch)).collect();
        for micro_batch in 0..m {
            row.push(cell(Pass::Backward, micro_batch));
            row.extend((micro_batch + ahead < m).then(|| cell(Pass::Forward, micro_batch + ahead)));
        }
        row
    };
    Grid { rows: (0..n_ranks).map(row).collect() }
}

fn costs(n_ranks: u32, m: u32) -> PipelineCosts {
    let stage = StageCosts {
        forward: Nanos(1_000),
        backward: Nanos(2_000),
        recompute: Nanos(500),
        stash: Bytes(3 << 20),
        recomputed: Bytes(1 << 20),
        persistent: Bytes(70 << 20),
        forward_temporary: Bytes(2 << 20),
        backward_temporary: Bytes(2 << 20),
        exchange: Nanos(3_000),
        ..StageCosts::default()
    };
    let mut costs = PipelineCosts::looped(n_ranks, 1, m, stage);
    for rank in &mut costs.ranks {
        rank.optimizer = Nanos(700);
        rank.limit = Some(Bytes(100 << 20));
    }
    costs
}

fn picture(n_ranks: u32, m: u32) -> String {
    let (costs, grid) = (costs(n_ranks, m), grid(n_ranks, m));
    let judged = judge(&costs, &grid).unwrap();
    let (model, cluster) = ("a<b", "c");
    let source =
        PipelineSource { judged: &judged, grid: &grid, model, cluster, bound: Nanos(5_000) };
    let text = String::from_utf8(export(&source).bytes).unwrap();
    let peak = judged.report.ranks.iter().map(|rank| rank.peak.bytes).max().unwrap();
    assert!(text.contains(&format!("peak {} of 100 MiB", Bytes(peak))), "{text}");
    for rank in &judged.report.ranks {
        let of = |kind| {
            rank.alive
                .iter()
                .filter(move |holding| holding.what == kind)
                .map(|holding| holding.bytes)
        };
        let sum: u64 = LEVELS.iter().flat_map(|(kind, _)| of(*kind)).sum();
        assert_eq!(sum, rank.peak.bytes);
    }
    text
}

/// Lines of text that end in a percentage of a legend.
fn told_shares(picture: &str) -> f64 {
    let lines = picture.lines().filter(|line| !line.contains("busy"));
    let share = |line: &str| line.strip_suffix(" %")?.rsplit(' ').next()?.parse::<f64>().ok();
    lines.filter_map(share).sum::<f64>()
}

#[test]
fn few_passes_are_bars_and_many_are_columns_of_shares() {
    let (few, many) = (picture(4, 8), picture(4, 2_000));
    // Recompute, forward and backward passes of each micro-batch, the exchange and the optimizer.
    assert_eq!(few.matches("<title>").count(), 1 + 4 * (3 * 8 + 3) + 1 + 4);
    assert!(few.contains("backward 7, 2.00 us") && few.contains("recompute 7, 500 ns"));
    assert!(!few.contains("each column") && many.contains("each column"));
    assert!(many.len() < 60_000, "{}", many.len());
    for picture in [&few, &many] {
        let sum = told_shares(picture);
        assert!((sum - 100.0).abs() < 0.4, "{sum} {picture}");
        assert!(picture.contains("a&lt;b") && picture.contains("prefers-color-scheme: dark"));
        assert!(picture.contains("memory of rank 0, the fullest") && picture.contains("bubble"));
    }
}

#[test]
fn a_step_without_a_pipeline_has_shares_and_memory() {
    let picture = picture(1, 1);
    for part in
        ["no pipeline", "shares of the step", "memory of rank 0: peak", "recompute 6", "limit"]
    {
        assert!(picture.contains(part), "{part} is not in {picture}");
    }
    assert!(!picture.contains("bubble "), "{picture}");
}

/// Layers lie on top of each other; each reaches as high as its share and those below.
#[test]
fn layers_are_as_high_as_their_sums() {
    let layers = [(0, "#111111", "low"), (1, "#222222", "high")];
    let drawn = stack(&[[1, 3], [2, 2]], &layers, (0.0, 40.0), &|bytes, _| 10.0 * bytes as f64);
    let paths: Vec<String> = drawn.to_string().lines().map(str::to_owned).collect();
    let middle = RIGHT / 2.0;
    let high = format!("M0 40H0V0H{RIGHT}V40Z");
    let low = format!("M0 40H0V30H{middle}V20H{RIGHT}V40Z");
    let at = |path: &String| paths.iter().position(|line| line.contains(path.as_str()));
    assert!(at(&high) < at(&low) && at(&high).is_some(), "{paths:?}");
}

#[test]
fn bytes_have_round_ticks() {
    let ticks =
        |most: u64| byte_ticks(most as f64).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
    assert_eq!(ticks(75 << 30), ["0", "20 GiB", "40 GiB", "60 GiB"]);
    assert_eq!(ticks(9 << 20), ["0", "2 MiB", "4 MiB", "6 MiB", "8 MiB"]);
}
