//! `support`: which ops have a cost rule, before any solve.

use std::collections::BTreeMap;

use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::op::{Origin, Work};
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

/// Says which ops of a model have a rule for their work.
///
/// # Errors
/// Those of [`load::model`].
pub fn run(args: &ImportRequest, page: &Page) -> CommandResult {
    if args.tree {
        return Err(Diagnostic::usage("flag-without-effect", "`tree` has no effect on `support`")
            .hint("ask for the modules with `import`"));
    }
    let import = load::model(&args.model, &args.flags)?;
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
