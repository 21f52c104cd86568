//! `import`: what is understood of a model.

use documents::diagnostic::DiagnosticDocument;
use importers::{Import, Recorded, Summary};
use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::units::{Bytes, Flops};
use serde_json::{Value, json};

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::words;
use crate::inputs::load;
use crate::inputs::module_tree::Tree;
use crate::inputs::structure;
use crate::request::ImportRequest;

/// Op types that are listed without `--all`.
const LISTED: usize = 15;

/// Says what is understood of a model.
///
/// # Errors
/// Those of [`load::model`].
pub fn run(args: &ImportRequest, page: &Page) -> CommandResult {
    if args.sharding {
        let message = "`sharding` has no effect on `import`";
        let hint = "list sharding rules with `support`";
        return Err(Diagnostic::usage("flag-without-effect", message).hint(hint));
    }
    let import = load::model(&args.model, &args.flags)?;
    let Import { graph, summary, warnings, .. } = &import;
    let columns = Column::row("@op type | #ops | #work | #bytes moved");
    let mut types: Vec<_> = summary.op_types.iter().collect();
    types.sort_by(|a, b| {
        b.1.flops.cmp(&a.1.flops).then(b.1.bytes.cmp(&a.1.bytes)).then(a.0.cmp(b.0))
    });
    let shown = if args.all { types.len() } else { types.len().min(LISTED) };
    let row = |(name, totals): &(&String, &importers::OpTypeSummary)| {
        vec![
            (*name).clone(),
            totals.count.to_string(),
            match totals.flops {
                0 => "-".to_owned(),
                flops => Flops(flops).to_string(),
            },
            Bytes(totals.bytes).to_string(),
        ]
    };
    page.table(&columns, types[..shown].iter().map(row).collect());
    if shown < types.len() {
        page.line(&format!("... and {} more op types (--all)", types.len() - shown));
    }
    let tree = args.tree.then(|| Tree::of(graph));
    if let Some(tree) = &tree {
        page.text("\n");
        tree.print(page);
    }
    page.text("\n");
    facts(summary, page);
    let forward = graph.forward_part();
    let found = structure::find(&forward);
    found.print(&forward, page);
    page.warnings(warnings);
    page.line(&words::imported(&graph.name, summary));
    page.document_of(|| {
        let tensors = |ids: &[TensorId]| ids.iter().map(|t| tensor(graph.tensor(*t))).collect();
        let mut document = json!({
            "name": graph.name,
            "summary": totals(summary),
            "warnings": warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        });
        // Moved: `json!` copies what is large.
        document["structure"] = found.document();
        document["inputs"] = Value::Array(tensors(&graph.inputs));
        document["outputs"] = Value::Array(tensors(&graph.outputs));
        if let Some(tree) = &tree {
            document["modules"] = tree.document();
        }
        document
    });
    Ok(Exit::DONE)
}

