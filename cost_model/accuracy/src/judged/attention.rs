//! Accuracy of attention calls, by phase: each GPU half and half, and the median over the GPUs.

use std::collections::BTreeMap;

use cost_model::kernels::attention::{Model, N_CONSTANTS, Shape};
use cost_model::numeric::score::{Score, score};
use ir::measured::{AttentionPhase, AttentionRow, GpuFacts};

use super::{half_and_half, published};
use crate::line::Line;

/// Phases with their names and targets: closed form, with residual table.
const PHASES: [(AttentionPhase, &str, [f64; 2]); 2] = [
    (AttentionPhase::Prefill, "prefill", [7.0, 5.5]),
    (AttentionPhase::Decode, "decode", [15.0, 12.5]),
];
const WAYS: [&str; 2] = ["closed form", "with residual table"];

/// Judges the forms of [`cost_model::kernels::attention`] on all rows; `facts` holds the data sheet of each GPU
/// that the rows name, and a GPU without one is left out. The targets are those of the median over
/// the GPUs.
#[must_use]
pub fn lines(rows: &[AttentionRow], facts: &BTreeMap<String, GpuFacts>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (phase, name, targets) in PHASES {
        let mut by_gpu: BTreeMap<&str, Vec<AttentionRow>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.phase == phase) {
            by_gpu.entry(&row.gpu).or_default().push(row.clone());
        }
        let mut scores = [Vec::new(), Vec::new()];
        for (gpu, rows) in by_gpu {
            let Some(facts) = facts.get(gpu) else { continue };
            let judged = half_and_half(&rows, |fitted, others| {
                let model = Model::fit(*facts, phase, fitted);
                [judge(&model.closed(), others), judge(&model, others)]
            });
            for ((scores, score), way) in scores.iter_mut().zip(judged).zip(WAYS) {
                lines.push(line(
                    phase,
                    format!("attention {name} {gpu}, {way}"),
                    score.clone(),
                    None,
                ));
                scores.push(score);
            }
        }
        for ((scores, target), way) in scores.iter().zip(targets).zip(WAYS) {
            if let Some(median) = median(scores) {
                let part = format!("attention {name}, {way}, median GPU");
                lines.push(line(phase, part, median, Some(target)));
            }
        }
    }
    lines
}

fn line(phase: AttentionPhase, part: String, score: Score, target: Option<f64>) -> Line {
    let published = match phase {
        AttentionPhase::Prefill => published::PREFILL.to_vec(),
        AttentionPhase::Decode => published::DECODE.to_vec(),
    };
    Line {
        table: "attention",
        part,
        way: "half and half",
        score,
        n_constants: N_CONSTANTS,
        target,
        published,
        ..Line::default()
    }
}

/// The score whose mean error is the (lower) median.
fn median(scores: &[Score]) -> Option<Score> {
    let mut sorted: Vec<&Score> = scores.iter().collect();
    sorted.sort_by(|a, b| a.mape.total_cmp(&b.mape));
    sorted.get(sorted.len().checked_sub(1)? / 2).map(|score| (*score).clone())
}

fn judge(model: &Model, rows: &[AttentionRow]) -> Score {
    score(rows.iter().map(|row| {
        let AttentionRow { gpu, batch, seq_len, heads, kv_heads, head_dim, step, .. } = row;
        let name = format!("{gpu} b{batch} s{seq_len}+{step} h{heads}/{kv_heads} d{head_dim}");
        (model.predict(&Shape::from(row)).seconds, row.time_s, name)
    }))
}
