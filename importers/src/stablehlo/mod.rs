//! StableHLO and MLIR text: what `jax.jit(f).lower(shapes).as_text()` and torch-xla print.

mod build;
mod fault;
mod lexer;
mod location;
mod parser;
mod products;
mod rules;
mod sharding;
mod syntax;
mod types;

use ir::diagnostic::Diagnostic;

use crate::import::{Import, ImportOptions};
use crate::json::BYTE_ORDER_MARK;
use crate::source::{Source, read_all};

/// Largest text that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// How bytecode begins.
const BYTECODE: &[u8] = b"ML\xEFR";

/// Whether a file begins as such a text, or as its bytecode.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    let heads: [&[u8]; 9] = [
        b"module @",
        b"module {",
        b"module attributes",
        b"#loc",
        b"func.func ",
        b"builtin.module",
        b"\"builtin.module\"",
        b"// -----// IR Dump",
        BYTECODE,
    ];
    heads.iter().any(|head| text.starts_with(head))
}

/// Reads a program.
///
/// # Errors
/// `unsupported-format` for bytecode, and what the parser or the builder finds, with line and
/// column.
pub(crate) fn read(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let bytes = read_all(source, MAX_BYTES)?;
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    if text.starts_with(BYTECODE) {
        let message = "this is MLIR's bytecode, whose form is not read";
        return Err(Diagnostic::input("unsupported-format", message).hint(
            "write text instead: jax.jit(f).lower(shapes).as_text(debug_info=True), or \
             jax.export.export(...)(...).mlir_module(), or `stablehlo-translate --deserialize`",
        ));
    }
    let program = parser::parse(text)?;
    build::build(text, program, name, options)
}

#[cfg(test)]
mod tests;
