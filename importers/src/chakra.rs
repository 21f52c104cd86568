//! MLCommons Chakra traces: messages one after the other, each with its length in front. They hold
//! an execution that was recorded, so a valid one is recognised and refused.

use ir::diagnostic::Diagnostic;

use crate::onnx::wire::{Reader, WireType};
use crate::source::Source;
use crate::{Import, ImportOptions};

/// Largest trace, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Most messages of a trace.
const MAX_MESSAGES: u64 = 20_000_000;

/// Checks a trace.
///
/// # Errors
/// `empty-file`, `truncated-file`, `invalid-protobuf`, `size-budget`; and `unsupported-format` for
/// a valid one.
pub(crate) fn read(source: &dyn Source, _: &str, _: &ImportOptions) -> Result<Import, Diagnostic> {
    check(source)?;
    Err(Diagnostic::input(
        "unsupported-format",
        "a Chakra trace is recognised, but cannot be planned yet",
    )
    .hint("export the model to ONNX"))
}

fn check(source: &dyn Source) -> Result<(), Diagnostic> {
    if source.len() == 0 {
        return Err(Diagnostic::input("empty-file", "the file is empty"));
    }
    let mut reader = Reader::new(source, "a Chakra trace");
    let end = reader.length();
    let mut n_messages = 0;
    while reader.position() < end {
        n_messages += 1;
        if n_messages > MAX_MESSAGES || end > MAX_BYTES {
            return Err(Diagnostic::input(
                "size-budget",
                "the trace holds more messages than the budget admits",
            ));
        }
        let at = reader.position();
        let length = reader.varint(end)?;
        let message_end = reader.position().checked_add(length).filter(|to| *to <= end);
        let message_end = message_end.ok_or_else(|| {
            Diagnostic::input(
                "truncated-file",
                format!("the length {length} in front of a message exceeds the file"),
            )
            .fact("offset", at)
            .fact("needed", length)
        })?;
        while reader.position() < message_end {
            let key = reader.key(message_end)?;
            match key.wire {
                WireType::Varint => reader.varint(message_end).map(drop)?,
                WireType::Fixed32 => reader.skip(4, message_end)?,
                WireType::Fixed64 => reader.skip(8, message_end)?,
                WireType::Delimited => {
                    let length = reader.delimiter(message_end)?;
                    reader.skip(length, message_end)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn messages_follow_each_other() {
        let trace = [4, 0x0a, 2, b'a', b'b', 2, 0x08, 1, 0];
        check(&trace.as_slice()).unwrap();
        let code = |bytes: &[u8]| check(&bytes).unwrap_err().code;
        assert_eq!(code(&trace[..4]), "truncated-file");
        // A field that is longer than its message, but not than the file.
        assert_eq!(code(&[2, 0x0a, 5, 1, 2, 3, 4, 5, 6]), "invalid-protobuf");
        assert_eq!(code(&[]), "empty-file");
    }
}
