//! `support`: which ops have a cost rule, or a sharding rule, before any solve.

use std::collections::BTreeMap;

use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Op, Origin, Splits, Work};
use serde_json::json;

use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::inputs::load;
use crate::request::ImportRequest;

/// Ops of one type, by where their work figures come from.
#[derive(Default)]
struct Tally<'a> {
    by_rule: u64,
    scaled: u64,
    /// Names of the ops without a rule (or with an unknown shape).
    guessed: Vec<&'a str>,
}

/// Says which ops of a model have a rule for their work, or for their shardings.
///
/// # Errors
/// Those of [`load::model`]; `no-rules` for shardings of a model that is no graph of ATen ops.
pub fn run(args: &ImportRequest, page: &Page) -> CommandResult {
    if args.tree {
        return Err(Diagnostic::usage("flag-without-effect", "`tree` has no effect on `support`")
            .hint("ask for the modules with `import`"));
    }
    let import = load::model(&args.model, &args.flags)?;
    if args.sharding {
        return shardings(&import.graph, &import.warnings, page);
    }
    let tallies = tally(&import.graph);
    let columns = Column::row("@op type | #by rule | #scaled | #guessed | first op without a rule");
    let mut rows: Vec<_> = tallies.iter().collect();
    rows.sort_by(|a, b| b.1.guessed.len().cmp(&a.1.guessed.len()).then(a.0.cmp(b.0)));
    let cells = |(name, tally): &(&&str, &Tally)| {
        vec![
            (**name).to_owned(),
            tally.by_rule.to_string(),
            tally.scaled.to_string(),
            tally.guessed.len().to_string(),
            tally.guessed.first().copied().unwrap_or_default().to_owned(),
        ]
    };
    page.table(&columns, rows.iter().map(cells).collect());
    page.warnings(&import.warnings);
    let guessed: usize = tallies.values().map(|t| t.guessed.len()).sum();
    let total: u64 = tallies.values().map(|t| t.by_rule + t.scaled).sum::<u64>() + guessed as u64;
    page.line(&match guessed {
        0 => format!("yes: all {total} ops have a rule"),
        _ => format!(
            "partly: {guessed} of {total} ops have no rule or an unknown shape; their time \
            is guessed from the bytes of their known tensors"
        ),
    });
    page.document_of(|| {
        json!({
            "supported": guessed == 0,
            "n_ops": total,
            "n_guessed": guessed,
            "op_types": rows.iter().map(|(name, t)| json!({
                "op_type": name,
                "by_rule": t.by_rule,
                "scaled": t.scaled,
                "guessed": t.guessed,
            })).collect::<Vec<_>>(),
            "warnings": import.warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        })
    });
    Ok(Exit::DONE)
}

fn tally(graph: &Graph) -> BTreeMap<&str, Tally<'_>> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for op in &graph.ops {
        let tally = tallies.entry(&op.op_type).or_default();
        match &op.work {
            Work::Kernel(kernel) => match kernel.origin {
                Origin::Rule | Origin::Bounded => tally.by_rule += 1,
                Origin::Scaled => tally.scaled += 1,
                Origin::Guessed => tally.guessed.push(&op.name),
            },
            Work::View | Work::Given(_) => tally.by_rule += 1,
        }
    }
    tallies
}

/// Ops of one type, by whether devices can share them.
#[derive(Default)]
struct Shared<'a> {
    n_sharded: u64,
    /// The dimensions of the first of them.
    example: Option<String>,
    /// Names of the ops that all devices run whole.
    replicated: Vec<&'a str>,
}

/// Says which ops have a sharding rule.
fn shardings(graph: &Graph, warnings: &[Diagnostic], page: &Page) -> CommandResult {
    if graph.ops.iter().all(|op| op.splits == Splits::default()) {
        let message = "only ops of `.pt2` graphs have sharding rules of their own";
        let hint = "docs/sharding.md lists the rules for layers of a config.json";
        return Err(Diagnostic::usage("no-rules", message).hint(hint));
    }
    let mut all: BTreeMap<&str, Shared<'_>> = BTreeMap::new();
    for op in &graph.ops {
        let of_type = all.entry(&op.op_type).or_default();
        match op.is_replicated() {
            true => of_type.replicated.push(&op.name),
            false => of_type.n_sharded += 1,
        }
        if of_type.example.is_none() && op.splits != Splits::default() {
            of_type.example = Some(dimensions(op));
        }
    }
    let mut rows: Vec<_> = all.iter().collect();
    rows.sort_by_key(|(name, of)| (std::cmp::Reverse(of.replicated.len()), **name));
    let cells = |(name, of): &(&&str, &Shared<'_>)| {
        vec![
            (**name).to_owned(),
            of.n_sharded.to_string(),
            of.replicated.len().to_string(),
            of.example.clone().unwrap_or_default(),
            of.replicated.first().copied().unwrap_or_default().to_owned(),
        ]
    };
    let columns = "@op type | #with a rule | #replicated | dimensions of the first | first without";
    page.table(&Column::row(columns), rows.iter().map(cells).collect());
    page.warnings(warnings);
    let n_replicated: usize = all.values().map(|of| of.replicated.len()).sum();
    let n_ops = graph.ops.len();
    page.line(&match n_replicated {
        0 => format!("yes: all {n_ops} ops have a sharding rule"),
        n => format!("partly: {n} of {n_ops} ops have no sharding rule and are replicated"),
    });
    page.line(
        "equal letters are split together; `.` is never split; a letter without a place in the",
    );
    page.line("results is summed over: a partial sum");
    page.document_of(|| {
        json!({
            "supported": n_replicated == 0,
            "n_ops": n_ops,
            "n_replicated": n_replicated,
            "op_types": rows.iter().map(|(name, of)| json!({
                "op_type": name,
                "sharded": of.n_sharded,
                "dimensions": of.example,
                "replicated": of.replicated,
            })).collect::<Vec<_>>(),
            "warnings": warnings.iter().map(DiagnosticDocument::from).collect::<Vec<_>>(),
        })
    });
    Ok(Exit::DONE)
}

/// Letters of the dimensions of an op's tensors, as `einsum` writes them.
fn dimensions(op: &Op) -> String {
    let words = &op.splits.words;
    let (inputs, outputs) = words.split_at(words.len().saturating_sub(op.outputs.len()));
    format!("{} -> {}", inputs.join(","), outputs.join(","))
}
