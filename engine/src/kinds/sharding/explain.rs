//! A sharding as people read it.

use std::collections::BTreeSet;

use documents::plan::sharding::{ShardedOpDocument, ShardingDocument, TemplateFigures, split};
use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, Nanos};
use planner::run::{Control, Limits};
use planner::sharding::{Op, program};
use serde_json::{Value, json};

use super::Sharding;
use super::plan::{USUAL, figures_of, of_parts, word};
use super::setting::Setting;
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::kinds::kind::{Asked, Legal};
use crate::request::subject::Subject;

/// Where a step goes; what other strategies of an op would add, where one is named.
///
/// # Errors
/// `unknown-op`.
pub fn explain(on: Legal<'_, Sharding>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    if let Subject::Op(name) = query.subject {
        return of_op(on, name, (query.rows, query.page));
    }
    let stated = on.plan.sharding.clone().unwrap_or_default();
    let step = Nanos((on.judged.seconds() * 1e9).round() as u64);
    let peak = Bytes(on.judged.peak.0.round() as u64);
    query.page.line(&format!("step {step}, peak {peak} per device"));
    axes(on.setting, &stated).iter().for_each(|line| query.page.line(line));
    let redistributions = table(&stated, query.rows, query.page);
    let control = Control::new(&Limits { time: Some(USUAL), ..Limits::default() });
    let templates = on.setting.with(|question| question.templates(on.judged, &control));
    let templates: Vec<_> =
        templates.iter().map(|of| figures_of(of, on.judged.seconds())).collect();
    let row = |of: &TemplateFigures| {
        let (ms, slower) = (1e3 * of.seconds, 100.0 * of.slower);
        vec![of.template.clone(), format!("{ms:.3}"), format!("{slower:+.1} %")]
    };
    let columns = Column::row("baseline | #step, ms | #over the plan");
    query.rows.table(&columns, templates.iter().map(row), query.page);
    let (graph, strategies) = (&on.judged.step.graph, &on.judged.sharding.strategies);
    let columns = Column::row("op | inputs | outputs | #ms per micro-batch");
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for (op, strategy) in graph.ops.iter().zip(strategies) {
        let words = |at: std::ops::Range<usize>| {
            strategy.placements[at].iter().map(|of| of_parts(of)).collect::<Vec<_>>().join(" ")
        };
        let n = op.inputs.len();
        let seconds = f64::from(op.times) * strategy.seconds;
        let [inputs, outputs] = [words(0..n), words(n..strategy.placements.len())];
        documents.push(json!({
            "op": op.name, "inputs": inputs, "outputs": outputs, "seconds": seconds
        }));
        rows.push(vec![op.name.clone(), inputs, outputs, format!("{:.3}", 1e3 * seconds)]);
    }
    query.rows.table(&columns, rows.into_iter(), query.page);
    Ok(json!({
        "seconds": on.judged.seconds(), "ops": documents, "redistributions": redistributions,
        "templates": templates
    }))
}

/// Strategies of an op, and what the step would take with each in place of its own, all else the same.
fn of_op(
    on: Legal<'_, Sharding>,
    name: &str,
    (rows, page): (Rows, &Page),
) -> Result<Value, Diagnostic> {
    let graph = &on.judged.step.graph;
    // A name without its layers is of the first that have it.
    let is_named = |op: &Op| {
        let of_layer = op.name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        op.name == name || of_layer.is_some_and(|(_, short)| short == name)
    };
    let Some(at) = graph.ops.iter().position(is_named) else {
        let names: Vec<&str> = graph.ops.iter().map(|op| op.name.as_str()).collect();
        let message = format!("the step has no op `{name}`");
        return Err(Diagnostic::usage("unknown-op", message)
            .hint(ir::nearest::among(name, names.iter().copied())));
    };
    let strategies = &on.judged.sharding.strategies;
    let placements: Vec<_> = strategies.iter().map(|of| of.placements.clone()).collect();
    let all = on.setting.with(|question| {
        program::alternatives(graph, (question.mesh, question.prices), &placements, at)
    });
    let n = on.judged.accumulation as f64;
    let now = on.judged.priced_s();
    let mut all: Vec<(Vec<String>, f64, f64)> = all
        .into_iter()
        .map(|(strategy, seconds)| {
            let words = strategy.placements.iter().map(|of| of_parts(of)).collect();
            (words, strategy.seconds, n * seconds - now)
        })
        .collect();
    all.sort_by(|one, other| one.2.total_cmp(&other.2));
    let columns = Column::row("inputs | outputs | #us per call | #added cost, ms");
    let n_inputs = graph.ops[at].inputs.len();
    let table = all.iter().map(|(words, seconds, more)| {
        let (inputs, outputs) = words.split_at(n_inputs);
        let more = if more.is_finite() { format!("{:+.3}", 1e3 * more) } else { "-".to_owned() };
        vec![inputs.join(" "), outputs.join(" "), format!("{:.1}", 1e6 * seconds), more]
    });
    rows.table(&columns, table, page);
    if all.iter().any(|(_, _, more)| more.is_infinite()) {
        page.line("-: no collective makes this placement from a neighbour's tensor");
    }
    let documents = all.iter().map(|(words, seconds, more)| {
        json!({ "placements": words, "op_seconds": seconds, "step_seconds_more": more })
    });
    Ok(json!({ "op": name, "strategies": documents.collect::<Vec<_>>() }))
}

