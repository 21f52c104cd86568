//! `compare` of two inference pipelines: which blocks lie elsewhere, and what both take.

use std::collections::BTreeMap;

use documents::plan::PlanDocument;
use documents::plan::served::ServedDocument;
use ir::diagnostic::Diagnostic;
use serde_json::json;

use crate::answer::differences::other_setting;
use crate::answer::energy::joules_text;
use crate::answer::page::{Column, Page};
use crate::kinds::kind::Compared;

/// Compares two plans as they state themselves.
#[must_use]
pub fn compare(
    (a, one): (&PlanDocument, &ServedDocument),
    (b, two): (&PlanDocument, &ServedDocument),
    page: &Page,
) -> Compared {
    let rows = figures([(a, one), (b, two)]).into_iter().chain(devices(a, b)).collect();
    let columns = [Column::Name("of"), Column::Number("A"), Column::Number("B")];
    page.table(&columns, rows);
    let is_equal = a.partition == b.partition && a.request.board_limit == b.request.board_limit;
    let gain = two.tokens_per_s / one.tokens_per_s.max(f64::MIN_POSITIVE);
    let differs = format!("the stages differ; B makes {gain:.3} times the tokens of A per second");
    let shown = |served: &ServedDocument| {
        json!({
            "tokens_per_s": served.tokens_per_s, "latency_ns": served.latency_ns,
            "period_ns": served.period_ns, "stages": served.stages.len(),
        })
    };
    let document = json!({ "gain": gain, "a": shown(one), "b": shown(two) });
    Compared { is_equal, differs, document }
}

fn figures(both: [(&PlanDocument, &ServedDocument); 2]) -> Vec<Vec<String>> {
    let of = |name: &str, text: &dyn Fn((&PlanDocument, &ServedDocument)) -> String| {
        vec![name.to_owned(), text(both[0]), text(both[1])]
    };
    vec![
        of("tokens/s", &|pair| format!("{:.1}", pair.1.tokens_per_s)),
        of("period, ms", &|pair| format!("{:.3}", pair.1.period_ns as f64 / 1e6)),
        of("latency, ms", &|pair| format!("{:.3}", pair.1.latency_ns as f64 / 1e6)),
        of("energy of a token", &|pair| {
            let energy = pair.0.energy.as_ref();
            energy.map_or_else(|| "-".to_owned(), |energy| joules_text(energy.joules_per_token))
        }),
        of("boards at", &|pair| {
            format!("{:.1} %", 100.0 * pair.0.request.board_limit.unwrap_or(1.0))
        }),
        of("stages", &|pair| pair.0.partition.stages.len().to_string()),
    ]
}

/// By device the blocks of its stage, where these differ.
fn devices(a: &PlanDocument, b: &PlanDocument) -> Vec<Vec<String>> {
    let mut all: BTreeMap<&str, [Option<String>; 2]> = BTreeMap::new();
    for (plan, document) in [a, b].into_iter().enumerate() {
        for (at, stage) in document.partition.stages.iter().enumerate() {
            let (Some(blocks), Some(mesh)) = (&stage.blocks, &stage.mesh) else { continue };
            let last = blocks.first.saturating_add(blocks.n).saturating_sub(1);
            for device in &mesh.devices {
                let text = format!("{at}: {}-{last}", blocks.first);
                all.entry(device).or_default()[plan] = Some(text);
            }
        }
    }
    let of = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    all.into_iter()
        .filter(|(_, both)| both[0] != both[1])
        .map(|(name, [a, b])| vec![name.to_owned(), of(a), of(b)])
        .collect()
}

/// What the batches of two plans are not alike in.
pub fn unlike(
    (a, one): (&PlanDocument, &ServedDocument),
    (b, two): (&PlanDocument, &ServedDocument),
) -> Option<Diagnostic> {
    let differ = [
        ("phase", one.phase != two.phase),
        ("samples", a.workload.batch != b.workload.batch),
        ("tokens", (one.tokens, one.cached) != (two.tokens, two.cached)),
        ("objective", a.objective != b.objective),
        ("element type", a.workload.dtype != b.workload.dtype),
    ];
    other_setting(&differ, "figures differ because of these, too")
}
