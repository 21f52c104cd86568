//! PyTorch ExecutionTrace files: a tree of recorded calls. A valid one is recognised and refused.

use std::collections::HashMap;

use ir::diagnostic::Diagnostic;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::source::Source;
use crate::{Import, ImportOptions, json};

/// Versions of the schema whose tree is understood.
const KNOWN_SCHEMAS: [&str; 2] = ["1.0.", "1.1."];

#[derive(Debug, Deserialize)]
struct TraceDocument {
    schema: String,
    nodes: Vec<NodeDocument>,
}

#[derive(Debug, Deserialize)]
struct NodeDocument {
    id: u64,
    /// The caller; the root names itself.
    ctrl_deps: u64,
    #[serde(rename = "name")]
    _name: IgnoredAny,
}

/// Checks a trace.
///
/// # Errors
/// `unknown-schema`, `duplicate-id`, `missing-parent`, `parent-cycle`, those of the JSON reader;
/// and `unsupported-format` for a valid one.
pub(crate) fn read(source: &dyn Source, _: &str, _: &ImportOptions) -> Result<Import, Diagnostic> {
    check(&json::document(source)?)?;
    Err(Diagnostic::input(
        "unsupported-format",
        "an execution trace is recognised, but cannot be planned yet",
    )
    .hint("export the model to ONNX"))
}

fn check(trace: &TraceDocument) -> Result<(), Diagnostic> {
    if !KNOWN_SCHEMAS.iter().any(|known| trace.schema.starts_with(known)) {
        let shown: String = trace.schema.chars().take(40).collect();
        return Err(Diagnostic::input(
            "unknown-schema",
            format!("unknown schema version `{shown}`"),
        )
        .hint("record the trace with a PyTorch that writes schema 1.0 or 1.1"));
    }
    let mut position: HashMap<u64, usize> = HashMap::with_capacity(trace.nodes.len());
    for (at, node) in trace.nodes.iter().enumerate() {
        if position.insert(node.id, at).is_some() {
            return Err(Diagnostic::input(
                "duplicate-id",
                format!("two nodes have the id {}", node.id),
            ));
        }
    }
    let mut parents = Vec::with_capacity(trace.nodes.len());
    for node in &trace.nodes {
        parents.push(*position.get(&node.ctrl_deps).ok_or_else(|| {
            Diagnostic::input(
                "missing-parent",
                format!("node {} has the missing parent {}", node.id, node.ctrl_deps),
            )
        })?);
    }
    // Each walk up marks with its own start; meeting that mark again, not at a root, is a cycle.
    let mut seen_from = vec![usize::MAX; parents.len()];
    for start in 0..parents.len() {
        let mut at = start;
        while seen_from[at] == usize::MAX && parents[at] != at {
            seen_from[at] = start;
            at = parents[at];
        }
        if parents[at] != at && seen_from[at] == start {
            return Err(Diagnostic::input(
                "parent-cycle",
                format!("parent cycle through node {}", trace.nodes[at].id),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn outcome(parents: &[(u64, u64)]) -> Result<(), Diagnostic> {
        let nodes = parents
            .iter()
            .map(|(id, parent)| NodeDocument { id: *id, ctrl_deps: *parent, _name: IgnoredAny })
            .collect();
        check(&TraceDocument { schema: "1.1.1-chakra.0.0.4".into(), nodes })
    }

    #[test]
    fn a_tree_in_any_order_passes_and_anything_else_does_not() {
        outcome(&[(9, 3), (3, 1), (1, 1), (4, 3)]).unwrap();
        let code = |parents: &[(u64, u64)]| outcome(parents).unwrap_err().code;
        assert_eq!(code(&[(1, 1), (2, 3), (3, 4), (4, 2)]), "parent-cycle");
        assert_eq!(code(&[(1, 2)]), "missing-parent");
        assert_eq!(code(&[(1, 1), (1, 1)]), "duplicate-id");
    }
}
