//! `compare` of two plans of offloaded experts, as they state their figures.

use documents::plan::PlanDocument;
use documents::plan::experts::ExpertLayersDocument;
use serde_json::{Value, json};

use super::figures::{hit_ratio, sums};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::answer::words::share as percent;
use crate::kinds::kind::Compared;

/// Compares them.
#[must_use]
pub fn compare((a, b): (&PlanDocument, &PlanDocument), (rows, page): (Rows, &Page)) -> Compared {
    let columns = Column::row(
        "layer | #slots of A | #slots of B | #hits in A | #hits in B \
             | #resident in B alone",
    );
    let hits = |entry: &ExpertLayersDocument| hit_ratio(&entry.cache.unwrap_or_default());
    let mut table = Vec::new();
    let mut layers = Vec::new();
    for two in &b.experts.layers {
        let Some(one) = a.experts.layers.iter().find(|entry| entry.layers == two.layers) else {
            continue;
        };
        let new = two.resident.iter().filter(|expert| !one.resident.contains(expert)).count();
        table.push(vec![
            ranges(&two.layers),
            one.slots.to_string(),
            two.slots.to_string(),
            percent(hits(one)),
            percent(hits(two)),
            new.to_string(),
        ]);
        layers.push(json!({
            "layers": two.layers, "slots": [one.slots, two.slots], "hits": [hits(one), hits(two)],
            "resident_in_b_alone": new,
        }));
    }
    rows.table(&columns, table.into_iter(), page);
    let is_equal = a.experts == b.experts;
    let [x, y] = [a, b].map(told);
    let differs = format!(
        "hits: A {}, B {}; a step waits {:.3} ms for experts in A, {:.3} ms in B",
        percent(x.0),
        percent(y.0),
        1e3 * x.1,
        1e3 * y.1
    );
    let figures = |(hits, exposed): (f64, f64)| -> Value {
        json!({ "hit_ratio": hits, "exposed_s": exposed })
    };
    Compared {
        is_equal,
        differs,
        document: json!({ "a": figures(x), "b": figures(y), "layers": layers }),
    }
}

/// Hit ratio, and seconds that a step waits.
fn told(plan: &PlanDocument) -> (f64, f64) {
    let host = plan.experts.host.clone().unwrap_or_default();
    (hit_ratio(&sums(&plan.experts)), host.exposed_s / host.steps.max(1) as f64)
}
