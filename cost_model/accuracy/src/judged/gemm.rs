//! Accuracy of matrix products: one fit per GPU, and GPUs that were never measured.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::kernels::matrix_product::{Model, N_CONSTANTS, Shape};
use cost_model::numeric::score::{Score, score};
use ir::measured::{GemmRow, GpuFacts};

use super::{half_and_half, published};
use crate::line::Line;

/// Targets by GPU in percent: closed form, residual table, never measured.
const TARGETS: [(&str, [f64; 3]); 5] = [
    ("a100_sxm", [9.5, 7.5, 15.0]),
    ("b200_sxm", [8.5, 6.5, 5.5]),
    ("gb200", [9.0, 7.0, 5.5]),
    ("h100_sxm", [6.0, 4.2, 9.5]),
    ("rtx_pro_6000_server", [12.0, 9.0, 20.0]),
];

/// Judges the forms of [`cost_model::kernels::matrix_product`] on all rows; `facts` holds the data sheet of each
/// GPU that the rows name, and a GPU without one is left out.
#[must_use]
pub fn lines(rows: &[GemmRow], facts: &BTreeMap<String, GpuFacts>) -> Vec<Line> {
    let mut by_gpu: BTreeMap<&str, Vec<GemmRow>> = BTreeMap::new();
    for row in rows {
        by_gpu.entry(&row.gpu).or_default().push(row.clone());
    }
    let known: Vec<(&str, GpuFacts, Vec<GemmRow>)> = by_gpu
        .into_iter()
        .filter_map(|(gpu, rows)| facts.get(gpu).map(|facts| (gpu, *facts, rows)))
        .collect();
    let mut lines = Vec::new();
    for (gpu, facts, rows) in &known {
        let sites: BTreeSet<(u64, u64)> = rows.iter().map(|row| (row.n, row.k)).collect();
        let sites: Vec<(u64, u64)> = sites.into_iter().collect();
        let [closed, table] = half_and_half(&sites, |fitted, _| {
            let (fitted, others): (Vec<_>, Vec<_>) =
                rows.iter().cloned().partition(|row| fitted.binary_search(&(row.n, row.k)).is_ok());
            let model = Model::fit(*facts, &fitted);
            [judge(&model.closed(), others.iter()), judge(&model, others.iter())]
        });
        lines.push(line(gpu, "closed form", "half and half", closed, 0));
        lines.push(line(gpu, "with residual table", "half and half", table, 1));
    }
    let models: Vec<Model> =
        known.iter().map(|(_, facts, rows)| Model::fit(*facts, rows)).collect();
    for (left_out, (gpu, facts, rows)) in known.iter().enumerate() {
        let sources: Vec<&Model> = models
            .iter()
            .enumerate()
            .filter_map(|(index, model)| (index != left_out).then_some(model))
            .collect();
        if let Some(model) = Model::unseen(*facts, &sources) {
            let score = judge(&model, rows.iter());
            lines.push(line(gpu, "never measured", "leave one GPU out", score, 2));
        }
    }
    lines
}

fn line(gpu: &str, what: &str, way: &'static str, score: Score, target: usize) -> Line {
    let targets = TARGETS.iter().find(|(name, _)| *name == gpu);
    Line {
        table: "gemm",
        part: format!("GEMM {gpu}, {what}"),
        way,
        score,
        n_constants: N_CONSTANTS,
        target: targets.and_then(|(_, targets)| targets.get(target).copied()),
        note: match target {
            0 => "half of the (n, k) sites fitted, the other half judged",
            1 => "kriging between the 24 nearest fitted points in log2 of m, n, k",
            _ => "one rule: a sibling's constants and table, else medians over families",
        }
        .to_owned(),
        published: published::GEMM.to_vec(),
        ..Line::default()
    }
}

fn judge<'a>(model: &Model, rows: impl Iterator<Item = &'a GemmRow>) -> Score {
    score(rows.map(|row| {
        let name = format!("{} {}x{}x{}", row.gpu, row.m, row.n, row.k);
        (model.predict(Shape::from(row)).seconds, row.time_s, name)
    }))
}