/// Every format and what it is, a line each; those of one kind on one line.
#[must_use]
pub fn formats() -> String {
    let kinds = importers::formats().chunk_by(|a, b| a.what == b.what);
    let lines = kinds.map(|kind| {
        let names: Vec<&str> = kind.iter().map(|format| format.name).collect();
        format!("  {}: {}", names.join(", "), kind[0].what.replace('`', ""))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn facts(summary: &Summary, page: &Page) {
    let opsets: Vec<String> = summary
        .opsets
        .iter()
        .map(|(domain, version)| {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            format!("{domain} {version}")
        })
        .collect();
    let mut rows = vec![
        vec!["format".to_owned(), summary.format.to_owned()],
        vec!["views".to_owned(), format!("{} of {} ops", summary.n_views, summary.n_ops)],
        vec![
            "parameters".to_owned(),
            format!("{} tensors, {}", summary.n_parameters, Bytes(summary.parameter_bytes)),
        ],
        vec!["forward work".to_owned(), Flops(summary.forward_flops).to_string()],
    ];
    if summary.backward_flops > 0 {
        rows.push(vec!["backward work".to_owned(), Flops(summary.backward_flops).to_string()]);
    }
    if summary.buffer_bytes > 0 {
        rows.push(vec!["buffers".to_owned(), Bytes(summary.buffer_bytes).to_string()]);
    }
    if !opsets.is_empty() {
        rows.insert(1, vec!["operator sets".to_owned(), opsets.join(", ")]);
    }
    if !summary.stages.is_empty() {
        let stages: std::collections::BTreeSet<_> = summary.stages.values().collect();
        rows.push(vec!["stages".to_owned(), format!("{} annotated", stages.len())]);
    }
    rows.extend(summary.step.iter().map(|step| vec!["step".to_owned(), step.clone()]));
    rows.extend(summary.recorded.iter().map(|run| vec!["recorded".to_owned(), recorded(run)]));
    if !summary.pins.is_empty() {
        let n = summary.shardings.len();
        rows.push(vec!["shardings".to_owned(), format!("{n}, as {}", summary.pins.join(", "))]);
    }
    page.table(&[Column::Name(""), Column::Text("")], rows);
}

/// `ops 128.5 ms of a step of 145.2 ms on cpu, 100.0 % on ops of the graph (96.0 % op by op,
/// 4.0 % by segment), idle for 11.5 %`.
fn recorded(recorded: &Recorded) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let segments = match recorded.segment_share {
        0.0 => String::new(),
        share => format!(
            " ({} op by op, {} by segment)",
            percent(recorded.landed_share - share),
            percent(share)
        ),
    };
    format!(
        "ops {} of a step of {} on {}, {} on ops of the graph{segments}, idle for {}",
        recorded.op_time,
        recorded.step_time,
        recorded.kind,
        percent(recorded.landed_share),
        percent(recorded.idle_share),
    )
}

/// The members of `summary`; sizes and counts are exact.
pub fn totals(summary: &Summary) -> Value {
    let types: serde_json::Map<String, Value> = summary
        .op_types
        .iter()
        .map(|(name, t)| {
            (name.clone(), json!({ "count": t.count, "flops": t.flops, "bytes": t.bytes }))
        })
        .collect();
    json!({
        "format": summary.format,
        "n_ops": summary.n_ops,
        "n_views": summary.n_views,
        "n_parameters": summary.n_parameters,
        "initializer_elements": summary.initializer_elements,
        "parameter_bytes": summary.parameter_bytes,
        "buffer_bytes": summary.buffer_bytes,
        "forward_flops": summary.forward_flops,
        "backward_flops": summary.backward_flops,
        "guessed_share": summary.guessed_share,
        "bounded_share": summary.bounded_share,
        "scaled_share": summary.scaled_share,
        "opsets": summary.opsets,
        "stages": summary.stages,
        "pins": summary.pins,
        "shardings": summary.shardings,
        "op_types": types,
        "step": summary.step,
        "recorded": summary.recorded.iter().map(|recorded| json!({
            "kind": recorded.kind,
            "events": recorded.events,
            "op_time_ns": recorded.op_time.get(),
            "landed_share": recorded.landed_share,
            "segment_share": recorded.segment_share,
            "step_time_ns": recorded.step_time.get(),
            "idle_share": recorded.idle_share,
            "idle_time_ns": recorded.idle_time.get(),
        })).collect::<Vec<_>>(),
    })
}

/// Extents; null where they are unknown, which leaves a tensor without bytes that a scalar has.
fn shape(tensor: &ir::tensor::Tensor) -> Option<&[u64]> {
    let is_sized = !tensor.shape.is_empty() || tensor.bytes > Bytes::ZERO;
    let has_no_size = tensor.dtype == ir::tensor::DType::String;
    (is_sized || has_no_size).then_some(&tensor.shape)
}

fn tensor(tensor: &ir::tensor::Tensor) -> Value {
    json!({
        "name": tensor.name,
        "dtype": tensor.dtype.name(),
        "shape": shape(tensor),
        "bytes": tensor.bytes.get(),
    })
}
