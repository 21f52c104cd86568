//! How large the settings of a launcher may be, and how a value is refused.

use ir::diagnostic::Diagnostic;

/// Largest degree and most layers of a file, several times the devices of the largest machine: no
/// product of three of them passes 64 bits.
pub(super) const MOST_DEGREE: u64 = 1 << 20;

/// Most samples of a step and tokens of a sample, as for plans.
pub(super) const MOST_SAMPLES: u64 = 1 << 24;

/// Most layers of a model, stages and chunks.
pub(super) const MOST_LAYERS: u64 = 1 << 16;

/// Deepest nesting of a script's substitutions.
pub(super) const MAX_NESTING: usize = 256;

/// Largest settings file, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

pub(super) fn bad(what: &str, value: &str, hint: &str) -> Diagnostic {
    const LONGEST: usize = 60;
    let shown: String = value.chars().take(LONGEST).collect();
    if shown.contains('$') {
        let message = format!("`{what}` takes `{shown}`, whose value the file does not state");
        return Diagnostic::input("bad-settings", message).hint("write the value in its place");
    }
    Diagnostic::input("bad-settings", format!("`{what}` can't be `{shown}`")).hint(hint.to_owned())
}
