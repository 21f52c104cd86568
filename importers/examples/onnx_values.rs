//! What is read of ONNX files, for those who hold it against another reader: for each path on
//! standard input one JSON line with type and extents of every value, the floating-point
//! operations, the operators without a rule, or the refusal.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::BufRead as _;

use importers::onnx::values::{Value as Known, values};
use importers::{Import, ImportOptions, OpTypeSummary};
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

fn main() {
    for path in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match std::fs::read(&path) {
            Err(error) => json!({ "refused": "unreadable-file", "message": error.to_string() }),
            Ok(bytes) => told(&bytes)
                .unwrap_or_else(|error| json!({ "refused": error.code, "message": error.message })),
        };
        println!("{}", json!({ "file": path, "told": answer }));
    }
}

fn told(bytes: &[u8]) -> Result<Value, Diagnostic> {
    let options = ImportOptions::default();
    let known = values(bytes, &options)?;
    let value = |known: Known| {
        let shape = json!({
            "dtype": known.dtype.map(|dtype| dtype.name()),
            "shape": known.shape,
            "at_most": known.at_most,
        });
        (known.name, shape)
    };
    let known: serde_json::Map<String, Value> = known.into_iter().map(value).collect();
    let graph = match importers::read_bytes("model.onnx", bytes, &options) {
        Ok(import) => summary(&import),
        Err(error) => json!({ "refused": error.code, "message": error.message }),
    };
    Ok(json!({ "values": known, "graph": graph }))
}

fn op_type((name, totals): (&String, &OpTypeSummary)) -> (String, Value) {
    let row = json!({ "count": totals.count, "flops": totals.flops, "bytes": totals.bytes });
    (name.clone(), row)
}

fn summary(import: &Import) -> Value {
    let warnings = import.warnings.iter();
    json!({
        "flops": import.summary.forward_flops,
        "guessed_share": import.summary.guessed_share,
        "bounded_share": import.summary.bounded_share,
        "parameter_bytes": import.summary.parameter_bytes,
        "op_types": import.summary.op_types.iter().map(op_type).collect::<serde_json::Map<_, _>>(),
        "warnings": warnings.map(|w| json!([w.code, w.message])).collect::<Vec<_>>(),
    })
}
