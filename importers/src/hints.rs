//! Ways out of the faults of a file, for errors whose finder gave none.

use ir::diagnostic::Diagnostic;

/// The error with at least one hint.
pub(crate) fn complete(error: Diagnostic) -> Diagnostic {
    if error.hints.is_empty() {
        let hint = by_code(error.code);
        return error.hint(hint);
    }
    error
}

fn by_code(code: &str) -> &'static str {
    match code {
        "empty-file" | "truncated-file" | "truncated-json" => {
            "the file is incomplete: copy or export it again"
        }
        "unreadable-file" => "check the path, and that you may read the file",
        "invalid-protobuf" | "invalid-json" | "invalid-utf8" | "invalid-archive" => {
            "the file is damaged or of another format: check its extension, or export it again"
        }
        "nesting-limit" | "size-budget" | "layer-budget" | "inline-budget" | "rank-limit" => {
            "the file asks for more than any known model: plan a part of it, or check its numbers"
        }
        "size-overflow" | "number-out-of-range" | "negative-dimension" | "invalid-field" => {
            "correct the number in the file, or give another value on the command line"
        }
        "duplicate-key" | "duplicate-id" | "duplicate-tensor" | "duplicate-name" => {
            "keep one of the two"
        }
        "missing-field" | "missing-graph" | "missing-opset" | "missing-output" => {
            "the exporter left it out: export the model again with a current version"
        }
        "unsupported-opset" | "unsupported-schema" => "export the model for an older operator set",
        "invalid-external-data" => {
            "keep external data beside the model, named by a relative path, and export it again"
        }
        "graph-cycle" | "undefined-tensor" | "recursive-function" => {
            "no exporter writes this: check the program that made or changed the file"
        }
        _ => "check the file with the program that wrote it, or export it again",
    }
}
