//! Numbers of a file, checked before anything is added to them.

use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, Nanos, Work};

/// Nanoseconds of one unit of time, whatever it stands for in its file (`docs/conventions.md`).
pub(super) const UNIT_NS: f64 = 1e9;

/// Greatest sum of all times of an instance, in nanoseconds: far from where 64 bits overflow.
const MAX_TOTAL_NS: u64 = 1 << 60;

/// Greatest number of bytes of anything: an exbibyte, all of them together.
const MAX_TOTAL_BYTES: u64 = 1 << 60;

/// Adds up what an instance holds, so that no later sum overflows.
#[derive(Default)]
pub(super) struct Totals {
    ns: u64,
    bytes: u64,
}

impl Totals {
    /// A time in the file's unit; at least 1 ns where it is not zero.
    ///
    /// # Errors
    /// `number-out-of-range` for negative times, and where all times together are too long.
    pub(super) fn time(&mut self, units: f64, what: &str) -> Result<Nanos, Diagnostic> {
        if units.is_nan() || units < 0.0 {
            return Err(negative(what, units));
        }
        let work = if units > 0.0 { Work::Some } else { Work::None };
        let time = Nanos::rounded(units * UNIT_NS, work);
        match self.ns.checked_add(time.get()).filter(|total| *total <= MAX_TOTAL_NS) {
            Some(total) => self.ns = total,
            None => return Err(too_much(what, units)),
        }
        Ok(time)
    }

    /// A size in bytes, rounded up.
    ///
    /// # Errors
    /// `number-out-of-range` for negative sizes, and where all sizes together are too large.
    pub(super) fn bytes(&mut self, bytes: f64, what: &str) -> Result<Bytes, Diagnostic> {
        if bytes.is_nan() || bytes < 0.0 {
            return Err(negative(what, bytes));
        }
        // A float cast saturates.
        let whole = bytes.ceil() as u64;
        match self.bytes.checked_add(whole).filter(|total| *total <= MAX_TOTAL_BYTES) {
            Some(total) => self.bytes = total,
            None => return Err(too_much(what, bytes)),
        }
        Ok(Bytes(whole))
    }
}

/// A memory limit, rounded down; a limit past the top of the range is none.
///
/// # Errors
/// `number-out-of-range` for a negative limit.
pub(super) fn limit(bytes: f64, what: &str) -> Result<Bytes, Diagnostic> {
    if bytes.is_nan() || bytes < 0.0 {
        return Err(negative(what, bytes));
    }
    Ok(Bytes(bytes.floor() as u64))
}

/// A number of devices.
///
/// # Errors
/// `too-many-devices`.
pub(super) fn devices(count: u64, what: &str) -> Result<usize, Diagnostic> {
    if count > super::MAX_DEVICES {
        return Err(Diagnostic::input(
            "too-many-devices",
            format!("`{what}` is {count}, more than {}", super::MAX_DEVICES),
        )
        .fact("limit", super::MAX_DEVICES));
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn negative(what: &str, value: f64) -> Diagnostic {
    Diagnostic::input(
        "number-out-of-range",
        format!("`{what}` is {value}, but has to be 0 or more"),
    )
    .fact("field", what)
}

fn too_much(what: &str, value: f64) -> Diagnostic {
    Diagnostic::input(
        "number-out-of-range",
        format!("with `{what}` = {value} the sum over the instance is out of range"),
    )
    .fact("field", what)
}
