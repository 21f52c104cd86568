//! Accuracy of mixture-of-experts layers, each GPU half and half.

use std::collections::BTreeMap;

use cost_model::kernels::moe::{Layer, Model, N_CONSTANTS};
use cost_model::numeric::score::{Score, score};
use ir::measured::{GpuFacts, MoeRow};

use super::{half_and_half, published};
use crate::line::Line;

/// Targets by GPU in percent: closed form, with residual table.
const TARGETS: [(&str, [Option<f64>; 2]); 2] =
    [("a100_sxm", [Some(12.5), Some(8.0)]), ("h100_sxm", [Some(17.5), None])];
const WAYS: [&str; 2] = ["closed form", "with residual table"];

/// Judges the form of [`cost_model::kernels::moe`] on all rows; `facts` holds the data sheet of each GPU that the
/// rows name, and a GPU without one is left out.
#[must_use]
pub fn lines(rows: &[MoeRow], facts: &BTreeMap<String, GpuFacts>) -> Vec<Line> {
    let mut by_gpu: BTreeMap<&str, Vec<&MoeRow>> = BTreeMap::new();
    for row in rows {
        by_gpu.entry(&row.gpu).or_default().push(row);
    }
    let mut lines = Vec::new();
    for (gpu, rows) in by_gpu {
        let Some(facts) = facts.get(gpu) else { continue };
        let targets = TARGETS.iter().find(|(name, _)| *name == gpu).map(|(_, targets)| targets);
        let judged = half_and_half(&rows, |fitted, others| {
            let fitted: Vec<_> = fitted.iter().map(|row| (Layer::from(*row), row.time_s)).collect();
            let model = Model::fit(*facts, &fitted);
            [judge(&model.closed(), others), judge(&model, others)]
        });
        for (index, (score, way)) in judged.into_iter().zip(WAYS).enumerate() {
            lines.push(Line {
                table: "moe",
                part: format!("MoE {gpu}, {way}"),
                way: "half and half",
                score,
                n_constants: N_CONSTANTS,
                target: targets.and_then(|targets| targets.get(index).copied().flatten()),
                published: published::MOE.to_vec(),
                note: "the table states neither the kernel nor whether experts have a gate (see below)"
                    .to_owned(),
                ..Line::default()
            });
        }
    }
    lines
}

fn judge(model: &Model, rows: &[&MoeRow]) -> Score {
    score(rows.iter().map(|row| {
        let MoeRow { gpu, tokens, hidden, expert_ffn, topk, experts, moe_tp, moe_ep, .. } = row;
        let name = format!(
            "{gpu} t{tokens} h{hidden} f{expert_ffn} {topk}/{experts} tp{moe_tp} ep{moe_ep} {:?}",
            row.load
        );
        (model.predict(&Layer::from(*row)).seconds, row.time_s, name)
    }))
}