/// By axis, which dimensions of activations and parameters it splits, in words.
#[must_use]
pub fn axes(setting: &Setting, stated: &ShardingDocument) -> Vec<String> {
    let tensors = stated.ops.iter().flat_map(|op| &op.tensors);
    let trained: BTreeSet<&str> =
        tensors.filter_map(|tensor| tensor.strip_suffix(".grad")).collect();
    let is_weight =
        |op: &&ShardedOpDocument| op.inputs.is_empty() && trained.contains(op.op.as_str());
    let of_axis = |(at, axis): (usize, &planner::sharding::Axis)| {
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for op in stated.ops.iter().filter(is_weight) {
            let part = op.outputs.first().and_then(|of| split(of.get(at)?));
            let part = part
                .map_or_else(|| "replicated".to_owned(), |(dim, _)| format!("split on dim {dim}"));
            match kinds.iter_mut().find(|(other, _)| *other == part) {
                Some((_, n)) => *n += 1,
                None => kinds.push((part, 1)),
            }
        }
        kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let words: Vec<String> = kinds.iter().map(|(part, n)| format!("{n} {part}")).collect();
        let sent = (stated.redistributions.iter())
            .filter(|step| step.collectives.iter().any(|of| of.axis == axis.name))
            .map(|step| u64::from(step.times))
            .sum::<u64>();
        let splits = |op: &ShardedOpDocument| {
            let mut all = op.inputs.iter().chain(&op.outputs);
            !op.inputs.is_empty() && all.any(|of| of.get(at).is_some_and(|part| part != "R"))
        };
        let idle = match stated.ops.iter().any(splits) {
            true => "",
            false => "; all devices do the same work",
        };
        format!(
            "axis {}: weights at rest {}; {sent} collectives per micro-batch{idle}",
            axis.name,
            words.join(", ")
        )
    };
    setting.mesh.axes.iter().enumerate().map(of_axis).collect()
}

/// Redistributions, those that take longest first; the same for programs.
pub fn table(stated: &ShardingDocument, rows: Rows, page: &Page) -> Vec<Value> {
    let mut all: Vec<_> = stated.redistributions.iter().collect();
    let total = |step: &documents::plan::sharding::RedistributionDocument| {
        f64::from(step.times) * step.seconds
    };
    all.sort_by(|one, other| total(other).total_cmp(&total(one)));
    let layers = |of: &str| of.match_indices('.').nth(1).map(|(at, _)| of[..=at].to_owned());
    let names = all.iter().map(|step| &step.tensor).filter(|name| name.starts_with("layers."));
    let prefixes: BTreeSet<_> = names.filter_map(|name| layers(name)).collect();
    // Where all layers are alike, `times` says enough of them.
    let prefix = prefixes.first().filter(|_| prefixes.len() == 1);
    let short = |name: &str| prefix.and_then(|of| name.strip_prefix(of)).unwrap_or(name).to_owned();
    let columns = Column::row("@tensor | from | to | collectives | #full MB | #count | #total ms");
    let row = |step: &&documents::plan::sharding::RedistributionDocument| {
        let of = step.collectives.chunk_by(|one, other| one.operation == other.operation);
        let of: Vec<String> = of
            .map(|of| {
                let axes: Vec<&str> = of.iter().map(|of| of.axis.as_str()).collect();
                format!("{} {}", of[0].operation, axes.join(", then "))
            })
            .collect();
        vec![
            short(&step.tensor),
            word(&step.from),
            word(&step.to),
            of.join("; "),
            format!("{:.1}", step.bytes as f64 / 1e6),
            step.times.to_string(),
            format!("{:.3}", 1e3 * total(step)),
        ]
    };
    rows.table(&columns, all.iter().map(row), page);
    all.iter().map(|step| json!(step)).collect()
}
